"""Audit log of the Control Room: every login, rejected request and command, and its outcome.

A command's entry is inserted when the command is received, updated before it is sent, and completed
afterwards, each in a transaction of its own: any crash leaves a trace, and a command that can't be recorded
is not sent. Machines are named by their labels, and only validated parameters are recorded. Entries older
than the retention are deleted, some at a time, whenever an entry is added. `storage/anonymous_refusals.py`
adds entries of rejected requests without a session.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from psycopg2.errors import UniqueViolation

import db

_log = db.audit_log
_locks = sa.table(
    "pg_locks",
    sa.column("locktype"),
    sa.column("database"),
    sa.column("classid"),
    sa.column("objid"),
    sa.column("objsubid"),
)
_databases = sa.table("pg_database", sa.column("oid"), sa.column("datname"))
# PostgreSQL's mark of an advisory lock with two keys: "pg_locks" in its manual.
_TWO_KEYS = 2
# Entries read at a time when many are wanted, as they are for a file.
_ENTRIES_PER_PIECE = 2000
# A filter, or the list of users, may have PostgreSQL read the whole log.
_WIDE_QUERY_OPTIONS: Mapping[str, Any] = {"response_timeout_s": 10}
# Entries deleted with each that is added: with a new retention, years of entries may have expired.
_MAX_DELETED = 1000
# No command is sent later than this after it was received.
_SENT_WITHIN = timedelta(hours=1)


class Outcome(StrEnum):
    """Outcome of an action, as far as it is known."""

    OK = "ok"
    # DQM² responded, but not as expected.
    UNEXPECTED_RESPONSE = "unexpected response"
    # DQM² failed; it may have done part of the command.
    FAILED = "failed"
    # DQM² denied access; nothing was done.
    DENIED = "denied"
    # Sent, but no complete response arrived.
    UNKNOWN = "unknown"
    NOT_SENT = "not sent"
    # The Control Room rejected it.
    REFUSED = "refused"


_MAY_HAVE_EFFECT = (Outcome.OK, Outcome.UNEXPECTED_RESPONSE, Outcome.FAILED, Outcome.UNKNOWN)


class CommandStage(StrEnum):
    """Progress of a command."""

    WAITING = "waiting"
    RUNNING = "running"
    ENDED = "ended"


@dataclass(frozen=True, slots=True)
class AuditedAction:
    """A requested action: a command's name with validated parameters, and the machine's label.

    `idempotency_key` identifies one submission of a form, which is executed once however often it arrives.
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
    """An entry of the audit log. An ended command without an outcome was abandoned by its server process.

    For rejected requests without a session: `occurrences` counts them, and `address_hash` is a keyed hash of
    the client's address, `None` if they came from several.
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
        """Time from sending to the end; `None` if either is unknown."""
        return None if self.sent_at is None or self.ended_at is None else self.ended_at - self.sent_at


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selection of entries; `None` selects all. `before_id` selects entries older than the one of that id."""

    username: str | None = None
    command: str | None = None
    outcome: Outcome | None = None
    before_id: int | None = None


class DuplicateSubmission(Exception):
    """Raised when an action with the same idempotency key was recorded before."""


class CommandInProgress(Exception):
    """Raised when the same change of the same target is waiting or running already."""

    def __init__(self, entry: AuditEntry) -> None:
        super().__init__(entry)
        self.entry = entry


