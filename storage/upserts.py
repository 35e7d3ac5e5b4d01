"""The statements that a batch is written by, many rows each: a document goes over an older one only.

Older means a lower (epoch, revision), so that repeating a batch changes nothing and the order of batches
does not matter.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.records import DocumentType
from storage.batch import Batch
from storage.notifications import ChangeNotification, MachineProgress
from storage.rows import DocumentRow, QuarantinedDocument

_TABLES: Mapping[DocumentType, sa.Table] = {
    DocumentType.JOB: db.jobs,
    DocumentType.DELIVERY: db.deliveries,
    DocumentType.PLAYBACK: db.playbacks,
    DocumentType.MEMORY: db.machine_memory,
    DocumentType.DISK: db.machine_disks,
}


def write_batch(connection: sa.Connection, batch: Batch) -> None:
    """Writes the documents of a batch and the machine's position, and tells who listens."""
    write_documents(connection, batch.machine_id, batch.checkpoint.epoch, batch.rows)
    write_quarantined(connection, batch.machine_id, batch.checkpoint.epoch, batch.quarantined)
    _forget_set_aside(connection, batch)
    connection.execute(_move(batch))
    position = batch.checkpoint
    notify(connection, batch.rows, MachineProgress(batch.machine_id, position.epoch, position.revision))


def write_documents(
    connection: sa.Connection, machine_id: int, epoch: int, rows: Sequence[DocumentRow]
) -> None:
    """Writes documents of an epoch of a machine, and what they say of their runs."""
    by_table: dict[sa.Table, list[dict[str, Any]]] = {}
    for row in rows:
        origin = row.document
        from_where = {
            "identity": origin.identity,
            "machine_id": machine_id,
            "epoch": epoch,
            "revision": origin.revision,
            "updated_at": origin.updated_at,
        }
        by_table.setdefault(_TABLES[row.type], []).append({**from_where, **row.columns})
    written: set[UUID] = set()
    for table, of_table in by_table.items():
        written |= _upsert(connection, table, of_table)
    _write_details(connection, rows, written)
    _describe_runs(connection, rows)


def write_quarantined(
    connection: sa.Connection, machine_id: int, epoch: int, items: Sequence[QuarantinedDocument]
) -> None:
    """Writes down which documents of an epoch of a machine are set aside."""
    if items:
        of_now = {"machine_id": machine_id, "epoch": epoch, "updated_at": datetime.now(UTC)}
        _upsert(connection, db.quarantined_documents, [{**of_now, **asdict(item)} for item in items])


def notify(
    connection: sa.Connection, rows: Sequence[DocumentRow], moved: MachineProgress | None = None
) -> None:
    """Tells who listens which runs changed, and how far a machine is mirrored with that, once committed."""
    runs = sorted({row.run for row in rows if row.run is not None})
    told = ChangeNotification(tuple(runs), moved).serialize()
    connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, told)))


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> set[UUID]:
    """Writes rows over those of an older (epoch, revision); the identities that were written."""
    by_identity = {row["identity"]: row for row in sorted(rows, key=lambda row: int(row["revision"]))}
    statement = insert(table)
    excluded = statement.excluded
    changed: dict[str, Any] = {
        column.name: excluded[column.name] for column in table.c if column.name != "identity"
    }
    if table is db.jobs:
        changed |= _times_of_job(excluded)
    older = sa.tuple_(table.c.epoch, table.c.revision) < sa.tuple_(excluded.epoch, excluded.revision)
    upsert = statement.on_conflict_do_update(
        index_elements=[table.c.identity], set_=changed, where=older
    ).returning(table.c.identity)
    return set(connection.scalars(upsert, list(by_identity.values())))


def _times_of_job(excluded: Any) -> dict[str, sa.ColumnElement[datetime]]:
    """When a job started, and when it reached its lumisection: the earliest that any report told.

    A document whose job started after the last report of the one before is another job's, under an id that
    was used again. One that started at its own report doesn't know when it started.
    """
    jobs = db.jobs.c
    is_another = sa.and_(excluded.started_at > jobs.updated_at, excluded.started_at < excluded.updated_at)
    stands = jobs.lumisection.is_not_distinct_from(excluded.lumisection)
    return {
        "started_at": sa.case(
            (is_another, excluded.started_at),
            else_=sa.func.least(jobs.started_at, excluded.started_at),
        ),
        "lumisection_at": sa.case(
            (is_another, excluded.lumisection_at),
            (stands, sa.func.least(jobs.lumisection_at, excluded.lumisection_at)),
            else_=excluded.lumisection_at,
        ),
    }


def _write_details(connection: sa.Connection, rows: Sequence[DocumentRow], written: set[UUID]) -> None:
    """Writes the details of those jobs that were written."""
    newest = {row.document.identity: row for row in sorted(rows, key=lambda row: row.document.revision)}
    details = [
        {"identity": identity, **row.details}
        for identity, row in newest.items()
        if row.details is not None and identity in written
    ]
    if not details:
        return
    statement = insert(db.job_details)
    changed = {
        column.name: statement.excluded[column.name]
        for column in db.job_details.c
        if column.name != "identity"
    }
    upsert = statement.on_conflict_do_update(index_elements=[db.job_details.c.identity], set_=changed)
    # What returns something goes many rows a statement; else each row is one, with a way there and back.
    connection.execute(upsert.returning(db.job_details.c.identity), details)


def _describe_runs(connection: sa.Connection, rows: Sequence[DocumentRow]) -> None:
    """Keeps what the newest report of each run says of it; a run is known from its first document on."""
    described: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.document.updated_at):
        if not row.run:
            continue
        run = described.setdefault(
            row.run, {"run": row.run, "run_key": None, "cmssw_version": None, "described_at": None}
        )
        if row.run_metadata is not None:
            run["run_key"] = row.run_metadata.run_key or run["run_key"]
            run["cmssw_version"] = row.run_metadata.cmssw_version or run["cmssw_version"]
            run["described_at"] = row.document.updated_at
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
    ).returning(runs.run)
    connection.execute(upsert, list(described.values()))


def _forget_set_aside(connection: sa.Connection, batch: Batch) -> None:
    """A document that is understood at last is no longer set aside."""
    identities = [row.document.identity for row in batch.rows]
    if identities:
        connection.execute(
            sa.delete(db.quarantined_documents).where(
                db.quarantined_documents.c.machine_id == batch.machine_id,
                db.quarantined_documents.c.identity == sa.any_(sa.literal(identities, sa.ARRAY(sa.Uuid))),
            )
        )


def _move(batch: Batch) -> sa.Update:
    position = batch.checkpoint
    changed: dict[str, Any] = {
        "epoch": position.epoch,
        "revision": position.revision,
        "head": position.last_document,
        "head_at": position.last_document_at,
    }
    if batch.clock_at is not None:
        changed["clock_at"] = batch.clock_at
    runs = [row.run for row in batch.rows if row.type is DocumentType.JOB and row.run is not None]
    if runs:
        # GREATEST passes over a null.
        changed["newest_run"] = sa.func.greatest(db.machines.c.newest_run, max(runs))
    return sa.update(db.machines).where(db.machines.c.id == batch.machine_id).values(changed)
