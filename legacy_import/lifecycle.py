"""The beginning: the earlier tables set apart and the schema made beside them, in one transaction.

From then on grabbers and servers work. Where the earlier mirror was with each machine is where its grabber
goes on, and what there is to take over is written down.
"""

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import DocumentType
from legacy_import import batches, legacy_tables
from legacy_import.importer import EPOCH
from legacy_import.legacy_tables import AS_FOUND
from legacy_import.preflight import refuse_unfit
from storage import installation, machines
from storage.rows import QuarantinedDocument
from storage.upserts import write_quarantined

# Whoever waits for a table keeps all others waiting that come after it.
_LOCK_TIMEOUT = "2s"
# DQM² may still have the documents of jobs that ran when the earlier mirror saw them last.
_LOOK_BACK = "30 days"
_UNDETERMINED = "taken over while it ran: how it ended is not known"


def begin(database: sa.Engine, identities: Pseudonymizer) -> None:
    """Begins, unless somebody has.

    Raises Unfit if that can't be, OperationalError if a table is in use for longer than a moment.
    """
    with db.migration_lock(database) as connection:
        is_to_begin = db.schema(connection).state is db.SchemaState.LEGACY
        connection.rollback()
        if is_to_begin:
            with connection.begin():
                _begin(connection, identities)


def _begin(connection: sa.Connection, identities: Pseudonymizer) -> None:
    refuse_unfit(connection)
    connection.execute(sa.text(f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT}'"))
    legacy_tables.hold_still(connection)
    # What takes long comes first: as yet the tables can be read.
    positions = connection.execute(_positions()).all()
    undetermined = connection.execute(_undetermined()).all()
    hosts = {*(row.host for row in positions), *_hosts_with_states(connection)}
    planned = batches.planned(connection, AS_FOUND)
    legacy_tables.set_apart(connection)
    db.upgrade(connection)
    installation.verify_secret(connection, identities.check_value())
    machines.register(
        connection, {identities.for_machine(host): default_label(host) for host in sorted(hosts)}
    )
    for row in positions:
        _place(connection, row, identities)
    for row in undetermined:
        _look_at_again(connection, row, identities)
    batches.keep(connection, planned)


def _documents() -> sa.CTE:
    """Of each document that names its machine what tells how far that was mirrored."""
    runs, graphs = AS_FOUND.runs.c, AS_FOUND.graphs.c
    of_jobs = sa.select(
        *(legacy_tables.host(AS_FOUND.runs).label("host"), runs.id, runs.rev, runs.run, runs.timestamp),
        sa.and_(runs.run.is_not(None), sa.func.coalesce(runs.exit_code, -1) == -1).label("is_undetermined"),
    )
    of_deliveries = sa.select(
        *(legacy_tables.host(AS_FOUND.graphs), graphs.id, graphs.rev, sa.null(), graphs.timestamp, sa.false())
    )
    return sa.union_all(of_jobs, of_deliveries).cte("documents")


def _positions() -> sa.Select[Any]:
    """Each machine's newest document, its clock, and the newest run of its jobs."""
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
    is_head = sa.and_(documents.c.host == newest.c.host, documents.c.rev == newest.c.rev)
    return (
        sa.select(newest, documents.c.id)
        .outerjoin(documents, is_head)
        .order_by(newest.c.host, documents.c.id)
        .ext(distinct_on(newest.c.host))
    )


def _undetermined() -> sa.Select[Any]:
    """The jobs of the last days that ran when they were seen last."""
    documents = _documents()
    is_known = legacy_tables.is_known(documents.c.timestamp)
    newest = sa.select(sa.func.max(documents.c.timestamp).filter(is_known)).scalar_subquery()
    return sa.select(documents.c.host, documents.c.id, documents.c.rev).where(
        documents.c.is_undetermined,
        documents.c.host.is_not(None),
        documents.c.rev >= 0,
        documents.c.timestamp > newest - sa.text(f"interval '{_LOOK_BACK}'"),
    )


def _hosts_with_states(connection: sa.Connection) -> set[str]:
    if not legacy_tables.has_states(connection, AS_FOUND):
        return set()
    names = connection.scalars(sa.select(legacy_tables.short_host(AS_FOUND.hostnames.c.name)))
    return {name for name in names if name is not None}


def _place(connection: sa.Connection, row: sa.Row[Any], identities: Pseudonymizer) -> None:
    """Where the earlier mirror was with a machine is where its grabber goes on."""
    table = db.machines
    statement = sa.update(table).where(table.c.identity == identities.for_machine(row.host))
    connection.execute(
        statement.values(
            epoch=EPOCH,
            revision=row.rev,
            head=None if row.id is None else identities.for_document(row.host, row.id),
            clock_at=row.clock_at,
            newest_run=row.newest_run,
        )
    )


def _look_at_again(connection: sa.Connection, row: sa.Row[Any], identities: Pseudonymizer) -> None:
    """Has the grabber ask for a document as it does for one that it could not understand."""
    table = db.machines
    machine_id: int = connection.execute(
        sa.select(table.c.id).where(table.c.identity == identities.for_machine(row.host))
    ).scalar_one()
    aside = QuarantinedDocument(
        identities.for_document(row.host, row.id), row.rev, DocumentType.JOB.value, _UNDETERMINED
    )
    write_quarantined(connection, machine_id, EPOCH, [aside])
