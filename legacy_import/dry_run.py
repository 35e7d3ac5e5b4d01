"""What an adoption would do, told without doing any of it: `python db.py adopt --dry-run`."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import chain

import sqlalchemy as sa

from dqm2.pseudonyms import default_label
from grabbing.document_pipeline import NotUnderstood
from legacy_import import legacy_tables, machine_states
from legacy_import.importer import Adopter
from legacy_import.legacy_documents import EarlierDelivery, EarlierJob
from legacy_import.legacy_reader import ALL_RUNS, Reader
from legacy_import.legacy_tables import AS_FOUND
from legacy_import.preflight import refuse_unfit

# Later than any report: no log is read, which would take most of the time and refuses no row.
_NO_LOGS = datetime(9999, 1, 1, tzinfo=UTC)


def rehearse(database: sa.Engine, adopter: Adopter) -> Iterator[str]:
    """What would be taken over, what could not be and why, a line each. Raises Unfit if nothing would be."""
    with database.connect() as connection:
        connection.execute(sa.text("SET TRANSACTION READ ONLY, ISOLATION LEVEL REPEATABLE READ"))
        connection.execute(sa.text("SET LOCAL statement_timeout = 0"))
        refuse_unfit(connection)
        yield from _counts(connection)
        yield from _refusals(connection, adopter)
        if legacy_tables.has_states(connection, AS_FOUND):
            polls = _count(connection, AS_FOUND.hoststatuses)
            changes = _count(connection, machine_states.changes(AS_FOUND).subquery())
            yield f"states of machines: {polls}, of which {changes} are changes"


def _counts(connection: sa.Connection) -> Iterator[str]:
    runs, graphs = AS_FOUND.runs, AS_FOUND.graphs
    counted = connection.execute(
        sa.select(
            sa.func.count(runs.c.run).label("jobs"),
            sa.func.count(runs.c.run.distinct()).label("runs"),
            sa.func.min(runs.c.run).label("first"),
            sa.func.max(runs.c.run).label("last"),
            sa.func.count().filter(runs.c.run.is_(None)).label("of_no_run"),
        )
    ).one()
    yield f"jobs: {counted.jobs}, of {counted.runs} runs from {counted.first} to {counted.last}"
    yield f"graphs of file delivery: {_count(connection, graphs)}"
    yield f"rows of no run, such as dqm-stats, with nothing in them to take over: {counted.of_no_run}"
    hosts = sa.union(sa.select(legacy_tables.host(runs)), sa.select(legacy_tables.host(graphs)))
    masks = sorted(default_label(host) for host in connection.scalars(hosts) if host is not None)
    yield f"machines: {', '.join(masks)}"


def _refusals(connection: sa.Connection, adopter: Adopter) -> Iterator[str]:
    """Each document is made, though not written: what is told here is what would happen."""
    reader = Reader(connection, AS_FOUND, logs_since=_NO_LOGS)
    now = datetime.now(UTC)
    refused: Counter[str] = Counter()
    left_out: Counter[str] = Counter()
    rows: Iterator[EarlierJob | EarlierDelivery] = chain(reader.jobs(ALL_RUNS), reader.deliveries(ALL_RUNS))
    for found in rows:
        try:
            left_out.update(adopter.row(found, None, now)[1])
        except NotUnderstood as error:
            refused[str(error)] += 1
    for reason, number in sorted(refused.items()):
        yield f"can't be taken over: {number}, {reason}"
    for field, number in sorted(left_out.items()):
        yield f"taken over without {field}, which is of another shape: {number}"


def _count(connection: sa.Connection, rows: sa.FromClause) -> int:
    return connection.execute(sa.select(sa.func.count()).select_from(rows)).scalar_one()
