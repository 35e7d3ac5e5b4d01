"""State of a job by its reports, its machine's clock, the other jobs of its run, and the server's clock.

The rules are the rows of a table in docs/architecture.md, each of which has examples here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from storage.job_state import LOST_AFTER, JobState, is_ongoing, job_states, lost_at

ARCHITECTURE = Path(__file__).resolve().parent.parent / "docs" / "architecture.md"

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
    machine_is_mirrored: bool
    machine_clock_at: datetime | None
    machine_newest_run: int | None


RUNNING = Inputs(
    run=358788,
    exit_code=None,
    updated_at=NOON,
    lumisection=40,
    lumisection_at=NOON,
    machine_is_mirrored=True,
    machine_clock_at=NOON,
    machine_newest_run=358788,
)


LATER = NOON + STUCK_AFTER
SILENT = replace(RUNNING, machine_clock_at=LATER)
STILL = replace(RUNNING, updated_at=LATER, machine_clock_at=LATER)
ADVANCING = replace(STILL, lumisection=78, lumisection_at=LATER)
NEWER_RUN = RUNNING.run + 4


@dataclass(frozen=True)
class Example:
    """A job that a rule applies to, the other jobs of its run, and the time of the server."""

    job: Inputs
    others: Sequence[Inputs] = ()
    now: datetime = LATER


# By the condition in the table. The jobs of a row fulfil conditions of later rows as well.
EXAMPLES: Mapping[str, Sequence[Example]] = {
    "exit code 0": [
        Example(replace(RUNNING, exit_code=0)),
        Example(replace(SILENT, exit_code=0, machine_is_mirrored=False), now=NOON + 3 * LOST_AFTER),
    ],
    "any other exit code": [
        *(Example(replace(RUNNING, exit_code=code)) for code in (1, 65, -1, -9, -11)),
        Example(replace(SILENT, exit_code=-9, machine_is_mirrored=False), now=NOON + 3 * LOST_AFTER),
    ],
    "no exit code, and the configuration does not name its machine": [
        Example(replace(RUNNING, machine_is_mirrored=False), now=NOON),
        Example(replace(SILENT, machine_is_mirrored=False)),
        Example(replace(RUNNING, machine_is_mirrored=False, machine_clock_at=None), now=NOON),
    ],
    "no exit code, and its last report is a day old by its machine's clock or by the server's": [
        Example(RUNNING, now=NOON + LOST_AFTER),
        Example(replace(RUNNING, machine_clock_at=None), now=NOON + LOST_AFTER),
        Example(replace(RUNNING, machine_clock_at=NOON + LOST_AFTER), now=NOON),
        Example(replace(STILL, machine_clock_at=None), [ADVANCING], now=LATER + LOST_AFTER),
    ],
    "no exit code, silent, and its machine has reported a newer run": [
        Example(replace(SILENT, machine_newest_run=NEWER_RUN)),
    ],
    "no exit code and silent": [
        Example(SILENT),
        Example(replace(SILENT, machine_newest_run=RUNNING.run - 1)),
        Example(replace(SILENT, machine_newest_run=None)),
    ],
    "its lumisection has not advanced for `STUCK_AFTER_S` while that of another job of the run has": [
        Example(STILL, [ADVANCING]),
    ],
    "otherwise": [
        Example(RUNNING, now=NOON),
        Example(RUNNING, now=NOON + LOST_AFTER - timedelta(seconds=1)),
        Example(replace(RUNNING, machine_clock_at=None)),
        Example(replace(SILENT, machine_clock_at=LATER - timedelta(seconds=1))),
        Example(ADVANCING, [STILL]),
        Example(STILL, [STILL]),
    ],
}


def rules() -> Iterator[tuple[str, str]]:
    """State and condition of each row of the table, in order."""
    text = ARCHITECTURE.read_text().partition("## States of a job")[2].partition("\n## ")[0]
    for line in text.splitlines():
        if row := re.fullmatch(r"\| `(\w+)` \| (.*) \|", line):
            yield row[1], row[2]


def state(job: Inputs, *others: Inputs, now: datetime = LATER) -> JobState:
    """State of a job, given the other jobs of its run."""
    return job_states([job, *others], STUCK_AFTER, now)[0]


def test_each_row_of_the_table_has_examples() -> None:
    assert [condition for _, condition in rules()] == list(EXAMPLES)
    assert {name for name, _ in rules()} == set(JobState)


@pytest.mark.parametrize(("name", "condition"), list(rules()))
def test_it_follows_the_row_of_the_table(name: str, condition: str) -> None:
    for example in EXAMPLES[condition]:
        assert state(example.job, *example.others, now=example.now) == name


@pytest.mark.parametrize(
    ("job", "now"),
    [
        (replace(RUNNING, machine_is_mirrored=False), NOON),
        (RUNNING, NOON + LOST_AFTER),
        (replace(RUNNING, machine_clock_at=None), NOON + 900 * LOST_AFTER),
        (SILENT, LATER),
    ],
)
def test_it_calls_a_run_without_reporting_jobs_ended(job: Inputs, now: datetime) -> None:
    assert not is_ongoing([job, replace(job, exit_code=0)], STUCK_AFTER, now)


def test_lost_jobs_do_not_make_others_stuck() -> None:
    gone = replace(ADVANCING, machine_is_mirrored=False)
    assert state(STILL, gone) is JobState.RUNNING


def test_it_announces_the_time_at_which_a_job_becomes_lost() -> None:
    becomes_lost = lost_at(JobState.RUNNING, NOON)
    assert becomes_lost is not None
    assert state(RUNNING, now=becomes_lost - timedelta(microseconds=1)) is JobState.RUNNING
    assert state(RUNNING, now=becomes_lost) is JobState.LOST
    assert lost_at(JobState.LOST, NOON) is lost_at(JobState.CRASHED, NOON) is None


def test_it_ignores_the_lumisections_of_finished_jobs() -> None:
    assert state(STILL, replace(ADVANCING, exit_code=0)) is JobState.RUNNING


def test_it_takes_a_report_newer_than_the_machine_s_clock_as_the_present() -> None:
    advancing = replace(ADVANCING, machine_clock_at=NOON)
    assert state(replace(STILL, machine_clock_at=NOON), advancing) is JobState.STUCK


def test_it_measures_each_job_by_the_clock_of_its_own_machine() -> None:
    hour_ago = NOON - timedelta(hours=1)
    elsewhere = replace(RUNNING, updated_at=hour_ago, lumisection_at=hour_ago, machine_clock_at=hour_ago)
    assert state(STILL, elsewhere) is JobState.STUCK


def test_it_calls_a_job_without_input_running() -> None:
    assert state(replace(STILL, lumisection=0), ADVANCING) is JobState.RUNNING


def test_it_calls_a_run_ongoing_while_one_of_its_jobs_reports() -> None:
    finished = replace(RUNNING, exit_code=0)
    assert is_ongoing([finished, RUNNING], STUCK_AFTER, LATER)
    assert is_ongoing([STILL, finished, ADVANCING], STUCK_AFTER, LATER)
    assert not is_ongoing([], STUCK_AFTER, LATER)
