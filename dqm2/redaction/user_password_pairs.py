"""Users with passwords: in URLs, Oracle accounts, curl's options, .netrc.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re

from dqm2.linear_patterns import compile_linear
from dqm2.redaction.rules_base import (
    ALPHANUMERIC,
    Placeholder,
    Rule,
    Span,
    follows_word,
    resume_within,
    run_start,
    span,
)
from dqm2.redaction.value_spans import certificate_password, is_sentence, value_span

# Also as JSON escapes it, `:\/\/`.
_URL = rb":\\*/\\*/"
_URL_WINDOW = 512
_SCHEME_WINDOW = 24
# A password may hold what should have been encoded: `@`, or `/` if what is there can't be a port.
_USERINFO = compile_linear(rb"""[^\s/"'<>\\]*@""")
_USERINFO_WITH_SLASH = compile_linear(rb"""[^\s/"'<>:@\\]*:[^0-9\s"'<>@/][^\s"'<>@]*@""")
_ORACLE_USERINFO = compile_linear(rb"""[A-Za-z0-9_$#]{1,64}/[^\s/"'<>@]{1,128}@""")

# Oracle's programs: `sqlplus NAME/PASSWORD@SERVICE`.
_ORACLE_COMMAND = (
    rb"(?i:(?:sqlplus|sqlldr|expdp|impdp|exp|imp|rman|connect|conn|logon)[ \t]{1,8}"
    rb"(?:(?:-[a-z]{1,12}|target)[ \t]{1,8}){0,3}[\"']?[a-z][a-z0-9_$#]*/)"
)
_ORACLE_NAME = ALPHANUMERIC + b"_$#"
_ORACLE_PASSWORD = re.compile(rb"[^\s@\"'/]{1,128}")
# Oracle accounts of CMS by their services, e.g. `NAME/PASSWORD@cms_omds_lb`.
_ORACLE_SERVICE = re.compile(
    rb"(?i)@(?:cms_(?:omds|orcon|orcoff|orcof|rcms|dqm|cond)|cmsonr|cmsr\b|cmsintr|int[0-9]{1,2}r|devdb[0-9])"
)
_ORACLE_ACCOUNT = re.compile(rb"[A-Za-z][A-Za-z0-9_$#]{0,30}/[^\s@\"'/]{1,64}$")
_ORACLE_ACCOUNT_WINDOW = 96

# `curl -u NAME:PASSWORD`, also as a list of arguments; `-x NAME:PASSWORD@HOST` of a proxy.
_CURL_OPTION = (
    rb"-(?i:u|x|-?user|-?proxy-user|-?(?:proxy-)?auth|-?(?:pre)?proxy|-socks[45]a?h?(?:ostname)?)"
    rb"(?:[\"'][ \t]{0,8},[ \t]{0,8}[\"']|[ \t]{1,8}[\"']?|=[\"']?)[A-Za-z0-9_.@\\-]+:"
)
_CURL_USER = ALPHANUMERIC + b"_.@\\-"
_CURL_PASSWORD = re.compile(rb"[^\s\"']{1,256}")
_CURL_PROXY = re.compile(rb"(?i)--?(?:x|(?:pre)?proxy|socks[45]a?h?(?:ostname)?)(?![a-z-])")
_PROXY_PASSWORD = re.compile(rb"(?!//)[^\s\"']{1,256}(?=@)")
# `--cert FILE:PASSWORD` of curl and programs like it.
_CERTIFICATE = rb"-cert(?:[ \t]{1,4}|=[ \t]{0,4})"

