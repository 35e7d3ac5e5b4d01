"""Start and end of an import.

`start` renames the legacy tables and creates the schema beside them in one transaction; grabbers and servers
can run from then on. It records the batches to import, and for each machine the newest document of the
earlier mirror, from which its grabber continues.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import DocumentType
from legacy_import import importer, legacy_tables, preflight
from legacy_import.importer import FIRST_EPOCH
from legacy_import.legacy_reader import NO_NUMBER
from legacy_import.legacy_tables import ORIGINAL
from storage import machines
from storage.rows import QuarantinedDocument
from storage.schema import SchemaState, migration_lock, read_schema, upgrade, verify_secret
from storage.upserts import write_quarantined

# A request for an exclusive lock makes all later requests wait behind it.
_START_LOCK_TIMEOUT = "2s"
_END_LOCK_TIMEOUT = "5s"
# DQM² may still have the documents of jobs that were running when the earlier mirror last saw them.
_RETRY_PERIOD = "30 days"
_UNKNOWN_END = "imported while the job was running: its exit code is unknown"


def start(database: sa.Engine, pseudonymizer: Pseudonymizer) -> None:
    """Start the import, unless it was started before.

    Raises PreflightFailed if it is refused, OperationalError if a table is in use.
    """
    with migration_lock(database) as connection:
        is_legacy = read_schema(connection).state is SchemaState.LEGACY
        connection.rollback()
        if is_legacy:
            with connection.begin():
                _start(connection, pseudonymizer)


def drop(database: sa.Engine) -> None:
    """Drop the legacy tables, with everything that was not imported.

    Raises OperationalError if they are in use.
    """
    with migration_lock(database) as connection, connection.begin():
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_END_LOCK_TIMEOUT}'"))
        legacy_tables.drop(connection)
        connection.execute(sa.delete(db.import_batches))


def undo(database: sa.Engine) -> None:
    """Restore the legacy tables, and drop everything that this mirror has stored.

    Raises OperationalError if tables are in use.
    """
    with migration_lock(database) as connection, connection.begin():
        connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_END_LOCK_TIMEOUT}'"))
        db.metadata.drop_all(connection)
        connection.execute(sa.text("DROP TABLE alembic_version"))
        legacy_tables.restore_names(connection)


def _start(connection: sa.Connection, pseudonymizer: Pseudonymizer) -> None:
    preflight.check(connection)
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_START_LOCK_TIMEOUT}'"))
    legacy_tables.lock_for_write(connection)
    # Slow queries first, while the tables can still be read by others.
    positions = connection.execute(_positions()).all()
    unfinished = connection.execute(_unfinished_jobs()).all()
    hosts = {*(row.host for row in positions), *_hosts_with_states(connection)}
    batches = importer.plan_batches(connection, ORIGINAL)
    legacy_tables.rename(connection)
    upgrade(connection)
    verify_secret(connection, pseudonymizer.check_value())
    machines.register(
        connection, {pseudonymizer.for_machine(host): default_label(host) for host in sorted(hosts)}
    )
    for row in positions:
        _set_position(connection, row, pseudonymizer)
    for row in unfinished:
        _quarantine(connection, row, pseudonymizer)
    importer.save_batches(connection, batches)


def _documents() -> sa.CTE:
    """Host, id, revision, run and time of all documents with a host name."""
    runs, graphs = ORIGINAL.runs.c, ORIGINAL.graphs.c
    has_no_exit_code = sa.func.coalesce(runs.exit_code, NO_NUMBER) == NO_NUMBER
    jobs = sa.select(
        *(legacy_tables.host(ORIGINAL.runs).label("host"), runs.id, runs.rev, runs.run, runs.timestamp),
        sa.and_(legacy_tables.has_run(ORIGINAL.runs), has_no_exit_code).label("is_unfinished"),
    )
    deliveries = sa.select(
        *(legacy_tables.host(ORIGINAL.graphs), graphs.id, graphs.rev, sa.null(), graphs.timestamp, sa.false())
    )
    return sa.union_all(jobs, deliveries).cte("documents")


def _positions() -> sa.Select[Any]:
    """Each machine's newest document, newest time, and newest run of its jobs."""
    documents = _documents()
    newest = (
        sa.select(
            documents.c.host,
            sa.func.max(documents.c.rev).label("rev"),
            sa.func.max(documents.c.run).label("newest_run"),
            sa.func.max(documents.c.timestamp)
            .filter(legacy_tables.is_known(documents.c.timestamp))
            .label("clock_at"),
        )
        .where(documents.c.host.is_not(None))
        .group_by(documents.c.host)
        .subquery()
    )
    is_newest = sa.and_(documents.c.host == newest.c.host, documents.c.rev == newest.c.rev)
    return (
        sa.select(newest, documents.c.id)
        .outerjoin(documents, is_newest)
        .order_by(newest.c.host, documents.c.id)
        .ext(distinct_on(newest.c.host))
    )


def _unfinished_jobs() -> sa.Select[Any]:
    """The recent jobs that were running when the earlier mirror last saw them."""
    documents = _documents()
    is_known = legacy_tables.is_known(documents.c.timestamp)
    newest = sa.select(sa.func.max(documents.c.timestamp).filter(is_known)).scalar_subquery()
    return sa.select(documents.c.host, documents.c.id, documents.c.rev).where(
        documents.c.is_unfinished,
        documents.c.host.is_not(None),
        documents.c.rev >= 0,
        documents.c.timestamp > newest - sa.text(f"interval '{_RETRY_PERIOD}'"),
    )


def _hosts_with_states(connection: sa.Connection) -> set[str]:
    if not legacy_tables.has_machine_states(connection, ORIGINAL):
        return set()
    names = connection.scalars(sa.select(legacy_tables.short_host(ORIGINAL.hostnames.c.name)))
    return {name for name in names if name is not None}


def _set_position(connection: sa.Connection, row: sa.Row[Any], pseudonymizer: Pseudonymizer) -> None:
    """Let a machine's grabber continue from the newest document of the earlier mirror."""
    table = db.machines
    statement = sa.update(table).where(table.c.identity == pseudonymizer.for_machine(row.host))
    connection.execute(
        statement.values(
            epoch=FIRST_EPOCH,
            revision=row.rev,
            last_document=None if row.id is None else pseudonymizer.for_document(row.host, row.id),
            clock_at=row.clock_at,
            newest_run=row.newest_run,
        )
    )


def _quarantine(connection: sa.Connection, row: sa.Row[Any], pseudonymizer: Pseudonymizer) -> None:
    """Let the grabber request an unfinished job again, as it does for quarantined documents."""
    table = db.machines
    machine_id: int = connection.execute(
        sa.select(table.c.id).where(table.c.identity == pseudonymizer.for_machine(row.host))
    ).scalar_one()
    document_id = pseudonymizer.for_document(row.host, row.id)
    document = QuarantinedDocument(document_id, row.rev, DocumentType.JOB.value, _UNKNOWN_END)
    write_quarantined(connection, machine_id, FIRST_EPOCH, [document])
