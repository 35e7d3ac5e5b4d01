"""Logs are compressed with dictionaries that are trained on them and stored in the database by version."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from uuid import uuid4

import pytest
import sqlalchemy as sa

import db
from benchmarks import sample_jobs
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from simulator.simulator import Simulator
from storage import log_compression, log_dictionaries
from storage.log_dictionaries import DictionaryStore
from tests.grabber_runner import FILTER_UNIT, reader, rows, running_grabber
from tests.mirrored_cluster import MirroredCluster
from tests.waiting import until

TRAINING_LOGS = 50


@pytest.fixture(scope="module")
def jobs() -> list[JobRecord]:
    """Finished jobs with logs as CMSSW writes them."""
    return sample_jobs.simulated(TRAINING_LOGS)


@pytest.fixture(scope="module", autouse=True)
def _dictionaries_trained_once() -> Iterator[None]:
    """Keep dictionaries: most tests train theirs on the same logs, which takes most of their time.

    A sixth of the logs suffices to train one.
    """
    train = cache(log_compression.train_dictionary)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(log_dictionaries, "_TRAINING_LOGS", TRAINING_LOGS)
        patched.setattr(log_dictionaries, "_MIN_TRAINING_BYTES", log_dictionaries._MIN_TRAINING_BYTES // 6)
        patched.setattr(
            log_compression, "train_dictionary", lambda logs, version: train(tuple(logs), version)
        )
        yield


def store(settings: Settings) -> DictionaryStore:
    """Dictionaries of the production cluster's database."""
    return DictionaryStore(db.engine(settings, Cluster.PRODUCTION, "tests"))


def versions(settings: Settings) -> list[int | None]:
    """The version that each stored log needs, in any order."""
    return [log_compression.required_version(row["log"]) for row in rows(settings, db.job_details)]


def assert_readable(settings: Settings, jobs: Sequence[JobRecord]) -> None:
    for job in jobs:
        details = reader(settings).jobs.details(job.document.identity)
        assert details is not None
        assert details.log == job.log


def test_it_trains_a_dictionary_once_there_are_enough_logs(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *jobs[:-1])
    assert store(settings).train() is None
    mirrored.write(mirrored.filter_units[0], jobs[-1])
    trained = store(settings).train()
    assert trained is not None
    assert trained.version == 1
    assert store(settings).latest() == trained


def test_it_ignores_the_logs_of_running_jobs(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *(replace(job, exit_code=None) for job in jobs))
    assert store(settings).train() is None


def test_it_trains_no_dictionary_on_empty_logs(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    empty = [replace(job, log=replace(job.log, head="", tail="")) for job in jobs]
    mirrored.write(mirrored.filter_units[0], *empty)
    assert store(settings).train() is None


def test_it_stores_another_dictionary_only_if_that_compresses_better(
    settings: Settings, jobs: list[JobRecord]
) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], *jobs)
    assert store(settings).train() is not None
    assert store(settings).train() is None
    others = [_of_another_release(job) for job in jobs]
    mirrored.write(mirrored.filter_units[0], *others)
    second = store(settings).train()
    assert second is not None
    assert second.version == 2


def _of_another_release(job: JobRecord) -> JobRecord:
    """A later job whose log has no word in common with this one's."""
    head, tail = (part.swapcase()[::-1] for part in (job.log.head, job.log.tail))
    document = replace(job.document, identity=uuid4())
    return replace(job, document=document, run=job.run + 1000, log=replace(job.log, head=head, tail=tail))


def test_it_is_trained_and_used_by_a_grabber(simulator: Simulator, simulated_settings: Settings) -> None:
    simulator.fill(FILTER_UNIT, TRAINING_LOGS)
    with running_grabber(simulated_settings):
        until(lambda: rows(simulated_settings, db.log_dictionaries))
        simulator.fill(FILTER_UNIT, 10)
        until(lambda: versions(simulated_settings).count(1) == 10)
    assert versions(simulated_settings).count(None) == TRAINING_LOGS
    with running_grabber(simulated_settings):
        simulator.fill(FILTER_UNIT, 10)
        until(lambda: versions(simulated_settings).count(1) == 20)


def test_it_reads_logs_of_every_version(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *jobs)
    first = store(settings).train()
    later = [_of_another_release(job) for job in jobs]
    mirrored.write(unit, *later, dictionary=first)
    second = store(settings).train()
    latest = [replace(job, document=replace(job.document, identity=uuid4())) for job in jobs[:5]]
    mirrored.write(unit, *latest, dictionary=second)
    assert {*versions(settings)} == {None, 1, 2}
    assert_readable(settings, [*jobs[:5], *later[:5], *latest])


@pytest.mark.long
def test_it_stores_a_job_in_at_most_3000_bytes(settings: Settings, jobs: list[JobRecord]) -> None:
    mirrored = MirroredCluster(settings)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *jobs)
    trained = store(settings).train()
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    with engine.begin() as connection:
        connection.execute(sa.text("TRUNCATE jobs, job_details, log_index"))
    # Only logs that the dictionary was not trained on.
    many = [replace(job, document=replace(job.document, identity=uuid4())) for job in jobs[1::2] * 10]
    mirrored.write(unit, *many, dictionary=trained)
    with engine.connect() as connection:
        sizes = [
            connection.scalar(sa.select(sa.func.pg_total_relation_size(table.name))) or 0
            for table in (db.jobs, db.job_details)
        ]
    engine.dispose()
    assert sum(sizes) / len(many) <= 3000