class AuditLog:
    """The audit log, in the playback cluster's database; a retention of `None` keeps all entries."""

    def __init__(self, database: sa.Engine, retention: timedelta | None) -> None:
        self._database = database
        self._retention = retention

    def record(self, action: AuditedAction, outcome: Outcome, message: str | None = None) -> None:
        """Record an action that has ended already, such as a login or a rejected request."""
        with self._database.begin() as connection:
            self._delete_expired(connection)
            connection.execute(sa.insert(_log).values(**ended_values(action, outcome, message)))

    def begin(self, action: AuditedAction, worker_id: int | None) -> int:
        """Record a command that a server process has received; returns the entry's id.

        A command without a `worker_id` is executed at once and never blocks another.
        Raises DuplicateSubmission and CommandInProgress.
        """
        insert = sa.insert(_log).values(**_values(action), worker_id=worker_id).returning(_log.c.id)
        with self._database.begin() as connection:
            self._delete_expired(connection)
            if action.is_change:
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(db.QUEUE_LOCK)))
                _refuse_if_in_progress(connection, action)
            try:
                entry_id: int = connection.execute(insert).scalar_one()
            except sa.exc.IntegrityError as error:
                if isinstance(error.orig, UniqueViolation):
                    raise DuplicateSubmission from error
                raise
        return entry_id

    def mark_sent(self, entry_id: int) -> None:
        """Record that a command is being sent."""
        self._update(entry_id, sent_at=sa.func.clock_timestamp())

    def complete(self, entry_id: int, outcome: Outcome, message: str) -> None:
        """Record the outcome of a command."""
        self._update(entry_id, ended_at=sa.func.clock_timestamp(), outcome=outcome, message=message)

    def in_progress(self) -> list[AuditEntry]:
        """The commands that are running or waiting in any server process, in the order of the queue."""
        in_progress = _select().where(_is_in_progress())
        return self._read_all(in_progress.order_by(_log.c.sent_at.nulls_last(), _log.c.id))

    def latest_repetition(self, action: AuditedAction, period: timedelta) -> AuditEntry | None:
        """The last change of the same target in a period, if it is the same and may have had an effect."""
        since = sa.func.now() - period
        # In the order of the index, which is by time of receipt.
        statement = (
            _select()
            .where(_log.c.received_at > since - _SENT_WITHIN, _log.c.sent_at > since, *_same_target(action))
            .order_by(_log.c.received_at.desc(), _log.c.id.desc())
        )
        for entry in self._read_all(statement.limit(1)):
            if entry.action.parameters == dict(action.parameters or {}) and entry.outcome in _MAY_HAVE_EFFECT:
                return entry
        return None

    def find(self, wanted: AuditFilter, limit: int) -> list[AuditEntry]:
        """The newest entries that match a filter, newest first."""
        conditions = [
            column == value
            for column, value in (
                (_log.c.username, wanted.username),
                (_log.c.command, wanted.command),
                (_log.c.outcome, wanted.outcome),
            )
            if value is not None
        ]
        if wanted.before_id is not None:
            conditions.append(_log.c.id < wanted.before_id)
        return self._read_all(_select_newest(limit, *conditions).execution_options(**_WIDE_QUERY_OPTIONS))

    def iter_found(self, wanted: AuditFilter, limit: int) -> Iterator[AuditEntry]:
        """The same entries, read in pieces: a single response with all of them would take too long."""
        while limit and (entries := self.find(wanted, min(limit, _ENTRIES_PER_PIECE))):
            yield from entries
            wanted = replace(wanted, before_id=entries[-1].id)
            limit -= len(entries)

    def recent(self, period: timedelta, limit: int) -> list[AuditEntry]:
        """The newest actions with a session within a period, newest first."""
        is_recent = _log.c.received_at > sa.func.now() - period
        return self._read_all(_select_newest(limit, is_recent, _log.c.group_key.is_(None)))

    def anonymous_refusals_within(self, period: timedelta) -> int:
        """The number of rejected requests without a session within a period."""
        count = sa.select(sa.func.sum(_log.c.occurrences)).where(
            _log.c.received_at > sa.func.now() - period, _log.c.group_key.is_not(None)
        )
        with self._database.connect() as connection:
            return connection.scalar(count) or 0

    def usernames(self) -> Sequence[str]:
        """All users in the log, sorted."""
        statement = sa.select(_log.c.username).where(_log.c.username.is_not(None)).distinct()
        with self._database.connect() as connection:
            return sorted(connection.scalars(statement, execution_options=_WIDE_QUERY_OPTIONS))

    def time_since_sent(self, command: str, cluster: str) -> timedelta | None:
        """Time since a command was last sent for a cluster; `None` if that is more than an hour."""
        latest = sa.select(sa.func.max(_log.c.sent_at)).where(
            _log.c.received_at > sa.func.now() - _SENT_WITHIN,
            _log.c.command == command,
            _log.c.cluster == cluster,
        )
        with self._database.connect() as connection:
            since: timedelta | None = connection.scalar(
                sa.select(sa.func.clock_timestamp() - latest.scalar_subquery())
            )
        return since

    def _read_all(self, statement: sa.Select[Any]) -> list[AuditEntry]:
        with self._database.connect() as connection:
            return list(_read(connection, statement))

    def _delete_expired(self, connection: sa.Connection) -> None:
        if self._retention is not None:
            is_expired = _log.c.received_at < sa.func.now() - self._retention
            oldest = sa.select(_log.c.id).where(is_expired).order_by(_log.c.received_at).limit(_MAX_DELETED)
            # Those that another transaction is deleting are not waited for.
            ids = oldest.with_for_update(skip_locked=True)
            connection.execute(sa.delete(_log).where(_log.c.id.in_(ids)))

    def _update(self, entry_id: int, **values: Any) -> None:
        with self._database.begin() as connection:
            connection.execute(sa.update(_log).where(_log.c.id == entry_id).values(**values))


