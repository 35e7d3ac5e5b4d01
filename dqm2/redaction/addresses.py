"""IPv4 and IPv6 addresses (docs/data-policy.md, "Redaction of text")."""

import re

from dqm2.linear_patterns import compile_linear
from dqm2.redaction.rules_base import (
    DIGITS,
    Placeholder,
    Rule,
    Span,
    follows_word,
    is_escaped_letter,
    precedes_word,
    run_end,
)
from dqm2.redaction.users import user_at

_IPV4 = rb"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
# A number of two parts more is no address (nor one with its port, as in 10.0.0.1.9215).
_LONGER_NUMBER = compile_linear(rb"\.[0-9]+\.[0-9]")
# Versions are written like addresses: `version 1.1.0.4`, `libdim.so.1.1.0.4`.
_VERSION_WORD = re.compile(
    rb"(?i)(?:\b(?:version|ver|release|rel|rev|revision|firmware|driver|runtime|build)\b['\"]?[ \t]{0,3}"
    rb"(?:is|of|[:=(]|was)?[ \t]{0,3}['\"]?|\.so\.)$"
)
# Names of packages and their directories: `dim-20.37.0.1`, `/external/tbb/2021.9.0.1-abc/`, `numpy>=1.2.3.4`.
_PACKAGE = re.compile(
    rb"[A-Za-z][A-Za-z0-9+]*(?:[-_/]|[=<>~!]=)$"
    rb"|(?i:\b(?:root|cuda|cudnn|cudart|rocm|gcc|glibc|python|xrootd|dim|tbb|boost|openssl|numpy|tensorflow)"
    rb"[ \t]{0,3}[ :=@][ \t]{0,3})$"
)
_MAX_OCTET = 255

# All eight groups, fewer around a `::`, or an IPv4 address in place of the last two. Each group is written as
# few times as possible: they are counted repetitions, which take most of the automaton's memory.
_GROUP = rb"[0-9a-f]{1,4}"
_GROUPS = _GROUP + rb"(?::" + _GROUP + rb"){0,6}"
_LAST = rb"(?:" + _GROUP + rb":){0,5}(?:" + _IPV4 + rb"|" + _GROUP + rb"(?::" + _GROUP + rb")?)"
_IPV6 = (
    rb"(?i:(?:"
    + _GROUP
    + rb":){6}(?:"
    + _IPV4
    + rb"|"
    + _GROUP
    + rb":"
    + _GROUP
    + rb")|(?:"
    + _GROUPS
    + rb")?::"
    + _LAST
    + rb"|"
    + _GROUPS
    + rb"::)"
)
# `addr:2001:db8::1`; behind another colon it is a C++ name, or more than an address.
_KEY = re.compile(rb"[g-zG-Z][A-Za-z0-9_]*:$")
_PORT = compile_linear(rb":[0-9]{1,5}(?:[^0-9A-Za-z:]|\z)")
_HEX_DIGITS = DIGITS + b"abcdefABCDEF"
_DIGIT = re.compile(rb"[0-9]")
_FULL_GROUP = 4
_MIN_GROUPS = 3
_ALL_GROUPS = 8
_PAIR = 2
# As HTCondor writes addresses in its contact strings: [2001-1458-d00-b--100-5a].
_DASHED_IPV6 = rb"(?i:\[[0-9a-f]{1,4}(?:--?[0-9a-f]{1,4}){3,7}\])"


def _ipv4(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    if (end < len(text) and text[end] in DIGITS) or _LONGER_NUMBER.match(text, end):
        return ()
    octets = [int(octet) for octet in text[start:end].split(b".")]
    if max(octets) > _MAX_OCTET or _continues_number(text, min_start, start):
        return ()
    if _is_version(text, min_start, start, octets):
        return ()
    return (*user_at(text, min_start, start), Span(start, end, Placeholder.IP))


def _continues_number(text: bytes, min_start: int, start: int) -> bool:
    before = text[max(min_start, start - 2) : start]
    if before[-1:] in (b"v", b"V"):  # a version
        return not is_escaped_letter(text, min_start, start - 1)
    return before[-1:].isdigit() or (before[-1:] == b"." and before[:1].isdigit())


def _is_version(text: bytes, min_start: int, start: int, octets: list[int]) -> bool:
    before = text[max(min_start, start - 32) : start]
    if _VERSION_WORD.search(before):
        return True
    return _PACKAGE.search(before) is not None and not _is_local(octets)


def _is_local(octets: list[int]) -> bool:
    """Whether an address is private or CERN's; no package has such a version."""
    match octets[:2]:
        case [10 | 127, _] | [192, 168] | [169, 254]:
            return True
        case [172, second]:
            return 16 <= second < 32
        case [128, 141 | 142] | [137, 138] | [188, 184 | 185] | [194, 12] | [192, 16 | 91]:
            return True
    return False


def _ipv6(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    """An address has a digit and three groups, or a full group; a C++ scope and a time of day do not."""
    before = text[max(min_start, start - 16) : start]
    if follows_word(text, min_start, start) or (before[-1:] == b":" and not _KEY.search(before)):
        return ()
    if precedes_word(text, end):  # a port, of more digits than a group has
        end = text.rindex(b":", start, end)
    if text[end : end + 1] == b":" and precedes_word(text, end + 1) and not _PORT.match(text, end):
        return ()
    if text[end - 1 : end] == b":" and text[end : end + 1] == b":":
        return ()
    if not _is_ipv6(text[start:end]):
        return ()
    return (*user_at(text, min_start, start), Span(start, end, Placeholder.IP))


def _next_group(text: bytes, start: int) -> int:
    return run_end(text, run_end(text, start, _HEX_DIGITS), b":")


def _is_ipv6(address: bytes) -> bool:
    groups = [group for group in address.split(b":") if group]
    if b"." in address:
        return all(int(octet) <= _MAX_OCTET for octet in groups[-1].split(b"."))
    if b"::" not in address:
        # Pairs of digits all along are an identifier of hardware or a fingerprint.
        return len(groups) == _ALL_GROUPS and any(len(group) != _PAIR for group in groups)
    if _DIGIT.search(address) is None or (address.endswith(b":") and not address.endswith(b"::")):
        return False
    has_full_group = any(len(group) == _FULL_GROUP for group in groups)
    if address.startswith(b"::"):
        return len(groups) > 1 and (has_full_group or len(groups) >= _MIN_GROUPS)
    return len(groups) >= _MIN_GROUPS or len(groups[0]) == _FULL_GROUP or (len(groups) > 1 and has_full_group)


def _dashed_ipv6(_text: bytes, _min_start: int, start: int, end: int) -> tuple[Span, ...]:
    return (Span(start + 1, end - 1, Placeholder.IP),)


ADDRESS_RULES = (
    Rule(_IPV6, _ipv6, _next_group),
    Rule(_IPV4, _ipv4),
    Rule(_DASHED_IPV6, _dashed_ipv6),
)
