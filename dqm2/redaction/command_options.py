"""Users and passwords behind one-letter options, whose meaning depends on the program.

docs/data-policy.md, "Redaction of text", has what they look like.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

from dqm2.redaction.rules_base import (
    Placeholder,
    Rule,
    Span,
    follows_word,
    resume_within,
    span,
)

# How far the options of a command are looked for.
_WINDOW = 256
_BLANKS = rb"[ \t]{1,4}"


@dataclass(frozen=True, slots=True)
class _Program:
    """Letters of the options that take a user (also `USER:PASSWORD` or `USER%PASSWORD`) and a password.

    A password of `joined_password` has no blank before it; with one, the program asks for it.
    """

    name: bytes
    user: bytes = b""
    password: bytes = b""
    joined_password: bytes = b""


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
    _Program(rb"curl", user=b"uU"),
)
_COMMAND = rb"(?i:" + b"|".join(program.name for program in _PROGRAMS) + rb")[ \t]"
# The hyphen comes first, since `re` looks for a literal at the beginning much faster.
_OPTION = re.compile(
    rb"-(?<![^ \t]-)(?:[A-Za-z]{0,8}(?P<last>[A-Za-z])[ \t]{1,4}|(?P<only>[A-Za-z]))"
    rb"(?:\"(?P<double>[^\"\n]{1,128})\"|'(?P<single>[^'\n]{1,128})'|(?P<word>[^\s\"'\[-][^\s\"']{0,127}))"
)
_PAIR = re.compile(rb"([A-Za-z0-9_.@\\-]{1,64})[:%]([^\n]{1,128})")
_NAME = re.compile(rb"[A-Za-z_][A-Za-z0-9_.@-]{0,63}")


def _command(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if follows_word(text, min_start, start):
        return ()
    program = _program(text[start : end - 1])
    newline = text.find(b"\n", end, end + _WINDOW)
    options = _OPTION.finditer(text, end, newline if newline >= 0 else end + _WINDOW)
    return tuple(part for option in options for part in _option(program, option))


@lru_cache(maxsize=256)
def _program(command: bytes) -> _Program:
    return next(program for program in _PROGRAMS if re.fullmatch(program.name, command, re.IGNORECASE))


def _option(program: _Program, option: re.Match[bytes]) -> tuple[Span, ...]:
    value = (
        option.span("double") if option["double"] else option.span("single" if option["single"] else "word")
    )
    if option["only"] and option["only"] in program.joined_password:
        return span(*value, Placeholder.SECRET)
    letter = option["last"] or option["only"]
    if letter in program.password:
        return span(*value, Placeholder.SECRET)
    if letter not in program.user:
        return ()
    name = option.string[value[0] : value[1]]
    if pair := _PAIR.fullmatch(name):
        user, password = pair.span(1), pair.span(2)
        return (
            Span(value[0] + user[0], value[0] + user[1], Placeholder.USER),
            Span(value[0] + password[0], value[0] + password[1], Placeholder.SECRET),
        )
    return span(*value, Placeholder.USER) if option["last"] and _NAME.fullmatch(name) else ()


COMMAND_OPTION_RULES = (Rule(_COMMAND, _command, resume_within),)
