"""Users, by their folder or their name behind `user=` (data policy, "Redaction of text", rule 3)."""

from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part
from dqm2.redaction.placeholders import Mark
from dqm2.redaction.rules_base import DIGITS, WORD, Rule, follows_word, run_end, run_start
from dqm2.redaction.value_spans import KEY_QUOTE, SEPARATOR, quoted_span

# What may stand before the @ of an address.
LOCAL_PART = WORD + b".%+-"

AT = ord("@")
_FOLDER = (
    rb"(?i:/(?:nfshome0|home|users)\\?/+|/afs/cern\.ch/(?:user|work)\\?/[a-z]\\?/+"
    rb"|/eos/(?:user\\?/[a-z]|home-[a-z])\\?/+)"
)
_FOLDER_NAME = WORD + b".-"
_VALUE = rb"(?i:(?:user(?:[_-]?(?:name|id))?s?|log(?:in|name)|[er]?uid)" + KEY_QUOTE + SEPARATOR + rb")"
_OPTION = rb"(?i:-(?:user(?:[_-]?name)?|login)(?:" + KEY_QUOTE + rb",[ \t]{0,8}|[ \t]{1,8}))"
# `dqmpro`, and `51234(dqmpro)` as `id` writes it.
_NAME = linear(rb"[A-Za-z0-9_.\x80-\xfd\xff][A-Za-z0-9_.@\\\x80-\xfd\xff-]*(?:\([^()\s]{1,64}\))?")


def user_at(text: bytes, free: int, at: int) -> tuple[Part, ...]:
    """The user of `user@…`, of which the right side stands at `at`."""
    if at <= free or text[at - 1] != AT:
        return ()
    start = run_start(text, free, at - 1, LOCAL_PART)
    return (Part(start, at - 1, Mark.USER),) if start < at - 1 else ()


def _folder(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    return _part(end, run_end(text, end, _FOLDER_NAME)) if text[end : end + 1] not in (b"-", b".") else ()


def _value(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    trigger = text[start:end].rstrip()
    key = trigger.rstrip(b":=> \t").lower()
    if key.endswith(b"uid") and follows_word(text, free, start):  # a guid, a uuid
        return ()
    if trigger.endswith(b":") and not key.endswith((b'"', b"'")):
        # `Last login: Thu` is a greeting, `User::name` a C++ scope, `user: 0.5 s` a time.
        if key.startswith(b"log") or follows_word(text, free, start) or text[end : end + 1] == b":":
            return ()
        if text[end : end + 1] in DIGITS and not key.endswith(b"id"):
            return ()
    return _name(text, end)


def _option(text: bytes, _free: int, _start: int, end: int) -> tuple[Part, ...]:
    return _name(text, end)


def _name(text: bytes, at: int) -> tuple[Part, ...]:
    if quoted := quoted_span(text, at):
        return _part(*quoted)
    name = _NAME.match(text, at)
    return _part(at, at + len(name[0].rstrip(b".\\"))) if name else ()


def _part(start: int, end: int) -> tuple[Part, ...]:
    return (Part(start, end, Mark.USER),) if start < end else ()


USER_RULES = (Rule(_FOLDER, _folder), Rule(_VALUE, _value), Rule(_OPTION, _option))
