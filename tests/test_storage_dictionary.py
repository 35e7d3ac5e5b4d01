"""Logs are kept by a dictionary that is trained on them at run time and lives in the database by version."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import uuid4

import pytest
import sqlalchemy as sa

import db
from benchmarks import sample_jobs
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from simulator.simulator import Simulator
from storage import log_compression
from storage.log_compression import DictionaryStore
from tests.mirrored import MirroredCluster
from tests.mirroring import FILTER_UNIT, grabbing, reader, rows
from tests.waiting import until

ENOUGH = 300


@pytest.fixture(scope="module")
def jobs() -> list[JobRecord]:
    """Jobs that are over, with logs as CMSSW writes them."""
    return sample_jobs.simulated(ENOUGH)


def dictionaries(settings: Settings) -> DictionaryStore:
    """Those of the production cluster's database."""
    return DictionaryStore(db.engine(settings, Cluster.PRODUCTION, "tests"))


def versions(settings: Settings) -> list[int | None]:
    """The version that each log in the database needs, in no order."""
    return [log_compression.required_version(row["log"]) for row in rows(settings, db.job_details)]


def assert_readable(settings: Settings, jobs: Sequence[JobRecord]) -> None:
    for job in jobs:
        details = reader(settings).job_details(job.document.identity)
        assert details is not None
        assert details.log == job.log


def test_it_is_trained_once_there_are_logs_enough(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *jobs[:-1])
    assert dictionaries(settings).train() is None
    mirrored.write(mirrored.filter_units[0], jobs[-1])
    trained = dictionaries(settings).train()
    assert trained is not None
    assert trained.version == 1
    assert dictionaries(settings).latest() == trained


def test_it_is_not_trained_on_jobs_that_run(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *(replace(job, exit_code=None) for job in jobs))
    assert dictionaries(settings).train() is None


def test_it_is_not_trained_on_logs_that_say_nothing(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    silent = [replace(job, log=replace(job.log, head="", tail="")) for job in jobs]
    mirrored.write(mirrored.filter_units[0], *silent)
    assert dictionaries(settings).train() is None


def test_another_is_kept_only_if_it_gains(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *jobs)
    assert dictionaries(settings).train() is not None
    assert dictionaries(settings).train() is None
    others = [_of_another_release(job) for job in jobs]
    mirrored.write(mirrored.filter_units[0], *others)
    again = dictionaries(settings).train()
    assert again is not None
    assert again.version == 2


def _of_another_release(job: JobRecord) -> JobRecord:
    """A later job, all words of whose log are others."""
    head, tail = (part.swapcase()[::-1] for part in (job.log.head, job.log.tail))
    origin = replace(job.document, identity=uuid4())
    return replace(job, document=origin, run=job.run + 1000, log=replace(job.log, head=head, tail=tail))


def test_a_grabber_trains_it_and_writes_by_it(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.fill(FILTER_UNIT, ENOUGH)
    with grabbing(simulated_settings):
        until(lambda: rows(simulated_settings, db.log_dictionaries))
        simulator.fill(FILTER_UNIT, 10)
        until(lambda: versions(simulated_settings).count(1) == 10)
    assert versions(simulated_settings).count(None) == ENOUGH
    with grabbing(simulated_settings):
        simulator.fill(FILTER_UNIT, 10)
        until(lambda: versions(simulated_settings).count(1) == 20)


def test_old_logs_stay_readable_whatever_they_were_written_by(
    settings: Settings, jobs: list[JobRecord]
) -> None:
    mirrored = MirroredCluster(settings)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *jobs)
    first = dictionaries(settings).train()
    later = [_of_another_release(job) for job in jobs]
    mirrored.write(unit, *later, dictionary=first)
    second = dictionaries(settings).train()
    latest = [replace(job, document=replace(job.document, identity=uuid4())) for job in jobs[:5]]
    mirrored.write(unit, *latest, dictionary=second)
    assert {*versions(settings)} == {None, 1, 2}
    assert_readable(settings, [*jobs[:5], *later[:5], *latest])


def test_a_job_takes_little_room(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *jobs)
    trained = dictionaries(settings).train()
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE jobs, job_details"))
    # No log is one that the dictionary has seen.
    many = [replace(job, document=replace(job.document, identity=uuid4())) for job in jobs[1::2] * 10]
    mirrored.write(unit, *many, dictionary=trained)
    with engine.connect() as connection:
        sizes = [
            connection.scalar(sa.select(sa.func.pg_total_relation_size(table.name))) or 0
            for table in (db.jobs, db.job_details)
        ]
    engine.dispose()
    assert sum(sizes) / len(many) <= 3000
