"""Canaries: unique texts of each sensitive kind, and documents with one in any position."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Path = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Canary:
    """Text to plant, and the part of it that must be found nowhere afterwards, in any case."""

    text: str
    needle: str


# Examples of each rule of the data policy; a number makes each unique.
KINDS: Mapping[str, Callable[[int], Canary]] = {
    "filter unit": lambda n: _whole(f"dqmfu-c7z{n // 100 % 90 + 10}-{n % 100:02d}-77"),
    "builder unit": lambda n: _whole(f"bu-c7y{n // 100 % 90 + 10}-{n % 100:02d}-78"),
    "storage manager in a file": lambda n: Canary(
        f"run358788_ls0093_streamDQM_sm-c7x{n // 100 % 90 + 10}-{n % 100:02d}-79.jsn",
        f"sm-c7x{n // 100 % 90 + 10}-{n % 100:02d}-79",
    ),
    "host of P5": lambda n: Canary(f"canaryhost{n}.cms", f"canaryhost{n}"),
    "host of CERN": lambda n: Canary(f"canarysite{n}.cern.ch", f"canarysite{n}"),
    "IPv4": lambda n: _whole(f"10.77.{n // 250 % 250}.{n % 250}"),
    "IPv6": lambda n: _whole(f"fd77:{n % 65536:x}::{n // 65536 + 1:x}:9a7f"),
    "home": lambda n: Canary(f"/nfshome0/canaryuser{n}/work", f"canaryuser{n}"),
    "afs": lambda n: Canary(f"/afs/cern.ch/user/c/canaryafs{n}/x", f"canaryafs{n}"),
    "user at host": lambda n: Canary(f"canarylogin{n}@dqmfu-c7z11-01-01", f"canarylogin{n}"),
    "user": lambda n: Canary(f"user=canaryname{n}", f"canaryname{n}"),
    "e-mail": lambda n: Canary(f"canarymail{n}@example.org", f"canarymail{n}"),
    "password": lambda n: Canary(f"password=canarypass{n}", f"canarypass{n}"),
    "secret in JSON": lambda n: Canary(json.dumps({"secret": f"canarysecret{n}"}), f"canarysecret{n}"),
    "option": lambda n: Canary(f"--token canaryoption{n}", f"canaryoption{n}"),
    "run's key": lambda n: Canary(f"runUniqueKey=canaryunique{n}", f"canaryunique{n}"),
    "bearer": lambda n: Canary(f"Authorization: Bearer canarybearer{n}", f"canarybearer{n}"),
    "URL": lambda n: Canary(f"https://canaryurl{n}:pw@example.org/", f"canaryurl{n}"),
    "AWS key": lambda n: _whole(f"AKIACANARY{n:010d}"),
    "GitHub key": lambda n: _whole(f"ghp_{f'canary{n}':x<36}"),
    "column dump": lambda n: Canary(f"password            = canarycolumn{n}", f"canarycolumn{n}"),
    "qualified password": lambda n: Canary(f"DB_PASSWORD_01=canaryqualified{n}", f"canaryqualified{n}"),
    "Oracle account": lambda n: Canary(f"sqlplus U/canaryoracle{n}@cms_omds_lb", f"canaryoracle{n}"),
    "curl credentials": lambda n: Canary(f"curl -u jdoe:canarycurl{n} x", f"canarycurl{n}"),
    "Digest header": lambda n: Canary(
        f'Authorization: Digest response="canarydigest{n}"', f"canarydigest{n}"
    ),
    "GitLab token": lambda n: _whole(f"glpat-{f'canary{n}':x<20}"),
    "session cookie": lambda n: Canary(f"PHPSESSID=canarycookie{n}", f"canarycookie{n}"),
    "certificate subject": lambda n: Canary(f"/DC=cern/OU=Users/CN=canaryperson{n}", f"canaryperson{n}"),
    "interactive host": lambda n: _whole(f"lxplus{n % 90000 + 10000}"),
    "user at an interactive host": lambda n: Canary(f"canaryat{n}@lxplus801", f"canaryat{n}"),
    "grid storage": lambda n: Canary(f"/store/user/canarystore{n}/x", f"canarystore{n}"),
    "IPv6 prefix": lambda n: _whole(f"fd78:{n % 65536:x}:7a{n // 65536 + 1:x}::"),
    "ticket": lambda n: Canary(f"KRB5CCNAME=FILE:/tmp/krb5cc_canary{n}", f"krb5cc_canary{n}"),
    "PEM": lambda n: Canary(
        f"-----BEGIN PRIVATE KEY-----\ncanaryPEM{n:020d}\n-----END PRIVATE KEY-----", f"canaryPEM{n:020d}"
    ),
}

# Spellings of an example; the needle must be gone in each of them.
SPELLINGS: Mapping[str, Callable[[str], str]] = {
    "as it is": lambda text: text,
    "in quotes": lambda text: f'"{text}"',
    "in a sentence": lambda text: f"15-Sep-2022 13:45:45 CEST  can't reach {text}, will retry",
    "in a JSON text": lambda text: json.dumps({"message": f"failed: {text}"}),
    "in brackets": lambda text: f"[('{text}', 1)]",
    "behind a control character": lambda text: f"\x07{text}\x00",
    "behind a lone surrogate": lambda text: f"\ud800{text}",
    "coloured": lambda text: f"\x1b[1;31m{text}\x1b[0m",
}


def planted(kind: str, spelling: str, number: int) -> Canary:
    """A canary of a kind in a spelling."""
    canary = KINDS[kind](number)
    return Canary(SPELLINGS[spelling](canary.text), canary.needle)


def percent_encoded(canary: Canary) -> Canary:
    """The canary as a URL holds it."""
    return Canary(quote(canary.text, safe=""), canary.needle)


def positions(value: Any, path: Path = ()) -> Iterator[Path]:
    """Every position of a value in a document, nested ones included."""
    if path:
        yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from positions(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from positions(inner, (*path, index))


def with_value(document: Mapping[str, Any], path: Path, value: Any) -> dict[str, Any]:
    """A copy of a document with another value at a place."""
    return _changed(document, path, lambda holder, last: holder.__setitem__(last, value))


def with_key(document: Mapping[str, Any], path: Path, key: str, value: Any) -> dict[str, Any]:
    """A copy of a document where an object at a place has one key more; unchanged if it is none."""

    def add(holder: Any, last: str | int) -> None:
        if isinstance(holder[last], dict):
            holder[last][key] = value

    return _changed(document, path, add)


def _changed(
    document: Mapping[str, Any], path: Path, change: Callable[[Any, str | int], None]
) -> dict[str, Any]:
    copy: dict[str, Any] = _copied(document)
    holder: Any = copy
    for step in path[:-1]:
        holder = holder[step]
    change(holder, path[-1])
    return copy


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list) else value


def _whole(text: str) -> Canary:
    return Canary(text, text)
