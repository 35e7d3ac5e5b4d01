"""The Control Room's audit: every sign-in, refusal and command, with who, what, where, when and how it ended.

A command's entry is written when it is received, marked before it is sent and completed after, each in a
transaction of its own: whatever crashes leaves a trace, and what can't be written is not sent. Machines are
named by their labels, and only values that passed the Control Room's checks are kept. What is older than it
is to be kept goes whenever something is written. Refusals of strangers come from `strangers.py`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from psycopg2.errors import UniqueViolation

import db

_audit = db.audit_log
_locks = sa.table(
    "pg_locks",
    sa.column("locktype"),
    sa.column("database"),
    sa.column("classid"),
    sa.column("objid"),
    sa.column("objsubid"),
)
_databases = sa.table("pg_database", sa.column("oid"), sa.column("datname"))
# How PostgreSQL marks an advisory lock of two keys.
_OF_TWO_KEYS = 2
# So long after it was received nothing is waiting to be sent any more.
_SENT_WITHIN = timedelta(hours=1)


class Outcome(StrEnum):
    """How something ended, as far as that is known."""

    OK = "ok"
    # DQM² answered, but something else than was expected.
    UNEXPECTED_RESPONSE = "otherwise"
    # DQM² failed; what it did before is unknown.
    FAILED = "failed"
    # DQM² did not let the mirror in; nothing was done.
    DENIED = "denied"
    # Sent, and no whole answer came.
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"
    # The Control Room did not let it through.
    REFUSED = "refused"


class CommandStage(StrEnum):
    """How far a command has come."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class AuditedAction:
    """What somebody wants done: a command by its name, with checked parameters, and the machine's label.

    `once` marks a press of a button, so that it counts once however often it arrives.
    """

    command: str
    username: str | None = None
    cmsweb_login: str | None = None
    is_change: bool = False
    cluster: str | None = None
    machine: str | None = None
    parameters: Mapping[str, str] | None = None
    idempotency_key: UUID | None = None


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """An entry of the audit. One without outcome whose server is gone ended in a way that nobody knows.

    Of what a stranger was refused: `times` how often, and a keyed hash of the `address` if it was one alone.
    """

    id: int
    action: AuditedAction
    received_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None
    stage: CommandStage
    outcome: Outcome | None
    message: str | None
    address_hash: bytes | None
    occurrences: int

    @property
    def duration(self) -> timedelta | None:
        """From when it was sent until its end; `None` if either is not known."""
        return None if self.sent_at is None or self.ended_at is None else self.ended_at - self.sent_at


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries are asked for; `before` is an id, `None` anywhere is for all."""

    username: str | None = None
    command: str | None = None
    outcome: Outcome | None = None
    before_id: int | None = None


class DuplicateSubmission(Exception):
    """This very press of a button has arrived before."""


class CommandInProgress(Exception):
    """The same change of the same target waits or runs already, by somebody else or by the same person."""

    def __init__(self, entry: AuditEntry) -> None:
        super().__init__(entry)
        self.entry = entry


class AuditLog:
    """The audit in the playback cluster's database; `keep` is how long it goes back, `None` for good."""

    def __init__(self, database: sa.Engine, keep: timedelta | None) -> None:
        self._database = database
        self._keep = keep

    def record(self, deed: AuditedAction, outcome: Outcome, sentence: str | None = None) -> None:
        """Writes what is over already: a sign-in, a refusal."""
        with self._database.begin() as connection:
            self._forget(connection)
            connection.execute(sa.insert(_audit).values(**finished_values(deed, outcome, sentence)))

    def begin(self, deed: AuditedAction, desk: int | None) -> int:
        """Writes a command that a server process (`desk`) has received; its entry's id.

        Without a desk it is done at once and never in anybody's way.
        Raises AlreadyReceived, and AlreadyUnderWay if the same change of the same target is.
        """
        insert = sa.insert(_audit).values(**_values(deed), desk=desk).returning(_audit.c.id)
        with self._database.begin() as connection:
            self._forget(connection)
            if deed.is_change:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.QUEUE_LOCK)))
                _refuse_second(connection, deed)
            try:
                entry: int = connection.execute(insert).scalar_one()
            except sa.exc.IntegrityError as error:
                if isinstance(error.orig, UniqueViolation):
                    raise DuplicateSubmission from error
                raise
        return entry

    def mark_sent(self, entry: int) -> None:
        """Says that a command is being sent."""
        self._set(entry, sent_at=sa.func.clock_timestamp())

    def complete(self, entry: int, outcome: Outcome, sentence: str) -> None:
        """Says how a command ended."""
        self._set(entry, ended_at=sa.func.clock_timestamp(), outcome=outcome, sentence=sentence)

    def in_progress(self) -> list[AuditEntry]:
        """The commands that run or wait, of all servers: what runs, then the others as they came."""
        open_ = _selected().where(_is_under_way()).order_by(_audit.c.sent_at.nulls_last(), _audit.c.id)
        with self._database.connect() as connection:
            return list(_read(connection, open_))

    def find(self, wanted: AuditFilter, most: int) -> list[AuditEntry]:
        """Entries, the newest first."""
        conditions = [
            column == value
            for column, value in (
                (_audit.c.person, wanted.username),
                (_audit.c.command, wanted.command),
                (_audit.c.outcome, wanted.outcome),
            )
            if value is not None
        ]
        if wanted.before_id is not None:
            conditions.append(_audit.c.id < wanted.before_id)
        return self._newest(most, *conditions)

    def recent(self, time: timedelta, most: int) -> list[AuditEntry]:
        """What was done of late by who is known, the newest first."""
        return self._newest(
            most, _audit.c.received_at > sa.func.now() - time, _audit.c.told_together.is_(None)
        )

    def anonymous_refusals_within(self, time: timedelta) -> int:
        """How often somebody without a session was refused something of late."""
        is_of_late = _audit.c.received_at > sa.func.now() - time
        refused = sa.select(sa.func.sum(_audit.c.times)).where(
            is_of_late, _audit.c.told_together.is_not(None)
        )
        with self._database.connect() as connection:
            return connection.scalar(refused) or 0

    def usernames(self) -> Sequence[str]:
        """Everybody whom the audit names."""
        statement = sa.select(_audit.c.person).where(_audit.c.person.is_not(None)).distinct()
        with self._database.connect() as connection:
            return sorted(connection.scalars(statement))

    def time_since_sent(self, command: str, cluster: str) -> timedelta | None:
        """How long ago a command was last sent for a cluster; `None` if it was not of late."""
        newest = sa.select(sa.func.max(_audit.c.sent_at)).where(
            _audit.c.received_at > sa.func.now() - _SENT_WITHIN,
            _audit.c.command == command,
            _audit.c.cluster == cluster,
        )
        with self._database.connect() as connection:
            since: timedelta | None = connection.scalar(
                sa.select(sa.func.clock_timestamp() - newest.scalar_subquery())
            )
        return since

    def _newest(self, most: int, *conditions: sa.ColumnElement[bool]) -> list[AuditEntry]:
        statement = _selected().where(*conditions).order_by(_audit.c.id.desc()).limit(most)
        with self._database.connect() as connection:
            return list(_read(connection, statement))

    def _forget(self, connection: sa.Connection) -> None:
        if self._keep is not None:
            connection.execute(sa.delete(_audit).where(_audit.c.received_at < sa.func.now() - self._keep))

    def _set(self, entry: int, **values: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(sa.update(_audit).where(_audit.c.id == entry).values(**values))


def finished_values(deed: AuditedAction, outcome: Outcome, sentence: str | None) -> dict[str, Any]:
    """The columns of an entry of what is over already."""
    return {
        **_values(deed),
        "outcome": outcome,
        "sentence": sentence,
        "ended_at": sa.func.clock_timestamp(),
    }


def _values(deed: AuditedAction) -> dict[str, Any]:
    return {
        "command": deed.command,
        "person": deed.username,
        "login": deed.cmsweb_login,
        "is_change": deed.is_change,
        "cluster": deed.cluster,
        "machine": deed.machine,
        "parameters": dict(deed.parameters or {}),
        "once": deed.idempotency_key,
    }


def _refuse_second(connection: sa.Connection, deed: AuditedAction) -> None:
    client = (deed.parameters or {}).get("client")
    same = _selected().where(
        _is_under_way(),
        _audit.c.is_change,
        _audit.c.command == deed.command,
        _audit.c.machine.is_not_distinct_from(deed.machine),
        _audit.c.parameters["client"].as_string().is_not_distinct_from(client),
    )
    for entry in _read(connection, same.limit(1)):
        raise CommandInProgress(entry)


def _has_its_server() -> sa.ColumnElement[bool]:
    """Whether the server process that has a command lives: it holds a lock as long as it does."""
    own = sa.select(_databases.c.oid).where(_databases.c.datname == sa.func.current_database())
    desks = sa.select(sa.cast(_locks.c.objid, sa.BigInteger)).where(
        _locks.c.locktype == "advisory",
        _locks.c.database == own.scalar_subquery(),
        sa.cast(_locks.c.classid, sa.BigInteger) == db.WORKER_LOCKS,
        _locks.c.objsubid == _OF_TWO_KEYS,
    )
    return sa.cast(_audit.c.desk, sa.BigInteger).in_(desks)


def _is_under_way() -> sa.ColumnElement[bool]:
    return sa.and_(_audit.c.outcome.is_(None), _has_its_server())


def _selected() -> sa.Select[Any]:
    return sa.select(_audit, _is_under_way().label("is_under_way"))


def _read(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[AuditEntry]:
    for row in connection.execute(statement):
        yield AuditEntry(
            id=row.id,
            action=AuditedAction(
                command=row.command,
                username=row.person,
                cmsweb_login=row.login,
                is_change=row.is_change,
                cluster=row.cluster,
                machine=row.machine,
                parameters=row.parameters,
                idempotency_key=row.once,
            ),
            received_at=row.received_at,
            sent_at=row.sent_at,
            ended_at=row.ended_at,
            stage=_stage(row),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            message=row.sentence,
            address_hash=row.address,
            occurrences=row.times,
        )


def _stage(row: Any) -> CommandStage:
    if not row.is_under_way:
        return CommandStage.ENDED
    return CommandStage.WAITING if row.sent_at is None else CommandStage.RUNNING
