"""Detection of transitions, within the transactions of the cluster's leader.

Nothing is recorded from history or while a machine is catching up: a machine's jobs are compared with the
conditions recorded so far once all its documents are mirrored. The first comparison, which follows the first
sync, an import or an upgrade, records everything as initial.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import sqlalchemy as sa

import db
from storage import transitions
from storage.client_transitions import CaughtUpMachine, ClientWatch
from storage.job_state import StateRules
from storage.outages import Outage, Part, find_outages
from storage.read_models import SyncStatus
from storage.rows import Batch
from storage.sync_status import CERTIFICATE_WARNING_PERIOD, ClusterLinks, LinkStatus
from storage.transitions import Condition, Thing, Transition, TransitionKind, TransitionState

# Interval (s) in which clients are compared although no document arrives: time alone makes a job lost.
_COMPARE_INTERVAL_S = 60.0

_Conditions = Mapping[Thing, Condition]


@dataclass(frozen=True, slots=True)
class MachineChange:
    """A state of a machine that differs from the one before, `was_up`, which is `None` at first sight."""

    machine_id: int
    was_up: bool | None
    is_up: bool
    reason: str | None


class TransitionWatch:
    """Records the transitions of a cluster; `stale_after` is the silence that makes a link stale.

    Between transactions it remembers only which machines are caught up, so that a transaction may fail at any
    point.
    """

    def __init__(self, rules: StateRules, *, missing_after: timedelta, stale_after: timedelta) -> None:
        self._rules = rules
        self._missing_after = missing_after
        self._stale_after = stale_after
        self._started_at = datetime.now(UTC)
        self._caught_up: set[int] = set()
        self._mirrored: frozenset[int] | None = None
        self._compare_at_s = time.monotonic()

    def take_over(self, connection: sa.Connection, heartbeat_at: datetime | None) -> None:
        """Begin to watch as the new leader; `heartbeat_at` is the last heartbeat of the one before."""
        self._started_at = datetime.now(UTC)
        self._caught_up, self._mirrored, self._compare_at_s = set(), None, time.monotonic()
        if heartbeat_at is not None and self._started_at - heartbeat_at > self._stale_after:
            known = transitions.read_conditions(connection)
            found = _change(
                known,
                Thing(TransitionKind.MIRROR),
                TransitionState.STALE,
                heartbeat_at,
                detail="no grabber was running",
            )
            transitions.write(connection, list(found))

    def after_batch(self, connection: sa.Connection, batch: Batch) -> None:
        """Record what a batch changed, if it is the last one of its machine for now."""
        if batch.is_caught_up:
            self._caught_up.add(batch.machine_id)
            self._compare(connection)
        else:
            self._caught_up.discard(batch.machine_id)

    def after_machine_states(
        self, connection: sa.Connection, changes: Sequence[MachineChange], at: datetime
    ) -> None:
        """Record the machines that went up or down."""
        labels = {row.id: row.label for row in _select_machines(connection)}
        known = transitions.read_conditions(connection)
        for change in changes:
            if change.was_up is change.is_up or (change.was_up is None and change.is_up):
                continue
            thing = Thing(TransitionKind.MACHINE, labels[change.machine_id])
            found = _change(
                known,
                thing,
                TransitionState.UP if change.is_up else TransitionState.DOWN,
                at,
                is_problem=not change.is_up,
                is_initial=change.was_up is None,
                machine=thing.subject,
                detail=change.reason,
            )
            transitions.write(connection, list(found))

    def after_heartbeat(self, connection: sa.Connection, links: ClusterLinks) -> None:
        """Record changes of the data path, and of clients if that is due."""
        caught_up = {id_ for id_, link in links.machines.items() if self._is_caught_up(link)}
        has_more = not caught_up <= self._caught_up
        self._caught_up, self._mirrored = caught_up, frozenset(links.machines)
        if has_more or time.monotonic() >= self._compare_at_s:
            self._compare(connection)
        labels = {row.id: row.label for row in _select_machines(connection)}
        known = transitions.read_conditions(connection)
        now = datetime.now(UTC)
        transitions.write(
            connection,
            [
                *self._data_path(known, links, labels, now),
                *_removed(known, {labels[id_] for id_ in links.machines}, now),
                *_certificate(known, links, now),
            ],
        )

    def _is_caught_up(self, link: LinkStatus) -> bool:
        """Whether all documents of a machine are mirrored, as far as known by this leader."""
        has_succeeded = link.last_success_at is not None and link.last_success_at >= self._started_at
        return has_succeeded and link.failing_since is None and not link.documents_behind

    def _compare(self, connection: sa.Connection) -> None:
        """Compare clients and quarantine with the conditions recorded so far."""
        self._compare_at_s = time.monotonic() + _COMPARE_INTERVAL_S
        known = transitions.read_conditions(connection)
        rows = [row for row in _select_machines(connection) if row.id in self._caught_up]
        machines = {
            row.label: CaughtUpMachine(
                row.label, row.clock_at, Thing(TransitionKind.MIRROR, row.label) in known
            )
            for row in rows
        }
        is_complete = self._mirrored is not None and self._mirrored <= self._caught_up
        clients = ClientWatch(
            connection, self._rules, self._missing_after, known, machines, is_complete
        ).find()
        transitions.write(
            connection,
            [
                *clients,
                *(found for row in rows for found in _quarantine(connection, known, row, machines)),
                *_begin_to_watch(machines),
            ],
        )

    def _data_path(
        self, known: _Conditions, links: ClusterLinks, labels: Mapping[int, str], now: datetime
    ) -> Iterator[Transition]:
        """Links that became stale or work again; those behind a failing gateway are not known to work."""
        machines = tuple((labels[id_], link) for id_, link in links.machines.items())
        sync = SyncStatus(now, links.gateway, links.status, machines)
        outages = {
            thing: outage
            for outage in find_outages(sync, now, self._stale_after)
            if (thing := _thing_of(outage)) is not None
        }
        # Until each link was tried, its status is the one that the previous leader stored.
        if now - self._started_at > self._stale_after:
            for thing, outage in outages.items():
                yield from self._outage(known, thing, outage, now)
        if Thing(TransitionKind.GATEWAY) in outages:
            return
        working = {labels[id_] for id_ in self._caught_up}
        for thing, condition in known.items():
            was_away = condition.is_problem or condition.state == TransitionState.REMOVED
            if was_away and thing not in outages and self._is_back(thing, links, working):
                yield from _change(known, thing, _WORKING[thing.kind], now, is_problem=False)

    def _outage(
        self, known: _Conditions, thing: Thing, outage: Outage, now: datetime
    ) -> Iterator[Transition]:
        down = known.get(Thing(TransitionKind.MACHINE, thing.subject))
        if thing.subject and down is not None and down.is_problem:
            return
        is_gateway = thing.kind is TransitionKind.GATEWAY
        state = TransitionState.DOWN if is_gateway else TransitionState.STALE
        at = outage.since or now
        yield from _change(known, thing, state, at, machine=thing.subject or None, detail=outage.reason)

    def _is_back(self, thing: Thing, links: ClusterLinks, working: set[str]) -> bool:
        if thing.kind is TransitionKind.GATEWAY:
            succeeded_at = links.gateway.last_success_at
            has_succeeded = succeeded_at is not None and succeeded_at >= self._started_at
            return has_succeeded and links.gateway.failing_since is None
        if thing.kind is not TransitionKind.MIRROR:
            return False
        if thing.subject:
            return thing.subject in working
        failing = {id_ for id_, link in links.machines.items() if link.failing_since is not None}
        return bool(self._caught_up) and set(links.machines) <= self._caught_up | failing


# Kinds that end with the mirroring of their machine.
_OF_MIRRORED = (TransitionKind.MIRROR, TransitionKind.QUARANTINE)
_WORKING = {TransitionKind.GATEWAY: TransitionState.UP, TransitionKind.MIRROR: TransitionState.CURRENT}


def _thing_of(outage: Outage) -> Thing | None:
    match outage.part:
        case Part.GATEWAY:
            return Thing(TransitionKind.GATEWAY)
        case Part.ALL_MACHINES:
            return Thing(TransitionKind.MIRROR)
        case Part.MACHINE:
            return Thing(TransitionKind.MIRROR, outage.machine or "")
    return None


def _removed(known: _Conditions, mirrored: set[str], now: datetime) -> Iterator[Transition]:
    """The problems of machines that are not mirrored any more: nothing else would end them."""
    for thing, condition in known.items():
        is_gone = thing.kind in _OF_MIRRORED and thing.subject and thing.subject not in mirrored
        if is_gone and condition.is_problem:
            state, machine = TransitionState.REMOVED, thing.subject
            yield from _change(known, thing, state, now, is_problem=False, machine=machine)


def _certificate(known: _Conditions, links: ClusterLinks, now: datetime) -> Iterator[Transition]:
    expires_at = links.certificate_expires_at
    if expires_at is None:
        return
    is_near = expires_at - now <= CERTIFICATE_WARNING_PERIOD
    thing = Thing(TransitionKind.CERTIFICATE)
    if is_near or thing in known:
        state = TransitionState.EXPIRING if is_near else TransitionState.VALID
        detail = f"{expires_at:%Y-%m-%d %H:%M} UTC"
        yield from _change(known, thing, state, now, is_problem=is_near, detail=detail)


def _quarantine(
    connection: sa.Connection, known: _Conditions, machine: Any, machines: Mapping[str, CaughtUpMachine]
) -> Iterator[Transition]:
    """The first quarantined document of a machine, or that there is none any more."""
    table = db.quarantined_documents.c
    latest = connection.execute(
        sa.select(table.updated_at, table.document_type, table.reason)
        .where(table.machine_id == machine.id, table.epoch == machine.epoch)
        .order_by(table.updated_at.desc())
        .limit(1)
    ).one_or_none()
    thing = Thing(TransitionKind.QUARANTINE, machine.label)
    is_initial = not machines[machine.label].is_watched
    if latest is not None:
        yield from _change(
            known,
            thing,
            TransitionState.QUARANTINED,
            latest.updated_at,
            is_initial=is_initial,
            machine=machine.label,
            detail=f"{latest.document_type or 'unknown type'}: {latest.reason}",
        )
    elif thing in known:
        state, now = TransitionState.EMPTY, datetime.now(UTC)
        yield from _change(known, thing, state, now, is_problem=False, machine=machine.label)


def _begin_to_watch(machines: Mapping[str, CaughtUpMachine]) -> Iterator[Transition]:
    for machine in machines.values():
        if not machine.is_watched:
            yield Transition(
                thing=Thing(TransitionKind.MIRROR, machine.label),
                state=TransitionState.CURRENT,
                is_problem=False,
                occurred_at=datetime.now(UTC),
                is_initial=True,
                machine=machine.label,
            )


def _change(
    known: _Conditions,
    thing: Thing,
    state: TransitionState,
    at: datetime,
    *,
    is_problem: bool = True,
    is_initial: bool = False,
    machine: str | None = None,
    detail: str | None = None,
) -> Iterator[Transition]:
    """The transition of a thing to a state, unless it is in it."""
    before = known.get(thing)
    if before is None or before.state != state:
        yield Transition(
            thing=thing,
            state=state,
            is_problem=is_problem,
            occurred_at=at,
            previous_state=None if before is None else before.state,
            is_initial=is_initial,
            machine=machine,
            detail=detail,
        )


def _select_machines(connection: sa.Connection) -> Sequence[Any]:
    table = db.machines.c
    return connection.execute(sa.select(table.id, table.label, table.clock_at, table.epoch)).all()
