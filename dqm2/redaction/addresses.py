"""IPv4 and IPv6 addresses (data policy, "Redaction of text", rule 2)."""

import re

from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part
from dqm2.redaction.placeholders import Mark
from dqm2.redaction.rules_base import DIGITS, Rule, follows_word, is_escaped_letter, precedes_word
from dqm2.redaction.users import user_at

_IPV4 = rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
# A number of two parts more goes on: no address (nor one with its port, as in 10.0.0.1.9215).
_LONGER_NUMBER = linear(rb"\.[0-9]+\.[0-9]")
# All eight groups, or fewer around a `::`.
_GROUP = rb"[0-9a-f]{1,4}"
_GROUPS = _GROUP + rb"(?::" + _GROUP + rb"){0,6}"
_IPV6 = rb"(?i:(?:" + _GROUP + rb":){7}" + _GROUP + rb"|" + _GROUPS + rb"::" + _GROUPS + rb")"
_PORT = linear(rb":[0-9]{1,5}(?:[^0-9A-Za-z:]|\z)")
_DIGIT = re.compile(rb"[0-9]")
_MOST_OCTET = 255
_FULL_GROUP = 4
_LEAST_GROUPS = 3
_ALL_GROUPS = 8


def _ipv4(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    if (end < len(text) and text[end] in DIGITS) or _LONGER_NUMBER.match(text, end):
        return ()
    if _continues_number(text, free, start) or any(
        int(octet) > _MOST_OCTET for octet in text[start:end].split(b".")
    ):
        return ()
    return (*user_at(text, free, start), Part(start, end, Mark.IP))


def _continues_number(text: bytes, free: int, start: int) -> bool:
    before = text[max(free, start - 2) : start]
    if before[-1:] in (b"v", b"V"):  # a version
        return not is_escaped_letter(text, free, start - 1)
    return before[-1:].isdigit() or (before[-1:] == b"." and before[:1].isdigit())


def _ipv6(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    """An address has a digit and three groups or more, or a full one before `::`; a C++ scope has not."""
    if follows_word(text, free, start) or text[max(free, start - 1) : start] == b":":
        return ()
    if precedes_word(text, end):  # a port, of more digits than a group has
        end = text.rindex(b":", start, end)
    if text[end : end + 1] == b":" and precedes_word(text, end + 1) and not _PORT.match(text, end):
        return ()
    if not _is_ipv6(text[start:end]):
        return ()
    return (*user_at(text, free, start), Part(start, end, Mark.IP))


def _is_ipv6(address: bytes) -> bool:
    groups = [group for group in address.split(b":") if group]
    if b"::" not in address:
        return len(groups) == _ALL_GROUPS
    enough = len(groups) >= _LEAST_GROUPS or len(groups[0]) == _FULL_GROUP
    return enough and _DIGIT.search(address) is not None and not address.endswith(b":")


ADDRESS_RULES = (Rule(_IPV4, _ipv4), Rule(_IPV6, _ipv6))
