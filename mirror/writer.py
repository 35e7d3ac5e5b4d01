"""What a grabber writes: batches of records with the position that they bring a machine to, and a heartbeat.

A batch is one transaction. A document is written only over an older one, by (epoch, revision), so that
repeating a batch changes nothing and the order of batches does not matter.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on, insert

import db
from mirror import links as mirror_links
from mirror import packing
from mirror.claim import ClaimLost
from mirror.links import Link, Links
from mirror.records import (
    DeliveryRecord,
    DiskRecord,
    JobRecord,
    MachineState,
    MemoryRecord,
    PlaybackRecord,
    Record,
)

# A notification holds 8000 bytes; one that names more runs than this says "many" instead.
_MOST_RUNS_TOLD = 500
# A label that is taken gets the first free number behind it: data policy, "machine".
_LABEL_NUMBER = "·{}"


class SecretChanged(Exception):
    """The database was made under another MIRROR_SECRET: mirroring on would keep everything twice."""


@dataclass(frozen=True, slots=True)
class Position:
    """How far a machine is mirrored: all of its documents up to (epoch, revision), the last being `head`."""

    epoch: int
    revision: int | None
    head: UUID | None

    def anew(self) -> "Position":
        """The start of a new epoch: the machine's revisions started over."""
        return Position(self.epoch + 1, None, None)


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine as the database knows it."""

    id: int
    label: str
    position: Position


@dataclass(frozen=True, slots=True)
class SetAside:
    """A document that could not be understood; `reason` holds nothing sensitive."""

    identity: UUID
    revision: int
    document_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of one machine and the position that it is at once they are written.

    `clock_at` is the machine's own clock, the time of its newest document, if the batch knows it.
    """

    machine_id: int
    position: Position
    clock_at: datetime | None
    records: Sequence[Record]
    set_aside: Sequence[SetAside] = ()


class MirrorWriter:
    """The grabber's side of a cluster's database; `holder` is the claim that every write must still have."""

    def __init__(self, database: sa.Engine, holder: UUID) -> None:
        self._database = database
        self._holder = holder

    def begin(self, check_value: UUID) -> Links:
        """Makes `holder` the one whose writes count; what the holder before it knew of the links.

        Raises SecretChanged if the database was made under another secret, whose check value it keeps.
        """
        now = datetime.now(UTC)
        unknown = Links(gateway=Link(), machines={}, status=Link())
        with self._database.begin() as connection:
            connection.execute(
                insert(db.installation)
                .values(name="secret_check", value=str(check_value))
                .on_conflict_do_nothing()
            )
            kept = connection.scalar(
                sa.select(db.installation.c.value).where(db.installation.c.name == "secret_check")
            )
            if kept != str(check_value):
                raise SecretChanged
            beat = {"holder": self._holder, "started_at": now, "beat_at": now}
            kept_links = connection.scalar(
                insert(db.heartbeat)
                .values(id=1, **beat, links=mirror_links.to_json(unknown))
                .on_conflict_do_update(index_elements=[db.heartbeat.c.id], set_=beat)
                .returning(db.heartbeat.c.links)
            )
        return mirror_links.from_json(kept_links)

    def register(self, machines: Mapping[UUID, str]) -> dict[UUID, Machine]:
        """The machines by identity; one that is seen for the first time gets its label, made of its mask."""
        with self._fenced() as connection:
            known = _machines(connection)
            new = {identity: mask for identity, mask in machines.items() if identity not in known}
            if new:
                taken = {machine.label for machine in known.values()}
                labels = _labels(new, taken)
                rows = [{"identity": identity, "label": labels[identity]} for identity in new]
                connection.execute(sa.insert(db.machines), rows)
                known = _machines(connection)
        return {identity: known[identity] for identity in machines}

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

    def write(self, batch: Batch) -> None:
        """Writes a batch and moves its machine's position, in one transaction, and tells who listens.

        Raises ClaimLost if another grabber has taken the cluster meanwhile.
        """
        with self._fenced() as connection:
            for table, rows in _rows(batch).items():
                _upsert(connection, table, rows)
            _upsert_jobs(connection, batch)
            _describe_runs(connection, batch.records)
            _forget_set_aside(connection, batch)
            connection.execute(_move(batch))
            runs = sorted({record.run for record in batch.records if not isinstance(record, _OF_MACHINE)})
            _notify(connection, runs)

    def write_states(self, states: Mapping[int, MachineState], checked_at: datetime) -> None:
        """Writes the states of machines that differ from the last that is known."""
        table = db.machine_states
        last = (
            sa.select(table.c.machine_id, table.c.is_up, table.c.reason)
            .ext(distinct_on(table.c.machine_id))
            .order_by(table.c.machine_id, table.c.since.desc())
        )
        with self._fenced() as connection:
            known = {row.machine_id: (row.is_up, row.reason) for row in connection.execute(last)}
            rows = [
                {"machine_id": machine, "since": checked_at, "is_up": state.is_up, "reason": state.reason}
                for machine, state in states.items()
                if known.get(machine) != (state.is_up, state.reason)
            ]
            if rows:
                connection.execute(insert(table).on_conflict_do_nothing(), rows)

    def beat(self, links: Links) -> None:
        """Tells that the grabber lives, and what it knows of each link. Raises ClaimLost."""
        statement = (
            sa.update(db.heartbeat)
            .where(db.heartbeat.c.holder == self._holder)
            .values(beat_at=datetime.now(UTC), links=mirror_links.to_json(links))
        )
        with self._database.begin() as connection:
            if connection.execute(statement).rowcount == 0:
                raise ClaimLost

    def _fenced(self) -> "_Fenced":
        return _Fenced(self._database, self._holder)


