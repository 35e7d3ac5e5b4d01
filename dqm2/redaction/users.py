"""Users: by their directory, or by a name behind `user=` and the like (docs/data-policy.md, rule 3)."""

import re

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
from dqm2.redaction.value_spans import KEY_QUOTE, SEPARATOR, is_code, is_sentence, is_state, quoted_span

# Characters before the @ of an address.
LOCAL_PART = WORD + b".%+-"

AT = ord("@")
_DIRECTORY = (
    rb"(?i:\\?/(?:nfshome0|home|users|store\\?/+(?:temp\\?/+)?user(?:\\?/+rucio)?|run\\?/+user"
    rb"|var\\?/+(?:spool\\?/+)?mail)\\?/+"
    rb"|/afs\\?/+\.?cern\.ch\\?/+(?:user|work|home)\\?/+[a-z]\\?/+"
    rb"|/eos\\?/+(?:user\\?/+[a-z]|home-[a-z0-9]{1,4}(?:\\?/+[a-z])?)\\?/+)"
)
_DIRECTORY_NAME = WORD + b".-"
_VALUE = (
    rb"(?i:(?:user(?:[_-]?(?:name|id))?s?|log(?:in|name)|owner|principal|[er]?uid)(?:"
    + SEPARATOR
    + rb"|[\"'][ \t]{1,8}value[ \t]{0,8}=[ \t]{0,8}))"
)
# The value is empty, and the next key follows.
_NEXT_KEY = re.compile(rb"[A-Za-z_]{1,32}=")
_OPTION = rb"(?i:-(?:user(?:[_-]?name)?|login)(?:" + KEY_QUOTE + rb",[ \t]{0,8}|[ \t]{1,8}))"
# `for user "dqm"`, as PostgreSQL writes it.
_QUOTED = rb"(?i:(?:user|role|login|principal)[ \t]{1,4}[\"'])"
_QUOTED_NAME = re.compile(rb"[A-Za-z0-9_.@-]{1,64}[\"']")
# `dqmpro`, and `51234(dqmpro)` as `id` writes it.
_NAME = compile_linear(rb"[A-Za-z0-9_.\x80-\xfd\xff][A-Za-z0-9_.@\\\x80-\xfd\xff-]*(?:\([^()\s]{1,64}\))?")

# Common name of an X.509 subject: /DC=ch/CN=John Doe, or CN = John Doe, OU = Users; curl writes it out. The
# headers of CMS's web services name the person and the account.
_COMMON_NAME = rb"(?:CN[ \t]?=|(?i:common name|cms-authn-(?:name|login)):)[ \t]?"
_COMMON_NAME_STARTS = b" \t\n/,;:=\"'(<"
_PERSON = re.compile(
    rb"[A-Za-z0-9_.\x80-\xff-]{1,64}:?(?: [A-Z0-9\x80-\xff(][A-Za-z0-9_.'\x80-\xff()-]{0,40}){0,5}"
)


def user_at(text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    """The user of `user@…`, of which the right side is at `at`."""
    if at <= min_start or text[at - 1] != AT:
        return ()
    return span(run_start(text, min_start, at - 1, LOCAL_PART), at - 1, Placeholder.USER)


def _directory(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    if text[end : end + 1] in (b"-", b"."):
        return ()
    return span(end, run_end(text, end, _DIRECTORY_NAME), Placeholder.USER)


def _value(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    trigger = text[start:end].rstrip()
    key = trigger.rstrip(b":=> \t]").lower()
    if key.endswith(b"uid") and follows_word(text, min_start, start):  # a guid, a uuid
        return ()
    if trigger.endswith(b":"):
        if not key.endswith((b'"', b"'")):
            # `Last login: Thu` is a greeting, `User::name` a C++ scope, `user: 0.5 s` a time.
            if key.startswith(b"log") or follows_word(text, min_start, start) or text[end : end + 1] == b":":
                return ()
            if text[end : end + 1] in DIGITS and not key.endswith(b"id"):
                return ()
        if is_sentence(text, end):
            return ()
    if text[end - 1 : end] in (b" ", b"\t") and _NEXT_KEY.match(text, end):  # `logname= uid=0`
        return ()
    return () if is_state(text, end) or is_code(text, end) else _name(text, end)


def _option(text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
    return () if is_sentence(text, end) else _name(text, end)


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
    if name.isdigit() and delimiter not in (b"/", b","):
        return ()
    return span(end, end + len(name.rstrip(b".:")), Placeholder.USER)


USER_RULES = (
    Rule(_DIRECTORY, _directory),
    Rule(_VALUE, _value, resume_within),
    Rule(_OPTION, _option, resume_within),
    Rule(_QUOTED, _quoted),
    Rule(_COMMON_NAME, _common_name),
)
