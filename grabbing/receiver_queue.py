"""Queue of a receiver of notifications: which transitions of each thing it is to be sent, and when.

Transitions within `WINDOW` are one message. A recurring problem is reported less and less often, with all
that happened meanwhile in one message. The end of a problem is reported once, to receivers of its beginning,
and also if it was muted.
The queue is plain data, stored with each change, so that another leader continues where this one ended.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any

from config.receivers import ALL, NotifyRule
from dqmsquare_cfg import EXPERIMENT_ZONE, Cluster
from storage.client_names import client_name
from storage.transitions import RecordedTransition, Thing, Transition, TransitionKind

WINDOW = timedelta(seconds=30)
# A message that could not be delivered for so long is dropped.
KEEP = timedelta(days=1)
# Pauses after a problem was reported until it is reported again: the first, the factor for each further time,
# and the longest. Reports older than `_FLAPPING` do not count.
_FIRST_PAUSE = timedelta(minutes=1)
_PAUSE_FACTOR = 4
_MAX_PAUSE = timedelta(hours=1)
_FLAPPING = timedelta(hours=6)
_MAX_BEGINNINGS = 5
# Transitions of a thing in one message; those in the middle are left out.
_MAX_PENDING = 20
_KIND_WORDS = {TransitionKind.GATEWAY: "dqm2"}


@dataclass(slots=True)
class QueuedThing:
    """Notifications of a thing to a receiver.

    `reported` is the problem that was reported to the receiver, `None` if it is over or there was none.
    `muted` is the id of a problem that was not reported because of a mute. `pending` are the ids of
    transitions to report, the first recorded at `first_at` (Unix seconds); `is_beginning`: the first is a
    problem. `beginnings` are the recent times at which a problem was reported.
    """

    reported: str | None = None
    muted: int | None = None
    pending: list[int] = field(default_factory=list)
    first_at: float = 0.0
    is_beginning: bool = False
    beginnings: list[float] = field(default_factory=list)

    @property
    def is_forgettable(self) -> bool:
        """Whether nothing about the thing needs to be remembered."""
        return not (self.reported or self.muted or self.pending or self.beginnings)

    def add(self, id_: int, at_s: float, *, is_problem: bool) -> None:
        """Add a transition to report."""
        if not self.pending:
            self.first_at, self.is_beginning = at_s, is_problem
        self.pending.append(id_)
        if len(self.pending) > _MAX_PENDING:
            del self.pending[1]

    def correct_times(self, now_s: float) -> None:
        """Move times of a clock that was ahead to the present, so that they delay nothing for longer."""
        self.first_at = min(self.first_at, now_s)
        self.beginnings = [min(at_s, now_s) for at_s in self.beginnings]

    def held_until_s(self) -> float:
        """Time until which the thing is held back because it began again and again."""
        if not (self.pending and self.is_beginning and self.beginnings):
            return 0.0
        factor: int = _PAUSE_FACTOR ** (len(self.beginnings) - 1)
        return self.beginnings[-1] + min(_FIRST_PAUSE * factor, _MAX_PAUSE).total_seconds()


_STORED_FIELDS = {each.name for each in fields(QueuedThing)}


class ReceiverQueue:
    """The queue of one receiver; `rules` are those for it, without any it is sent everything.

    `unknown` are the keys of stored things that were left out, since this release does not know their kind or
    the form in which they are stored: a newer one was running before.
    """

    def __init__(
        self, cluster: Cluster, rules: Sequence[NotifyRule], stored: Mapping[str, Any] | None = None
    ) -> None:
        self._cluster = cluster
        self._rules = rules
        parsed = {key: _parse(key, queued) for key, queued in (stored or {}).items()}
        self._things = dict(each for each in parsed.values() if each is not None)
        self.unknown = tuple(key for key, each in parsed.items() if each is None)

    def to_json(self) -> dict[str, Any]:
        """The form in which the queue is stored."""
        return {_key(thing): asdict(queued) for thing, queued in self._things.items()}

    @property
    def pending(self) -> int:
        """Number of things with transitions to report."""
        return sum(bool(queued.pending) for queued in self._things.values())

    def take_in(self, recorded: Iterable[RecordedTransition]) -> None:
        """Add the transitions that the receiver is to be notified of."""
        for each in recorded:
            transition = each.transition
            if transition.is_initial or transition.thing.kind is TransitionKind.CRASH_GROUP:
                continue
            queued = self._things.get(transition.thing, QueuedThing())
            if transition.is_problem:
                is_wanted = self._is_wanted(each)
            else:
                is_wanted = bool(queued.reported or queued.muted or queued.pending)
            if is_wanted:
                self._things[transition.thing] = queued
                queued.add(each.id, each.noted_at.timestamp(), is_problem=transition.is_problem)

    def due(self, now: datetime) -> dict[Thing, list[int]]:
        """The transitions to report now, by thing; empty as long as more may happen within the window."""
        now_s = now.timestamp()
        for queued in self._things.values():
            queued.correct_times(now_s)
        ready = {
            thing: queued
            for thing, queued in self._things.items()
            if queued.pending and queued.held_until_s() <= now_s
        }
        first_s = min((queued.first_at for queued in ready.values()), default=now_s)
        if now_s - first_s < WINDOW.total_seconds():
            return {}
        return {thing: list(queued.pending) for thing, queued in ready.items()}

    def mute(self, thing: Thing, transitions: Sequence[RecordedTransition]) -> None:
        """Drop the problems of a muted thing, which is remembered so that its end is reported."""
        queued = self._things[thing]
        problems = [each.id for each in transitions if each.transition.is_problem]
        self._remove(queued, problems)
        if problems:
            queued.muted = problems[-1]

    def discard(self, thing: Thing, ids: Collection[int]) -> None:
        """Drop transitions of a thing, e.g. those that are no longer stored."""
        self._remove(self._things[thing], ids)

    def unmute(self, thing: Thing, now: datetime) -> None:
        """Report the problem of a thing that was muted and is not any more."""
        queued = self._things[thing]
        if queued.muted is not None:
            queued.add(queued.muted, now.timestamp(), is_problem=True)

    def muted(self) -> dict[Thing, int]:
        """The things with a problem that was not reported because of a mute, by the id of its transition."""
        return {
            thing: queued.muted
            for thing, queued in self._things.items()
            if queued.muted is not None and not queued.pending
        }

    def was_muted(self, thing: Thing, transitions: Sequence[RecordedTransition]) -> bool:
        """Whether transitions of a thing begin or end a problem that was not reported because of a mute.

        Another problem may follow that the mute does not cover.
        """
        muted = self._things[thing].muted
        problems = [each.id for each in transitions if each.transition.is_problem]
        return muted is not None and (not problems or muted in problems)

    def record_delivery(self, delivered: Mapping[Thing, Sequence[RecordedTransition]], now: datetime) -> None:
        """Record that these transitions were delivered in a message.

        Things are left out of which nothing is pending: another notifier has reported them meanwhile.
        """
        for thing, transitions in delivered.items():
            ids = {each.id for each in transitions}
            queued = self._things.get(thing)
            if queued is None or ids.isdisjoint(queued.pending):
                continue
            self._remove(queued, ids)
            last = transitions[-1].transition
            if any(each.transition.is_problem for each in transitions):
                queued.beginnings = [*queued.beginnings, now.timestamp()][-_MAX_BEGINNINGS:]
            queued.reported = last.state if last.is_problem else None
            queued.muted = None
        self.forget(now)

    def drop_old(self, now: datetime) -> int:
        """Drop what could not be delivered for `KEEP`; returns the number of things."""
        old_s = (now - KEEP).timestamp()
        old = [queued for queued in self._things.values() if queued.pending and queued.first_at < old_s]
        for queued in old:
            queued.pending.clear()
        self.forget(now)
        return len(old)

    def forget(self, now: datetime) -> None:
        """Forget things that have not been reported for a long time."""
        old_s = (now - _FLAPPING).timestamp()
        for queued in self._things.values():
            queued.beginnings = [at_s for at_s in queued.beginnings if at_s > old_s]
        self._things = {thing: queued for thing, queued in self._things.items() if not queued.is_forgettable}

    def _remove(self, queued: QueuedThing, ids: Collection[int]) -> None:
        queued.pending = [id_ for id_ in queued.pending if id_ not in ids]
        # The beginning was in what is removed; transitions that were added since then only continue it.
        queued.is_beginning = False

    def _is_wanted(self, recorded: RecordedTransition) -> bool:
        return not self._rules or any(self._accepts(rule, recorded) for rule in self._rules)

    def _accepts(self, rule: NotifyRule, recorded: RecordedTransition) -> bool:
        transition = recorded.transition
        is_client = transition.thing.kind is TransitionKind.CLIENT
        if rule.clusters and self._cluster.value not in rule.clusters:
            return False
        if rule.kinds and not set(rule.kinds) & set(_words_of(transition)):
            return False
        if rule.clients and not (is_client and rule.accepts_client(client_name(transition.thing.subject))):
            return False
        if rule.groups and _group_word(transition) not in rule.groups:
            return False
        return rule.accepts_hour(recorded.noted_at.astimezone(EXPERIMENT_ZONE).hour)


def rules_for(name: str, rules: Iterable[NotifyRule]) -> list[NotifyRule]:
    """The rules of a receiver, and those for all."""
    return [rule for rule in rules if rule.receiver in (name, ALL)]


def _words_of(transition: Transition) -> list[str]:
    """Values of a rule's `kind` that match a transition."""
    kind = transition.thing.kind
    if kind is TransitionKind.CLIENT:
        return [transition.state, *(["new_group"] if transition.is_new_group else [])]
    return [_KIND_WORDS.get(kind, kind.value)]


def _group_word(transition: Transition) -> str | None:
    if transition.is_new_group is None:
        return None
    return "new" if transition.is_new_group else "known"


def _key(thing: Thing) -> str:
    return f"{thing.kind.value} {thing.subject}"


def _parse(key: str, stored: Mapping[str, Any]) -> tuple[Thing, QueuedThing] | None:
    """A stored thing; `None` if this release does not know its kind or its form."""
    kind, _, subject = key.partition(" ")
    if kind not in list(TransitionKind) or set(stored) != _STORED_FIELDS:
        return None
    return Thing(TransitionKind(kind), subject), QueuedThing(**stored)