class _Fenced:
    """A transaction that holds the heartbeat's row, so that no other grabber takes over while it runs."""

    def __init__(self, database: sa.Engine, holder: UUID) -> None:
        self._transaction = database.begin()
        self._holder = holder

    def __enter__(self) -> sa.Connection:
        connection = self._transaction.__enter__()
        held = sa.select(1).where(db.heartbeat.c.holder == self._holder).with_for_update(read=True)
        if connection.scalar(held) is None:
            self._transaction.__exit__(None, None, None)
            raise ClaimLost
        return connection

    def __exit__(self, *error: Any) -> bool | None:
        return self._transaction.__exit__(*error)


_OF_MACHINE = (MemoryRecord, DiskRecord)


def _machines(connection: sa.Connection) -> dict[UUID, Machine]:
    table = db.machines
    return {
        row.identity: Machine(row.id, row.label, Position(row.epoch, row.revision, row.head))
        for row in connection.execute(sa.select(table))
    }


def _labels(new: Mapping[UUID, str], taken: set[str]) -> dict[UUID, str]:
    """A label for each new machine: its mask, with a number behind it where another has the same."""
    masks = list(new.values())
    labels: dict[UUID, str] = {}
    for identity, mask in new.items():
        number = 1 if masks.count(mask) > 1 else 0
        label = mask + _LABEL_NUMBER.format(number) if number else mask
        while label in taken or (number < 2 and mask in taken):
            number = max(number, 1) + 1
            label = mask + _LABEL_NUMBER.format(number)
        labels[identity] = label
        taken.add(label)
    return labels


def _origin(batch: Batch, record: Record) -> dict[str, Any]:
    return {
        "identity": record.origin.identity,
        "machine_id": batch.machine_id,
        "epoch": batch.position.epoch,
        "revision": record.origin.revision,
        "updated_at": record.origin.updated_at,
    }


