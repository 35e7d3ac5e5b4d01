"""Host names of P5 and CERN, and the users at them (docs/data-policy.md, "Redaction of text")."""

import re
from collections.abc import Iterable

from config.parsers import short_name
from dqm2.linear_patterns import compile_linear
from dqm2.redaction.normalization import normalize
from dqm2.redaction.rules_base import (
    ALPHANUMERIC,
    Placeholder,
    Rule,
    Span,
    follows_word,
    precedes_word,
    resume_within,
    run_end,
    run_start,
    span,
)
from dqm2.redaction.user_password_pairs import oracle_account
from dqm2.redaction.users import AT, is_xrootd_login, user_at, user_start

_NAME = ALPHANUMERIC + b"-."
# A host with its domain includes what is joined to it: adm-fu-c2f11-11-01.cms.
_JOINTS = b"-."

_DOMAIN = rb"(?:\.cms)?(?:\.cern\.ch)?"
# Kind of machine, then rack, unit and number: dqmfu-c2b03-45-01, sm-c2a11-43-01, kvm-s3562-1-ip151-85; in
# names of files also fu_c2f11_11_01.
_P5_KINDS = (
    rb"(?:dqm|dev|dv|d3v)?(?:fu|bu|rubu|ru|bufu|evm|sm|mrg|ctrl|srv|kvm|cmsvm[a-z0-9]{0,12}|vmepc|dqm)"
)
_P5_NAME = (
    rb"(?i:"
    + _P5_KINDS
    + rb"(?:-[a-z][0-9][a-z0-9][0-9]{2,3}(?:-(?:ip)?[0-9]{1,4}){1,4}"
    + _DOMAIN
    + rb"|(?:[a-z][0-9][a-z][0-9]{2}-[0-9]{2})"
    + _DOMAIN
    + rb"|_[a-z][0-9][a-z][0-9]{2}(?:_[0-9]{2}){2}))"
)
# Machines of other kinds are recognized by their rack.
_P5_RACK = rb"(?i:-[a-z][0-9][a-z][0-9]{2}(?:-[0-9]{1,4}){1,3}" + _DOMAIN + rb")"
_VIRTUAL = rb"(?i:cmsvm[a-z0-9-]{0,24}[0-9]" + _DOMAIN + rb")"
# CERN's interactive and batch machines: lxplus801, lxplus8s16, vocms0731, b9p22p1234. And a machine at P5
# without its kind, as in the place c2f11-11-01.
_CERN_NAME = (
    rb"(?i:(?:lxplus|lxtunnel|lxbatch|lxvoadm|aiadm|vocms|cmsdev|cmsbuild|cmsusr|scx5scr)[0-9]{1,5}(?:s[0-9]{1,3})?"
    rb"|b[0-9][a-z][0-9]{2}[a-z][0-9]{4}|[bcs][0-9][a-f][0-9]{2}(?:-[0-9]{2}){2})"
)
_FORM = compile_linear(rb"|".join((_P5_NAME, _VIRTUAL, _CERN_NAME)))
_OWN_DOMAINS = (b".cms", b".cern.ch")
_OWN_DOMAIN = rb"(?i:\.cms|\.cern\.ch)"
_AT_NAME = rb"@[A-Za-z]"
_DOTTED = re.compile(rb"[A-Za-z0-9-]{1,63}\.[A-Za-z]")
# Host name without a domain: letters, then a number. Variants of modules (`siPixelDigis@cpu`) look different.
_SHORT_HOST = re.compile(rb"(?:[a-z]{2}[a-z0-9-]*[0-9]|[A-Z]{2}[A-Z0-9-]*[0-9])\Z")
_VARIANT = re.compile(rb"(?i:cpu|gpu|cuda|rocm|alpaka|serial|host)")
_REALM = re.compile(rb"[A-Z]{3,32}\Z")
# Programs that take `user@host`, and kinds of public keys, which end in such a comment.
_SSH_WORDS = (b"ssh", b"scp", b"sftp", b"rsync", b"mosh", b"plink", b"ecdsa-sha2")
_SSH = re.compile(rb"\b(?:ssh|p?scp|p?sftp|rsync|sshfs|mosh|plink)\b|\becdsa-sha2-")
_SSH_WINDOW = 1024
_DIGIT = re.compile(rb"[0-9]")
# A path behind `user@host`, or the prompt for a password.
_REMOTE_PATH = re.compile(rb":[/~.]|'s password:")
# `Author: John Doe <`, `Signed-off-by: John Doe <`, `Good signature from "John Doe <`, `Packager : J. Doe <`.
_PERSON = re.compile(
    rb"\b(?:Author|Commit(?:ter)?|From|To|Cc|[A-Z][a-z]{1,12}(?:-[a-z]{2,12})?-by):[ \t]{1,8}"
    rb"([^\s<>:][^\n<>:]{0,64}?)[ ]<\Z"
)
_FULL_NAME = re.compile(
    rb"(?<![^\s\"'(>,;:])([A-Z][A-Za-z.'-]{0,24}"
    rb"(?:[ ](?:(?:v[ao]n|de[nr]?|d[aiou]|l[ae]|te[nr]|al|el)[ ]){0,2}[A-Z][A-Za-z.'-]{0,24}){1,3})"
    rb"(?:[ ]\([^()\n]{1,32}\))?[ ]<\Z"
)
_PERSON_WINDOW = 96
_PROMPT = re.compile(rb" [^\]\n]{1,64}\][$#%>]")
_MIN_HOST = 3
# Environment variables that name a host, and the same of the XRootD client.
_HOST_VARIABLE = (
    rb"(?:(?:(?i:DIM_DNS_NODE|DIM_HOST_NODE)|HOSTNAME)[\"']?[ \t]{0,8}[=:][ \t]{0,8}"
    rb"|\b(?:(?:REMOTE)?HOST|xrd\.hostname|sec\.host)=)[\"']?"
)
_CVMFS = b"/cvmfs/"
_LOCALHOST = b"localhost"

