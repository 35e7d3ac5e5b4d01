"""Users and passwords in arguments of commands that no option letter names: by position, `/p:…`, `<<< …`.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from dqm2.redaction.rules_base import Placeholder, Rule, Span, follows_word, resume_within, span

# Bytes in which the arguments of a command are looked for, or the command in front of its input.
_WINDOW = 160
_BLANKS = rb"[ \t]{1,4}"
_WORD = rb"(?:'[^'\n]{1,128}'|\"[^\"\n]{1,128}\"|[^\s'\"]{1,128})"
_NAME = rb"[a-z_][a-z0-9_.-]{1,31}"
# Words that follow the name of a command in a sentence.
_REMARK = rb"(?:again|completed|done|failed|finished|once|succeeded|twice)\b"
_USER = rb"(?P<user>" + _WORD + rb")"
_SECRET = rb"(?P<secret>" + _WORD + rb")"
_OPTIONS = rb"(?:-{1,2}[A-Za-z-]{1,16}(?:=|" + _BLANKS + rb")" + _WORD + _BLANKS + rb"){0,3}?"
_ACCOUNT = rb"(?P<user>'[^'\n]{1,64}'|\"[^\"\n]{1,64}\"|[^\s\"'/]{1,64})"
# `/u:NAME` and `/p:PASSWORD` of FreeRDP and Windows.
_SLASHED = (
    rb"[ \t\"'](?i:/(?:g?u|user):" + _ACCOUNT + rb"|/(?:g?p|pass|password|pth):(?P<secret>" + _WORD + rb"))"
)
# `net use SHARE PASSWORD /user:NAME`, with the password on either side.
_SHARE = (
    rb"(?:(?<![^\s\"'])(?P<secret>[^\s\"'/:\[\\]{4,64})[ \t]{1,4})?/user:"
    + _ACCOUNT
    + rb"(?:[ \t]{1,4}(?P<secret_behind>[^\s\"'/\[]{4,64}))?"
)


@dataclass(frozen=True, slots=True)
class _Command:
    """Name of a command, and a pattern of its arguments; its groups begin with `user` or `secret`.

    With `several`, the pattern may match anywhere and more than once. `hint` is a text that every match
    contains; it is searched for first, which is much faster.
    """

    name: bytes
    arguments: re.Pattern[bytes]
    several: bool = False
    hint: bytes = b""


_COMMANDS = (
    _Command(
        rb"rabbitmqctl",
        re.compile(
            _OPTIONS
            + rb"(?:(?:add_user|change_password|authenticate_user)"
            + _BLANKS
            + _USER
            + _BLANKS
            + _SECRET
            + rb"|(?:delete_user|clear_password|set_user_tags|set_permissions|list_user_permissions)"
            + _BLANKS
            + rb"(?:-p[ ][^\s]{1,64}[ ])?(?P<user_alone>"
            + _WORD
            + rb"))"
        ),
    ),
    _Command(rb"(?:xfreerdp3?|wlfreerdp|mstsc|runas)", re.compile(_SLASHED), several=True),
    _Command(rb"net[ ]use", re.compile(_SHARE), several=True, hint=b"/user:"),
    _Command(rb"vault[ ]login", re.compile(rb"(?P<secret>(?=[^\s]{0,64}[0-9])[A-Za-z0-9._]{8,128})")),
    _Command(rb"wpa_passphrase", re.compile(_WORD + _BLANKS + _SECRET)),
    _Command(
        rb"user(?:add|mod|del)",
        re.compile(
            rb"(?!" + _REMARK + rb")(?P<user_first>" + _NAME + rb")(?=[ \t]+-[A-Za-z-])"
            rb"(?:[ \t]{1,4}-p" + _BLANKS + rb"(?P<secret_behind>" + _WORD + rb"))?"
            rb"|(?:(?:-p" + _BLANKS + _SECRET
            + rb"|-(?!p[ \t])[A-Za-z-]{1,16}(?:" + _BLANKS + rb"[^\s-][^\s]{0,64})??)" + _BLANKS + rb"){0,6}"
            rb"(?!" + _REMARK + rb")(?P<user>" + _NAME + rb")(?=[ \t]*(?:[\n;&|\"']|\Z))"
        ),
    ),
    _Command(
        rb"fs[ ](?:sa|setacl)",
        re.compile(
            rb"(?:-dir )?[^\s]{1,128} (?:-acl )?(?P<user>[a-z][a-z0-9_.-]{1,31})"
            rb" (?:[rlidwka]{1,7}|read|write|all|none)\b"
        ),
    ),
    _Command(
        rb"setfacl",
        re.compile(rb"(?<=[ \t,:])u(?:ser)?:(?P<user>[A-Za-z0-9_.-]{1,64})"),
        several=True,
    ),
)  # fmt: skip
_NAMES = rb"(?:" + b"|".join(command.name for command in _COMMANDS) + rb")[ \t]"
_END = re.compile(rb"\n|[ \t](?:\||&&)|;[ \t]")

# A line that a shell gives to a program which asks for a password: `kinit <<< PASSWORD`. Blocks and threads
# of CUDA are written alike, `init <<<1, 32>>>(x)`.
_INPUT = rb"<<<[ \t]{0,4}[^\s$<\[(]"
_READER = re.compile(
    rb"""(?:
        (?<![A-Za-z0-9_.-])
        (?:sudo[ \t](?:[^;&|\n]*[ \t])?-[A-Za-z]{0,4}S
            |kinit|su|chpasswd|ssh-add|cryptsetup
            |passwd[ \t]+--stdin(?:[ \t]+(?P<account>[a-z_][a-z0-9_.-]{1,31}))?)
        (?![A-Za-z0-9_.-])
        |--(?:password-|pass)?stdin\b
        |--(?:passphrase|key)-f(?:d|ile)\b
        |-pass(?:in|out)?[ \t]+stdin\b
    )[^;&|\n]*\Z""",
    re.VERBOSE,
)
_READER_HINTS = (b"su", b"kinit", b"passw", b"ssh-add", b"cryptsetup", b"stdin", b"-f")
_HERE = b"<<<"
_INPUT_WORD = re.compile(rb"(?![\"']?[\[$])" + _WORD + rb"(?!.{0,128}>>>)")
_PAIR = re.compile(rb"[\"']?([A-Za-z0-9_.-]{1,64}):([^\n\"']{1,128})")

# An entry of a list for access control, of setfacl and EOS: `u:jdoe:rwx`, `u:51234=rw`.
_ENTRY = rb"u:[A-Za-z0-9_.-]+[:=][!rwx+-]"
_RIGHTS = re.compile(rb"[!+rwxXmcdouqtiap-]{1,12}(?=[\s,\"'\\)\]]|\Z)")
# Rights of AFS behind a name, as `fs listacl` writes them.
_AFS_RIGHTS = rb"[ ]rlidwk"
_AFS_NAME = re.compile(rb"(?:^|\n|\\n)[ ]{0,2}([a-z][a-z0-9_.-]{1,31})\Z")


def _arguments(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start):
        return ()
    command = _command(text[start : end - 1])
    limit = min(len(text), end + 2 * _WINDOW)
    if text.find(command.hint, end, limit) < 0:
        return ()
    ending = _END.search(text, end, limit)
    limit = ending.start() if ending else limit
    if command.several:
        matches = [*command.arguments.finditer(text, end - 1, limit)]
    else:
        matches = [match] if (match := command.arguments.match(text, end, limit)) else []
    # A word that the window cuts off is left: it may be part of a placeholder.
    is_cut = ending is None and limit < len(text)
    return tuple(
        part
        for match in matches
        if match.start() < end + _WINDOW and not (is_cut and match.end() == limit)
        for part in _parts(match)
    )


@lru_cache
def _command(name: bytes) -> _Command:
    return next(command for command in _COMMANDS if re.fullmatch(command.name, name))


def _parts(arguments: re.Match[bytes]) -> Iterator[Span]:
    """The groups of a match as spans, in the order of the text, without their quotes."""
    groups = {group: span for group in arguments.re.groupindex if (span := arguments.span(group))[0] >= 0}
    for group, (first, last) in sorted(groups.items(), key=lambda item: item[1]):
        quotes = arguments.string[first : first + 1] in (b"'", b'"')
        placeholder = Placeholder.USER if group.startswith("user") else Placeholder.SECRET
        yield Span(first + quotes, last - quotes, placeholder)


def _input(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    first = max(min_start, start - _WINDOW)
    line = max(first, text.rfind(b"\n", first, start) + 1)
    # If the line has an earlier input, the command is behind it.
    line = max(line, text.rfind(_HERE, line, start) + 1)
    if not any(text.find(hint, line, start) >= 0 for hint in _READER_HINTS):
        return ()
    word = _INPUT_WORD.match(text, end - 1, end + _WINDOW)
    reader = _READER.search(text, line, start) if word else None
    if not word or not reader:
        return ()
    if b"chpasswd" in reader[0] and (pair := _PAIR.match(text, *word.span())):
        return Span(*pair.span(1), Placeholder.USER), Span(*pair.span(2), Placeholder.SECRET)
    account = span(*reader.span("account"), Placeholder.USER)
    quotes = word[0][:1] in (b"'", b'"')
    return *account, *span(word.start() + quotes, word.end() - quotes, Placeholder.SECRET)


def _entry(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start) or not _RIGHTS.match(text, end - 1):
        return ()
    return span(start + len(b"u:"), end - 2, Placeholder.USER)


def _afs_rights(text: bytes, min_start: int, start: int, _end: int) -> tuple[Span, ...]:
    name = _AFS_NAME.search(text, max(min_start, start - _WINDOW), start)
    return span(*name.span(1), Placeholder.USER) if name else ()


COMMAND_ARGUMENT_RULES = (
    Rule(_NAMES, _arguments, resume_within),
    Rule(_INPUT, _input, resume_within),
    Rule(_ENTRY, _entry, resume_within),
    Rule(_AFS_RIGHTS, _afs_rights, resume_within),
)
