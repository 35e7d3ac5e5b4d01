"""The state of a job: what its reports, its machine's clock and the other jobs of its run make of it."""

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.job_state import JobState, is_ongoing, job_states

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
STUCK_AFTER = timedelta(seconds=900)


@dataclass(frozen=True)
class Facts:
    """What a reader knows of a job."""

    run: int
    exit_code: int | None
    updated_at: datetime
    lumisection: int | None
    lumisection_at: datetime | None
    machine_clock_at: datetime | None
    machine_newest_run: int | None


RUNNING = Facts(
    run=358788,
    exit_code=None,
    updated_at=NOON,
    lumisection=40,
    lumisection_at=NOON,
    machine_clock_at=NOON,
    machine_newest_run=358788,
)


def state(job: Facts, *others: Facts) -> JobState:
    """The state of a job among others of its run."""
    return job_states([job, *others], STUCK_AFTER)[0]


def test_it_calls_exit_code_0_finished() -> None:
    assert state(replace(RUNNING, exit_code=0)) is JobState.FINISHED


@pytest.mark.parametrize("exit_code", [1, 65, -9, -11])
def test_it_calls_any_other_exit_code_crashed(exit_code: int) -> None:
    assert state(replace(RUNNING, exit_code=exit_code)) is JobState.CRASHED


def test_it_calls_a_job_without_an_exit_code_running() -> None:
    assert state(RUNNING) is JobState.RUNNING


def test_it_calls_a_job_stuck_that_is_silent_while_its_machine_reports() -> None:
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert state(silent) is JobState.STUCK
    assert (
        state(replace(silent, machine_clock_at=NOON + STUCK_AFTER - timedelta(seconds=1))) is JobState.RUNNING
    )


def test_it_calls_nobody_stuck_because_the_whole_machine_is_silent() -> None:
    assert state(
        replace(RUNNING, updated_at=NOON - timedelta(days=3), machine_clock_at=NOON - timedelta(days=3))
    ) is (JobState.RUNNING)


def test_it_calls_a_silent_job_lost_once_its_machine_has_gone_on_to_a_newer_run() -> None:
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert state(replace(silent, machine_newest_run=358792)) is JobState.LOST


def test_it_calls_a_job_stuck_whose_lumisection_stands_still_while_others_go_on() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    goes_on = replace(still, lumisection=78, lumisection_at=later)
    assert state(still, goes_on) is JobState.STUCK
    assert state(goes_on, still) is JobState.RUNNING


def test_it_calls_no_job_stuck_when_the_lumisections_of_all_stand_still() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    assert state(still, still) is JobState.RUNNING


def test_it_takes_a_job_that_is_over_for_none_that_goes_on() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later, machine_clock_at=later)
    over = replace(still, lumisection=78, lumisection_at=later, exit_code=0)
    assert state(still, over) is JobState.RUNNING


def test_it_takes_a_report_for_the_time_that_it_is_on_its_machine() -> None:
    later = NOON + STUCK_AFTER
    still = replace(RUNNING, updated_at=later)
    goes_on = replace(still, lumisection=78, lumisection_at=later)
    assert state(still, goes_on) is JobState.STUCK


def test_it_measures_each_job_by_its_own_machines_clock() -> None:
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


def test_it_lets_a_job_wait_that_has_had_no_input_yet() -> None:
    later = NOON + STUCK_AFTER
    waits = replace(RUNNING, lumisection=0, updated_at=later, machine_clock_at=later)
    goes_on = replace(RUNNING, lumisection_at=later, updated_at=later, machine_clock_at=later)
    assert state(waits, goes_on) is JobState.RUNNING


def test_it_calls_a_run_ongoing_while_a_job_of_it_reports() -> None:
    finished = replace(RUNNING, exit_code=0)
    silent = replace(RUNNING, machine_clock_at=NOON + STUCK_AFTER)
    assert is_ongoing([finished, RUNNING], STUCK_AFTER)
    assert not is_ongoing([finished, silent], STUCK_AFTER)
    assert not is_ongoing([], STUCK_AFTER)
