"""Passwords, tokens and keys (docs/data-policy.md, "Redaction of text")."""

import base64
import binascii
import re
from functools import lru_cache

from dqm2.redaction.rules_base import (
    ALPHANUMERIC,
    Placeholder,
    Rule,
    Span,
    follows_word,
    resume_within,
    run_end,
    run_start,
    span,
)
from dqm2.redaction.secret_names import NAMES, is_secret_name, is_weak
from dqm2.redaction.value_spans import (
    KEY_QUOTE,
    SEPARATOR,
    header_span,
    is_code,
    is_framework_call,
    is_named_alike,
    is_sentence,
    is_stand_in,
    is_state,
    value_span,
)

_NAME = ALPHANUMERIC + b"_.-"
# Names recur in every log.
_CACHE_SIZE = 1024
# `name: X`, whose value may be in the next line.
_NAME_KEY = re.compile(rb"(?i)name[\"']?[ \t]*[:=][ \t]*[\"']?$")
_NAME_KEY_WINDOW = 16
# Separator between the name of a variable and its value where each has a key, in JSON, YAML and Python:
# `"name": "X", "value": `, `name: X`, and in the next line `value: `.
_VALUE_BEHIND_NAME = (
    rb"(?:\\*[\"'][ \t]*,\s*\\*[\"']?|[\"']?[ \t]*\n[ \t]*[\"']?)(?i:value)(?:\\*[\"'])?[ \t]*[:=][ \t]*"
)
# The word of a name that says that its value is a secret.
_KIND = re.compile(rb"(?i)" + NAMES)
# A key and what leads to its value: `x = `, `"x": `, `['x'] = `, `x">`, `"x" value=`, `"x", `.
_NAMED_VALUE = (
    rb"(?i:"
    + NAMES
    + rb")[A-Za-z0-9_.-]{0,40}(?:"
    + SEPARATOR
    + rb"|"
    + _VALUE_BEHIND_NAME
    + rb"|"
    + KEY_QUOTE
    + rb">[ \t]{0,8}|[\"'][ \t]{1,8}value[ \t]{0,8}=[ \t]{0,8}|\\*[\"'][ \t]{0,8},[ \t]{0,8})"
)
_HEADERS = (b"cookie", b"authorization")
# HTCondor's claim ids hold quotes, and end with a key: `<…>#…#[Integrity="YES";…]…`.
_CLAIM = re.compile(rb'["\']?([^\s"\']{1,256}#\[[^\]\n]{0,512}\][^\s"\']*)')
# A text that source code adds to the value: `"Bearer " + "…"`.
_JOINED = re.compile(rb"[\"'][ \t]{0,4}\+[ \t]{0,4}[bBrRuUfF]{0,2}[\"']([^\"'\n]{1,256})")
_COOKIE = re.compile(rb"[^\n=]{1,128}=")
_SLASH = ord("/")
# `user/password: NAME/PASSWORD`.
_PAIR_KEY = re.compile(rb"(?i)(?:user(?:[_-]?(?:name|id))?|login|account)/$")
_PAIR_KEY_WINDOW = 16
_PAIR = re.compile(rb"[\"']?([A-Za-z0-9_.$#-]{1,64})/([^\s@\"'/]{1,128})")
# Numbers in place of a secret: a count, an index, a pointer. Those in place of a token may be in quotes, or
# be the largest number, which stands for none.
_NUMBER = re.compile(
    rb"(?:[0-9]{1,4}(?:[/.][0-9]{1,4})?%?|0x[0-9A-Fa-f]{1,16})(?:[\s,;.:)\]}]|\Z)|([\"'])[0-9]{1,3}\1"
)
_TOKEN_NUMBER = re.compile(
    rb"[\"']?(?:[0-9]{1,4}(?:[/.][0-9]{1,4})?%?|4294967295|18446744073709551615|0x[0-9A-Fa-f]{1,16})"
    rb"(?:[\s,;.:)\]}\"']|\Z)"
)
# A comparison of words, and what a parser reads: `token == "lambda"`, `unexpected token: identifier`.
_PLAIN = re.compile(
    rb"(?P<quote>[\"']?)(?:[A-Z]?[a-z_]{1,15}|[A-Z_]{1,16})(?P=quote)(?=[,;:)]{0,4}(?:\s|\Z))"
)
_PARSED = re.compile(rb"(?i)\b(?:(?:un)?expected|before)[ ]\Z")
_TOKEN = re.compile(rb"(?i)tokens?")
_PARSED_WINDOW = 12
# Names that number things as well: a session of the database, the cookie in a header of raw data.
_NUMBERED = (b"session", b"cookie")
# Ways of XRootD to authenticate: `[authz:krb5]`.
_WAY = re.compile(rb"(?:krb5|gsi|sss|unix|host|pwd|ztn|https?|grpc|oauth2)(?:[\s,;.)\]}\"']|\Z)")

