"""The cached reader keeps a value only while it is known to be unchanged."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from inspect import getmembers, isfunction
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqm2.records import JobRecord
from dqmsquare_cfg import Settings
from storage.change_listener import ChangeTracker
from storage.database_reader import DatabaseReader
from storage.job_state import LOST_AFTER, JobState, StateRules
from storage.log_dictionaries import DictionaryStore
from storage.run_queries import RunFilter
from tests.mirrored_cluster import MirroredCluster, job
from tests.waiting import until
from web.cache.cached_reader import CachedReader, ReadCache

RUN = 358_791


@pytest.fixture
def database(settings: Settings, mirrored: MirroredCluster) -> sa.Engine:
    """The database of the production cluster with a run."""
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    return db.engine(settings, mirrored.cluster, "tests")


def remembering(database: sa.Engine, changes: ChangeTracker) -> CachedReader:
    """A cached reader of a cluster with the machines of the database."""
    with database.connect() as connection:
        machines = frozenset(connection.scalars(sa.select(db.machines.c.identity)))
    rules = StateRules(timedelta(minutes=15), machines)
    return CachedReader(
        database, rules, DictionaryStore(database), ReadCache(changes), lambda: None, stale_ok=False
    )


def test_each_query_is_cached_but_for_those_made_of_others(database: sa.Engine) -> None:
    readers = [
        each
        for each in vars(remembering(database, ChangeTracker())).values()
        if isinstance(each, DatabaseReader)
    ]
    uncached = {
        f"{type(reader).__name__}.{name}"
        for reader in readers
        for name, _ in getmembers(type(reader), isfunction)
        if not name.startswith("_") and name not in vars(reader)
    }
    assert uncached == {"RunFiguresReader.iter_found", "RunReader.iter_found", "RunReader.read_all"}


def test_it_looks_itself_while_changes_can_not_be_heard(
    database: sa.Engine, mirrored: MirroredCluster
) -> None:
    reader = remembering(database, ChangeTracker())
    assert reader.runs.span().highest == RUN
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    until(lambda: reader.runs.span().highest == RUN + 1)


def test_it_reads_again_what_changed_while_it_was_read(
    database: sa.Engine, mirrored: MirroredCluster
) -> None:
    changes = ChangeTracker()
    changes.is_listening = True
    reader = remembering(database, changes)

    def change(*_: Any) -> None:
        mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
        changes.record_batch([RUN + 1])

    sa.event.listen(database, "after_cursor_execute", change, once=True)
    assert reader.runs.span().highest == RUN
    assert reader.runs.span().highest == RUN + 1


READS: dict[str, Callable[[CachedReader, Any], list[JobState]]] = {
    "run": lambda reader, _: [job.state for job in reader.runs.get(RUN).jobs],  # type: ignore[union-attr]
    "job_details": lambda reader, job_id: [reader.jobs.details(job_id).job.state],  # type: ignore[union-attr]
    "find_runs": lambda reader, _: [
        job.state for run in reader.runs.find(RunFilter(RUN, RUN), below=None, limit=5) for job in run.jobs
    ],
    "run_summaries": lambda reader, _: [
        client.state
        for run in reader.run_summaries.find(RunFilter(RUN, RUN), below=None, limit=5)
        for client in run.clients.values()
    ],
    # A run whose only job is lost is over.
    "run_figures": lambda reader, _: [
        JobState.RUNNING if run.is_ongoing else JobState.LOST
        for run in reader.run_figures.find(RunFilter(RUN, RUN), below=None, limit=5)
    ],
}


def report(record: JobRecord, at: datetime) -> JobRecord:
    """The job as it reports at a time."""
    return replace(record, document=replace(record.document, updated_at=at), lumisection_at=at)


@pytest.mark.parametrize("read", READS.values(), ids=READS)
def test_it_reads_again_when_a_state_changes_by_the_clock(
    settings: Settings, mirrored: MirroredCluster, read: Callable[[CachedReader, Any], list[JobState]]
) -> None:
    changes = ChangeTracker()
    changes.is_listening = True
    database = db.engine(settings, mirrored.cluster, "tests")
    silent = job(RUN, "beam")

    def is_lost(reader: CachedReader) -> bool:
        return read(reader, silent.document.identity) == [JobState.LOST]

    def reader_of_job(seconds_left: int) -> CachedReader:
        """A reader, the job being lost in that time."""
        reported_at = datetime.now(UTC) - LOST_AFTER + timedelta(seconds=seconds_left)
        mirrored.write(mirrored.filter_units[0], report(silent, reported_at))
        return remembering(database, changes)

    # On a loaded machine it may be lost before it is read: it gets twice the time.
    readers = (reader_of_job(2**attempt) for attempt in range(8))
    reader = next(reader for reader in readers if not is_lost(reader))
    until(lambda: is_lost(reader))


def test_it_counts_all_runs_again_only_when_one_is_added(
    database: sa.Engine, mirrored: MirroredCluster
) -> None:
    changes = ChangeTracker()
    changes.is_listening = True
    changes.record_batch([RUN])
    reader = remembering(database, changes)
    all_runs, crashed = RunFilter(1, RUN + 9), RunFilter(1, RUN + 9, crashed_only=True)
    assert [reader.runs.found_span(each).count for each in (all_runs, crashed)] == [1, 0]
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam", exit_code=1))
    changes.record_batch([RUN])
    assert [reader.runs.found_span(each).count for each in (all_runs, crashed)] == [1, 1]
    changes.record_batch([RUN + 1])
    assert [reader.runs.found_span(each).count for each in (all_runs, crashed)] == [2, 1]
