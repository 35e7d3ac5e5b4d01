"""The page of a job: what it is, earlier runs of its client, other jobs, mute, series of the previous run."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient

import db
from dqm2 import crash_reasons
from dqm2.records import EventSeries, JobLog, JobRecord, MemorySeries
from dqmsquare_cfg import Cluster, Settings
from storage.mutes import MuteSubject, MuteWriter
from tests.mirrored_cluster import MirroredCluster, beating_cluster, job

RUN = 358_791
TOO_MANY_ERRORS = (
    "%MSG-e TooManyErrors:  SiStripRawToDigiModule:siStripDigis  15-Sep-2022 13:53:55 CEST Run: 358791\n"
    "Total number of errors exceeds the limit\n%MSG\n"
)
LOST_HIT = "%MSG-e LostHit:  TrackRefitter:refitter  15-Sep-2022 13:53:55 CEST Run: 358791\nlost\n%MSG\n"
FATAL = (
    "----- Begin Fatal Exception 15-Sep-2022 13:45:45 CEST-----------------------\n"
    "An exception of category 'ProductNotFound' occurred while\n"
    "   [0] Processing  Event run: 358791 lumi: 100 event: 7 stream: 0\n"
    "   [1] Calling method for module DTTask/'dtTask'\n"
    "Exception Message:\n"
    "Principal::getByToken: Found zero products matching all criteria\n"
    "----- End Fatal Exception -------------------------------------------------\n"
)
NOW = datetime(2022, 9, 15, 12, 0, tzinfo=UTC)


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster, empty, with a current heartbeat."""
    return beating_cluster(settings)


def write(mirrored: MirroredCluster, *records: JobRecord) -> None:
    mirrored.write(mirrored.filter_units[0], *records)


def text_of(client: FlaskClient, record: JobRecord, path: str = "") -> str:
    response = client.get(f"/job/{record.document.identity}{path}")
    assert response.status_code == 200, response.text
    return " ".join(response.text.split())


def series_of(client: FlaskClient, record: JobRecord) -> dict[str, Any]:
    series: dict[str, Any] = client.get(f"/job/{record.document.identity}/series").get_json()
    return series


def error_groups(text: str) -> list[str]:
    """The list items of the groups of errors."""
    groups = text[text.index('<div class="error-groups">') :]
    return re.findall("<li.*?</li>", groups[: groups.index("</div>")])


def earlier(run: int, exit_code: int, **fields: Any) -> JobRecord:
    """A job that ended, with what is found in its log."""
    record = job(run, "beam", at=NOW - (RUN - run) * timedelta(hours=3), exit_code=exit_code, **fields)
    findings = crash_reasons.analyze(record.log, exit_code)
    return replace(record, crash=findings.crash, errors=findings.errors)