# A word with a blank behind it: of an option of a command, `--password x`, of a variable that a shell sets,
# `setenv DB_PASSWORD x`, or of a sentence. What is in front of it is looked at each time: counted characters
# in front of a word would make more states than the automaton's memory holds.
_BLANKS_BEHIND = rb"(?i:" + NAMES + rb")[A-Za-z0-9_-]{0,16}[ \t]{1,8}"
_OPTION_NAME = ALPHANUMERIC + b"_-"
_MAX_PREFIX = 42
_DASHES = re.compile(rb"(?:\A|(?<=_))--?(?!-)")
_SETENV = re.compile(rb"(?<![A-Za-z0-9])(?:setenv|configure set)[ \t]{1,8}\Z")
_SETENV_WINDOW = 16

# The run's key goes by two names in one log, `runUniqueKey=…` and `Configured frontierKey …`.
_RUN_KEY = re.compile(rb"(?:unique|frontier)[_-]?key")

# Also where source code joins two texts: `"Bearer " + "…"`.
_BEARER = rb"(?i:bearer[ \t]{1,8}(?:[\"'][ \t]{0,4}\+[ \t]{0,4}[bBrRuUfF]{0,2}[\"'])?)"
_BEARER_TOKEN = re.compile(rb"[A-Za-z0-9._~+/=-]{6,}+")
# Words of a sentence, and parameters of a challenge (`WWW-Authenticate: Bearer realm="x"`).
_BEARER_PROSE = (b"authentication", b"authorization", b"tokens", b"realm=", b"scope=", b"error=")

# `Basic dXNlcjpwYXNzd29yZA==`: user and password in base64, without the header's name, also in Docker's
# `"auth": "…"`.
_BASIC = rb"(?i:basic[ \t]{1,8}|[\"']auth\\*[\"'][ \t]{0,8}:[ \t]{0,8}\\*[\"'])"
_BASE64 = re.compile(rb"[A-Za-z0-9+/]{6,512}={0,2}")
_CREDENTIALS = re.compile(rb"[!-~]{0,256}:[ -~]{0,256}")

_PASSWORDS = (b"password", b"passwd", b"passphrase")
# A password that a sentence quotes: `wrong password 'x'`.
_TO_QUOTED = re.compile(rb"[ \t]{1,4}[\"'`]")
_QUOTED_WORD = re.compile(rb"[^\s\"'`]{1,128}[\"'`]")

# A password that a sentence gives without quotes, `password is x1y2z3`: a word with letters and digits.
_TO_PLAIN = re.compile(rb"(?i)[ \t]{1,4}(?:(?:is|was|to)[ \t]{1,4})?(?=[a-z0-9!@#$%^&*+~])")
_PLAIN_WORD = re.compile(
    rb"(?=[^\s\"'`]*[0-9])(?=[^\s\"'`]*[A-Za-z])[^\s\"'`\[\]()<>/=]{6,128}(?![\[\]()<>/=])"
)