# `jdbc:oracle:thin:NAME/PASSWORD@//…`.
_ORACLE_JDBC = rb"(?i:jdbc:oracle:[a-z0-9]{1,8}:)"
# Lines of PostgreSQL's .pgpass, `HOST:PORT:DATABASE:NAME:PASSWORD`, with the ports of PostgreSQL and of
# CERN's databases on demand.
_PGPASS = rb":(?:54[0-9]{2,3}|6[0-9]{3}|\*):[A-Za-z_*]"
_PGPASS_HOST = ALPHANUMERIC + b"_.*-]"
_PGPASS_REST = re.compile(
    rb"[^\s:/\"']{1,64}:([A-Za-z_*][A-Za-z0-9_.*-]{0,63}):((?:\\+[:\\]|[^\s:\\\"'])+)(?=[\s\"'\\]|\Z)"
)
# `sshpass -p PASSWORD`, also as a list of arguments.
_NEXT_ARGUMENT = rb"[\"'],[ ]?[\"']"
_SSHPASS = rb"sshpass(?:[ \t]{1,4}|" + _NEXT_ARGUMENT + rb")-p(?:" + _NEXT_ARGUMENT + rb"|[ \t]{0,4})"
# `htpasswd -b FILE NAME PASSWORD`, and without the file with `-n`.
_HTPASSWD = rb"htpasswd[ \t]+-"
_HTPASSWD_OPTIONS = re.compile(rb"((?:-[A-Za-z]{1,8}[ \t]{1,4}(?:[0-9]{1,2}[ \t]{1,4})?){1,6})")
_SHELL_WORD = rb"(?:'([^'\n]{1,128})'|\"([^\"\n]{1,128})\"|([^\s'\"]{1,128}))"
_HTPASSWD_PAIR = re.compile(_SHELL_WORD + rb"[ \t]{1,4}" + _SHELL_WORD)
_HTPASSWD_FILE = re.compile(_SHELL_WORD + rb"[ \t]{1,4}")
# A password that is written to a program: `echo PASSWORD | sudo -S ls`, `printf '%s\n' PASSWORD | kinit`.
_ECHO = rb"(?:echo|printf)[ \t]+"
_ECHOED = re.compile(
    rb"(?:-[neE]{1,3}[ \t]{1,4}){0,2}(?:(?P<quote>[\"']?)%s(?:\\{1,2}n)?(?P=quote)[ \t]{1,4})?"
    rb"(?P<word>" + _SHELL_WORD + rb")[ \t]{0,4}\|[ \t]{0,4}(?:[a-z/]{1,32}/)?"
    rb"(?:sudo[ \t](?:[^\n|;&]{0,64}[ \t])?(?:-[A-Za-z]{0,4}S|--stdin)\b|kinit\b|su\b|chpasswd\b"
    rb"|passwd[ \t]{1,4}--stdin(?:[ \t]+(?P<account>[A-Za-z_][A-Za-z0-9_.-]{0,31}))?"
    rb"|(?:docker|podman)[ \t]{1,4}login[ \t][^\n|;&]{0,128}--password-stdin)"
)
_ACCOUNT_AND_PASSWORD = re.compile(rb"([A-Za-z0-9_.-]{1,64}):(.+)")

# `cx_Oracle.connect('NAME', 'PASSWORD', 'SERVICE')`, `auth=('NAME', 'PASSWORD')`, `'auth': (…)`,
# `HTTPBasicAuth(…)`, `client.login('NAME', 'PASSWORD')`.
_CALL = (
    rb"(?i:(?:(?:cx_Oracle|oracledb)\.(?:connect|Connection|SessionPool)|HTTP[a-z]{0,8}Auth"
    rb"|\.(?:login|auth)|auth[\"']?[ \t]*[=:])[ \t]{0,4}"
    rb"\([ \t]{0,4}[\"'][a-z0-9_.@$#\[\]-]+[\"'][ \t]{0,4},[ \t]{0,4}[\"'])"
)
_DOT = ord(".")
_CALL_USER = re.compile(rb"[\"']([^\"']+)")
_CALL_PASSWORD = re.compile(rb"[^\"'\n]{1,128}")

# `login NAME password PASSWORD` of .netrc, `user NAME identified by PASSWORD` of SQL.
_LOGIN = (
    rb"(?i:(?:login|user(?:name)?|role|account)\s{1,8}[^\s\"'<>:=]+\s{1,16}(?:with\s{1,8})?(?:login\s{1,8})?"
    rb"(?:password|passwd|identified\s{1,8}by)\s{1,8})"
)
_LOGIN_USER = re.compile(rb"(?i)(?:login|user(?:name)?|role|account)\s+(\S+)\s")
_PROSE = frozenset((b"and", b"or", b"with", b"the", b"a", b"an", b"your", b"by", b"via", b"without", b"name"))
# `GRANT … TO NAME IDENTIFIED BY PASSWORD`.
_GRANTEE = re.compile(rb"(?i)\bto[ ]([a-z][a-z0-9_$#]{0,30})[ ]\Z")
_GRANTEE_WINDOW = 40
# A sentence, `objects that are identified by numbers`; no statement has such a word there.
_PASSIVE = re.compile(rb"(?i)(?<![A-Za-z0-9_])(?:be|been|being|is|are|was|were)[ ]\Z")
_PASSIVE_WINDOW = 8
_IDENTIFIED_BY = rb"(?i:identified[ \t]{1,8}by[ \t]{1,8})"


