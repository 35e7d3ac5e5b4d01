"""Groups of crashes: which job belongs to which, however it got into the database."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import pytest
import sqlalchemy as sa

import db
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage import crash_group_writer, crash_groups, log_findings
from storage.crash_reader import CrashReader
from storage.log_backfill import analyze_outdated
from storage.mutes import MuteSubject, MuteWriter
from tests.grabber_runner import count_rows, execute, is_waited_for, reader, rows
from tests.mirrored_cluster import MirroredCluster, crashed_job, job, write_jobs
from tests.waiting import until

RUN = 358_788
EXCEPTION, OTHER = CRASH_LOGS[:2]


def groups(settings: Settings) -> dict[UUID, str | None]:
    """The group of each job."""
    return {row["identity"]: row["crash_group"] for row in rows(settings, db.jobs)}


def write(settings: Settings, *jobs: JobRecord) -> list[str | None]:
    """Write jobs; returns their groups."""
    write_jobs(settings, *jobs)
    by_job = groups(settings)
    return [by_job[record.document.identity] for record in jobs]


def analyze_all(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    list(analyze_outdated(database))
    database.dispose()


def test_it_groups_the_same_crash_of_different_runs(settings: Settings) -> None:
    jobs = [crashed_job(RUN + number, EXCEPTION, variation=number) for number in range(4)]
    assert len(set(write(settings, *jobs))) == 1
    [group] = rows(settings, db.crash_groups)
    assert (group["client"], group["kind"]) == ("csc_dqm_sourceclient-live", "exception")
    assert group["title"].startswith("csc: ProductNotFound")


def test_its_jobs_have_one_order_though_they_ended_at_the_same_time(settings: Settings) -> None:
    crash = crashed_job(RUN, EXCEPTION)
    ids = [UUID(int=number) for number in (2, 3, 1)]
    jobs = [replace(crash, document=replace(crash.document, identity=id_)) for id_ in ids]
    signature = write(settings, *jobs)[0]
    assert signature is not None
    assert [found.id for found in reader(settings).crashes.jobs(signature, 2)] == sorted(ids)[:2]


def test_its_title_has_nothing_of_one_run(settings: Settings) -> None:
    unread = next(log for log in CRASH_LOGS if "FileOpenError" in log.text)
    write(settings, crashed_job(RUN, unread, variation=0))
    [group] = rows(settings, db.crash_groups)
    assert "/fff/BU0/ramdisk/run" in group["title"]
    write(settings, *(crashed_job(RUN + number, unread, variation=number) for number in range(3)))
    [group] = rows(settings, db.crash_groups)
    assert group["title"] == "csc: FileOpenError in DQMStreamerReader: Failed to open the file …"


def test_its_title_keeps_what_all_its_crashes_have(settings: Settings) -> None:
    quoting = next(log for log in CRASH_LOGS if "SiPixelQuality" in log.text)
    write(settings, *(crashed_job(RUN + number, quoting, variation=number) for number in range(3)))
    [group] = rows(settings, db.crash_groups)
    assert 'No data of type "SiPixelQuality" with label' in group["title"]


def test_it_tells_crashes_and_clients_apart(settings: Settings) -> None:
    jobs = crashed_job(RUN, EXCEPTION), crashed_job(RUN, OTHER), crashed_job(RUN, EXCEPTION, client="dt")
    assert len(set(write(settings, *jobs))) == 3
    assert count_rows(settings, db.crash_groups) == 3


def test_it_groups_by_the_exit_code_without_a_log(settings: Settings) -> None:
    codes = (-11, -11, 139, 65)
    found = write(settings, *(job(RUN + code, "csc", exit_code=code) for code in codes))
    # Exit code 139 is how a shell reports signal 11.
    assert found[0] == found[1] == found[2] != found[3]


@pytest.mark.parametrize("exit_code", [None, 0])
def test_it_groups_no_job_that_did_not_crash(settings: Settings, exit_code: int | None) -> None:
    assert write(settings, job(RUN, "csc", exit_code=exit_code)) == [None]
    assert rows(settings, db.crash_groups) == []


def test_it_groups_a_job_once_it_has_crashed(settings: Settings) -> None:
    ended = crashed_job(RUN, EXCEPTION)
    running = replace(ended, exit_code=None, crash=None)
    assert write(settings, running) == [None]
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], running, ended)
    assert groups(settings) != {ended.document.identity: None}


def test_it_groups_jobs_of_a_program_without_groups(settings: Settings) -> None:
    jobs = [crashed_job(RUN + number, EXCEPTION) for number in range(3)] + [job(RUN, "dt", exit_code=0)]
    before = write(settings, *jobs)
    execute(settings, sa.update(db.jobs).values(log_rules=1, crash_group=None), sa.delete(db.crash_groups))
    analyze_all(settings)
    by_job = groups(settings)
    assert [by_job[record.document.identity] for record in jobs] == before
    assert [group["signature"] for group in rows(settings, db.crash_groups)] == [before[0]]


def test_it_groups_again_when_the_rules_change(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    [before] = write(settings, crashed_job(RUN, EXCEPTION))
    monkeypatch.setattr("dqm2.crash_signatures.SIGNATURE_VERSION", 1000)
    monkeypatch.setattr(log_findings, "FINDINGS_VERSION", log_findings.FINDINGS_VERSION + 1)
    analyze_all(settings)
    [after] = groups(settings).values()
    assert after not in (before, None)
    assert [group["signature"] for group in rows(settings, db.crash_groups)] == [after]


def test_it_keeps_a_group_without_jobs_for_its_mutes(settings: Settings) -> None:
    record = crashed_job(RUN, EXCEPTION)
    [muted, _] = write(settings, record, crashed_job(RUN, OTHER))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    MuteWriter(database).mute(MuteSubject(record.client, muted), "known", "expert", timedelta(days=1))
    database.dispose()
    execute(settings, sa.delete(db.jobs))
    analyze_all(settings)
    assert [group["signature"] for group in rows(settings, db.crash_groups)] == [muted]


def test_it_leaves_out_a_group_that_is_deleted_while_it_is_read(settings: Settings) -> None:
    [signature] = write(settings, crashed_job(RUN, EXCEPTION))
    assert signature is not None
    database = db.engine(settings, Cluster.PRODUCTION, "tests")

    def delete_groups(_connection: object, _cursor: object, statement: str, *_rest: object) -> None:
        if "group_count" in statement:
            execute(settings, sa.update(db.jobs).values(crash_group=None), sa.delete(db.crash_groups))

    reader = CrashReader(database)
    assert [found.group.signature for found in reader.group(signature).groups] == [signature]
    sa.event.listen(database, "after_cursor_execute", delete_groups)
    assert reader.group(signature).groups == ()
    assert rows(settings, db.crash_groups) == []
    database.dispose()


def test_it_keeps_a_group_whose_job_is_being_written(settings: Settings) -> None:
    record = crashed_job(RUN, EXCEPTION)
    [signature] = write(settings, record)
    execute(settings, sa.update(db.jobs).values(crash_group=None))
    group = crash_groups.group_of(record.client, record.exit_code, record.crash)
    assert group is not None
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        crash_group_writer.write(connection, [group])
        connection.execute(sa.update(db.jobs).values(crash_group=group.signature))
        analysis = pool.submit(analyze_all, settings)
        until(lambda: analysis.done() or is_waited_for(settings, db.crash_groups))
        connection.commit()
        analysis.result()
    database.dispose()
    assert [row["signature"] for row in rows(settings, db.crash_groups)] == [signature]


def test_it_keeps_the_findings_of_a_log_that_was_deleted(settings: Settings) -> None:
    failed, good = (
        crashed_job(RUN, EXCEPTION),
        job(RUN, "csc", exit_code=0, errors=crashed_job(RUN, OTHER).errors),
    )
    write(settings, failed, good)
    before = {row["identity"]: row for row in rows(settings, db.jobs)}
    execute(
        settings,
        sa.delete(db.job_details),
        sa.update(db.jobs).values(log_rules=1, crash_group=None),
        sa.delete(db.crash_groups),
    )
    analyze_all(settings)
    assert {row["identity"]: row for row in rows(settings, db.jobs)} == before
