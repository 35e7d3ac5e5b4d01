"""Writes of a grabber: batches of documents with the machine's new checkpoint, machine states, heartbeats.

A batch is one transaction. Every write first checks that this grabber is still the cluster's leader.
"""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.records import MachineState
from storage import machines, sync_status, upserts
from storage.leader_lock import LeadershipLost
from storage.rows import Batch, Checkpoint
from storage.schema import verify_secret
from storage.sync_status import ClusterLinks, LinkStatus
from storage.transition_watch import MachineChange, TransitionWatch

log = logging.getLogger(__name__)

# SQLSTATE class "Program Limit Exceeded": "PostgreSQL Error Codes" in its manual.
_LIMIT_EXCEEDED = "54"


class RowRejected(sa.exc.SQLAlchemyError):
    """Raised when a row of a batch can't be stored, however often it is written."""


@dataclass(frozen=True, slots=True)
class RegisteredMachine:
    """A machine in the database."""

    id: int
    label: str
    checkpoint: Checkpoint


class MirrorWriter:
    """Writer of a cluster's database; `leader_id` must be the leader's for a write to succeed.

    `watch` records transitions in the transactions that make them visible; without it, none are recorded. An
    unexpected error of the watch is logged once and passed to `on_watch_error` each time: it delays
    transitions, not the mirroring.
    """

    def __init__(
        self,
        database: sa.Engine,
        leader_id: UUID,
        watch: TransitionWatch | None = None,
        on_watch_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._leader_id = leader_id
        self._watch = watch
        self._on_watch_error = on_watch_error
        self._is_watch_failing = False

    def take_over(self, check_value: UUID) -> ClusterLinks:
        """Record `leader_id` as the leader; returns the status of the links that its predecessor recorded.

        Raises SecretChanged if the database was created with another secret.
        """
        now = datetime.now(UTC)
        unknown = ClusterLinks(gateway=LinkStatus(), machines={}, status=LinkStatus())
        with self._database.begin() as connection:
            verify_secret(connection, check_value)
            # Locked, so that the leader before is done with its last transaction.
            before = sa.select(db.heartbeat.c.heartbeat_at).with_for_update()
            heartbeat_at = connection.scalar(before)
            leader = {"leader_id": self._leader_id, "started_at": now, "heartbeat_at": now}
            stored = connection.scalar(
                insert(db.heartbeat)
                .values(id=1, **leader, links=sync_status.to_json(unknown))
                .on_conflict_do_update(index_elements=[db.heartbeat.c.id], set_=leader)
                .returning(db.heartbeat.c.links)
            )
            self._record_transitions(connection, lambda watch: watch.take_over(connection, heartbeat_at))
        return sync_status.from_json(stored)

    def register_machines(
        self, default_labels: Mapping[UUID, str], *, limit: int | None = None
    ) -> dict[UUID, RegisteredMachine]:
        """The machines by identity; new ones are added with a label derived from their default label.

        `limit`: no machine is added beyond this total, and those left out are not returned.
        """
        with self._leader_transaction() as connection:
            machines.register(connection, default_labels, limit=limit)
            known = _machines(connection)
        return {identity: known[identity] for identity in default_labels if identity in known}

    def stored_versions(self, identities: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """The (epoch, revision) of those documents that are stored or quarantined."""
        if not identities:
            return {}
        columns = [
            sa.select(table.c.identity, table.c.epoch, table.c.revision).where(
                table.c.identity == sa.any_(sa.bindparam("identities", type_=sa.ARRAY(sa.Uuid)))
            )
            for table in db.DOCUMENT_TABLES
        ]
        stored: dict[UUID, tuple[int, int]] = {}
        with self._database.connect() as connection:
            for row in connection.execute(sa.union_all(*columns), {"identities": list(identities)}):
                stored[row.identity] = max((row.epoch, row.revision), stored.get(row.identity, (-1, -1)))
        return stored

    def quarantined_versions(self, machine_id: int) -> dict[UUID, tuple[int, int]]:
        """The (epoch, revision) of a machine's quarantined documents."""
        table = db.quarantined_documents
        query = sa.select(table.c.identity, table.c.epoch, table.c.revision).where(
            table.c.machine_id == machine_id
        )
        with self._database.connect() as connection:
            return {row.identity: (row.epoch, row.revision) for row in connection.execute(query)}

    def forget_quarantined(self, machine_id: int, identities: Collection[UUID]) -> None:
        """Delete quarantine entries of documents that the machine does not have any more."""
        with self._leader_transaction() as connection:
            upserts.delete_from_quarantine(connection, machine_id, identities)

    def write_batch(self, batch: Batch) -> None:
        """Write a batch and move its machine's checkpoint in one transaction, and notify listeners.

        Raises RowRejected, and LeadershipLost if another grabber has taken over.
        """
        try:
            with self._leader_transaction() as connection:
                upserts.write_batch(connection, batch)
                self._record_transitions(connection, lambda watch: watch.after_batch(connection, batch))
        except (sa.exc.DataError, sa.exc.IntegrityError) as error:
            raise RowRejected(type(error.orig).__name__) from error
        except sa.exc.OperationalError as error:
            if (getattr(error.orig, "pgcode", None) or "").startswith(_LIMIT_EXCEEDED):
                raise RowRejected(type(error.orig).__name__) from error
            raise
        except ValueError as error:
            # Raised by the driver for a NUL in a text.
            raise RowRejected(type(error).__name__) from error

    def write_machine_states(self, states: Mapping[int, MachineState], checked_at: datetime) -> None:
        """Write the states of those machines whose state has changed."""
        with self._leader_transaction() as connection:
            latest = connection.execute(machines.select_latest_states())
            known = {row.machine_id: (row.is_up, row.reason) for row in latest}
            changed = {
                machine: state
                for machine, state in states.items()
                if known.get(machine) != (state.is_up, state.reason)
            }
            if not changed:
                return
            rows = [
                {"machine_id": machine, "since": checked_at, "is_up": state.is_up, "reason": state.reason}
                for machine, state in changed.items()
            ]
            connection.execute(insert(db.machine_states).on_conflict_do_nothing(), rows)
            changes = [
                MachineChange(machine, known.get(machine, (None,))[0], state.is_up, state.reason)
                for machine, state in changed.items()
            ]
            self._record_transitions(
                connection, lambda watch: watch.after_machine_states(connection, changes, checked_at)
            )

    def write_heartbeat(self, links: ClusterLinks) -> None:
        """Write a heartbeat with the status of each link. Raises LeadershipLost."""
        statement = (
            sa.update(db.heartbeat)
            .where(db.heartbeat.c.leader_id == self._leader_id)
            .values(heartbeat_at=datetime.now(UTC), links=sync_status.to_json(links))
        )
        with self._database.begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise LeadershipLost
            self._record_transitions(connection, lambda watch: watch.after_heartbeat(connection, links))

    def _record_transitions(
        self, connection: sa.Connection, record: Callable[[TransitionWatch], None]
    ) -> None:
        """Record transitions behind a savepoint; what an error prevents, a later comparison finds."""
        if self._watch is None:
            return
        try:
            with connection.begin_nested():
                record(self._watch)
        # After any error but a lost connection, the documents can still be stored.
        except Exception:
            if connection.invalidated:
                raise
            self._on_watch_error()
            if not self._is_watch_failing:
                log.exception("transition_watch_failed")
            self._is_watch_failing = True
        else:
            self._is_watch_failing = False

    @contextmanager
    def _leader_transaction(self) -> Iterator[sa.Connection]:
        """A transaction that locks the heartbeat row, so that no other grabber takes over meanwhile."""
        is_leader = sa.select(1).where(db.heartbeat.c.leader_id == self._leader_id)
        with self._database.begin() as connection:
            if connection.scalar(is_leader.with_for_update(read=True)) is None:
                raise LeadershipLost
            yield connection


def _machines(connection: sa.Connection) -> dict[UUID, RegisteredMachine]:
    return {
        row.identity: RegisteredMachine(
            row.id,
            row.label,
            Checkpoint(row.epoch, row.revision, row.last_document, row.last_document_at),
        )
        for row in connection.execute(sa.select(db.machines))
    }
