"""Users and passwords behind one-letter options, whose meaning depends on the program.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice

from dqm2.redaction.rules_base import Placeholder, Rule, Span, follows_word, resume_within, span
from dqm2.redaction.value_spans import certificate_password, value_span

# Bytes behind the name of a command in which its options are read, and the number of them.
_WINDOW = 256
_MAX_OPTIONS = 8
_BLANKS = rb"[ \t]{1,4}"


@dataclass(frozen=True, slots=True)
class _Program:
    """Letters of the options that take a user, a password, cookies or a certificate.

    A user may be `USER:PASSWORD`, with one of the `separators` in place of the colon. A password of
    `joined_password` has no blank before it; with one, the program asks for it. Cookies without `=` are the
    name of a file. A certificate is a file, perhaps with `:PASSWORD` behind it.
    """

    name: bytes
    user: bytes = b""
    password: bytes = b""
    joined_password: bytes = b""
    cookies: bytes = b""
    certificate: bytes = b""
    separators: bytes = b":%"

    @property
    def letters(self) -> bytes:
        """Letters of options whose value may be behind a blank."""
        return self.user + self.password + self.cookies + self.certificate


_PROGRAMS = (
    _Program(
        rb"(?:docker|podman|nerdctl|helm|oc|skopeo|buildah)(?:"
        + _BLANKS
        + rb"registry)?"
        + _BLANKS
        + rb"login",
        user=b"uU",
        password=b"pP",
    ),
    _Program(rb"ldap(?:search|modify|add|delete|compare|whoami|passwd)", password=b"w"),
    _Program(rb"ipmitool", user=b"U", password=b"P"),
    _Program(rb"(?:psql|pg_dump|pg_dumpall|pg_restore|pg_isready)", user=b"U"),
    _Program(rb"(?:mysql|mariadb)(?:dump|admin|import|show|check|-dump)?", user=b"u", joined_password=b"p"),
    _Program(rb"smbclient", user=b"U"),
    _Program(rb"(?:curl|hurl)", user=b"uU", cookies=b"b", certificate=b"E"),
    _Program(
        rb"snmp(?:bulk)?(?:get|getnext|walk|set|table|status|test|trap|inform)", user=b"u", password=b"cAX"
    ),
    _Program(rb"mongo(?:sh|dump|restore|export|import)?", user=b"u", password=b"p"),
    _Program(rb"lftp", user=b"u", separators=b","),
    _Program(rb"(?:rdesktop|ncftp(?:get|put|ls)?|condor_store_cred)", user=b"u", password=b"p"),
    _Program(rb"(?:beeline|impala-shell)", user=b"nu", password=b"p"),
    _Program(rb"isql", user=b"U", password=b"P", joined_password=b"P"),
    _Program(rb"ssh-keygen", password=b"NP"),
    _Program(rb"openssl[ \t]enc", password=b"k"),
    _Program(rb"redis-cli", password=b"a"),
    _Program(rb"(?:cqlsh|sqlcmd|tsql)", user=b"uU", password=b"pP"),
    _Program(rb"(?:un)?zip", password=b"P", joined_password=b"P"),
    _Program(rb"(?:7z[arz]?|(?:un)?rar)", joined_password=b"p"),
    _Program(rb"(?:p(?:s|grep|kill)|killall|top|lsof|crontab|squeue|scancel|sacct|setquota)", user=b"uU"),
)
_COMMAND = rb"(?i:" + b"|".join(program.name for program in _PROGRAMS) + rb")[ \t]"
# The rest of a command: up to the end of the line, or to where a shell begins another one.
_REST = re.compile(rb"(?:[^\n \t;\"']++|\"[^\"\n]*\"|'[^'\n]*'|(?![ \t](?:\||&&)|;[ \t])[^\n])*+")
# Up to the first character of the value. The hyphen comes first, since `re` looks for a literal at the
# beginning much faster.
_OPTION = re.compile(
    rb"-(?<![^ \t]-)(?:[A-Za-z]{0,8}(?P<last>[A-Za-z])[ \t]{1,4}|(?P<only>[A-Za-z]))(?P<value>[^\s\[-])"
)
_PAIR = re.compile(rb"([A-Za-z0-9_.@\\-]{1,64})[:%,]([^\n]{1,128})")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")


def _command(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start) or text.endswith(b".", min_start, start):  # a file, `x.zip`
        return ()
    program = _program(text[start : end - 1])
    # Most commands have none of the options, which is found out faster than where a command ends.
    if not _options_of(program).search(text, end, end + _WINDOW):
        return ()
    rest = _REST.match(text, end, end + _WINDOW)
    spans: list[Span] = []
    options = _OPTION.finditer(text, end, rest.end() if rest else end)
    for option in islice(options, _MAX_OPTIONS):
        if not spans or option.start() >= spans[-1].end:
            spans += _option(program, option)
    return tuple(spans)


@lru_cache(maxsize=256)
def _program(command: bytes) -> _Program:
    return next(program for program in _PROGRAMS if re.fullmatch(program.name, command, re.IGNORECASE))


@lru_cache
def _options_of(program: _Program) -> re.Pattern[bytes]:
    """Pattern that finds every option of the program that takes a user or a secret, and perhaps others."""
    letters = rb"[" + program.letters + program.joined_password + rb"]"
    return re.compile(rb"-(?<![^ \t]-)(?:[A-Za-z]{0,8}" + letters + rb"[ \t]{1,4}|" + letters + rb")[^\s\[-]")


def _option(program: _Program, option: re.Match[bytes]) -> tuple[Span, ...]:
    text, joined = option.string, option.start() + 2
    # The letters behind `-p` are the password, whatever follows them.
    if text[joined - 1 : joined] in program.joined_password and text[joined : joined + 1] not in b" \t":
        return span(*value_span(text, joined), Placeholder.SECRET)
    letter = option["last"] or option["only"]
    if letter not in program.letters:
        return ()
    if letter in program.certificate:
        password = certificate_password(text, option.start("value"))
        return span(*password, Placeholder.SECRET) if password else ()
    value = value_span(text, option.start("value"))
    if letter in program.cookies and b"=" not in text[slice(*value)]:
        return ()
    if letter in program.password + program.cookies:
        return span(*value, Placeholder.SECRET)
    name = text[slice(*value)]
    pair = _PAIR.fullmatch(name)
    if pair and name[pair.end(1) : pair.start(2)] in program.separators:
        user, password = pair.span(1), pair.span(2)
        return (
            Span(value[0] + user[0], value[0] + user[1], Placeholder.USER),
            Span(value[0] + password[0], value[0] + password[1], Placeholder.SECRET),
        )
    return span(*value, Placeholder.USER) if option["last"] and _NAME.fullmatch(name) else ()


COMMAND_OPTION_RULES = (Rule(_COMMAND, _command, resume_within),)
