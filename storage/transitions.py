"""Transitions: changes of the state of clients, machines and the data path, as they became visible.

A transition is written by the cluster's leader in the transaction that makes its cause visible, one
transaction after the other. So ids grow in the order of the commits, and a reader that remembers the last id
that it saw misses nothing.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from storage import run_queries
from storage.database_reader import DatabaseReader

# Time for which transitions are kept.
RETENTION = timedelta(days=90)
# Newest runs whose clients are watched by `storage/client_transitions.py`.
WATCHED_RUNS = 2
_DELETED_PER_BATCH = 1000

_transitions, _conditions = db.transitions, db.conditions


class TransitionKind(StrEnum):
    """The kind of thing that a transition is about."""

    CLIENT = "client"
    MACHINE = "machine"
    GATEWAY = "gateway"
    MIRROR = "mirror"
    CERTIFICATE = "certificate"
    QUARANTINE = "quarantine"
    CRASH_GROUP = "crash_group"


class TransitionState(StrEnum):
    """A state of a thing that has transitions; `STATES` has those of each kind."""

    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    MISSING = "missing"
    RUNNING = "running"
    FINISHED = "finished"
    # The newest run neither has nor needs the client.
    ABSENT = "absent"
    DOWN = "down"
    UP = "up"
    STALE = "stale"
    CURRENT = "current"
    # The settings do not name the machine any more.
    REMOVED = "removed"
    EXPIRING = "expiring"
    VALID = "valid"
    QUARANTINED = "quarantined"
    EMPTY = "empty"
    NEW = "new"


_DOWN_OR_UP = (TransitionState.DOWN, TransitionState.UP)
STATES: Mapping[TransitionKind, Sequence[TransitionState]] = {
    TransitionKind.CLIENT: (
        *(TransitionState.CRASHED, TransitionState.STUCK, TransitionState.LOST, TransitionState.MISSING),
        *(TransitionState.RUNNING, TransitionState.FINISHED, TransitionState.ABSENT),
    ),
    TransitionKind.MACHINE: _DOWN_OR_UP,
    TransitionKind.GATEWAY: _DOWN_OR_UP,
    TransitionKind.MIRROR: (TransitionState.STALE, TransitionState.CURRENT, TransitionState.REMOVED),
    TransitionKind.CERTIFICATE: (TransitionState.EXPIRING, TransitionState.VALID),
    TransitionKind.QUARANTINE: (TransitionState.QUARANTINED, TransitionState.EMPTY, TransitionState.REMOVED),
    TransitionKind.CRASH_GROUP: (TransitionState.NEW,),
}


@dataclass(frozen=True, slots=True)
class Thing:
    """A thing that has transitions.

    `subject`: the tag of a client, the signature of a crash group, or the label of a machine, also for
    `mirror` and `quarantine`; empty for what a cluster has one of, e.g. the mirror as a whole.
    """

    kind: TransitionKind
    subject: str = ""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of a thing to `state`, at `occurred_at` by the clock of its cause.

    `state` is a `TransitionState`, or one that only a newer release knows and has stored.
    `is_problem`: the state is one that somebody should know of.
    `is_initial`: the mirror found the thing like this when it began to watch it, or the change is history.
    `machine` is the label of the machine concerned. `is_new_group`: the crash was first seen in its run, or
    with its release.
    """

    thing: Thing
    state: str
    is_problem: bool
    occurred_at: datetime
    previous_state: str | None = None
    is_initial: bool = False
    run: int | None = None
    job: UUID | None = None
    machine: str | None = None
    crash_group: str | None = None
    is_new_group: bool | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class RecordedTransition:
    """A transition in the database: its id, which grows, and the time at which it was written."""

    id: int
    noted_at: datetime
    transition: Transition


@dataclass(frozen=True, slots=True)
class Condition:
    """The present state of a thing, and the time of the transition to it."""

    state: str
    is_problem: bool
    since: datetime


_FIELDS = tuple(field.name for field in fields(Transition) if field.name != "thing")


class TransitionReader(DatabaseReader):
    """Reads a cluster's transitions."""

    def after(self, id_: int, limit: int) -> list[RecordedTransition]:
        """The first transitions after the one with this id, in their order."""
        with self._database.connect() as connection:
            return read_after(connection, id_, limit)

    def newest_id(self) -> int:
        """The id of the newest transition; 0 if there is none."""
        with self._database.connect() as connection:
            return newest_id(connection)


def read_after(connection: sa.Connection, after: int, limit: int) -> list[RecordedTransition]:
    """The first transitions after an id, in their order."""
    following = sa.select(_transitions).where(_transitions.c.id > after, _is_known(_transitions))
    return [_recorded(row) for row in connection.execute(following.order_by(_transitions.c.id).limit(limit))]


