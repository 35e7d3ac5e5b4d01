"""Users: by their directory, or by a name behind `user=` and the like.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re
from collections.abc import Iterator

from dqm2.linear_patterns import compile_linear
from dqm2.redaction.rules_base import (
    DIGITS,
    WORD,
    Placeholder,
    Rule,
    Span,
    follows_word,
    resume_within,
    run_end,
    run_start,
    span,
)
from dqm2.redaction.value_spans import (
    KEY_QUOTE,
    SEPARATOR,
    is_code,
    is_framework_call,
    is_named_alike,
    is_sentence,
    is_state,
    quoted_span,
)

# Characters before the @ of an address.
LOCAL_PART = WORD + b".%+-"

AT = ord("@")
_DIRECTORY = (
    rb"(?i:\\?/(?:nfshome0|(?:home|users|data\\?/+user)(?:\\?/+(?:[a-z]|users))?|store\\?/+(?:temp\\?/+)?user(?:\\?/+rucio)?"
    rb"|run\\?/+user|var\\?/+(?:(?:spool\\?/+)?mail|spool\\?/+cron(?:\\?/+crontabs)?))\\?/+"
    rb"|/afs\\?/+[a-z.]+\\?/+(?:user|work|home)\\?/+[a-z]\\?/+"
    rb"|/(?:pytest-of-|hsperfdata_|tmux-|uscms_data\\?/+d[0-9]\\?/+)"
    rb"|/eos\\?/+(?:user\\?/+[a-z]|home-[a-z0-9]{1,4}(?:\\?/+[a-z])?)\\?/+)"
)
_DIRECTORY_NAME = WORD + b".-"
_VALUE = (
    rb"(?i:(?:user(?:[_-]?(?:name|id))?s?|log(?:in(?:_hint)?|name)|owner|principal|acct"
    rb"|(?:[aeors]|fs|member)?uids?|sec\.name|rucio_account)(?:"
    + SEPARATOR
    + rb"|[\"'][ \t]{1,8}value[ \t]{0,8}=[ \t]{0,8}))"
)
# `~dqmpro/x`.
_TILDE_STARTS = (b"", b" ", b"\t", b"\n", b'"', b"'", b"/", b"(")
_TILDE = rb"~[a-z_][a-z0-9_-]+/"
# The value is empty, and the next key follows.
_NEXT_KEY = re.compile(rb"[A-Za-z_]{1,32}=")
_OPTION = (
    rb"(?i:(?:-|setenv[ \t])(?:user(?:[_-]?name)?|log(?:in|name)|principal|owner|submitter)(?:"
    + KEY_QUOTE
    + rb",[ \t]{0,8}|[ \t]{1,8}))"
)
# `end-user` is no option.
_END_USER = re.compile(rb"(?i)(?<![A-Za-z0-9-])end\Z")
_END_USER_WINDOW = 4
# `<user>jdoe</user>`.
_ELEMENT = rb"(?i:<(?:user(?:[_-]?name)?|login|owner)>)"
# `for user "dqm"`, as PostgreSQL writes it.
_QUOTED = rb"(?i:(?:user|role|login|principal)[ \t]{1,4}[\"'])"
_QUOTED_NAME = re.compile(rb"[A-Za-z0-9_.@-]{1,64}[\"']")
# `sudo -u dqmpro`, `su - dqmpro`, `ssh -l dqmpro`, `kinit -kt x.keytab dqmpro`.
_COMMAND = (
    rb"(?:sudo[ \t]{1,4}(?:-[A-Za-z]{1,2}[ \t]{1,4}){0,2}-u|runuser[ \t]{1,4}-[lu]?|su[ \t]{1,4}-l?"
    rb"|ssh[ \t]{1,4}(?:-[A-Za-z0-9]{1,4}[ \t]{1,4}){0,2}-l"
    rb"|kinit[ \t]+(?:-[^\s]+[ \t]+){1,4}[^\s]+\.keytab)[ \t]{1,4}"
)
_ACCOUNT = re.compile(rb"[A-Za-z_][A-Za-z0-9_.-]{0,31}")
# The owner of a file as `ls -l` and `ls -n` write it: `-rw-r--r--. 1 dqmpro dqmpro 4096`; `tar -tv` writes
# `-rw-r--r-- dqmpro/dqmpro 4096`.
_FILE_MODE = (
    rb"[bcdlps-](?:[r-][w-][SsTtx-]){3}[.+@]?[ \t]{1,4}"
    rb"(?:[0-9]{1,7}[ \t]{1,8}(?:[A-Za-z_]|[0-9]{3})|[A-Za-z_][A-Za-z0-9_.-]+/)"
)
_FILE_OWNER = re.compile(
    rb"[ \t]([A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{3,10})(?:[ \t]+|/)([A-Za-z0-9_.-]{1,32})[ \t]+[0-9]"
)
# The same by `stat`: `Uid: (51234/  dqmpro)`.
_STAT_OWNER = re.compile(rb"\([ ]{0,8}([0-9]{1,10})/[ ]{0,16}([A-Za-z0-9_.-]{1,32})\)")
# `dqmpro`, and `51234(dqmpro)` as `id` writes it.
_NAME = compile_linear(rb"[A-Za-z0-9_.\x80-\xfd\xff][A-Za-z0-9_.@\\\x80-\xfd\xff-]*(?:\([^()\s]{1,64}\))?")
# Groups in a line of `id`, in which a user may have one of the same name: `gid=1399(zh) groups=1399(zh),…`.
_GROUPS = re.compile(rb" gid=[0-9]{1,10}\([^()\s]{1,64}\)(?: groups=[^\s]{1,1024})?")
# The client of EOS in the address of a file: `mgm.sec=krb5|jdoe|pc7|…`, by protocol, name and host.
_CLIENT = rb"mgm\.sec="
_CLIENT_NAME = re.compile(rb"[a-z0-9]{0,8}\|([^|&\s\"']{1,64})\|(?:([^|&\s\"'\[]{1,128})\|)?")
# What EOS writes behind `uid=51234`: the account, on whose behalf it acts, and all numbers of the user.
_NAME_BEHIND_UID = re.compile(
    rb"(?: gid=[0-9]{1,10})? name=([A-Za-z0-9_.-]{1,64})"
    rb"(?: geo=\"[^\"\n]{0,64}\" xt=\"[^\"\n]{0,128}\" ob=\"([A-Za-z0-9_.-]{1,64})\")?"
)
_UIDS_BEHIND_UID = re.compile(
    rb"(?: \(([0-9]{1,10}(?:,[0-9]{1,10}){0,64})\)|(?:,[0-9]{1,10}){1,64})(?= gid=)"
)

# Common name of an X.509 subject: /DC=ch/CN=John Doe, or CN = John Doe, OU = Users; curl writes it out. The
# headers of CMS's web services name the person and the account.
_COMMON_NAME = rb"(?:CN[ \t]?=|dn:[ \t]cn=|(?i:common name|cms-authn-(?:name|login)):)[ \t]?"
_COMMON_NAME_STARTS = b" \t\n/,;:=\"'(<"
# Counts, addresses and times, which no user is named by: `user=0.52`, `owner = 0x7f12`, `user=0m0.5s`.
_MEASURE = re.compile(
    rb"(?:0x[0-9A-Fa-f]+|[0-9]{1,4}|[0-9]+\.[0-9]+%?|(?:[0-9]+m)?[0-9.]+m?s)(?:[\s,;)\]<]|\Z)"
)
_NO_PERSON = re.compile(rb"(?i:default|framework|module|process|system)(?![A-Za-z0-9_@\\-]|\.[A-Za-z0-9])")
# `user: jdoe (uid 51234)`, and `UserId=jdoe(51234)` as Slurm writes it.
_UID_BEHIND = re.compile(rb"[A-Za-z0-9_.-]{1,64}(?: \(uid\b|\([0-9]{3,10}\))")
_COMPARED = re.compile(rb"([A-Za-z_][A-Za-z0-9_]{0,63})(?=[\s,;:)\]]|\Z)")
_COMPARED_KEY = re.compile(rb"([\"'])(?:login|owner|principal|uid|user(?:name)?)\1(?=[\s,;:)\]]|\Z)")
# `NAME:PASSWORD` as one value.
_PASSWORD_BEHIND = re.compile(rb":((?![0-9]{1,5}(?:\W|\Z))[^\s:;,/\"'<>()\[\]{}]{3,128})")
# Rights of a user, in an entry `user:jdoe:r-x` of a list for access control.
_RIGHTS = re.compile(rb"[r-][w-][xX-]|[rwx]{1,2}")
# Login of a client of XRootD in front of its host, `dqmpro.12345:67@…`: user, process and connection.
_XROOTD_LOGIN = re.compile(rb"[A-Za-z0-9_-]{1,64}\.[0-9]{1,10}:$")
_XROOTD_WINDOW = 76
_PERSON = re.compile(
    rb"[A-Za-z0-9_.\x80-\xff-]{1,64}:?(?: [A-Z0-9\x80-\xff(][A-Za-z0-9_.'\x80-\xff()-]{0,40}){0,5}"
)


def user_at(text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    """The user of `user@…`, of which the right side is at `at`; an IPv6 address may be in brackets there."""
    if text[at - 1 : at] == b"[":
        at -= 1
    if at <= min_start or text[at - 1] != AT:
        return ()
    return span(user_start(text, min_start, at - 1), at - 1, Placeholder.USER)


def is_xrootd_login(text: bytes, start: int, at: int) -> bool:
    """Whether the user from `start` to the @ at `at` is a login of XRootD, with process and connection."""
    return b":" in text[start:at]


def user_start(text: bytes, min_start: int, at: int) -> int:
    """Start of the user of `user@…`, whose @ is at `at`."""
    start = run_start(text, min_start, at, LOCAL_PART)
    if start > min_start and text[start - 1 : start] == b":" and text[start:at].isdigit():
        window_start = max(min_start, start - _XROOTD_WINDOW)
        if login := _XROOTD_LOGIN.search(text[window_start:start]):
            return window_start + login.start()
    return start


def _directory(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    if text[end : end + 1] in (b"-", b"."):
        return ()
    return span(end, run_end(text, end, _DIRECTORY_NAME), Placeholder.USER)


def _tilde(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    is_path = text[max(min_start, start - 1) : start] in _TILDE_STARTS
    return span(start + 1, end - 1, Placeholder.USER) if is_path else ()


def _value(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    # The placeholder of an earlier pass is no subscript, `db[user]=`.
    before = text[max(min_start, start - 2) : start]
    if before.endswith(b"[") and not before[:1].isalnum() and text[start:end].lower().startswith(b"user]"):
        return ()
    if owner := _STAT_OWNER.match(text, end):
        return tuple(Span(*owner.span(group), Placeholder.USER) for group in (1, 2))
    if _is_no_user(text, min_start, start, end):
        return ()
    name = _name(text, end)
    if name and (groups := _GROUPS.match(text, name[-1].end)):
        return (*name, *_groups_of_user(text, name[-1], groups))
    if name and (behind := _behind_uid(text, name[-1])):
        return behind
    if name and text.startswith(b"::", name[-1].end):  # a type of C++
        return ()
    password = _PASSWORD_BEHIND.match(text, name[-1].end) if name else None
    if password and _RIGHTS.fullmatch(password[1]):
        return name
    return (*name, *span(*password.span(1), Placeholder.SECRET)) if password else name


def _behind_uid(text: bytes, uid: Span) -> tuple[Span, ...]:
    """A user's number with the names or further numbers that EOS writes behind it; none if there are none."""
    if account := _NAME_BEHIND_UID.match(text, uid.end):
        found = [group for group in (1, 2) if account[group]]
        return (uid, *(Span(*account.span(group), Placeholder.USER) for group in found))
    if numbers := _UIDS_BEHIND_UID.match(text, uid.end):
        if numbers[1]:
            return uid, Span(*numbers.span(1), Placeholder.USER)
        return (Span(uid.start, numbers.end(), Placeholder.USER),)
    return ()


