"""Mutes of one crash of a client: that crash raises no alert, any other problem of the client does."""

import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

import db
from benchmarks.crash_corpus import CRASH_LOGS
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster, Settings
from storage import crash_groups
from storage.mutes import MuteReader, MuteSubject, MuteWriter
from tests.examples import long
from tests.grabber_runner import reader
from tests.live_page import elog_of, summary_of
from tests.mirrored_cluster import MirroredCluster, crashed_job, job

RUN = 358_791
NOW = datetime.now(UTC)
OTHER = CRASH_LOGS[1]
CSC = "csc_dqm_sourceclient-live"


def subject_of(record: JobRecord) -> MuteSubject:
    group = crash_groups.group_of(record.client, record.exit_code, record.crash)
    assert group is not None
    return MuteSubject(record.client, group.signature)


@pytest.fixture
def unit(mirrored: MirroredCluster) -> str:
    """A machine of a cluster in which the known crash of csc is muted."""
    return mirrored.filter_units[0]


@pytest.fixture(autouse=True)
def muted(settings: Settings, mirrored: MirroredCluster) -> MuteSubject:
    """The known crash of csc, which has occurred before and is muted."""
    known = crashed_job(RUN - 1, at=NOW - timedelta(hours=2), started_at=NOW - timedelta(hours=3))
    mirrored.write(mirrored.filter_units[0], known)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    MuteWriter(database).mute(subject_of(known), "known <crash>", "alice", timedelta(hours=1))
    database.dispose()
    return subject_of(known)


def live(client: FlaskClient) -> str:
    return client.get("/live/run").text


def silent_incidents(client: FlaskClient) -> list[bool]:
    """Of each crash that raises an alert, whether it is muted."""
    items = re.findall(r'<li data-key="crashed[^>]*>', client.get("/live/freshness").text)
    return ["data-muted" in item for item in items]


def test_the_known_crash_raises_no_alert(client: FlaskClient, mirrored: MirroredCluster, unit: str) -> None:
    mirrored.write(unit, job(RUN, "beam"), crashed_job(RUN))
    assert "No new problems 1 muted problem in 2 clients" in summary_of(client)
    assert "this crash is muted by alice until" in live(client)
    assert "Its last crash is muted by alice until" in elog_of(client)
    assert silent_incidents(client) == [True]


def test_another_crash_of_the_client_raises_an_alert(
    client: FlaskClient, mirrored: MirroredCluster, unit: str
) -> None:
    mirrored.write(unit, job(RUN, "beam"), crashed_job(RUN, OTHER))
    assert "1 problem in 2 clients" in summary_of(client)
    assert "muted by" not in live(client)
    assert silent_incidents(client) == [False]


@pytest.mark.parametrize(
    "other",
    [
        job(RUN, "csc", at=NOW - timedelta(hours=1), started_at=NOW - timedelta(hours=2)),
        crashed_job(RUN, client="beam"),
        long(job(RUN, "csc", exit_code=-11)),
    ],
    ids=["stuck", "of another client", "without a log"],
)
def test_nothing_but_the_crash_is_muted(
    client: FlaskClient, mirrored: MirroredCluster, unit: str, other: JobRecord
) -> None:
    on_time = job(RUN, "dt"), *([job(RUN, "csc")] if other.client != CSC else [])
    mirrored.write(unit, *on_time, other)
    assert "1 problem in " in summary_of(client)
    assert "data-muted" not in live(client)


def test_a_muted_crash_hides_no_earlier_one(
    client: FlaskClient, mirrored: MirroredCluster, unit: str
) -> None:
    earlier: dict[str, Any] = {
        "at": NOW - timedelta(minutes=30),
        "started_at": NOW - timedelta(hours=1),
        "lumisection": 7,
    }
    mirrored.write(
        unit, crashed_job(RUN, OTHER, **earlier), crashed_job(RUN, started_at=NOW - timedelta(minutes=29))
    )
    assert "1 crash, restarted csc at LS 7" in summary_of(client)
    assert "An earlier, different crash is new in this run" in elog_of(client)


def test_a_restart_after_the_known_crash_raises_no_alert(
    client: FlaskClient, mirrored: MirroredCluster, unit: str
) -> None:
    earlier: dict[str, Any] = {"at": NOW - timedelta(minutes=30), "started_at": NOW - timedelta(hours=1)}
    mirrored.write(unit, crashed_job(RUN, **earlier), job(RUN, "csc", started_at=NOW - timedelta(minutes=29)))
    assert "All OK" in summary_of(client)
    assert "csc" not in client.get("/live/wall").text.partition("wall-problems")[2].partition("</ul>")[0]


@pytest.mark.long
def test_the_summary_of_the_night_counts_other_crashes_only(
    client: FlaskClient, mirrored: MirroredCluster, unit: str
) -> None:
    mirrored.write(unit, crashed_job(RUN), crashed_job(RUN, OTHER))
    since = round((NOW - timedelta(hours=1)).timestamp() * 1000)
    assert client.get(f"/live/missed?since={since}").get_json()["text"] == "1 crash (csc)"


def test_pages_of_crashes_show_the_mute(client: FlaskClient, muted: MuteSubject) -> None:
    assert "This crash is muted by alice until" in client.get("/crashes/").text
    page = client.get(f"/crashes/{muted.crash_group}").text
    assert "This crash is muted by alice until" in page
    assert "known &lt;crash&gt;" in page


def test_the_page_of_a_job_shows_the_mute(client: FlaskClient, mirrored: MirroredCluster, unit: str) -> None:
    known, other = crashed_job(RUN), crashed_job(RUN, OTHER)
    mirrored.write(unit, known, other)
    assert "This crash is muted by alice" in client.get(f"/job/{known.document.identity}").text
    assert "uted by alice" not in client.get(f"/job/{other.document.identity}").text


def test_client_and_crash_are_muted_each_for_itself(settings: Settings, muted: MuteSubject) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    writer = MuteWriter(database)
    for subject in (MuteSubject(CSC), muted, MuteSubject(CSC)):
        writer.mute(subject, "again", "bob", timedelta(hours=1))
    assert [mute.subject for mute in MuteReader(database).in_force()] == [MuteSubject(CSC), muted]
    writer.unmute(MuteSubject(CSC))
    [left] = reader(settings).mutes.in_force()
    assert (left.subject, left.username) == (muted, "bob")
    assert left.crash_title is not None
    database.dispose()
