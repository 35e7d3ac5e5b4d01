"""A stored series that can't be read: all else of its job or run is shown."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
import zstandard
from flask.testing import FlaskClient

import db
from dqm2.records import InputStatus, InputStatuses, JobRecord
from dqmsquare_cfg import Cluster, Settings
from tests.examples import core_of
from tests.grabber_runner import execute, reader
from tests.mirrored_cluster import MirroredCluster, delivery, job, with_series
from tests.test_pages_playback_report import REPORT, played
from tests.test_pages_playback_report import RUN as PLAYED_RUN
from tests.test_pages_playback_report import write as write_playback
from tests.test_pages_statistics import forget_statistics

RUN = 358_788
DELIVERY_SENTENCE = "The stored file delivery of this run is damaged and can't be read."
_GARBAGE = b"(\xb5/\xfd damaged"
# A frame of which the header says that it has an exabyte.
_EXABYTE = b"\x28\xb5\x2f\xfd\xe0" + (2**60).to_bytes(8, "little")
# Differences that add up to more than 64 bits.
_TOO_LARGE = zstandard.compress(b"\xff" * 192)
_INCOMPLETE = zstandard.compress(bytes(20))
_CUT = zstandard.compress(bytes(192))[:-2]


def damage(settings: Settings, record: JobRecord, *columns: str, content: bytes = _GARBAGE) -> None:
    of_job = db.job_details.c.identity == record.document.identity
    execute(settings, sa.update(db.job_details).where(of_job).values(dict.fromkeys(columns, content)))


@pytest.fixture
def cluster(settings: Settings) -> MirroredCluster:
    """The production cluster with a heartbeat."""
    cluster = MirroredCluster(settings)
    cluster.beat()
    return cluster


@pytest.fixture
def record(cluster: MirroredCluster) -> JobRecord:
    """A job with series that has skipped lumisections, and the previous one of its client."""
    record = with_series(job(RUN, "csc"))
    statuses = InputStatuses(range(1, 301), [InputStatus.FAST_FORWARD] * 300)
    record = replace(record, input_statuses=statuses)
    cluster.write(cluster.filter_units[0], with_series(job(RUN - 1, "csc", exit_code=0)), record)
    return record


def test_its_damage_is_noticed(settings: Settings, record: JobRecord) -> None:
    for content in (b"", _GARBAGE, _INCOMPLETE, _CUT, _EXABYTE, _TOO_LARGE):
        damage(settings, record, "memory", "input_statuses", content=content)
        details = reader(settings).jobs.details(record.document.identity)
        assert details is not None
        assert details.series.damaged == ("memory", "input"), content
        assert (details.series.memory.at_s, details.series.input_statuses.statuses) == ((), ())
        assert len(details.series.events.events) == 300


def test_the_page_of_its_job_shows_all_else(
    client: FlaskClient, settings: Settings, record: JobRecord
) -> None:
    damage(settings, record, "memory", "input_statuses")
    page = client.get(f"/job/{record.document.identity}")
    assert page.status_code == 200
    assert "are damaged and can't be read: memory, input." in page.text.replace("&#39;", "'")
    assert "Successfully opened file" in page.text
    series = client.get(f"/job/{record.document.identity}/series").get_json()
    assert series["memory"] == {"at_s": [], "rss_kb": [], "size_kb": [], "previous_rss_kb": []}
    assert len(series["events"]["events"]) == 300


def test_it_is_left_out_of_a_comparison(
    client: FlaskClient, settings: Settings, cluster: MirroredCluster
) -> None:
    previous, record = (with_series(job(RUN - at, "csc", exit_code=0)) for at in (1, 0))
    cluster.write(cluster.filter_units[0], previous, record)
    damage(settings, previous, "memory", "events")
    series = client.get(f"/job/{record.document.identity}/series").get_json()
    assert set(series["memory"]["previous_rss_kb"]) == set(series["events"]["previous_events"]) == {None}


def test_scripts_get_all_else(client: FlaskClient, settings: Settings, record: JobRecord) -> None:
    damage(settings, record, "events")
    found = client.get(f"/api/v1/clusters/production/jobs/{record.document.identity}").get_json()
    assert (found["damaged_series"], found["events"]["events"]) == (["events"], [])
    assert len(found["input"]["statuses"]) == 300


def test_the_live_page_shows_its_client(
    client: FlaskClient, settings: Settings, cluster: MirroredCluster
) -> None:
    now = datetime.now(UTC)
    skipped = InputStatuses([1, 2], [InputStatus.FAST_FORWARD] * 2)
    records = [job(RUN, "csc", at=now - timedelta(minutes=at), input_statuses=skipped) for at in (2, 1)]
    cluster.write(cluster.filter_units[0], *records)
    assert client.get("/", query_string={"run": RUN}).status_code == 200
    damage(settings, records[0], "input_statuses")
    cluster.notify(RUN)
    page = client.get("/", query_string={"run": RUN, "job": str(records[1].document.identity)})
    assert page.status_code == 200
    assert reader(settings).runs.skipped_lumisections(RUN, [records[0].client]) == {}


def test_a_playback_report_has_all_other_figures(client: FlaskClient, settings: Settings) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    record = played(PLAYED_RUN)
    write_playback(playback, record)
    of_job = db.job_details.c.identity == record.document.identity
    damaged = sa.update(db.job_details).where(of_job).values(memory=_GARBAGE, input_statuses=_GARBAGE)
    execute(settings, damaged, cluster=Cluster.PLAYBACK)
    assert client.get(REPORT).status_code == 200
    [performance] = reader(settings, Cluster.PLAYBACK).playback_comparison.client_performance(PLAYED_RUN)
    assert (performance.skipped, performance.growth_kb_per_ls) == (None, None)
    assert (performance.events, performance.peak_rss_kb) == (record.events_total, record.rss_kb)


@pytest.mark.parametrize("content", core_of([_GARBAGE, zstandard.compress(b"\1\0\0\0x"), _EXABYTE], _GARBAGE))
def test_the_delivery_of_a_run_is_reported_as_damaged(
    client: FlaskClient, settings: Settings, cluster: MirroredCluster, content: bytes
) -> None:
    cluster.write(cluster.builder_unit, delivery(RUN, datetime.now(UTC) - timedelta(hours=2), 300))
    cluster.write(cluster.filter_units[0], job(RUN, "csc"))
    forget_statistics(settings, streams=content)
    graphs = client.get("/live/delivery", query_string={"run": RUN})
    assert (graphs.status_code, graphs.get_json()["is_damaged"]) == (200, True)
    old = client.get("/api", query_string={"what": "get_graph", "db": "production", "run": RUN})
    assert (old.status_code, old.text) == (404, DELIVERY_SENTENCE)
    new = client.get(f"/api/v1/clusters/production/runs/{RUN}/delivery")
    assert (new.status_code, new.get_json()["detail"]) == (404, DELIVERY_SENTENCE)
    assert client.get("/statistics/").status_code == 200


def test_it_is_logged_once(
    client: FlaskClient, settings: Settings, record: JobRecord, caplog: pytest.LogCaptureFixture
) -> None:
    damage(settings, record, "memory")
    for _ in range(3):
        client.get(f"/job/{record.document.identity}")
    assert caplog.text.count("series_damaged") == 1
    assert f"series_damaged document={record.document.identity} reason=" in caplog.text