def test_it_says_what_it_is(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = earlier(RUN, -11)
    write(mirrored, crashed)
    text = text_of(client, crashed)
    assert "Job of the online data quality monitoring (DQM) of the CMS experiment: " in text
    assert "client</button> beam in run" in text
    assert "15 Sep 2022 14:00:00 CEST</time>, at LS 300, after 2 h 0 min." in text
    early = earlier(RUN, 0, lumisection=None)
    write(mirrored, early)
    assert "</time>, before its first LS, after" in text_of(client, early)
    assert '<meta name="description" content="Job of the online data quality monitoring of CMS: beam' in text
    assert re.search(r">CMSSW</button></dt><dd><a [^>]*>12_4_8_39145_39162</a></dd>", text)


def test_it_says_since_which_run_the_client_crashes(client: FlaskClient, mirrored: MirroredCluster) -> None:
    runs = {RUN - 4: 0, RUN - 3: 70, RUN - 2: 0, RUN - 1: 70, RUN: 70}
    jobs = {run: earlier(run, exit_code) for run, exit_code in runs.items()}
    write(mirrored, *jobs.values(), job(RUN - 1, "csc", exit_code=0))
    text = text_of(client, jobs[RUN])
    assert f"It has crashed in 2 runs in a row, since run {RUN - 1}." in text
    assert f'The last good run is <a href="/job/{jobs[RUN - 2].document.identity}?db=production">' in text
    assert "It did not crash in the run before." in text_of(client, jobs[RUN - 3])
    assert "in a row" not in text_of(client, jobs[RUN - 2])


@pytest.mark.long
def test_it_does_not_claim_to_know_the_first_crash(client: FlaskClient, mirrored: MirroredCluster) -> None:
    jobs = [earlier(run, 70) for run in (RUN - 1, RUN)]
    write(mirrored, *jobs)
    assert f"in all 2 of its last runs, since run {RUN - 1} or earlier." in text_of(client, jobs[1])


def test_it_shows_where_the_release_changed(client: FlaskClient, mirrored: MirroredCluster) -> None:
    jobs = [earlier(RUN - 1, 0, cmssw_version="12_4_7"), earlier(RUN, 70)]
    write(mirrored, *jobs)
    assert f'title="CMSSW 12_4_8_39145_39162 from run {RUN} on"' in text_of(client, jobs[1])


@pytest.mark.long
def test_it_takes_an_unknown_release_for_no_new_one(client: FlaskClient, mirrored: MirroredCluster) -> None:
    jobs = [earlier(RUN - 1, 0), earlier(RUN, 70, cmssw_version=None)]
    write(mirrored, *jobs)
    assert "New release" not in text_of(client, jobs[1])


def test_it_lists_the_other_jobs_of_the_client(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = earlier(RUN, -9)
    restarted = job(RUN, "beam", at=NOW + timedelta(hours=1))
    write(mirrored, crashed, restarted)
    text = text_of(client, restarted)
    assert "<h2>Other jobs of this client in this run</h2>" in text
    assert f'<a href="/job/{crashed.document.identity}?db=production#fatal">log</a>' in text


def test_it_shows_the_mute_of_its_client(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    running = job(RUN, "beam")
    write(mirrored, running)
    assert "Muted" not in text_of(client, running)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    MuteWriter(database).mute(MuteSubject(running.client), "known <bug>", "expert", timedelta(hours=1))
    database.dispose()
    text = text_of(client, running, "/fragment")
    assert "Muted by expert until" in text
    assert "known &lt;bug&gt;" in text


def test_it_gives_the_series_of_the_previous_run_as_long_after_the_start(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    def with_memory(record: JobRecord, rss_kb: list[int], after_s: list[int]) -> JobRecord:
        start_s = int(record.started_at.timestamp())
        at_s = [start_s + after for after in after_s]
        return replace(record, memory=MemorySeries(at_s, rss_kb, rss_kb))

    before = with_memory(earlier(RUN - 2, 0), [100, 200, 300], [30, 60, 120])
    before = replace(before, events=EventSeries([1, 3], [0, 0], [10, 30], [1, 1]))
    other_key = with_memory(earlier(RUN - 1, 0, run_key="cosmic_run"), [7, 7, 7], [30, 60, 120])
    current = with_memory(earlier(RUN, 70), [1, 2, 3, 4, 5], [15, 30, 45, 90, 150])
    current = replace(current, events=EventSeries([1, 2, 3], [0, 0, 0], [1, 2, 3], [1, 1, 1]))
    write(mirrored, before, other_key, current)

    series = series_of(client, current)
    assert series["previous_run"] == RUN - 2
    assert series["memory"]["previous_rss_kb"] == [None, 100, 150, 250, None]
    assert series["events"]["previous_events"] == [10, None, 30]
    assert series_of(client, before)["previous_run"] is None


def test_it_says_why_a_job_crashed(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = earlier(
        RUN, 70, log=JobLog(f"fine\n{TOO_MANY_ERRORS * 2}fine\n{FATAL}fine\n-- process exit: 70 --\n")
    )
    write(mirrored, crashed)
    text = text_of(client, crashed)
    reason = text[text.index('<div class="crash">') : text.index('<dl class="facts">')]
    assert "<strong>Principal::getByToken: Found zero products matching all criteria</strong>" in reason
    assert re.search(r'<a href="#L9">Line 9 of the log</a>\s+<a href="/crashes/search', reason)
    assert "Exception (ProductNotFound), module DTTask:dtTask. Exit code 70 – CMSSW error 8006" in reason
    assert '<li id="L9" class="error" data-start><span id="fatal"></span>' in text


def test_it_groups_errors_the_fatal_one_first(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = earlier(RUN, 70, log=JobLog(f"{TOO_MANY_ERRORS * 97}{FATAL}"))
    write(mirrored, crashed)
    fatal, other = error_groups(text_of(client, crashed))
    assert fatal == '<li><a href="#L292">ProductNotFound</a> <strong>fatal</strong></li>'
    assert other == '<li><a href="#L1">SiStripRawToDigiModule · TooManyErrors ×97</a></li>'


def test_it_dims_errors_of_the_last_good_run_with_its_key(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    good = earlier(RUN - 3, 0, log=JobLog(TOO_MANY_ERRORS))
    bad = earlier(RUN - 2, 70, log=JobLog(LOST_HIT + FATAL))
    other_key = earlier(RUN - 1, 0, run_key="cosmic_run", log=JobLog(LOST_HIT))
    crashed = earlier(RUN, 70, log=JobLog(TOO_MANY_ERRORS + LOST_HIT + FATAL))
    write(mirrored, good, bad, other_key, crashed)
    text = text_of(client, crashed)
    fatal, new, known = error_groups(text)
    assert "fatal" in fatal
    assert "TrackRefitter · LostHit" in new
    assert 'class="known"' not in new
    assert known.startswith('<li class="known">')
    assert "also in the last good run" in known
    assert '<li id="L1" class="error known" data-start>' in text
    assert '<li id="L4" class="error" data-start>' in text
    assert "2 errors" in text


def test_it_never_dims_the_reason_for_a_crash(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = earlier(RUN, 70, log=JobLog(FATAL))
    write(mirrored, earlier(RUN - 1, 0, log=JobLog(FATAL)), crashed)
    assert [group for group in error_groups(text_of(client, crashed)) if "known" in group] == []


def test_it_says_why_a_job_crashed_whose_log_is_no_longer_stored(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    crashed = earlier(RUN, 70, log=JobLog(TOO_MANY_ERRORS + FATAL))
    write(mirrored, crashed)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        connection.execute(sa.delete(db.job_details))
    database.dispose()
    text = text_of(client, crashed)
    assert "Principal::getByToken: Found zero products" in text
    assert "ProductNotFound</a> <strong>fatal</strong>" in error_groups(text)[0]
    assert "no longer stored" in text
    assert 'href="#L' not in text
    assert "Download as text" not in text


def test_it_opens_the_log_at_its_end_if_it_does_not_say_why(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    crashed = earlier(RUN, -9, log=JobLog("fine\nfine\n"))
    write(mirrored, crashed)
    text = text_of(client, crashed)
    assert '<li id="L2"><span id="fatal"></span>' in text
    assert "Killed" in text
    assert "SIGKILL: killed by HLTD" in text


@pytest.mark.long
def test_it_leads_to_the_run_that_a_playback_job_reads(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    playback.beat()
    played = replace(job(RUN + 1, "beam"), cmssw_run=RUN)
    write(playback, played)
    path = f"/job/{played.document.identity}?db=playback"
    assert f"<dt>Reads run</dt><dd>{RUN}</dd>" in client.get(path).text
    read = earlier(RUN, 0)
    write(mirrored, read)
    link = f'<a href="/?db=production&amp;run={RUN}">{RUN}</a> of production'
    assert f"<dt>Reads run</dt><dd>{link}</dd>" in client.get(path).text
    assert "Reads run" not in text_of(client, read)


def test_the_history_of_a_client_has_a_job_that_others_of_its_run_leave_behind(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    now = datetime.now(UTC)
    still = job(RUN, "beam", at=now, lumisection_at=now - timedelta(hours=1))
    newer = job(RUN + 1, "beam", at=now)
    mirrored.write(mirrored.filter_units[0], still, job(RUN, "csc", at=now), newer)
    page = client.get(f"/job/{newer.document.identity}").text
    assert f'class="state-stuck" href="/job/{still.document.identity}?' in page