def _groups_of_user(text: bytes, user: Span, groups: re.Match[bytes]) -> Iterator[Span]:
    account = text[text.find(b"(", user.start, user.end) : user.end]
    at = text.find(account, *groups.span()) if account.startswith(b"(") else -1
    while at >= 0:
        end = at + len(account)
        yield Span(at + 1, end - 1, Placeholder.USER)
        at = text.find(account, end, groups.end())


def _is_no_user(text: bytes, min_start: int, start: int, end: int) -> bool:
    """Whether something else than a user is behind a key: a fact, a number, source code, a sentence."""
    trigger = text[start:end].rstrip()
    key = trigger.rstrip(b":=> \t]").lower()
    # A guid, a uuid; CMSSW's own principals.
    if key.endswith((b"uid", b"principal")) and follows_word(text, min_start, start):
        return True
    if trigger.endswith(b":"):
        if not key.endswith((b'"', b"'")):
            # `Last login: Thu` is a greeting, `User::name` a C++ scope, `user: 0.5 s` a time.
            if key.startswith(b"log") or follows_word(text, min_start, start) or text[end : end + 1] == b":":
                return True
            if text[end : end + 1] in DIGITS and not key.endswith(b"id"):
                return True
        if _NO_PERSON.match(text, end) or (is_sentence(text, end) and not _UID_BEHIND.match(text, end)):
            return True
    if text[end - 1 : end] in (b" ", b"\t") and _NEXT_KEY.match(text, end):  # `logname= uid=0`
        return True
    if not key.endswith(b"id") and _MEASURE.match(text, end):
        return True
    if is_state(text, end) or (is_code(text, end) and not _UID_BEHIND.match(text, end)):
        return True
    return is_framework_call(text, end) or _is_variable(text, end, trigger, key)