_MAX_NAME_RUN = 1 << 20


def host_rules(hosts: Iterable[str], allowed_hosts: Iterable[str]) -> tuple[Rule, ...]:
    """Rules for host names and users at them: `hosts` are covered in short and long form."""
    names = _HostNames(hosts, allowed_hosts)
    literals = len(names.configured)
    configured = (Rule(names.configured, _configured, literals=literals),) if literals else ()
    return (
        Rule(_P5_NAME, _host),
        Rule(_VIRTUAL, _host),
        Rule(_P5_RACK, _named_by_rack),
        Rule(_CERN_NAME, names.cern_name),
        Rule(_OWN_DOMAIN, names.below_own_domain),
        Rule(_AT_NAME, names.address, resume_within),
        Rule(_HOST_VARIABLE, names.variable),
        *configured,
    )


class _HostNames:
    """Decides which names are hosts: by their form, by their domain, or by the configuration."""

    def __init__(self, hosts: Iterable[str], allowed_hosts: Iterable[str]) -> None:
        self._allowed = frozenset(_plain(host) for host in allowed_hosts)
        covered = _names_to_cover(hosts)
        self._configured = frozenset(covered)
        # The rules of these forms come first, so a name that begins with one needs no pattern of its own.
        names = [name for name in covered if not _FORM.match(name)]
        alternatives = b"|".join(map(re.escape, names))
        self.configured = rb"(?i:(?:" + alternatives + rb")" + _DOMAIN + rb")" if names else b""
        forms = (_P5_NAME, _P5_RACK, _VIRTUAL, _CERN_NAME, *([self.configured] if names else ()))
        self._host_form = compile_linear(b"|".join(forms), len(self.configured))

    def below_own_domain(self, text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
        if precedes_word(text, end):
            return ()
        run = _name_start(text, min_start, start)
        first = start - len(text[run:start].lstrip(_JOINTS))
        if first == start or text[first:end].lower() in self._allowed:
            return ()
        # The name of a public software repository, not a host: /cvmfs/cms.cern.ch/.
        if text[max(min_start, first - 10) : first].replace(b"\\", b"").lower().endswith(_CVMFS):
            return ()
        return _host(text, min_start, first, end)

    def cern_name(self, text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
        if precedes_word(text, end) or follows_word(text, min_start, start):
            return ()
        last = end + len(text[end : run_end(text, end, _NAME)].rstrip(_JOINTS))
        if text[start:last].lower().endswith(b".cern.ch"):
            end = last
        return (*user_at(text, min_start, start), Span(start, end, Placeholder.HOST))

    def address(self, text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
        """`user@host`, where the right side has a dot or the form of a host name."""
        local = user_start(text, min_start, start)
        if local == start:
            return ()
        first = start + 1
        last = first + len(text[first : run_end(text, end, _NAME)].rstrip(_JOINTS))
        # XRootD's clients write the number of a file in front of its URL: `[0x7f2b@root://…]`.
        if last - first < _MIN_HOST or text.startswith(b"://", last):
            return ()
        if account := oracle_account(text, min_start, start):
            return account
        domain = text[first:last]
        if self._is_host(domain):
            return Span(local, start, Placeholder.USER), Span(first, last, Placeholder.HOST)
        if _DOTTED.match(domain):
            return (*_person(text, min_start, local), Span(local, last, Placeholder.EMAIL))
        if text[last : last + 1] == b"_":
            return ()
        if _REALM.match(domain):
            return (Span(local, start, Placeholder.USER),)
        is_short_host = _SHORT_HOST.match(domain) is not None and not _VARIANT.match(domain)
        is_login = is_xrootd_login(text, local, start)
        if is_short_host or is_login or _is_prompt(text, local, last) or _is_ssh(text, start, last):
            return Span(local, start, Placeholder.USER), Span(first, last, Placeholder.HOST)
        return ()

    def variable(self, text: bytes, _min_start: int, _start: int, end: int) -> tuple[Span, ...]:
        last = run_end(text, end, _NAME + b",")
        last = end + len(text[end:last].rstrip(_JOINTS + b","))
        is_public = text[end:last].lower() in (_LOCALHOST, *self._allowed)
        return () if is_public else span(end, last, Placeholder.HOST)

    def _is_host(self, name: bytes) -> bool:
        lower = name.lower()
        if lower in self._allowed:
            return False
        if lower.endswith(_OWN_DOMAINS) or lower in self._configured:
            return True
        return _DIGIT.search(lower) is not None and self._host_form.search(lower) is not None


def _name_start(text: bytes, min_start: int, at: int) -> int:
    """Start of the run of name characters that ends at `at`, however long: looks ever farther back."""
    limit = 256
    while limit < _MAX_NAME_RUN:
        start = run_start(text, min_start, at, _NAME, limit)
        if at - start < limit - 1:
            return start
        limit *= 4
    return run_start(text, min_start, at, _NAME, limit)


def _person(text: bytes, min_start: int, at: int) -> tuple[Span, ...]:
    """The person in front of an address at `at`, as git and mail write it."""
    if text[at - 1 : at] != b"<":
        return ()
    first = max(min_start, at - _PERSON_WINDOW)
    before = text[first:at]
    person = _PERSON.search(before) or _FULL_NAME.search(before)
    return span(first + person.start(1), first + person.end(1), Placeholder.USER) if person else ()


def _is_prompt(text: bytes, local: int, last: int) -> bool:
    """Whether `user@host` is in the prompt of a shell: `[user@host src]$`."""
    return text[max(0, local - 1) : local] == b"[" and _PROMPT.match(text, last) is not None


def _is_ssh(text: bytes, at: int, last: int) -> bool:
    """Whether `user@host` is an argument of ssh or scp, or the comment of a public key."""
    if _REMOTE_PATH.match(text, last):
        return True
    line = text[max(0, at - _SSH_WINDOW) : at].rpartition(b"\n")[2]
    return any(map(line.__contains__, _SSH_WORDS)) and _SSH.search(line) is not None


def _host(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    """The host, and the user at it."""
    before = text[start - 1] if start > 0 else 0
    if before == AT:
        return (*user_at(text, min_start, start), Span(start, end, Placeholder.HOST))
    if before in _JOINTS and text[start:end].lower().endswith(_OWN_DOMAINS):
        start = run_start(text, min_start, start, _NAME)
    return (Span(start, end, Placeholder.HOST),)


def _named_by_rack(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    kind = run_start(text, min_start, start, ALPHANUMERIC)
    return () if kind == start else _host(text, min_start, kind, end)


def _configured(text: bytes, min_start: int, start: int, end: int) -> tuple[Span, ...]:
    # DQM's files name the machine that wrote them: `…_hostNAME_pid…`.
    is_labelled = text[max(min_start, start - 4) : start].lower() == b"host"
    if precedes_word(text, end) or follows_word(text, min_start, start - 4 if is_labelled else start):
        return ()
    return _host(text, min_start, start, end)


def _names_to_cover(hosts: Iterable[str]) -> list[bytes]:
    """Names in short and long form, long ones first. Addresses are left to their own rules."""
    names = {_plain(name) for host in hosts for name in (host.strip(), short_name(host))}
    return sorted((name for name in names if re.search(rb"[a-z]", name)), key=lambda name: (-len(name), name))


def _plain(name: str) -> bytes:
    return normalize(name).text.lower()
