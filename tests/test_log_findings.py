"""The reason for a crash and the errors of a log, kept with the job, and what a client usually logs."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa

import db
import dqmsquare_cfg
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import CrashKind, CrashReason, ErrorGroup, JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage import log_findings
from storage.log_backfill import analyze_outdated
from tests.grabber_runner import reader, rows, running_grabber
from tests.mirrored_cluster import crashed_job, job, write_jobs
from tests.waiting import until

RUN = 358_788
ERRORS = (ErrorGroup("TooManyErrors", "SiStripRawToDigi", 97, 12), ErrorGroup("NoMap", "", 1, 3))


def stored_crash(settings: Settings, record: JobRecord) -> CrashReason | None:
    details = reader(settings).jobs.details(record.document.identity)
    assert details is not None
    return details.job.crash


def forget(settings: Settings) -> None:
    """Make the jobs as they are when a program without this analysis has stored them."""
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        connection.execute(
            sa.update(db.jobs).values(log_rules=0, crash=None, log_errors=None, crash_group=None)
        )
    database.dispose()


def analyze_all(settings: Settings) -> list[int]:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    batches = list(analyze_outdated(database))
    database.dispose()
    return batches


def test_it_keeps_crashes_of_all_kinds(settings: Settings) -> None:
    records = [crashed_job(RUN, crash) for crash in CRASH_LOGS]
    write_jobs(settings, *records)
    assert [stored_crash(settings, record) for record in records] == [record.crash for record in records]


def test_it_keeps_the_errors_of_a_job(settings: Settings) -> None:
    good = job(RUN, "csc", exit_code=0, errors=ERRORS)
    write_jobs(settings, good)
    details = reader(settings).jobs.details(good.document.identity)
    assert details is not None
    assert (details.errors, details.job.crash) == (ERRORS, None)


def test_it_replaces_what_an_earlier_report_had() -> None:
    columns = log_findings.columns(None, (), None)
    version = log_findings.FINDINGS_VERSION
    assert columns == {"log_rules": version, "crash": None, "log_errors": None, "crash_group": None}


def test_it_reads_a_kind_of_a_newer_program_as_unknown() -> None:
    stored = {"kind": "cosmic_ray", "message": "bit 7", "colour": "red"}
    assert log_findings.read_crash(stored) == CrashReason(CrashKind.UNKNOWN, message="bit 7")


def test_it_analyzes_jobs_that_were_stored_before(settings: Settings) -> None:
    records = [crashed_job(RUN + at, CRASH_LOGS[at % len(CRASH_LOGS)], variation=at) for at in range(60)]
    write_jobs(settings, *records)
    before = rows(settings, db.jobs)
    forget(settings)
    assert analyze_all(settings) == [50, 10]
    assert rows(settings, db.jobs) == before
    assert analyze_all(settings) == []


def test_it_analyzes_a_job_without_its_log(settings: Settings) -> None:
    record = crashed_job(RUN, CRASH_LOGS[0])
    write_jobs(settings, record)
    forget(settings)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        connection.execute(sa.delete(db.job_details))
    database.dispose()
    assert analyze_all(settings) == [1]
    assert stored_crash(settings, record) == CrashReason(CrashKind.EXCEPTION, "ProductNotFound")


def test_it_goes_on_with_a_damaged_log(settings: Settings) -> None:
    records = [crashed_job(RUN, CRASH_LOGS[0]), crashed_job(RUN + 1, CRASH_LOGS[1])]
    write_jobs(settings, *records)
    forget(settings)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        damaged = db.job_details.c.identity == records[1].document.identity
        connection.execute(sa.update(db.job_details).where(damaged).values(log=b"(\xb5/\xfd damaged"))
    database.dispose()
    assert analyze_all(settings) == [2]
    assert stored_crash(settings, records[0]) == records[0].crash


def test_it_is_run_by_an_idle_grabber(simulated_environment: dict[str, str]) -> None:
    settings = dqmsquare_cfg.load(simulated_environment)
    record = crashed_job(RUN, CRASH_LOGS[0])
    write_jobs(settings, record)
    forget(settings)
    with running_grabber(settings):
        until(lambda: stored_crash(settings, record) == record.crash)


def restarted(errors: tuple[ErrorGroup, ...]) -> JobRecord:
    """A good job of the run before that began later than another one."""
    later = datetime.now(UTC) + timedelta(minutes=1)
    return job(RUN - 1, "csc", at=later, exit_code=0, errors=errors)


@pytest.mark.parametrize(
    ("earlier", "usual"),
    [
        ([], None),
        ([lambda: job(RUN - 1, "csc", exit_code=0, errors=ERRORS)], ERRORS),
        ([lambda: job(RUN - 1, "csc", exit_code=0)], ()),
        ([lambda: job(RUN - 1, "csc", exit_code=-11, errors=ERRORS)], None),
        ([lambda: job(RUN - 1, "csc", errors=ERRORS)], None),
        ([lambda: job(RUN - 1, "dt", exit_code=0, errors=ERRORS)], None),
        ([lambda: job(RUN + 1, "csc", exit_code=0, errors=ERRORS)], None),
        ([lambda: replace(job(RUN - 1, "csc", exit_code=0, errors=ERRORS), run_key="hi_run")], None),
        (
            [
                lambda: job(RUN - 2, "csc", exit_code=0, errors=ERRORS[:1]),
                lambda: job(RUN - 3, "csc", exit_code=0, errors=ERRORS),
                lambda: job(RUN - 1, "csc", exit_code=1),
            ],
            ERRORS[:1],
        ),
        ([lambda: restarted(ERRORS[:1]), lambda: job(RUN - 1, "csc", exit_code=0)], ERRORS[:1]),
        ([lambda: job(RUN - 1, "csc", exit_code=0), lambda: restarted(ERRORS[:1])], ERRORS[:1]),
    ],
)
def test_it_knows_the_errors_of_the_last_good_run(
    settings: Settings,
    earlier: list[Callable[[], JobRecord]],
    usual: tuple[ErrorGroup, ...] | None,
) -> None:
    now = job(RUN, "csc", exit_code=-11)
    write_jobs(settings, now, *(make() for make in earlier))
    assert reader(settings).jobs.usual_errors(RUN, "pp_run", now.client) == usual