# JSON web tokens, and the formats of AWS, GitHub, GitLab, Slack, EOS, Google and some registries.
# The trigger has their beginnings only, since lengths would be a tenth of the automaton's program.
_WELL_KNOWN = (
    rb"(?i:eyJ[a-z0-9_-]|A[KS]IA[0-9A-Z]|gh[pousr]_|github_pat_|gl(?:pat|rt|dt|ptt|cbt|soat|ft|agent|imt|oas)-"
    rb"|xox[abeoprs]-|xapp-[0-9]-|zteos64:|AIza|npm_|pypi-|dckr_pat_|hvs\.)"
)
_WELL_KNOWN_KEY = re.compile(
    rb"(?i:eyJ[a-z0-9_-]{13}|A[KS]IA[0-9A-Z]{16}|gh[pousr]_[a-z0-9]{20}|github_pat_[a-z0-9_]{20}"
    rb"|gl(?:pat|rt|dt|ptt|cbt|soat|ft|agent|imt|oas)-[a-z0-9_-]{16}"
    rb"|xox[abeoprs]-[a-z0-9-]{10}|xapp-[0-9]-[a-z0-9-]{10}|zteos64:[a-z0-9_=-]{8}|AIza[a-z0-9_-]{30}"
    rb"|npm_[a-z0-9]{30}|pypi-[a-z0-9_-]{20}|dckr_pat_[a-z0-9_-]{20}|hvs\.[a-z0-9_-]{20})"
    rb"[A-Za-z0-9_.=-]*+"
)

# A PEM block in base64 (`client-key-data` of Kubernetes), in one line or wrapped; macaroons, by the name of
# their first field.
_ENCODED = rb"(?:LS0tLS1CRUdJTi[A-Za-z0-9+/]{2}|MDA[A-Za-z0-9][A-Za-z0-9]{2}xvY2F0aW9u)"
_ENCODED_REST = re.compile(
    rb"[A-Za-z0-9+/_-]*+={0,2}(?:\n[ \t]{0,64}[A-Za-z0-9+/]{60,80}(?=\n))*"
    rb"(?:(?<=[A-Za-z0-9+/]{60})\n[ \t]{0,64}[A-Za-z0-9+/]{2,80}={0,2}(?=\n|\Z))?"
)

# Hashes of passwords: `$6$salt$…` of crypt, `pbkdf2:sha256:260000$salt$…` of Werkzeug;
# tokens of Telegram's bots.
_LONG = (
    rb"(?:\$(?:1|2[abxy]|5|6|7|y|gy|apr1|argon2(?:id?|d))\$|(?:scrypt|pbkdf2)(?::[a-z0-9]+){1,3}\$"
    rb"|bot[0-9]{8,10}:)"
)
_COLON = ord(":")
_MAX_ACCOUNT = 32
_LONG_REST = re.compile(rb"(?<=:)[A-Za-z0-9_-]{20,}+|[A-Za-z0-9./$=,+_-]{20,}+")

# The signature of a signed URL, and the cookie of an X server.
_SIGNATURE = rb"(?i:[?&;](?:signature|sig)=|MIT-MAGIC-COOKIE-1[ \t]+)"
_SIGNATURE_VALUE = re.compile(rb"[A-Za-z0-9%+/_.~=-]{16,}+")

# Incoming web hooks: the address alone permits posting.
_WEB_HOOK = rb"(?i:/hooks\\*/|hooks\.slack\.com\\*/services\\*/|/api\\*/webhooks\\*/|/webhookb2\\*/)"
_HOOK_ID = ALPHANUMERIC + b"_/@.-\\"
_MIN_HOOK_ID = 12
_DIGIT = re.compile(rb"[0-9]")

# Kerberos tickets and grid proxies; their names hold the user's number.
_TICKET = rb"(?i:krb5cc_|x509up_u|keyring:[a-z]{1,12}:|kcm:[0-9])"
_PATH = ALPHANUMERIC + b"_./-"


