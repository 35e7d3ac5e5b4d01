"""What a grabber writes: batches of documents with the position that they bring a machine to, a heartbeat.

A batch is one transaction. Every write asks first whether this grabber still holds the cluster.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.records import MachineState
from storage import installation, machines
from storage import sync_status as mirror_links
from storage.batch import Batch, Checkpoint
from storage.leader_lock import LeadershipLost
from storage.machine_states import select_latest_states
from storage.sync_status import ClusterLinks, LinkStatus
from storage.upserts import write_batch

# The class of SQLSTATE of what is beyond PostgreSQL's limits: "PostgreSQL Error Codes" in its manual.
_BEYOND_LIMITS = "54"


class RowRejected(sa.exc.SQLAlchemyError):
    """The database can't hold a row of the batch, however often it is written."""


@dataclass(frozen=True, slots=True)
class RegisteredMachine:
    """A machine as the database knows it."""

    id: int
    label: str
    checkpoint: Checkpoint


class MirrorWriter:
    """The grabber's side of a cluster's database; `holder` is the claim that every write must still have."""

    def __init__(self, database: sa.Engine, holder: UUID) -> None:
        self._database = database
        self._holder = holder

    def take_over(self, check_value: UUID) -> ClusterLinks:
        """Makes `holder` the one whose writes count; what the holder before it knew of the links.

        Raises SecretChanged if the database was made under another secret.
        """
        now = datetime.now(UTC)
        unknown = ClusterLinks(gateway=LinkStatus(), machines={}, status=LinkStatus())
        with self._database.begin() as connection:
            installation.verify_secret(connection, check_value)
            beat = {"holder": self._holder, "started_at": now, "beat_at": now}
            kept_links = connection.scalar(
                insert(db.heartbeat)
                .values(id=1, **beat, links=mirror_links.to_json(unknown))
                .on_conflict_do_update(index_elements=[db.heartbeat.c.id], set_=beat)
                .returning(db.heartbeat.c.links)
            )
        return mirror_links.from_json(kept_links)

    def register_machines(
        self, default_labels: Mapping[UUID, str], *, limit: int | None = None
    ) -> dict[UUID, RegisteredMachine]:
        """The machines by identity; one that is seen for the first time gets its label, made of its mask.

        `most`: where the database knows so many, one that it does not know is left out.
        """
        with self._fenced() as connection:
            machines.register(connection, default_labels, limit=limit)
            known = _machines(connection)
        return {identity: known[identity] for identity in default_labels if identity in known}

    def stored_versions(self, identities: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
        """The (epoch, revision) of those documents that are stored or set aside."""
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

    def quarantined_revisions(self, machine_id: int, epoch: int) -> dict[UUID, int]:
        """The revisions of the documents of a machine that are set aside in an epoch."""
        table = db.quarantined_documents
        query = sa.select(table.c.identity, table.c.revision).where(
            table.c.machine_id == machine_id, table.c.epoch == epoch
        )
        with self._database.connect() as connection:
            return {row.identity: row.revision for row in connection.execute(query)}

    def write_batch(self, batch: Batch) -> None:
        """Writes a batch and moves its machine's position, in one transaction, and tells who listens.

        Raises RowRefused, or ClaimLost if another grabber has taken the cluster meanwhile.
        """
        try:
            with self._fenced() as connection:
                write_batch(connection, batch)
        except (sa.exc.DataError, sa.exc.IntegrityError) as error:
            raise RowRejected(type(error.orig).__name__) from error
        except sa.exc.OperationalError as error:
            if (getattr(error.orig, "pgcode", None) or "").startswith(_BEYOND_LIMITS):
                raise RowRejected(type(error.orig).__name__) from error
            raise
        except ValueError as error:
            # The driver's own refusal, of a NUL within a text.
            raise RowRejected(type(error).__name__) from error

    def write_machine_states(self, states: Mapping[int, MachineState], checked_at: datetime) -> None:
        """Writes the states of machines that differ from the last that is known."""
        table = db.machine_states
        with self._fenced() as connection:
            known = {
                row.machine_id: (row.is_up, row.reason) for row in connection.execute(select_latest_states())
            }
            rows = [
                {"machine_id": machine, "since": checked_at, "is_up": state.is_up, "reason": state.reason}
                for machine, state in states.items()
                if known.get(machine) != (state.is_up, state.reason)
            ]
            if rows:
                connection.execute(insert(table).on_conflict_do_nothing(), rows)

    def write_heartbeat(self, links: ClusterLinks) -> None:
        """Tells that the grabber lives, and what it knows of each link. Raises ClaimLost."""
        statement = (
            sa.update(db.heartbeat)
            .where(db.heartbeat.c.holder == self._holder)
            .values(beat_at=datetime.now(UTC), links=mirror_links.to_json(links))
        )
        with self._database.begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise LeadershipLost

    @contextmanager
    def _fenced(self) -> Iterator[sa.Connection]:
        """A transaction that holds the heartbeat's row, so that no other grabber takes over while it runs."""
        held = sa.select(1).where(db.heartbeat.c.holder == self._holder).with_for_update(read=True)
        with self._database.begin() as connection:
            if connection.scalar(held) is None:
                raise LeadershipLost
            yield connection


def _machines(connection: sa.Connection) -> dict[UUID, RegisteredMachine]:
    table = db.machines
    return {
        row.identity: RegisteredMachine(
            row.id, row.label, Checkpoint(row.epoch, row.revision, row.head, row.head_at)
        )
        for row in connection.execute(sa.select(table))
    }
