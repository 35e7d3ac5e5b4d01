"""Passwords, tokens and keys (data policy, "Redaction of text", rule 5)."""

from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part
from dqm2.redaction.placeholders import Mark
from dqm2.redaction.rules_base import ALPHANUMERIC, Rule, follows_word, run_end, run_start
from dqm2.redaction.value_spans import KEY_QUOTE, SEPARATOR, header_span, value_span

# The words of the policy and their like, ending a name or with a short word behind: DB_PASSWORD, secret_id.
_WORDS = (
    rb"(?:pass(?:word|wd|phrase)|pwd|secret|token|cookie|authorization|credential|krb5ccname"
    rb"|(?:api|access|private|session|signing|encryption|ssh|auth)[_-]?key|session[_-]?id)[a-z_-]{0,12}[0-9]?"
)
_HEADERS = (b"cookie", b"authorization")
_VALUE = rb"(?i:" + _WORDS + KEY_QUOTE + rb"(?:" + SEPARATOR + rb"|>[ \t]{0,8}))"
_OPTION = (
    rb"(?i:-(?:[a-z0-9]{1,16}[_-]){0,3}"
    + _WORDS
    + rb"(?:"
    + KEY_QUOTE
    + rb"[ \t]{0,8},[ \t]{0,8}|[ \t]{1,8}))"
)
# The run's key goes by two names in one log, `runUniqueKey=…` and `Configured frontierKey …`.
_RUN_KEY = rb"(?i:(?:unique|frontier)[_-]?key" + KEY_QUOTE + rb"(?:" + SEPARATOR + rb"|[ \t]{1,8}))"

_BEARER = rb"(?i:bearer[ \t]{1,8})"
_BEARER_WORD = linear(rb"[A-Za-z0-9._~+/=-]{6,}")
_BEARER_PROSE = (b"authentication", b"authorization", b"tokens")

_URL = rb"://"
_URL_LONGEST = 512
# A password may hold what should have been encoded: `@`, or `/` if what stands there can't be a port.
_USERINFO = linear(rb"""[^\s/"'<>]*@""")
_USERINFO_WITH_SLASH = linear(rb"""[^\s/"'<>:@]*:[^0-9\s"'<>@/][^\s"'<>@]*@""")

# JSON web tokens, and keys in the style of AWS, GitHub, GitLab and Slack.
_WELL_KNOWN = (
    rb"(?i:eyJ[a-z0-9_-]{13}|A[KS]IA[0-9A-Z]{16}|gh[pousr]_[a-z0-9]{20}|github_pat_[a-z0-9_]{20}"
    rb"|glpat-[a-z0-9_-]{20}|xox[baprs]-[a-z0-9-]{10})"
)
_WELL_KNOWN_REST = linear(rb"[A-Za-z0-9_.-]*")
# Kerberos tickets and grid proxies; the name of the file holds the user's number.
_TICKET = rb"(?i:krb5cc|x509up_u)"
_PATH = ALPHANUMERIC + b"_./-"


def _value(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    trigger = text[start:end].lower()
    is_colon = trigger.rstrip().endswith(b":")
    if is_colon and (text[end : end + 1] == b":" or _is_file(text, free, start)):
        return ()
    if trigger.startswith(b"pwd") and text[end : end + 1] in (b"/", b".", b"~"):  # the working folder
        return ()
    if is_colon and trigger.startswith(_HEADERS):
        return _part(*header_span(text, end))
    return _part(*value_span(text, end))


def _is_file(text: bytes, free: int, start: int) -> bool:
    """Whether the word is the last of a path, as in `/etc/passwd: no such file`."""
    first = run_start(text, free, start, ALPHANUMERIC + b"_-")
    return text[max(free, first - 1) : first] == b"/"


def _option(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    return () if text[end : end + 1] == b"-" else _part(*value_span(text, end))


def _run_key(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    return _part(*value_span(text, end))


def _bearer(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    word = _BEARER_WORD.match(text, end)
    if not word or word[0].lower().startswith(_BEARER_PROSE):
        return ()
    return _part(end, word.end())


def _url(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    limit = end + _URL_LONGEST
    if text.find(b"@", end, limit) < 0:
        return ()
    userinfo = _USERINFO.match(text, end, limit) or _USERINFO_WITH_SLASH.match(text, end, limit)
    if not userinfo:
        return ()
    last = userinfo.end() - 1
    colon = text.find(b":", end, last)
    user = Part(end, last if colon < 0 else colon, Mark.USER)
    password = Part(last if colon < 0 else colon + 1, last, Mark.SECRET)
    return tuple(part for part in (user, password) if part.start < part.end)


def _well_known(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    rest = _WELL_KNOWN_REST.match(text, end)
    return () if follows_word(text, free, start) or not rest else _part(start, rest.end())


def _ticket(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    return _part(run_start(text, free, start, _PATH), run_end(text, end, _PATH))


def _part(start: int, end: int) -> tuple[Part, ...]:
    return (Part(start, end, Mark.SECRET),) if start < end else ()


SECRET_RULES = (
    Rule(_VALUE, _value),
    Rule(_OPTION, _option),
    Rule(_RUN_KEY, _run_key),
    Rule(_BEARER, _bearer),
    Rule(_URL, _url),
    Rule(_WELL_KNOWN, _well_known),
    Rule(_TICKET, _ticket),
)