def oracle_account(text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    """Spans of `NAME/PASSWORD@SERVICE`, whose @ is at `at`; none if the service is not one of CMS's."""
    if not _ORACLE_SERVICE.match(text, at):
        return ()
    window_start = max(min_start, at - _ORACLE_ACCOUNT_WINDOW)
    account = _ORACLE_ACCOUNT.search(text[window_start:at])
    if not account:
        return ()
    start = window_start + account.start()
    return _pair(start, text.index(b"/", start), at)


def _pair(start: int, separator: int, end: int) -> tuple[Span, ...]:
    return (
        *span(start, separator, Placeholder.USER),
        *span(separator + 1, end, Placeholder.SECRET),
    )


def _url(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    limit = end + _URL_WINDOW
    if text.find(b"@", end, limit) < 0:
        return ()
    scheme = text[max(min_start, start - _SCHEME_WINDOW) : start].lower()
    if b"oracle" in scheme and (account := _ORACLE_USERINFO.match(text, end, limit)):
        return _pair(end, text.index(b"/", end), account.end() - 1)
    userinfo = _USERINFO.match(text, end, limit) or _USERINFO_WITH_SLASH.match(text, end, limit)
    if not userinfo:
        return ()
    last = userinfo.end() - 1
    colon = text.find(b":", end, last)
    return _pair(end, last if colon < 0 else colon, last)


def _oracle_command(text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    password = _ORACLE_PASSWORD.match(text, end)
    is_account = text[start : start + 7].lower().startswith((b"sqlplus", b"sqlldr", b"expdp", b"impdp"))
    if not password or not (is_account or text[password.end() : password.end() + 1] == b"@"):
        return ()
    return _pair(run_start(text, start, end - 1, _ORACLE_NAME), end - 1, password.end())


def _oracle_jdbc(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    account = _ORACLE_USERINFO.match(text, end)
    return _pair(end, text.index(b"/", end), account.end() - 1) if account else ()


def _pgpass(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    pair = _PGPASS_REST.match(text, end - 1, end + _URL_WINDOW)
    is_host = start == min_start > 0 or run_start(text, min_start, start, _PGPASS_HOST) < start
    return _pair(*pair.span(1), pair.end()) if pair and is_host else ()


def _sshpass(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    return span(*value_span(text, end), Placeholder.SECRET)


def _htpasswd(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    options = _HTPASSWD_OPTIONS.match(text, end - 1)
    if not options or b"b" not in options[1]:
        return ()
    at = options.end()
    if b"n" not in options[1]:
        file = _HTPASSWD_FILE.match(text, at)
        at = file.end() if file else at
    pair = _HTPASSWD_PAIR.match(text, at)
    if not pair:
        return ()
    user, password = (next(group for group in groups if pair[group]) for groups in ((1, 2, 3), (4, 5, 6)))
    return Span(*pair.span(user), Placeholder.USER), Span(*pair.span(password), Placeholder.SECRET)


def _echo(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    echoed = _ECHOED.match(text, end)
    if not echoed or follows_word(text, min_start, start):
        return ()
    first, last = echoed.span("word")
    if text[first : first + 1] in (b"'", b'"'):
        first, last = first + 1, last - 1
    word = text[first:last]
    if word.startswith((b"$", b"[")):  # a variable, or what an earlier pass replaced
        return ()
    pair = _ACCOUNT_AND_PASSWORD.fullmatch(word) if echoed[0].endswith(b"chpasswd") else None
    secret = _pair(first, first + len(pair[1]), last) if pair else span(first, last, Placeholder.SECRET)
    return (*secret, *span(*echoed.span("account"), Placeholder.USER)) if echoed["account"] else secret


def _call(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if text[start] != _DOT and follows_word(text, min_start, start):  # `OAuth: (…)`
        return ()
    user = _CALL_USER.search(text, text.index(b"(", start), end)
    password = _CALL_PASSWORD.match(text, end)
    if not user or not password:
        return ()
    return Span(*user.span(1), Placeholder.USER), Span(*password.span(), Placeholder.SECRET)


def _curl_option(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    is_proxy = _CURL_PROXY.match(text, start) is not None
    password = (_PROXY_PASSWORD if is_proxy else _CURL_PASSWORD).match(text, end)
    is_option = not follows_word(text, min_start, start) and text[max(min_start, start - 2) : start] != b"--"
    if not password or not is_option:
        return ()
    user = run_start(text, start, end - 1, _CURL_USER)
    if text[user : end - 1].isdigit() and password[0].isdigit():  # a container's user and group
        return ()
    return _pair(user, end - 1, password.end())


def _certificate(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    password = certificate_password(text, end)
    return span(*password, Placeholder.SECRET) if password else ()


def _login(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    user = _LOGIN_USER.match(text, start, end)
    if not user or follows_word(text, min_start, start) or user[1].lower() in _PROSE:
        return ()
    if is_sentence(text, end):
        return ()
    return Span(*user.span(1), Placeholder.USER), *span(*value_span(text, end), Placeholder.SECRET)


def _identified_by(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if _PASSIVE.search(text, max(min_start, start - _PASSIVE_WINDOW), start) and is_sentence(text, end):
        return ()
    grantee = _GRANTEE.search(text, max(min_start, start - _GRANTEE_WINDOW), start)
    user = span(*grantee.span(1), Placeholder.USER) if grantee else ()
    return *user, *span(*value_span(text, end), Placeholder.SECRET)


USER_PASSWORD_RULES = (
    Rule(_CURL_OPTION, _curl_option, resume_within),
    Rule(_CERTIFICATE, _certificate, resume_within),
    Rule(_LOGIN, _login, resume_within),
    Rule(_ORACLE_JDBC, _oracle_jdbc, resume_within),
    Rule(_PGPASS, _pgpass, resume_within),
    Rule(_SSHPASS, _sshpass),
    Rule(_HTPASSWD, _htpasswd, resume_within),
    Rule(_ECHO, _echo, resume_within),
    Rule(_CALL, _call, resume_within),
    Rule(_ORACLE_COMMAND, _oracle_command, resume_within),
    Rule(_IDENTIFIED_BY, _identified_by),
    Rule(_URL, _url),
)
