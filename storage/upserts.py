"""Statements that write a batch, many rows each: a document replaces only an older version of itself.

Versions are ordered by (epoch, revision), so that repeating a batch changes nothing, and the order of batches
does not matter.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from operator import itemgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.records import DocumentType
from storage import crash_group_writer, log_index
from storage.bulk_insert import by_column, insert_arrays
from storage.notifications import ChangeNotification, MachineProgress
from storage.rows import Batch, DocumentRow, QuarantinedDocument

_TABLES: Mapping[DocumentType, sa.Table] = {
    DocumentType.JOB: db.jobs,
    DocumentType.DELIVERY: db.deliveries,
    DocumentType.PLAYBACK: db.playbacks,
    DocumentType.MEMORY: db.machine_memory,
    DocumentType.DISK: db.machine_disks,
}


def write_batch(connection: sa.Connection, batch: Batch) -> None:
    """Write the documents of a batch, move the machine's checkpoint, and notify listeners."""
    checkpoint = batch.checkpoint
    write_documents(connection, checkpoint.epoch, {batch.machine_id: batch.rows})
    write_quarantined(connection, batch.machine_id, checkpoint.epoch, batch.quarantined)
    delete_from_quarantine(connection, batch.machine_id, [row.document.identity for row in batch.rows])
    count_dropped_fields(connection, Counter(batch.dropped_fields))
    connection.execute(_move_checkpoint(batch))
    progress = MachineProgress(batch.machine_id, checkpoint.epoch, checkpoint.revision)
    notify(connection, batch.rows, progress)


def write_documents(
    connection: sa.Connection, epoch: int, by_machine: Mapping[int, Sequence[DocumentRow]]
) -> None:
    """Write documents of an epoch of machines, their metadata of runs, and groups of crashes.

    Transactions share groups, runs and templates of logs. They write each kind once and in one order, so that
    no two wait for each other.
    """
    by_table: dict[sa.Table, list[dict[str, Any]]] = {}
    for machine_id, of_machine in by_machine.items():
        for row in of_machine:
            version = {
                "identity": row.document.identity,
                "machine_id": machine_id,
                "epoch": epoch,
                "revision": row.document.revision,
                "updated_at": row.document.updated_at,
            }
            by_table.setdefault(_TABLES[row.type], []).append({**version, **row.columns})
    rows = [row for of_machine in by_machine.values() for row in of_machine]
    crash_group_writer.write(connection, [row.crash_group for row in rows if row.crash_group is not None])
    # First, since crashes are stored with the metadata of their run.
    _write_run_metadata(connection, rows)
    written: set[UUID] = set()
    for table, of_table in by_table.items():
        written |= _upsert(connection, table, of_table)
    newest = {row.document.identity: row for row in sorted(rows, key=lambda row: row.document.revision)}
    by_job = {identity: row for identity, row in newest.items() if identity in written}
    _write_details(connection, by_job)


def write_quarantined(
    connection: sa.Connection, machine_id: int, epoch: int, documents: Sequence[QuarantinedDocument]
) -> None:
    """Quarantine documents of an epoch of a machine."""
    if documents:
        shared = {"machine_id": machine_id, "epoch": epoch, "updated_at": datetime.now(UTC)}
        rows = [{**shared, **asdict(document)} for document in documents]
        _upsert(connection, db.quarantined_documents, rows)


def count_dropped_fields(connection: sa.Connection, documents: Mapping[str, int]) -> None:
    """Add to the numbers of documents from which values were left out, by field."""
    if not documents:
        return
    now = datetime.now(UTC)
    # In one order everywhere, so that no two transactions wait for each other.
    rows = [
        {"field": field, "documents": number, "newest_at": now} for field, number in sorted(documents.items())
    ]
    table = db.dropped_fields
    statement = insert(table).values(rows)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[table.c.field],
            set_={
                "documents": table.c.documents + statement.excluded.documents,
                "newest_at": statement.excluded.newest_at,
            },
        )
    )


def notify(
    connection: sa.Connection, rows: Sequence[DocumentRow], progress: MachineProgress | None = None
) -> None:
    """Notify listeners, on commit, of the runs that changed and of a machine's new checkpoint."""
    runs = {row.run for row in rows if row.run is not None}
    with_jobs = {row.run for row in rows if row.run is not None and row.type is DocumentType.JOB}
    _notify(
        connection, ChangeNotification(tuple(sorted(with_jobs)), tuple(sorted(runs - with_jobs)), progress)
    )


def notify_jobs(connection: sa.Connection, runs: Collection[int]) -> None:
    """Notify listeners, on commit, of runs whose jobs changed."""
    _notify(connection, ChangeNotification(tuple(sorted(runs))))


def _notify(connection: sa.Connection, change: ChangeNotification) -> None:
    payload = change.serialize()
    connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, payload)))