def sent_changes(
    connection: sa.Connection, cluster: str, since: datetime, until: datetime, limit: int
) -> list[AuditEntry]:
    """The newest changes of a cluster that were sent in a period, oldest first."""
    # The index is that of the time of receipt.
    statement = _select().where(
        _log.c.received_at.between(since - _SENT_WITHIN, until),
        _log.c.sent_at >= since,
        _log.c.sent_at < until,
        _log.c.is_change,
        _log.c.cluster == cluster,
    )
    newest = statement.order_by(_log.c.received_at.desc(), _log.c.id.desc()).limit(limit)
    return list(_read(connection, newest))[::-1]


def _values(action: AuditedAction) -> dict[str, Any]:
    return {
        "command": action.command,
        "username": action.username,
        "cmsweb_login": action.cmsweb_login,
        "is_change": action.is_change,
        "cluster": action.cluster,
        "machine": action.machine,
        "parameters": dict(action.parameters or {}),
        "idempotency_key": action.idempotency_key,
    }


def ended_values(action: AuditedAction, outcome: Outcome, message: str | None) -> dict[str, Any]:
    """The columns of an action that has ended."""
    ended_at = sa.func.clock_timestamp()
    return {**_values(action), "outcome": outcome, "message": message, "ended_at": ended_at}


def _refuse_if_in_progress(connection: sa.Connection, action: AuditedAction) -> None:
    same = _select().where(_is_in_progress(), *_same_target(action))
    for entry in _read(connection, same.limit(1)):
        raise CommandInProgress(entry)


def _same_target(action: AuditedAction) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions of a change by the same command of the same machine and client."""
    client = (action.parameters or {}).get("client")
    return (
        _log.c.is_change,
        _log.c.command == action.command,
        _log.c.machine.is_not_distinct_from(action.machine),
        _log.c.parameters["client"].as_string().is_not_distinct_from(client),
    )


def _is_in_progress() -> sa.ColumnElement[bool]:
    return sa.and_(_log.c.outcome.is_(None), _worker_is_alive())


def _worker_is_alive() -> sa.ColumnElement[bool]:
    """Whether the server process that executes a command is alive, i.e. still holds its advisory lock."""
    own_database = sa.select(_databases.c.oid).where(_databases.c.datname == sa.func.current_database())
    workers = sa.select(sa.cast(_locks.c.objid, sa.BigInteger)).where(
        _locks.c.locktype == "advisory",
        _locks.c.database == own_database.scalar_subquery(),
        sa.cast(_locks.c.classid, sa.BigInteger) == db.WORKER_LOCKS,
        _locks.c.objsubid == _TWO_KEYS,
    )
    return sa.cast(_log.c.worker_id, sa.BigInteger).in_(workers)


def _select() -> sa.Select[Any]:
    return sa.select(_log, _is_in_progress().label("is_in_progress"))


def _select_newest(limit: int, *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return _select().where(*conditions).order_by(_log.c.id.desc()).limit(limit)


def _read(connection: sa.Connection, statement: sa.Select[Any]) -> Iterator[AuditEntry]:
    for row in connection.execute(statement):
        yield AuditEntry(
            id=row.id,
            action=AuditedAction(
                command=row.command,
                username=row.username,
                cmsweb_login=row.cmsweb_login,
                is_change=row.is_change,
                cluster=row.cluster,
                machine=row.machine,
                parameters=row.parameters,
                idempotency_key=row.idempotency_key,
            ),
            received_at=row.received_at,
            sent_at=row.sent_at,
            ended_at=row.ended_at,
            stage=_stage(row),
            outcome=None if row.outcome is None else Outcome(row.outcome),
            message=row.message,
            address_hash=row.address_hash,
            occurrences=row.occurrences,
        )


def _stage(row: Any) -> CommandStage:
    if not row.is_in_progress:
        return CommandStage.ENDED
    return CommandStage.WAITING if row.sent_at is None else CommandStage.RUNNING
