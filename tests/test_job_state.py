"""State of a job by its reports, its machine's clock and the other jobs of its run."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.job_state import JobState, is_ongoing, job_states

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STUCK_AFTER = timedelta(seconds=900)


@dataclass(frozen=True)
class Inputs:
    """Inputs of a job's state."""

    run: int
    exit_code: int | None
    updated_at: datetime
    lumisection: int | None
    lumisection_at: datetime | None
    machine_clock_at: datetime | None
    machine_newest_run: int | None


RUNNING = Inputs(
    run=358788,
    exit_code=None,
    updated_at=NOON,
    lumisection=40,
    lumisection_at=NOON,
    machine_clock_at=NOON,
    machine_newest_run=358788,
)


def state(job: Inputs, *others: Inputs) -> JobState:
    """State of a job, given the other jobs of its run."""
    return job_states([job, *others], STUCK_AFTER)[0]


def test_it_calls_exit_code_0_finished() -> None:
    assert state(replace(RUNNING, exit_code=0)) is JobState.FINISHED


@pytest.mark.parametrize("exit_code", [1, 65, -9, -11])
def test_it_calls_any_other_exit_code_crashed(exit_code: int) -> None:
    assert state(replace(RUNNING, exit_code=exit_code)) is JobState.CRASHED


def test_it_calls_a_job_without_an_exit_code_running() -> None:
    assert state(RUNNING) is JobState.RUNNING


def test_it_calls_a_silent_job_stuck_while_its_machine_reports() -> None:
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert state(silent) is JobState.STUCK
    assert (
        state(replace(silent, machine_clock_at=NOON + STUCK_AFTER - timedelta(seconds=1))) is JobState.RUNNING
    )


def test_it_calls_no_job_stuck_because_its_whole_machine_is_silent() -> None:
    assert state(
        replace(RUNNING, updated_at=NOON - timedelta(days=3), machine_clock_at=NOON - timedelta(days=3))
    ) is (JobState.RUNNING)


def test_it_calls_a_silent_job_lost_once_its_machine_has_a_newer_run() -> None:
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert state(replace(silent, machine_newest_run=358792)) is JobState.LOST


def test_it_calls_a_job_stuck_if_only_other_jobs_reach_new_lumisections() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    advancing = replace(still, lumisection=78, lumisection_at=later)
    assert state(still, advancing) is JobState.STUCK
    assert state(advancing, still) is JobState.RUNNING


def test_it_calls_no_job_stuck_if_no_job_reaches_new_lumisections() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    assert state(still, still) is JobState.RUNNING


def test_it_ignores_the_lumisections_of_finished_jobs() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    finished = replace(still, lumisection=78, lumisection_at=later, exit_code=0)
    assert state(still, finished) is JobState.RUNNING


def test_it_takes_a_report_newer_than_the_machine_s_clock_as_the_present() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later)
    advancing = replace(still, lumisection=78, lumisection_at=later)
    assert state(still, advancing) is JobState.STUCK


def test_it_measures_each_job_by_the_clock_of_its_own_machine() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    hour_off = timedelta(hours=1)
    elsewhere = replace(
        RUNNING,
        updated_at=NOON - hour_off,
        lumisection_at=NOON - hour_off,
        machine_clock_at=NOON - hour_off,
    )
    assert state(still, elsewhere) is JobState.STUCK


def test_it_calls_a_job_without_input_running() -> None:
    later = NOON + STUCK_AFTER
    waiting = replace(RUNNING, lumisection=0, updated_at=later, machine_clock_at=later)
    advancing = replace(RUNNING, lumisection_at=later, updated_at=later, machine_clock_at=later)
    assert state(waiting, advancing) is JobState.RUNNING


def test_it_calls_a_run_ongoing_while_one_of_its_jobs_reports() -> None:
    finished = replace(RUNNING, exit_code=0)
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert is_ongoing([finished, RUNNING], STUCK_AFTER)
    assert not is_ongoing([finished, silent], STUCK_AFTER)
    assert not is_ongoing([], STUCK_AFTER)