def read(connection: sa.Connection, statement: sa.Select[Any]) -> list[RecordedTransition]:
    """The transitions that a statement on their table selects, in its order."""
    return [_recorded(row) for row in connection.execute(statement.where(_is_known(_transitions)))]


def read_by_id(connection: sa.Connection, ids: Iterable[int]) -> list[RecordedTransition]:
    """The transitions with these ids, in their order; those that were deleted are left out."""
    wanted = sa.any_(sa.literal(list(ids), sa.ARRAY(sa.BigInteger)))
    statement = (
        sa.select(_transitions)
        .where(_transitions.c.id == wanted, _is_known(_transitions))
        .order_by(_transitions.c.id)
    )
    return [_recorded(row) for row in connection.execute(statement)]


def newest_id(connection: sa.Connection) -> int:
    """The id of the newest transition; 0 if there is none."""
    newest: int | None = connection.scalar(sa.select(sa.func.max(_transitions.c.id)))
    return newest or 0


def read_conditions(connection: sa.Connection) -> dict[Thing, Condition]:
    """The present condition of each thing of a kind that this program knows, except of crash groups.

    These are many, and stay as they are.
    """
    is_group = _conditions.c.kind == TransitionKind.CRASH_GROUP
    rows = connection.execute(sa.select(_conditions).where(_is_known(_conditions), ~is_group))
    return {
        Thing(TransitionKind(row.kind), row.subject): Condition(row.state, row.is_problem, row.since)
        for row in rows
    }


def write(connection: sa.Connection, transitions: Sequence[Transition]) -> None:
    """Write transitions, in this order, and the conditions that they lead to."""
    if not transitions:
        return
    # One by one, since the order of the ids of a statement with many rows is not defined.
    for transition in transitions:
        connection.execute(sa.insert(_transitions).values(_to_row(transition)))
    latest = {transition.thing: transition for transition in transitions}
    rows = [
        {
            "kind": thing.kind.value,
            "subject": thing.subject,
            "state": transition.state,
            "is_problem": transition.is_problem,
            "since": transition.occurred_at,
        }
        for thing, transition in latest.items()
    ]
    statement = insert(_conditions)
    changed = {name: statement.excluded[name] for name in ("state", "is_problem", "since")}
    keys = [_conditions.c.kind, _conditions.c.subject]
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), rows)


def delete_old(database: sa.Engine) -> Iterator[int]:
    """Delete transitions recorded longer ago than `RETENTION`; yields the number of each batch.

    The newest of them is kept, so that a reader finds out that others before it may be missing. Those of the
    watched runs are kept as well: without them, their crashes would be recorded again. So is the beginning of
    a problem that goes on, which is reported when its mute ends.
    """
    before = datetime.now(UTC) - RETENTION
    old: list[int] = []
    while True:
        with database.begin() as connection:
            following = sa.select(_transitions.c.id).where(_transitions.c.id > (old[-1] if old else 0))
            batch = following.add_columns((_transitions.c.noted_at < before).label("is_old"))
            rows = connection.execute(batch.order_by(_transitions.c.id).limit(_DELETED_PER_BATCH)).all()
            # The newest one of the batch before comes first.
            old = [*old[-1:], *(row.id for row in rows if row.is_old)]
            deleted = connection.execute(_delete_unwatched(old[:-1])).rowcount
        yield deleted
        if len(rows) < _DELETED_PER_BATCH or not rows[-1].is_old:
            return


def _delete_unwatched(ids: Sequence[int]) -> sa.Delete:
    watched = run_queries.select_newest_runs_with_job(db.jobs.c.run > 0, limit=WATCHED_RUNS).subquery()
    run = _transitions.c.run
    is_unwatched = sa.or_(run.is_(None), run.not_in(sa.select(watched.c.run)))
    goes_on = sa.exists().where(
        _conditions.c.kind == _transitions.c.kind,
        _conditions.c.subject == _transitions.c.subject,
        _conditions.c.is_problem,
        _conditions.c.since == _transitions.c.occurred_at,
    )
    is_one = _transitions.c.id == sa.any_(sa.literal(list(ids), sa.ARRAY(sa.BigInteger)))
    return sa.delete(_transitions).where(is_one, is_unwatched, ~goes_on)


def _is_known(table: sa.Table) -> sa.ColumnElement[bool]:
    """Whether a row is of a kind that this program knows: a newer one may run beside it."""
    return table.c.kind.in_(list(TransitionKind))


def _to_row(transition: Transition) -> Mapping[str, Any]:
    row = asdict(transition)
    thing = row.pop("thing")
    return {**row, "kind": thing["kind"].value, "subject": thing["subject"]}


def _recorded(row: Any) -> RecordedTransition:
    values = {name: getattr(row, name) for name in _FIELDS}
    thing = Thing(TransitionKind(row.kind), row.subject)
    return RecordedTransition(row.id, row.noted_at, Transition(thing=thing, **values))
