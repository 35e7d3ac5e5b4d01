"""`/healthz` and `/readyz`: a server is ready if it can show a cluster, however old the data are."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from runtime import version
from storage.sync_status import LinkStatus
from tests.mirrored_cluster import MirroredCluster


def readiness(client: FlaskClient) -> Any:
    response = client.get("/readyz")
    assert response.headers["Cache-Control"] == "no-store"
    assert response.status_code == 200
    return response.json


def test_it_is_alive_without_a_query(client: FlaskClient) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.text) == (200, "ok\n")
    assert response.headers["Cache-Control"] == "no-store"


def test_it_is_ready_before_the_first_heartbeat(client: FlaskClient) -> None:
    no_grabber = {
        "ready": True,
        "reason": None,
        "grabber_silent_s": None,
        "warning": "No grabber has mirrored this cluster yet",
    }
    assert readiness(client) == {
        "ready": True,
        "version": str(version.current()),
        "clusters": {"playback": no_grabber, "production": no_grabber},
    }


def test_it_reports_the_time_since_the_last_heartbeat(client: FlaskClient, settings: Settings) -> None:
    cluster = MirroredCluster(settings)
    cluster.beat()
    before, age, rounding = datetime.now(UTC), timedelta(seconds=100), timedelta(seconds=0.05)
    cluster.set_heartbeat_age(age)
    production = readiness(client)["clusters"]["production"]
    oldest = age + (datetime.now(UTC) - before)
    assert production["ready"] is True
    assert production["reason"] is None
    assert age <= timedelta(seconds=production["grabber_silent_s"]) <= oldest + rounding


def test_it_stays_ready_while_dqm2_is_unreachable(client: FlaskClient, settings: Settings) -> None:
    since = datetime.now(UTC) - timedelta(hours=2)
    failing = LinkStatus(last_success_at=since, failing_since=since, reason="connection refused")
    MirroredCluster(settings, Cluster.PLAYBACK).beat(gateway=failing)
    assert readiness(client)["clusters"]["playback"]["ready"] is True