def _is_variable(text: bytes, at: int, trigger: bytes, key: bytes) -> bool:
    """Whether a variable or key is in place of a user: `user=user`, `owner == expected_owner`."""
    word = key.strip(b"\"'")
    if trigger.endswith(b"=="):
        variable = _COMPARED.match(text, at)
        is_expected = variable is not None and variable[1].lower().endswith(b"_" + word)
        return is_expected or _COMPARED_KEY.match(text, at) is not None
    return is_named_alike(text, at, word, word)


def _client(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    client = _CLIENT_NAME.match(text, end)
    if not client:
        return ()
    host = Span(*client.span(2), Placeholder.HOST) if client[2] else None
    return (Span(*client.span(1), Placeholder.USER), *([host] if host else []))


def _element(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    return () if _MEASURE.match(text, end) else _name(text, end)


def _option(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    is_end_user = _END_USER.search(text, max(min_start, start - _END_USER_WINDOW), start) is not None
    return () if is_end_user or is_sentence(text, end) else _name(text, end)


def _command(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    account = _ACCOUNT.match(text, end)
    if not account or follows_word(text, min_start, start):
        return ()
    return span(*account.span(), Placeholder.USER)


def _file_owner(text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    owner = _FILE_OWNER.match(text, max(text.rfind(b" ", start, end), text.rfind(b"\t", start, end)))
    if not owner:
        return ()
    # Many users have a group of their own name.
    groups = (1, 2) if owner[1] == owner[2] else (1,)
    return tuple(Span(*owner.span(group), Placeholder.USER) for group in groups)


def _quoted(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    name = _QUOTED_NAME.match(text, end)
    if not name or follows_word(text, min_start, start):
        return ()
    return span(end, name.end() - 1, Placeholder.USER)


def _name(text: bytes, at: int) -> tuple[Span, ...]:
    if quoted := quoted_span(text, at):
        return span(*quoted, Placeholder.USER)
    name = _NAME.match(text, at)
    return span(at, at + len(name[0].rstrip(b".\\")), Placeholder.USER) if name else ()


def _common_name(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    before = text[max(min_start, start - 1) : start]
    delimiter = text[max(min_start, start - 2) : start].rstrip()[-1:]
    person = _PERSON.match(text, end)
    if (before and before not in _COMMON_NAME_STARTS) or not person:
        return ()
    name = person[0]
    # Certificate authorities are public, and host names have their own rules.
    if b"Authority" in name or b" CA" in name or (b"." in name.rstrip(b".") and b" " not in name):
        return ()
    if name.isdigit() and delimiter not in (b"/", b",", b";"):
        return ()
    return span(end, end + len(name.rstrip(b".:")), Placeholder.USER)


USER_RULES = (
    Rule(_DIRECTORY, _directory),
    Rule(_TILDE, _tilde, resume_within),
    Rule(_VALUE, _value, resume_within),
    Rule(_CLIENT, _client),
    Rule(_ELEMENT, _element),
    Rule(_OPTION, _option, resume_within),
    Rule(_QUOTED, _quoted),
    Rule(_COMMON_NAME, _common_name),
    Rule(_COMMAND, _command, resume_within),
    Rule(_FILE_MODE, _file_owner),
)
