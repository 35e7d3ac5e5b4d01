"""The job table: a row per client, sorted with problems first, and filtered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from storage.client_rows import ClientState, client_rows, count_by_state
from storage.job_state import JobState
from storage.read_models import Job, Run
from web.pages.job_table import SortColumn, SortOrder, matches_filter, sort_rows

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def job(client: str, number: int, state: JobState = JobState.RUNNING, **given: Any) -> Job:
    """A job of a client; `number` is its id, and the order in which the jobs started."""
    template = Job(
        id=UUID(int=number),
        run=358_791,
        client=f"{client}_dqm_sourceclient-live",
        machine="dqmfu-c2b03-..",
        state=state,
        exit_code={JobState.CRASHED: 1, JobState.FINISHED: 0}.get(state),
        first_seen_at=NOW + timedelta(minutes=number),
        updated_at=NOW + timedelta(hours=1),
        cmssw_run=358_791,
        lumisection=100,
        lumisections_skipped=0,
        lag=0,
        events_total=1000,
        events_rate=10.0,
        fi_state=0,
        rss_kb=1_000_000,
    )
    return replace(template, **given)


def run(*jobs: Job) -> Run:
    return Run(358_791, "pp_run", "12_4_8", None, is_ongoing=True, jobs=jobs)


def names(*jobs: Job, order: SortOrder) -> list[str]:
    return [row.name for row in sort_rows(client_rows(run(*jobs), []), order)]


def test_it_counts_each_client_once_by_its_newest_job() -> None:
    rows = client_rows(
        run(
            job("beam", 3, JobState.RUNNING),
            job("beam", 1, JobState.CRASHED),
            job("beam", 2, JobState.CRASHED),
            job("csc", 4, JobState.CRASHED),
        ),
        expected=[],
    )
    assert [row.name for row in rows] == ["beam", "csc"]
    assert [job.id.int for job in rows[0].jobs] == [3, 2, 1]
    assert count_by_state(rows)[ClientState.RUNNING] == 1
    assert count_by_state(rows)[ClientState.CRASHED] == 1
    assert count_by_state(rows)[ClientState.LOST] == 0


def test_it_has_a_row_for_an_expected_client_without_a_job() -> None:
    expected = ["beam_dqm_sourceclient-live", "visualization-live"]
    rows = client_rows(run(job("beam", 1)), expected)
    assert [(row.name, row.state) for row in rows] == [
        ("beam", ClientState.RUNNING),
        ("visualization-live", ClientState.MISSING),
    ]
    assert rows[1].jobs == ()


def test_it_sorts_problems_first_and_the_rest_by_name_whatever_they_do() -> None:
    assert names(
        job("finished", 1, JobState.FINISHED),
        job("running", 2),
        job("skipping", 3, lumisections_skipped=2),
        job("behind", 4, lag=30),
        job("restarted", 5, JobState.CRASHED),
        job("restarted", 6),
        job("stuck", 7, JobState.STUCK),
        job("crashed", 8, JobState.CRASHED),
        order=SortOrder(SortColumn.STATE),
    ) == ["crashed", "stuck", "restarted", "behind", "finished", "running", "skipping"]


def test_a_client_without_lumisections_is_idle_unless_the_run_has_just_started() -> None:
    jobs = (
        job("crashed", 1, JobState.CRASHED, lumisection=0, lag=100),
        job("idle", 2, lumisection=0, lag=100),
        job("starting", 3, lumisection=0, lag=4),
        job("restarted", 4, JobState.CRASHED),
        job("restarted", 5, lumisection=0, lag=100),
    )
    is_idle = {row.name: row.is_idle for row in client_rows(run(*jobs), ())}
    assert is_idle == {"crashed": False, "idle": True, "starting": False, "restarted": False}


def test_it_sorts_rows_without_a_value_last_in_both_directions() -> None:
    jobs = [job("b", 1, events_total=5), job("a", 2, events_total=None), job("c", 3, events_total=9)]
    assert names(*jobs, order=SortOrder(SortColumn.EVENTS)) == ["b", "c", "a"]
    assert names(*jobs, order=SortOrder(SortColumn.EVENTS, is_descending=True)) == ["c", "b", "a"]


def test_it_ignores_a_lag_that_the_reporting_interval_explains() -> None:
    small, large = client_rows(run(job("a", 1, lag=2), job("b", 2, lag=20)), [])
    assert not small.is_behind
    assert large.is_behind


def test_it_matches_words_in_client_machine_and_state() -> None:
    (row,) = client_rows(run(job("beampixel", 1)), [])
    assert matches_filter(row, [], "")
    assert matches_filter(row, [], "PIXEL c2b03")
    assert matches_filter(row, [ClientState.RUNNING], "running")
    assert matches_filter(row, [], "beampixel_dqm_sourceclient-live")
    assert not matches_filter(row, [], "pixel csc")
    assert not matches_filter(row, [], "source")
    assert not matches_filter(row, [ClientState.CRASHED], "")