def _rows(batch: Batch) -> dict[sa.Table, list[dict[str, Any]]]:
    """The rows of all tables but the jobs', newest last of each document."""
    rows: dict[sa.Table, list[dict[str, Any]]] = {}
    for record in batch.records:
        if not isinstance(record, JobRecord):
            table, make = _TABLES[type(record)]
            rows.setdefault(table, []).append({**_origin(batch, record), **make(record)})
    now = datetime.now(UTC)
    if batch.set_aside:
        rows[db.set_aside] = [
            {**asdict(item), "machine_id": batch.machine_id, "epoch": batch.position.epoch, "updated_at": now}
            for item in batch.set_aside
        ]
    return rows


def _delivery_row(record: DeliveryRecord) -> dict[str, Any]:
    return {
        "run": record.run,
        "global_start": record.global_start,
        "global_start_is_guess": record.global_start_is_guess,
        "lumisection_s": record.lumisection_s,
        "streams": packing.pack_streams(record.streams),
    }


def _playback_row(record: PlaybackRecord) -> dict[str, Any]:
    return {
        "run": record.run,
        "state": record.state,
        "lumisection": record.lumisection,
        "number_of_ls": record.number_of_ls,
        "run_key": record.run_key,
        "source_run": record.source_run,
    }


def _memory_row(record: MemoryRecord) -> dict[str, Any]:
    return {
        "total_bytes": record.total_bytes,
        "used_bytes": record.used_bytes,
        "free_bytes": record.free_bytes,
        "available_bytes": record.available_bytes,
    }


def _disk_row(record: DiskRecord) -> dict[str, Any]:
    return {
        "tag": record.tag,
        "total_bytes": record.total_bytes,
        "used_bytes": record.used_bytes,
        "free_bytes": record.free_bytes,
        "files": record.files,
    }


_TABLES: Mapping[type, tuple[sa.Table, Callable[[Any], dict[str, Any]]]] = {
    DeliveryRecord: (db.deliveries, _delivery_row),
    PlaybackRecord: (db.playbacks, _playback_row),
    MemoryRecord: (db.machine_memory, _memory_row),
    DiskRecord: (db.machine_disks, _disk_row),
}


def _job_row(record: JobRecord) -> dict[str, Any]:
    return {
        "run": record.run,
        "client": record.client,
        "started_at": record.started_at,
        "exit_code": record.exit_code,
        "cmssw_run": record.cmssw_run,
        "lumisection": record.lumisection,
        "lumisection_at": record.lumisection_at or record.origin.updated_at,
        "lumisections_skipped": sum(fate.is_skipped for fate in record.fates.fates),
        "events_total": record.events_total,
        "events_rate": record.events_rate,
        "fi_state": record.fi_state,
        "rss_kb": record.rss_kb,
    }


def _details_row(record: JobRecord) -> dict[str, Any]:
    return {
        "identity": record.origin.identity,
        "memory": packing.pack_memory(record.memory),
        "events": packing.pack_events(record.events),
        "fates": packing.pack_fates(record.fates),
        "log": packing.pack_log(record.log),
        "log_replaced": record.log.replaced,
    }


def _upsert_jobs(connection: sa.Connection, batch: Batch) -> None:
    """Writes the jobs, and the details of those that were new."""
    jobs = _newest(record for record in batch.records if isinstance(record, JobRecord))
    if not jobs:
        return
    written = _upsert(connection, db.jobs, [{**_origin(batch, job), **_job_row(job)} for job in jobs])
    details = [_details_row(job) for job in jobs if job.origin.identity in written]
    if details:
        statement = insert(db.job_details)
        changed = {
            column.name: statement.excluded[column.name]
            for column in db.job_details.c
            if column.name != "identity"
        }
        connection.execute(
            statement.on_conflict_do_update(index_elements=[db.job_details.c.identity], set_=changed), details
        )


