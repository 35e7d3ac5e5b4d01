"""The job table: a row a client by its newest job, problems first, filtered without losing a row."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from storage.job_state import JobState
from storage.read_models import Job, Run
from web.pages.job_table import ClientState, Column, Order, client_rows, count, matches, ordered

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)


def job(client: str, number: int, state: JobState = JobState.RUNNING, **given: Any) -> Job:
    """A job of a client, the `number`-th of all to start."""
    shown = Job(
        id=UUID(int=number),
        run=358_791,
        client=f"{client}_dqm_sourceclient-live",
        machine="dqmfu-c2b03-..",
        state=state,
        exit_code={JobState.CRASHED: 1, JobState.FINISHED: 0}.get(state),
        started_at=NOW + timedelta(minutes=number),
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
    return replace(shown, **given)


def run(*jobs: Job) -> Run:
    return Run(358_791, "pp_run", "12_4_8", is_ongoing=True, jobs=jobs)


def names(*jobs: Job, order: Order) -> list[str]:
    return [row.name for row in ordered(client_rows(run(*jobs), []), order)]


def test_it_counts_a_client_once_by_its_newest_job() -> None:
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
    assert [shown.id.int for shown in rows[0].jobs] == [3, 2, 1]
    assert count(rows)[ClientState.RUNNING] == 1
    assert count(rows)[ClientState.CRASHED] == 1
    assert count(rows)[ClientState.LOST] == 0


def test_it_has_a_row_for_what_is_expected_and_missing() -> None:
    expected = ["beam_dqm_sourceclient-live", "visualization-live"]
    rows = client_rows(run(job("beam", 1)), expected)
    assert [(row.name, row.state) for row in rows] == [
        ("beam", ClientState.RUNNING),
        ("visualization-live", ClientState.MISSING),
    ]
    assert rows[1].jobs == ()


def test_it_puts_problems_first() -> None:
    jobs = [
        job("finished", 1, JobState.FINISHED),
        job("running", 2),
        job("skipped", 3, lumisections_skipped=5),
        job("behind", 4, lag=30),
        job("lost", 5, JobState.LOST),
        job("stuck", 6, JobState.STUCK),
        job("crashed", 7, JobState.CRASHED),
    ]
    shown = names(*jobs, order=Order(Column.STATE))
    assert shown == ["crashed", "stuck", "lost", "behind", "skipped", "running", "finished"]


def test_it_puts_rows_without_a_value_last_in_either_direction() -> None:
    jobs = [job("b", 1, events_total=5), job("a", 2, events_total=None), job("c", 3, events_total=9)]
    assert names(*jobs, order=Order(Column.EVENTS)) == ["b", "c", "a"]
    assert names(*jobs, order=Order(Column.EVENTS, is_descending=True)) == ["c", "b", "a"]


def test_it_takes_a_small_lag_for_what_reporting_explains() -> None:
    slightly, far = client_rows(run(job("a", 1, lag=2), job("b", 2, lag=20)), [])
    assert not slightly.is_behind
    assert far.is_behind


def test_it_finds_every_word_in_client_machine_or_state() -> None:
    (row,) = client_rows(run(job("beampixel", 1)), [])
    assert matches(row, [], "")
    assert matches(row, [], "PIXEL c2b03")
    assert matches(row, [ClientState.RUNNING], "running")
    assert not matches(row, [], "pixel csc")
    assert not matches(row, [ClientState.CRASHED], "")
