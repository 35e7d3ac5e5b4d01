"""The server prepares the statements of pages, and they find the same as when they are not prepared."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from storage.reader import MirrorReader
from tests.grabber_runner import reader as reader_of
from tests.mirrored_cluster import MirroredCluster, job
from web.databases import ClusterDatabase

RUN = 358_791
# PostgreSQL takes the same plan for all values from the sixth execution on.
EXECUTIONS = 7

READS: Mapping[str, Callable[[MirrorReader], Any]] = {
    "no parameter": lambda reader: reader.runs.run_keys(),
    "a run": lambda reader: [reader.runs.get(RUN - 1), reader.runs.get(RUN), reader.runs.get(1)],
    "a text": lambda reader: reader.runs.expected_clients(RUN, "pp_run"),
    "a time": lambda reader: reader.cluster.state_changes(datetime(2022, 1, 1, tzinfo=UTC)),
    "an id": lambda reader: reader.jobs.details(reader.runs.get(RUN).jobs[0].id),  # type: ignore[union-attr]
    "a text with a quotation mark": lambda reader: reader.runs.expected_clients(RUN, "%'s"),
}


@pytest.fixture
def settings_with_runs(settings: Settings) -> Settings:
    mirrored = MirroredCluster(settings)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *(job(run, client) for run in (RUN - 1, RUN) for client in ("beam", "dt")))
    return settings


def test_it_reads_the_same(settings_with_runs: Settings) -> None:
    prepared = ClusterDatabase(settings_with_runs, Cluster.PRODUCTION).uncached_reader()
    for parameter, read in READS.items():
        expected = read(reader_of(settings_with_runs))
        assert [read(prepared) for _ in range(EXECUTIONS)] == [expected] * EXECUTIONS, parameter


def test_a_connection_prepares_a_statement_once(settings_with_runs: Settings) -> None:
    database = ClusterDatabase(settings_with_runs, Cluster.PRODUCTION)
    for run in range(RUN, RUN + EXECUTIONS):
        database.uncached_reader().runs.adjacent(run)
    executions = sa.text("SELECT generic_plans + custom_plans FROM pg_prepared_statements")
    with database.engine.connect() as connection:
        assert connection.scalars(executions).all() == [EXECUTIONS]


def test_a_new_connection_prepares_it_again(settings_with_runs: Settings) -> None:
    database = ClusterDatabase(settings_with_runs, Cluster.PRODUCTION)
    expected = database.uncached_reader().runs.span()
    database.engine.dispose()
    assert database.uncached_reader().runs.span() == expected


def test_other_statements_are_not_prepared(settings_with_runs: Settings) -> None:
    database = ClusterDatabase(settings_with_runs, Cluster.PRODUCTION)
    with database.engine.connect() as connection:
        connection.execute(sa.select(db.runs.c.run)).all()
        assert connection.scalars(sa.text("SELECT name FROM pg_prepared_statements")).all() == []
