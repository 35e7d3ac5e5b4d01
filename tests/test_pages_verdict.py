"""The verdict on a run, and its agreement with counts, e-log text, timeline and statistics."""

import csv
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask.testing import FlaskClient

import db
from dqm2.records import InputStatus, InputStatuses
from dqmsquare_cfg import Cluster, Settings
from storage.mutes import MuteSubject, MuteWriter
from tests.live_page import elog_of, summary_of
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
NOW = datetime.now(UTC)


@pytest.fixture
def restarted(mirrored: MirroredCluster) -> MirroredCluster:
    """A run in which csc crashed at LS 120 and was restarted; dt was restarted without a crash."""
    earlier: dict[str, Any] = {
        "at": NOW - timedelta(minutes=30),
        "started_at": NOW - timedelta(hours=1),
        "lumisection": 120,
    }
    newest: dict[str, Any] = {"at": NOW, "started_at": NOW - timedelta(minutes=29)}
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "beam", at=NOW),
        job(RUN, "csc", exit_code=-11, **earlier),
        job(RUN, "csc", **newest),
        job(RUN, "dt", exit_code=0, **earlier),
        job(RUN, "dt", **newest),
    )
    return mirrored


def crashed_in_statistics(client: FlaskClient) -> str:
    [line] = csv.DictReader(client.get("/statistics/runs.csv").data.decode("utf-8-sig").splitlines())
    return line["crashed"]


def mute(settings: Settings, client: str) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    MuteWriter(database).mute(
        MuteSubject(f"{client}_dqm_sourceclient-live"), "known", "alice", timedelta(hours=1)
    )
    database.dispose()


@pytest.mark.usefixtures("restarted")
def test_it_reports_a_crash_after_the_restart(client: FlaskClient) -> None:
    assert "1 crash, restarted csc at LS 120" in summary_of(client)
    assert "0 crashed +1 restarted" in summary_of(client)
    assert "All OK" not in summary_of(client)
    assert 'class="summary has-warnings"' in client.get("/live/run").text


@pytest.mark.usefixtures("restarted")
def test_it_reports_the_same_crash_everywhere(client: FlaskClient) -> None:
    assert "1 job crashed and was restarted." in elog_of(client)
    assert "- csc crashed on " in elog_of(client)
    assert " It was restarted and is running." in elog_of(client)
    assert "- dt" not in elog_of(client)
    assert crashed_in_statistics(client) == "1"
    timeline = client.get("/timeline/").text
    links = re.findall(r'class="cell state-(\w+)" href="([^"]*)"', timeline)
    assert [state for state, _ in links] == ["running", "crashed", "running"]
    [crashed_job] = (link for state, link in links if state == "crashed")
    assert "<h1>csc " in client.get(crashed_job).text


def test_it_reports_a_restarted_crash_after_the_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    crashed = job(RUN, "csc", at=NOW - timedelta(minutes=30), exit_code=-11, lumisection=120)
    mirrored.write(mirrored.filter_units[0], crashed, job(RUN, "csc", at=NOW, started_at=NOW, exit_code=0))
    assert "1 crash, restarted csc at LS 120" in summary_of(client)
    assert "All finished" not in summary_of(client)


@pytest.mark.long
def test_it_names_the_restarted_crashes_next_to_the_problems(
    client: FlaskClient, restarted: MirroredCluster
) -> None:
    restarted.write(restarted.filter_units[0], job(RUN, "ecal", at=NOW, exit_code=65))
    assert "1 problem in 4 clients, 1 crash restarted" in summary_of(client)


def test_it_counts_the_crashes_of_several_clients(client: FlaskClient, restarted: MirroredCluster) -> None:
    for hours in (4, 3):
        at = NOW - timedelta(hours=hours)
        restarted.write(restarted.filter_units[0], job(RUN, "beam", at=at, started_at=at, exit_code=-6))
    assert "3 crashes, restarted in 2 of 3 clients" in summary_of(client)
    assert crashed_in_statistics(client) == "3"


def test_a_mute_does_not_change_a_run_that_ended_before(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    hour_ago = NOW - timedelta(hours=1)
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "csc", at=hour_ago, exit_code=-11))
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), job(RUN, "csc", exit_code=-11))
    mute(settings, "csc")
    assert "No new problems 1 muted problem in 2 clients" in summary_of(client)
    ended = client.get(f"/live/run?run={RUN - 1}").text
    assert "1 problem<" in ended
    assert "muted by" not in ended


def test_it_counts_the_lumisections_that_no_job_of_a_client_saw(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    """The first job skipped 2 and saw 1 and 3; the second skipped 1 to 4 and saw 5."""
    seen, skipped = InputStatus.OK, InputStatus.FAST_FORWARD
    first = job(
        RUN, "csc", at=NOW - timedelta(minutes=30), started_at=NOW - timedelta(hours=1), exit_code=-11
    )
    second = job(RUN, "csc", at=NOW, started_at=NOW - timedelta(minutes=29))
    mirrored.write(
        mirrored.filter_units[0],
        replace(first, input_statuses=InputStatuses([1, 2, 3], [seen, skipped, seen])),
        replace(second, input_statuses=InputStatuses([1, 2, 3, 4, 5], [skipped] * 4 + [seen])),
    )
    html = client.get("/live/run").text
    assert re.findall(r'title="(\d+) LS skipped: they were not monitored', html) == ["2"]