def _named_value(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    name_start = run_start(text, min_start, start, _NAME)
    name_end = run_end(text, start, _NAME, end - start)
    if pair := _pair(text, min_start, name_start, end):
        return pair
    before = text[max(min_start, name_start - _NAME_KEY_WINDOW) : name_start]
    if b"\n" in text[name_end:end] and not _NAME_KEY.search(before):
        return ()
    name, offset = text[name_start:name_end], start - name_start
    separator = text[name_end:end].rstrip()
    if not is_secret_name(name, offset) or not _is_key(text, min_start, name_start, separator, end):
        return _option(text, min_start, start, end) if separator.endswith(b",") else ()
    word = name[offset:].lower()
    if word.startswith(b"claimid") and (claim := _CLAIM.match(text, end)):
        return span(*claim.span(1), Placeholder.SECRET)
    if word.startswith(_NUMBERED) and _NUMBER.match(text, end):
        return ()
    if word.startswith(b"authz") and _WAY.match(text, end):
        return ()
    is_colon = separator.endswith(b":")
    if is_colon and word.endswith(_HEADERS) and (word.endswith(b"authorization") or _COOKIE.match(text, end)):
        return span(*header_span(text, end), Placeholder.SECRET)
    if _is_not_secret(text, end, word, is_colon=is_colon) or _is_variable(text, end, name, offset):
        return ()
    if word.startswith(b"token") and _is_of_syntax(text, name_start, separator, end):
        return ()
    spans = span(*value_span(text, end), Placeholder.SECRET)
    joined = _JOINED.match(text, spans[-1].end) if spans else None
    return (*spans, Span(*joined.span(1), Placeholder.SECRET)) if joined else spans


def _pair(text: bytes, min_start: int, name_start: int, at: int) -> tuple[Span, ...]:
    if name_start <= min_start or text[name_start - 1] != _SLASH:
        return ()
    key = text[max(min_start, name_start - _PAIR_KEY_WINDOW) : name_start]
    pair = _PAIR.match(text, at) if _PAIR_KEY.search(key) else None
    if not pair:
        return ()
    return Span(*pair.span(1), Placeholder.USER), Span(*pair.span(2), Placeholder.SECRET)


def _is_key(text: bytes, min_start: int, name_start: int, separator: bytes, end: int) -> bool:
    """Whether what is around a name makes it the key of the value at `end`."""
    before = text[max(min_start, name_start - 2) : name_start]
    # A subscript, not a placeholder: `db[password]=`.
    if separator.startswith(b"]") and not (before[:1].isalnum() and before.endswith(b"[")):
        return False
    match separator[-1:]:
        case b":":
            # Neither a C++ scope nor a file as in `/etc/passwd: no such file`.
            return text[end : end + 1] != b":" and before[-1:] != b"/"
        case b">":
            # `=>`, an attribute (`key="password">`), an element (`<password>`).
            is_element = before[-1:] == b"<" and not before[:1].isalnum()
            return separator.endswith(b"=>") or len(separator) > 1 or is_element
        case b",":
            # The first argument of a call, or of a pair: get("password", "…").
            is_first = before[:1] in (b"(", b"[") and before[1:] in (b'"', b"'")
            return is_first and text[end : end + 1] in (b'"', b"'")
    return True


def _is_not_secret(text: bytes, at: int, word: bytes, *, is_colon: bool) -> bool:
    """Whether something else is in place of a secret: a fact, the rest of a sentence, source code, a path."""
    if is_state(text, at) or (is_colon and is_sentence(text, at)) or is_code(text, at):
        return True
    if word.startswith(b"pwd") and text[at : at + 1] in (b"/", b".", b"~"):  # the working directory
        return True
    number = _TOKEN_NUMBER if word.startswith(b"token") else _NUMBER
    return is_weak(word) and (number.match(text, at) is not None or is_framework_call(text, at))


def _is_variable(text: bytes, at: int, name: bytes, offset: int) -> bool:
    """Whether a variable is in place of a secret that is named as its key: `self.secret = secret`."""
    return is_named_alike(text, at, name, _kind(name, offset))


@lru_cache(_CACHE_SIZE)
def _kind(name: bytes, offset: int) -> bytes:
    """The word at `offset` of a name that says that its value is a secret."""
    kind = _KIND.match(name, offset)
    return kind[0].lower() if kind else name


def _is_of_syntax(text: bytes, name_start: int, separator: bytes, at: int) -> bool:
    """Whether a token is one of a language: it is compared with a word, or read by a parser."""
    if not _PLAIN.match(text, at):
        return False
    before = text[max(0, name_start - _PARSED_WINDOW) : name_start]
    is_parsed = _TOKEN.match(text, name_start) is not None and _PARSED.search(before) is not None
    return separator == b"==" or (separator == b":" and is_parsed)


def _behind_blanks(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    word = text[start:end].rstrip(b" \t")
    # `Passed`, which is frequent in logs, is no name of a secret with any prefix.
    if not is_secret_name(word, 0):
        return ()
    if option := _option(text, min_start, start, end):
        return option
    word = word.lower()
    if word in _PASSWORDS:
        return _password_in_sentence(text, start + len(word))
    return span(*value_span(text, end), Placeholder.SECRET) if _RUN_KEY.fullmatch(word) else ()


def _option(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    """The value at `end` of an option, or of a variable of `setenv`, whose name has a word at `start`."""
    first = _option_start(text, min_start, start)
    if first < 0:
        return ()
    name = text[first : run_end(text, first, _NAME, end - first)]
    # The beginning of a PEM block may follow a word directly.
    if b"----" in name or not is_secret_name(name, start - first):
        return ()
    if text[end : end + 1] == b"-" or is_sentence(text, end) or is_stand_in(text, end):
        return ()
    return span(*value_span(text, end), Placeholder.SECRET)


def _option_start(text: bytes, min_start: int, at: int) -> int:
    """Start of the name in front of `at`, if it is an option or a variable of `setenv`; else -1."""
    first = run_start(text, min_start, at, _OPTION_NAME, _MAX_PREFIX)
    if at - first == _MAX_PREFIX:
        return -1
    if first < at and (dashes := _DASHES.search(text[first:at])):
        return first + dashes.end()
    return first if _SETENV.search(text, max(min_start, first - _SETENV_WINDOW), first) else -1


def _bearer(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    token = _BEARER_TOKEN.match(text, end)
    if not token or token[0].lower().startswith(_BEARER_PROSE):
        return ()
    return span(end, token.end(), Placeholder.SECRET)


def _basic(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    encoded = _BASE64.match(text, end)
    if not encoded:
        return ()
    padded = encoded[0].rstrip(b"=") + b"=="
    try:
        decoded = base64.b64decode(padded)
    except binascii.Error:
        return ()
    return span(*encoded.span(), Placeholder.SECRET) if _CREDENTIALS.fullmatch(decoded) else ()


def _password_in_sentence(text: bytes, at: int) -> tuple[Span, ...]:
    """The password that a sentence gives behind the word for it: in quotes, or with letters and digits."""
    if quote := _TO_QUOTED.match(text, at):
        password = _QUOTED_WORD.match(text, quote.end())
        if not password or is_state(password[0][:-1], 0):
            return ()
        return span(quote.end(), password.end() - 1, Placeholder.SECRET)
    verb = _TO_PLAIN.match(text, at)
    if verb and _PLAIN_WORD.match(text, verb.end()):
        return span(*value_span(text, verb.end()), Placeholder.SECRET)
    return ()


def _encoded(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start):
        return ()
    rest = _ENCODED_REST.match(text, end)
    return span(start, rest.end() if rest else end, Placeholder.SECRET)


def _long(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    rest = _LONG_REST.match(text, end)
    if not rest:
        return ()
    # `/etc/shadow` and .htpasswd have the user in front of the hash.
    colon = start - 1 if start > min_start and text[start - 1] == _COLON else start
    user = span(run_start(text, min_start, colon, _NAME, _MAX_ACCOUNT), colon, Placeholder.USER)
    return (*(user if colon < start else ()), Span(start, rest.end(), Placeholder.SECRET))


def _signature(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    value = _SIGNATURE_VALUE.match(text, end)
    return span(*value.span(), Placeholder.SECRET) if value else ()


def _well_known(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start):
        return ()
    key = _WELL_KNOWN_KEY.match(text, start)
    return span(start, key.end(), Placeholder.SECRET) if key else ()


def _web_hook(text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    last = run_end(text, end, _HOOK_ID)
    is_id = last - end >= _MIN_HOOK_ID and _DIGIT.search(text, end, last)
    return span(end, last, Placeholder.SECRET) if is_id or text[start] != _SLASH else ()


def _ticket(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    first = run_start(text, min_start, start, _PATH)
    return span(first, run_end(text, end, _PATH + b":"), Placeholder.SECRET)


SECRET_RULES = (
    Rule(_NAMED_VALUE, _named_value, resume_within),
    Rule(_BLANKS_BEHIND, _behind_blanks, resume_within),
    Rule(_BEARER, _bearer),
    Rule(_BASIC, _basic),
    Rule(_WELL_KNOWN, _well_known, resume_within),
    Rule(_ENCODED, _encoded, resume_within),
    Rule(_LONG, _long, resume_within),
    Rule(_SIGNATURE, _signature),
    Rule(_WEB_HOOK, _web_hook, resume_within),
    Rule(_TICKET, _ticket),
)