def _upsert(connection: sa.Connection, table: sa.Table, rows: list[dict[str, Any]]) -> set[UUID]:
    """Write rows in place of those of an older (epoch, revision); returns the identities written."""
    by_identity = {row["identity"]: row for row in sorted(rows, key=lambda row: int(row["revision"]))}
    statement = insert_arrays(table, rows[0])
    excluded = statement.excluded
    changed = _all_but_identity(table, excluded)
    if table is db.jobs:
        changed |= _job_times(excluded)
    is_older = sa.tuple_(table.c.epoch, table.c.revision) < sa.tuple_(excluded.epoch, excluded.revision)
    upsert = statement.on_conflict_do_update(
        index_elements=[table.c.identity], set_=changed, where=is_older
    ).returning(table.c.identity)
    return set(connection.scalars(upsert, by_column(list(by_identity.values()))))


def _all_but_identity(table: sa.Table, excluded: Any) -> dict[str, Any]:
    return {column.name: excluded[column.name] for column in table.c if column.name != "identity"}


def _job_times(excluded: Any) -> dict[str, sa.ColumnElement[datetime]]:
    """Times at which a job started and reached its lumisection: the earliest in any of its reports.

    A document whose job started after the previous report is another job's, whose id was reused. A job that
    started at the time of its own report does not know its start.
    """
    jobs = db.jobs.c
    is_another_job = sa.and_(excluded.started_at > jobs.updated_at, excluded.started_at < excluded.updated_at)
    is_same_lumisection = jobs.lumisection.is_not_distinct_from(excluded.lumisection)
    return {
        "started_at": sa.case(
            (is_another_job, excluded.started_at),
            else_=sa.func.least(jobs.started_at, excluded.started_at),
        ),
        "lumisection_at": sa.case(
            (is_another_job, excluded.lumisection_at),
            (is_same_lumisection, sa.func.least(jobs.lumisection_at, excluded.lumisection_at)),
            else_=excluded.lumisection_at,
        ),
    }


def _write_details(connection: sa.Connection, by_job: Mapping[UUID, DocumentRow]) -> None:
    """Write the details of those jobs that were written, and the index of their logs."""
    details = [
        {"identity": identity, **row.details} for identity, row in by_job.items() if row.details is not None
    ]
    if not details:
        return
    table = db.job_details
    statement = insert_arrays(table, details[0])
    upsert = statement.on_conflict_do_update(
        index_elements=[table.c.identity], set_=_all_but_identity(table, statement.excluded)
    )
    connection.execute(upsert, by_column(details))
    log_index.write(
        connection,
        {
            identity: (row.run, row.templates)
            for identity, row in by_job.items()
            if row.templates is not None and row.run is not None
        },
    )


def _write_run_metadata(connection: sa.Connection, rows: Sequence[DocumentRow]) -> None:
    """Insert new runs, and update each run's metadata to that of its newest report."""
    by_run: dict[int, dict[str, Any]] = {}
    for row in sorted(rows, key=lambda row: row.document.updated_at):
        if not row.run:
            continue
        run = by_run.setdefault(
            row.run, {"run": row.run, "run_key": None, "cmssw_version": None, "described_at": None}
        )
        if row.run_metadata is not None:
            run["run_key"] = row.run_metadata.run_key or run["run_key"]
            run["cmssw_version"] = row.run_metadata.cmssw_version or run["cmssw_version"]
            run["described_at"] = row.document.updated_at
    if not by_run:
        return
    statement = insert(db.runs)
    excluded, runs = statement.excluded, db.runs.c
    is_newer = sa.or_(runs.described_at.is_(None), excluded.described_at > runs.described_at)
    upsert = statement.on_conflict_do_update(
        index_elements=[runs.run],
        set_={
            "run_key": sa.func.coalesce(excluded.run_key, runs.run_key),
            "cmssw_version": sa.func.coalesce(excluded.cmssw_version, runs.cmssw_version),
            "described_at": excluded.described_at,
        },
        where=is_newer,
    ).returning(runs.run)
    connection.execute(upsert, sorted(by_run.values(), key=itemgetter("run")))


def delete_from_quarantine(connection: sa.Connection, machine_id: int, identities: Collection[UUID]) -> None:
    """Delete the quarantine entries of documents of a machine."""
    if identities:
        quarantined = db.quarantined_documents
        connection.execute(
            sa.delete(quarantined).where(
                quarantined.c.machine_id == machine_id,
                quarantined.c.identity == sa.any_(sa.literal(list(identities), sa.ARRAY(sa.Uuid))),
            )
        )


def _move_checkpoint(batch: Batch) -> sa.Update:
    changed: dict[str, Any] = asdict(batch.checkpoint)
    if batch.clock_at is not None:
        changed["clock_at"] = batch.clock_at
    runs = [row.run for row in batch.rows if row.type is DocumentType.JOB and row.run is not None]
    if runs:
        # GREATEST ignores nulls.
        changed["newest_run"] = sa.func.greatest(db.machines.c.newest_run, max(runs))
    return sa.update(db.machines).where(db.machines.c.id == batch.machine_id).values(changed)
