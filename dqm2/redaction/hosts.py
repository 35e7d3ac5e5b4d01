"""Host names of P5 and CERN, and who is at them (data policy, "Redaction of text", rules 1, 3 and 4)."""

import re
from collections.abc import Iterable

from config.parsers import short_name
from dqm2.redaction.linear import linear
from dqm2.redaction.normalization import Part, fold
from dqm2.redaction.placeholders import Mark
from dqm2.redaction.rules_base import ALPHANUMERIC, Rule, follows_word, precedes_word, run_end, run_start
from dqm2.redaction.users import AT, LOCAL_PART, user_at

_NAME = ALPHANUMERIC + b"-."
# A name that has its domain goes on before them: adm-fu-c2f11-11-01.cms.
_JOINS = b"-."

_DOMAIN = rb"(?:\.cms)?(?:\.cern\.ch)?"
# Kind of machine, then rack, unit and number: dqmfu-c2b03-45-01, sm-c2a11-43-01, kvm-s3562-1-ip151-85.
_P5_KINDS = rb"(?:dqm|dv|d3v)?(?:fu|bu|rubu|ru|bufu|evm|sm|mrg|ctrl|srv|kvm|cmsvm[a-z0-9]{0,12}|vmepc|dqm)"
_P5_NAME = (
    rb"(?i:" + _P5_KINDS + rb"-[a-z][0-9][a-z0-9][0-9]{2,3}(?:-(?:ip)?[0-9]{1,4}){1,4}" + _DOMAIN + rb")"
)
# A machine of any other kind shows by its rack.
_P5_RACK = rb"(?i:-[a-z][0-9][a-z][0-9]{2}(?:-[0-9]{1,4}){1,3}" + _DOMAIN + rb")"
_VIRTUAL = rb"(?i:cmsvm[a-z0-9-]{0,24}[0-9]" + _DOMAIN + rb")"
_OWN_DOMAINS = (b".cms", b".cern.ch")
_OWN_DOMAIN = rb"(?i:\.cms|\.cern\.ch)"
_DOTTED = rb"(?i:@[a-z0-9-]{1,63}\.[a-z])"


def host_rules(hosts: Iterable[str], public_sites: Iterable[str]) -> tuple[Rule, ...]:
    """The rules for host names and what is at them: `hosts` are covered in short and long form."""
    names = _Names(hosts, public_sites)
    configured = (Rule(names.configured, _configured),) if names.configured else ()
    return (
        Rule(_P5_NAME, _host),
        Rule(_VIRTUAL, _host),
        Rule(_P5_RACK, _named_by_rack),
        Rule(_OWN_DOMAIN, names.below_own_domain),
        Rule(_DOTTED, names.address),
        *configured,
    )


class _Names:
    """Which names are hosts: by their form, by their domain, or by the configuration."""

    def __init__(self, hosts: Iterable[str], public_sites: Iterable[str]) -> None:
        self._public = frozenset(_plain(site) for site in public_sites)
        names = b"|".join(re.escape(name) for name in _to_cover(hosts))
        self.configured = rb"(?i:(?:" + names + rb")" + _DOMAIN + rb")" if names else b""
        forms = (_P5_NAME, _P5_RACK, _VIRTUAL, *([self.configured] if names else ()))
        self._shows_host = linear(b"|".join(forms))

    def below_own_domain(self, text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
        if precedes_word(text, end):
            return ()
        first = start - len(text[run_start(text, free, start, _NAME) : start].lstrip(b".-"))
        if first == start or text[first:end].lower() in self._public:
            return ()
        return _host(text, free, first, end)

    def address(self, text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
        """`user@host` where the right side has a dot; without one, a known host brings its user itself."""
        local = run_start(text, free, start, LOCAL_PART)
        domain = start + 1
        last = domain + len(text[domain : run_end(text, end, _NAME)].rstrip(b".-"))
        if self._is_host(text[domain:last]):
            return (*user_at(text, free, domain), Part(domain, last, Mark.HOST))
        return (Part(local, last, Mark.EMAIL),) if local < start else ()

    def _is_host(self, name: bytes) -> bool:
        lower = name.lower()
        if lower in self._public:
            return False
        return lower.endswith(_OWN_DOMAINS) or self._shows_host.search(name) is not None


def _host(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    """The host, and the user who is at it."""
    before = text[start - 1]
    if before == AT:
        return (*user_at(text, free, start), Part(start, end, Mark.HOST))
    if before in _JOINS and text[start:end].lower().endswith(_OWN_DOMAINS):
        start = run_start(text, free, start, _NAME)
    return (Part(start, end, Mark.HOST),)


def _named_by_rack(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    kind = run_start(text, free, start, ALPHANUMERIC)
    return () if kind == start else _host(text, free, kind, end)


def _configured(text: bytes, free: int, start: int, end: int) -> tuple[Part, ...]:
    # DQM's files name the machine that wrote them: `…_hostNAME_pid…`.
    told = text[max(free, start - 4) : start].lower() == b"host"
    if precedes_word(text, end) or follows_word(text, free, start - 4 if told else start):
        return ()
    return _host(text, free, start, end)


def _to_cover(hosts: Iterable[str]) -> list[bytes]:
    """The names in short and long form, long ones first; an address is no name, and rule 2 covers it."""
    names = {_plain(name) for host in hosts for name in (host.strip(), short_name(host))}
    return sorted((name for name in names if re.search(rb"[a-z]", name)), key=lambda name: (-len(name), name))


def _plain(name: str) -> bytes:
    return fold(name).text.lower()
