"""Summaries and figures of many runs agree with the full data of each."""

import gc
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dqmsquare_cfg import Settings
from storage import run_figures
from storage.job_state import JobState
from storage.read_models import ClientSummary, Job, Run, RunSummary
from storage.reader import MirrorReader
from storage.run_figures import RunFigures
from storage.run_queries import RunFilter
from tests.examples import core_of
from tests.grabber_runner import reader as reader_of
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
NOW = datetime.now(UTC)


@pytest.fixture
def reader(settings: Settings) -> MirrorReader:
    """Three runs with jobs in every state, some restarted, of tags with and without the usual suffix."""
    mirrored = MirroredCluster(settings)
    one, other = mirrored.filter_units[:2]
    hour_ago = NOW - timedelta(hours=1)
    mirrored.write(
        one,
        job(RUN, "beam"),
        job(RUN, "beam", exit_code=-9, events_total=None),
        replace(job(RUN, "csc", exit_code=0, at=hour_ago), client="csc"),
        job(RUN, "dt", at=hour_ago),
        job(RUN, "ecal", lumisection_at=hour_ago),
        *(job(RUN, "hcal", started_at=hour_ago, events_total=many) for many in range(8)),
        job(RUN - 1, "beam", at=hour_ago, run_key=None),
        job(RUN - 2, "csc", exit_code=65, run_key="cosmic_run"),
        job(RUN - 2, "csc", exit_code=0, run_key="cosmic_run"),
        job(RUN - 2, "csc", exit_code=134, run_key="cosmic_run"),
    )
    mirrored.write(
        other, job(RUN, "beam", exit_code=0, started_at=hour_ago), job(RUN - 2, "beam", exit_code=0)
    )
    return reader_of(settings)


def summary_of(run: Run, *names: str) -> RunSummary:
    """The summary by the full data; `names`: of these clients only."""
    shown = [job for job in run.jobs if not names or job.name in names]
    assert run.updated_at is not None
    return RunSummary(
        run=run.run,
        run_key=run.run_key,
        cmssw_version=run.cmssw_version,
        started_at=run.started_at,
        updated_at=run.updated_at,
        clients={
            name: client_summary([job for job in shown if job.name == name])
            for name in {job.name for job in shown}
        },
        state_changes_at=replace(run, jobs=tuple(shown)).state_changes_at,
    )


def client_summary(jobs: list[Job]) -> ClientSummary:
    crashed = [str(job.id) for job in jobs if job.state is JobState.CRASHED]
    return ClientSummary(
        state=next(state for state in JobState if any(job.state is state for job in jobs)),
        jobs=len(jobs),
        crashed=len(crashed),
        last_crash=crashed[-1] if crashed else None,
        events_total=jobs[0].events_total if len(jobs) == 1 else None,
    )


def summaries(reader: MirrorReader, *, below: int | None = None, limit: int = 10) -> list[RunSummary]:
    return reader.run_summaries.find(RunFilter(first=RUN - 2, last=RUN), below=below, limit=limit)


def test_it_summarizes_each_run(reader: MirrorReader) -> None:
    runs = [reader.runs.get(RUN - back) for back in range(3)]
    assert summaries(reader) == [summary_of(run) for run in runs if run]
    clients = [client for run in summaries(reader) for client in run.clients.values()]
    assert {client.state for client in clients} == set(JobState)
    assert max(client.jobs for client in clients) > max(client.crashed for client in clients) > 1


@pytest.mark.parametrize("client", core_of(["beam", "csc", "dt", "ecal", "hcal"], "csc", "hcal"))
def test_it_summarizes_the_jobs_of_the_clients_asked_for(reader: MirrorReader, client: str) -> None:
    run_filter = RunFilter(first=RUN - 2, last=RUN, clients=(client,))
    runs = [run for back in range(3) if (run := reader.runs.get(RUN - back))]
    assert reader.run_summaries.find(run_filter, below=None, limit=10) == [
        summary_of(run, client) for run in runs if any(job.name == client for job in run.jobs)
    ]


def test_it_leaves_no_jobs_in_memory(reader: MirrorReader) -> None:
    def jobs_in_memory() -> int:
        gc.collect()
        return sum(type(held) is Job for held in gc.get_objects())

    # The million objects of other tests need not be counted.
    gc.freeze()

    def state_changes_at() -> datetime | None:
        run = reader.runs.get(RUN)
        return None if run is None else run.state_changes_at

    # The time is computed from all jobs.
    assert state_changes_at() is not None
    assert jobs_in_memory() == 0


def test_it_starts_below_a_run_and_stops_at_the_limit(reader: MirrorReader) -> None:
    assert [run.run for run in summaries(reader, below=RUN)] == [RUN - 1, RUN - 2]
    assert [run.run for run in summaries(reader, below=RUN, limit=1)] == [RUN - 1]
    assert summaries(reader, below=RUN - 2) == []


def figures_of(run: Run) -> RunFigures:
    crashed = [job for job in run.jobs if job.state is JobState.CRASHED]
    assert run.updated_at is not None
    return RunFigures(
        run=run.run,
        run_key=run.run_key,
        cmssw_version=run.cmssw_version,
        started_at=run.started_at,
        updated_at=run.updated_at,
        is_ongoing=run.is_ongoing,
        lumisection=run.lumisection,
        jobs=len(run.jobs),
        crashed=len(crashed),
        crashed_clients=len({job.client for job in crashed}),
        most_events=max((job.events_total for job in run.jobs if job.events_total is not None), default=None),
        highest_rate=max((job.events_rate for job in run.jobs if job.events_rate is not None), default=None),
        state_changes_at=run.state_changes_at,
    )


def test_it_computes_the_figures_of_each_run(reader: MirrorReader) -> None:
    runs = [run for back in range(3) if (run := reader.runs.get(RUN - back))]
    assert {run.is_ongoing for run in runs} == {True, False}
    assert reader.run_figures.find(RunFilter(first=RUN - 2, last=RUN), below=None, limit=10) == [
        figures_of(run) for run in runs
    ]


def test_it_finds_the_figures_of_all_runs_in_pieces(
    reader: MirrorReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_figures, "_RUNS_PER_PIECE", 2)
    found = reader.run_figures.iter_found(RunFilter(first=RUN - 2, last=RUN))
    assert [figures.run for figures in found] == [RUN, RUN - 1, RUN - 2]