def _newest(jobs: Iterable[JobRecord]) -> list[JobRecord]:
    """Each job once, by its highest revision."""
    newest: dict[UUID, JobRecord] = {}
    for job in sorted(jobs, key=lambda job: job.origin.revision):
        newest[job.origin.identity] = job
    return list(newest.values())


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> set[UUID]:
    """Writes rows over those of an older (epoch, revision); the identities that were written."""
    by_identity = {row["identity"]: row for row in sorted(rows, key=lambda row: int(row["revision"]))}
    statement = insert(table)
    excluded = statement.excluded
    changed: dict[str, Any] = {
        column.name: excluded[column.name] for column in table.c if column.name != "identity"
    }
    if table is db.jobs:
        changed["lumisection_at"] = _lumisection_at(excluded)
    older = sa.tuple_(table.c.epoch, table.c.revision) < sa.tuple_(excluded.epoch, excluded.revision)
    upsert = statement.on_conflict_do_update(
        index_elements=[table.c.identity], set_=changed, where=older
    ).returning(table.c.identity)
    return set(connection.scalars(upsert, list(by_identity.values())))


def _lumisection_at(excluded: Any) -> sa.ColumnElement[datetime]:
    """A job that does not say when it reached its lumisection reached it when that was seen first."""
    stands = db.jobs.c.lumisection.is_not_distinct_from(excluded.lumisection)
    return sa.case(
        (stands, sa.func.least(db.jobs.c.lumisection_at, excluded.lumisection_at)),
        else_=excluded.lumisection_at,
    )


def _describe_runs(connection: sa.Connection, records: Sequence[Record]) -> None:
    """Keeps what the newest report of each run says of it; a run is known from its first document on."""
    described: dict[int, dict[str, Any]] = {}
    for record in sorted(records, key=lambda record: record.origin.updated_at):
        if isinstance(record, _OF_MACHINE) or record.run == 0:
            continue
        row = described.setdefault(
            record.run, {"run": record.run, "run_key": None, "cmssw_version": None, "described_at": None}
        )
        if isinstance(record, JobRecord):
            row["run_key"] = record.run_key or row["run_key"]
            row["cmssw_version"] = record.cmssw_version or row["cmssw_version"]
            row["described_at"] = record.origin.updated_at
    if not described:
        return
    statement = insert(db.runs)
    excluded, runs = statement.excluded, db.runs.c
    newer = sa.or_(runs.described_at.is_(None), excluded.described_at > runs.described_at)
    upsert = statement.on_conflict_do_update(
        index_elements=[runs.run],
        set_={
            "run_key": sa.func.coalesce(excluded.run_key, runs.run_key),
            "cmssw_version": sa.func.coalesce(excluded.cmssw_version, runs.cmssw_version),
            "described_at": excluded.described_at,
        },
        where=newer,
    )
    connection.execute(upsert, sorted(described.values(), key=lambda row: int(row["run"])))


def _forget_set_aside(connection: sa.Connection, batch: Batch) -> None:
    """A document that is understood at last is no longer set aside."""
    identities = [record.origin.identity for record in batch.records]
    if identities:
        connection.execute(
            sa.delete(db.set_aside).where(
                db.set_aside.c.machine_id == batch.machine_id,
                db.set_aside.c.identity == sa.any_(sa.literal(identities, sa.ARRAY(sa.Uuid))),
            )
        )


def _move(batch: Batch) -> sa.Update:
    position = batch.position
    changed: dict[str, Any] = {
        "epoch": position.epoch,
        "revision": position.revision,
        "head": position.head,
    }
    if batch.clock_at is not None:
        changed["clock_at"] = batch.clock_at
    runs = [record.run for record in batch.records if isinstance(record, JobRecord)]
    if runs:
        # GREATEST passes over a null.
        changed["newest_run"] = sa.func.greatest(db.machines.c.newest_run, max(runs))
    return sa.update(db.machines).where(db.machines.c.id == batch.machine_id).values(changed)


def _notify(connection: sa.Connection, runs: Sequence[int]) -> None:
    told = "many" if len(runs) > _MOST_RUNS_TOLD else orjson.dumps(runs).decode()
    connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, told)))
