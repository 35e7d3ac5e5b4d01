"""Receivers of notifications and their rules: parsers of NOTIFY_URLS and NOTIFY_RULES.

A URL is a secret as a whole: errors name a receiver or the number of an entry, never a part of a URL.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from config.parsers import InvalidValue

# Values of `kind`: the states of clients, crashes of a new group, and parts of the data path.
KINDS = (
    *("crashed", "new_group", "stuck", "lost", "missing"),
    *("machine", "dqm2", "mirror", "certificate", "quarantine"),
)
CLUSTERS = ("production", "playback")
GROUPS = ("new", "known")
ALL = "*"
_KEYS = ("cluster", "kind", "client", "group", "hours")
_MAX_RECEIVERS = 20
_NAME = r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}"
_ENTRY = re.compile(rf"(?:({_NAME})=)?([a-z0-9]{{1,32}})://([^\s;]+)")
_RULE = re.compile(rf"({_NAME}|\*):((?:\s+[a-z]+=\S+)*)")
_CLIENT = re.compile(r"[A-Za-z0-9_-]{0,128}\*?")
_HOURS = re.compile(r"([0-9]{1,2})-([0-9]{1,2})")
_URLS_ACCEPTED = "accepted: NAME=URL separated by blanks or semicolons, each a URL of apprise"
_RULES_ACCEPTED = "accepted: NAME: KEY=VALUE,VALUE … separated by semicolons"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver of notifications; the URL is a secret."""

    name: str
    scheme: str
    url: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NotifyRule:
    """Conditions for notifying a receiver: all have to be met; an empty one accepts everything.

    `hours`: from the first to before the second, Europe/Zurich; over midnight if the second is not later.
    """

    receiver: str
    clusters: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()
    clients: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    hours: tuple[int, int] | None = None

    def accepts_client(self, name: str) -> bool:
        """Whether a client, by name, is one of those of the rule."""
        return not self.clients or any(fnmatchcase(name, pattern) for pattern in self.clients)

    def accepts_hour(self, hour: int) -> bool:
        """Whether an hour of the day, 0 to 23, is within the hours of the rule."""
        if self.hours is None:
            return True
        first, end = self.hours
        return first <= hour < end if first < end else hour >= first or hour < end


def receivers(text: str) -> tuple[Receiver, ...]:
    """Receivers: `NAME=URL` separated by blanks or semicolons; one without a name has its scheme as name."""
    found: dict[str, Receiver] = {}
    for number, entry in enumerate(filter(None, re.split(r"[\s;]+", text)), start=1):
        matched = _ENTRY.fullmatch(entry)
        if matched is None:
            raise InvalidValue(f"has an invalid entry (entry {number}); {_URLS_ACCEPTED}")
        name = matched[1] or _unused_name(matched[2], found)
        if name in found:
            raise InvalidValue(f"has the name {name!r} more than once (entry {number})")
        url = entry.partition("=")[2] if matched[1] else entry
        found[name] = Receiver(name, matched[2], url)
    if len(found) > _MAX_RECEIVERS:
        raise InvalidValue(f"has {len(found)} entries; accepted: at most {_MAX_RECEIVERS}")
    return tuple(found.values())


def rules(text: str) -> tuple[NotifyRule, ...]:
    """Rules of receivers: `NAME: KEY=VALUE,VALUE …` separated by semicolons; `*` stands for all receivers."""
    entries = (entry.strip() for entry in re.split(r"[;\n]", text))
    return tuple(_rule(entry, number) for number, entry in enumerate(filter(None, entries), start=1))


def unknown_receivers(rules: Iterable[NotifyRule], receivers: Iterable[Receiver]) -> Iterator[str]:
    """Names in rules that no receiver has."""
    known = {ALL, *(receiver.name for receiver in receivers)}
    return (rule.receiver for rule in rules if rule.receiver not in known)


def _unused_name(scheme: str, taken: Iterable[str]) -> str:
    numbered = (scheme if number == 1 else f"{scheme}-{number}" for number in range(1, _MAX_RECEIVERS + 2))
    return next((name for name in numbered if name not in taken), scheme)


def _rule(entry: str, number: int) -> NotifyRule:
    matched = _RULE.fullmatch(entry)
    if matched is None:
        raise InvalidValue(f"has an invalid entry (entry {number}); {_RULES_ACCEPTED}")
    given: dict[str, tuple[str, ...]] = {}
    for condition in matched[2].split():
        key, _, values = condition.partition("=")
        if key not in _KEYS or key in given:
            accepted = f"accepted: each of {', '.join(_KEYS)} at most once"
            raise InvalidValue(f"has the key {key!r} in the rule of {matched[1]!r}; {accepted}")
        given[key] = tuple(values.split(","))
    return NotifyRule(
        receiver=matched[1],
        clusters=_words(matched[1], given, "cluster", CLUSTERS),
        kinds=_words(matched[1], given, "kind", KINDS),
        clients=_clients(matched[1], given.get("client", ())),
        groups=_words(matched[1], given, "group", GROUPS),
        hours=_hours(matched[1], given["hours"]) if "hours" in given else None,
    )


def _words(
    receiver: str, given: dict[str, tuple[str, ...]], key: str, accepted: tuple[str, ...]
) -> tuple[str, ...]:
    for word in given.get(key, ()):
        if word not in accepted:
            listed = ", ".join(accepted)
            raise InvalidValue(f"has {key}={word!r} in the rule of {receiver!r}; accepted: {listed}")
    return given.get(key, ())


def _clients(receiver: str, patterns: tuple[str, ...]) -> tuple[str, ...]:
    for pattern in patterns:
        if not pattern or not _CLIENT.fullmatch(pattern):
            accepted = "accepted: names of clients, which may end in *"
            raise InvalidValue(f"has client={pattern!r} in the rule of {receiver!r}; {accepted}")
    return patterns


def _hours(receiver: str, values: tuple[str, ...]) -> tuple[int, int]:
    matched = _HOURS.fullmatch(",".join(values))
    hours = (int(matched[1]) % 24, int(matched[2]) % 24) if matched else None
    if matched is None or hours is None or max(int(matched[1]), int(matched[2])) > 24:
        raise InvalidValue(f"has invalid hours in the rule of {receiver!r}; accepted: e.g. hours=22-7")
    return hours
