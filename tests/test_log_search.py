"""Search over logs: the lines that are found, and the index that is written and deleted for it."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqm2 import log_templates
from dqm2.records import ErrorGroup, JobLog
from dqmsquare_cfg import Cluster, Settings
from storage import log_index
from storage.log_backfill import analyze_outdated
from storage.log_search import FoundLogs
from storage.retention import prune
from storage.run_queries import RunFilter
from tests.grabber_runner import execute, is_waited_for, reader, rows
from tests.mirrored_cluster import MirroredCluster, ended_job, job, write_jobs
from tests.waiting import until
from web.databases import ClusterDatabase

RUN = 358_788
LINE = "NULL pointer to FEDRawData for FED id 134"
OLD = datetime.now(UTC) - timedelta(days=400)


def search(settings: Settings, text: str, *, with_numbers: bool = True, **given: Any) -> FoundLogs:
    query = log_templates.parse_query(text, with_numbers=with_numbers)
    assert query is not None
    paging = {"skip": given.pop("skip", 0), "limit": given.pop("limit", 25)}
    run_filter = RunFilter(**{"first": 0, "last": RUN + 999, **given})
    return reader(settings).logs.search(query, run_filter, **paging)


def runs(found: FoundLogs) -> list[int]:
    return [log.run for log in found.logs]


def test_it_finds_a_line_in_all_logs_newest_first(settings: Settings) -> None:
    write_jobs(
        settings, ended_job(RUN, LINE), ended_job(RUN + 2, LINE, "", LINE), ended_job(RUN + 1, "another line")
    )
    found = search(settings, "fedrawdata null")
    assert runs(found) == [RUN + 2, RUN]
    assert (found.has_more, found.is_partial) == (False, False)
    newest = found.logs[0]
    assert (newest.client, newest.exit_code, newest.line_count) == ("csc_dqm_sourceclient-live", 0, 2)
    # The gap between head and tail has lines of its own.
    assert [text for _, text in newest.lines] == [LINE, LINE]
    assert newest.lines[1][0] - newest.lines[0][0] == 2


def test_it_compares_numbers_unless_they_may_differ(settings: Settings) -> None:
    write_jobs(settings, ended_job(RUN, LINE), ended_job(RUN + 1, LINE.replace("134", "135")))
    assert runs(search(settings, LINE)) == [RUN]
    assert runs(search(settings, LINE, with_numbers=False)) == [RUN + 1, RUN]


def test_it_searches_a_range_of_runs_of_a_client(settings: Settings) -> None:
    write_jobs(
        settings, *(ended_job(RUN + at, LINE) for at in range(5)), ended_job(RUN + 1, LINE, client="dt")
    )
    assert runs(search(settings, LINE, first=RUN + 1, last=RUN + 3)) == [RUN + 3, RUN + 2, RUN + 1, RUN + 1]
    assert runs(search(settings, LINE, clients=("dt",))) == [RUN + 1]
    assert runs(search(settings, LINE, run_keys=("no_run",))) == []


def test_it_gives_a_page_at_a_time(settings: Settings) -> None:
    write_jobs(settings, *(ended_job(RUN + at, LINE) for at in range(5)))
    first, last = (search(settings, LINE, skip=skip, limit=3) for skip in (0, 3))
    assert (runs(first), first.has_more) == ([RUN + 4, RUN + 3, RUN + 2], True)
    assert (runs(last), last.has_more) == ([RUN + 1, RUN], False)


def test_it_finds_errors_of_the_head(settings: Settings) -> None:
    log = JobLog("one\nCannot open the geometry\nthree\n", "\n".join(f"line {at}" for at in range(9)))
    write_jobs(settings, ended_job(RUN, log=log, errors=(ErrorGroup("Geometry", "", 1, 2),)))
    [found] = search(settings, "geometry").logs
    assert found.lines == ((2, "Cannot open the geometry"),)


def test_it_finds_a_job_once_it_has_ended(settings: Settings) -> None:
    running = ended_job(RUN, LINE, exit_code=None)
    write_jobs(settings, running)
    assert runs(search(settings, LINE)) == []
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], running, ended_job(RUN, LINE, document=running.document))
    assert runs(search(settings, LINE)) == [RUN]


def test_it_finds_what_the_newest_report_has(settings: Settings) -> None:
    first = ended_job(RUN, LINE)
    second = ended_job(RUN, "another line", document=first.document)
    cluster = MirroredCluster(settings)
    for report in (first, second):
        cluster.write(cluster.filter_units[0], report)
    assert runs(search(settings, LINE)) == []
    assert runs(search(settings, "another")) == [RUN]


def test_it_finds_jobs_that_an_earlier_program_has_stored(settings: Settings) -> None:
    write_jobs(settings, ended_job(RUN, LINE), ended_job(RUN, LINE, client="dt", exit_code=None))
    execute(
        settings,
        sa.delete(db.log_index),
        sa.delete(db.log_templates),
        sa.update(db.jobs).values(log_rules=1),
    )
    assert runs(search(settings, LINE)) == []
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert list(analyze_outdated(database)) == [2]
    database.dispose()
    assert runs(search(settings, LINE)) == [RUN]


def test_it_forgets_a_log_and_its_lines_with_the_log(settings: Settings) -> None:
    old = ended_job(RUN, LINE)
    old = job(RUN, "csc", at=OLD, exit_code=0, log=old.log)
    write_jobs(settings, old)
    write_jobs(settings, ended_job(RUN + 1, "another line"))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    assert sum(prune(database, timedelta(days=100))) == 1
    database.dispose()
    assert runs(search(settings, LINE)) == []
    assert [row["run"] for row in rows(settings, db.log_index)] == [RUN + 1]
    words = [row["words"] for row in rows(settings, db.log_templates)]
    assert ["another", "line"] in words
    assert not any("fedrawdata" in template for template in words)


def test_it_keeps_the_lines_of_a_log_that_is_being_written(settings: Settings) -> None:
    record = ended_job(RUN, LINE)
    write_jobs(settings, record)
    execute(settings, sa.delete(db.log_index))
    templates = log_templates.templates(record.log, record.errors, record.crash)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with ThreadPoolExecutor(1) as pool, database.connect() as connection:
        log_index.write(connection, {record.document.identity: (RUN, templates)})
        pruning = pool.submit(lambda: list(log_index.prune(database)))
        until(lambda: pruning.done() or is_waited_for(settings, db.log_templates))
        connection.commit()
        pruning.result()
    database.dispose()
    assert runs(search(settings, LINE)) == [RUN]


@pytest.mark.parametrize("text", ["Ünïcode wörds", "' OR 1=1 --", "a&b | !words", "select words"])
def test_it_takes_any_text_for_words(settings: Settings, text: str) -> None:
    write_jobs(settings, ended_job(RUN, text), ended_job(RUN + 1, LINE))
    assert runs(search(settings, text)) == [RUN]


def test_it_limits_its_statements_in_the_database_of_a_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits: list[str] = []

    def select_no_logs(limit: list[str], *_: object) -> sa.Select[Any]:
        limits.extend(limit)
        return sa.select(db.log_index).where(sa.false())

    limit = sa.select(sa.func.current_setting("statement_timeout"))
    monkeypatch.setattr("storage.log_search._select_templates", lambda _query: limit)
    monkeypatch.setattr("storage.log_search._select_logs", select_no_logs)
    database = ClusterDatabase(settings, Cluster.PRODUCTION)
    query = log_templates.parse_query(LINE, with_numbers=False)
    assert query is not None
    database.uncached_reader().logs.search(query, RunFilter(0, RUN), skip=0, limit=9)
    database.engine.dispose()
    assert limits == ["1300ms"]


def test_it_says_when_words_are_too_common(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("storage.log_search._MAX_TEMPLATES", 2)
    write_jobs(settings, ended_job(RUN, *(f"line {word}" for word in ("one", "two", "three"))))
    assert search(settings, "line").is_partial
    assert not search(settings, "line two").is_partial
