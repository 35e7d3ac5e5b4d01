"""`/healthz` and `/readyz`: who can show a cluster is ready, however old what is shown is."""

from datetime import UTC, datetime, timedelta
from typing import Any

from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from runtime import version
from storage.sync_status import LinkStatus
from tests.mirrored_cluster import MirroredCluster


def readiness(client: FlaskClient) -> Any:
    answer = client.get("/readyz")
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.status_code == 200
    return answer.json


def test_it_lives_without_asking_a_database(client: FlaskClient) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.text, answer.headers["Cache-Control"]) == (200, "ok\n", "no-store")


def test_it_is_ready_before_a_grabber_has_worked(client: FlaskClient) -> None:
    nobody = {
        "ready": True,
        "reason": "No grabber has worked here yet.",
        "grabber_silent_s": None,
        "warning": None,
    }
    assert readiness(client) == {
        "ready": True,
        "version": str(version.current()),
        "clusters": {"playback": nobody, "production": nobody},
    }


def test_it_tells_how_long_a_grabber_is_silent(client: FlaskClient, settings: Settings) -> None:
    MirroredCluster(settings, Cluster.PRODUCTION).beat()
    told = readiness(client)["clusters"]["production"]
    assert told["ready"] is True
    assert told["reason"] is None
    assert 0 <= told["grabber_silent_s"] < 60


def test_it_stays_ready_while_dqm2_is_away(client: FlaskClient, settings: Settings) -> None:
    since = datetime.now(UTC) - timedelta(hours=2)
    failing = LinkStatus(last_success_at=since, failing_since=since, reason="connection refused")
    MirroredCluster(settings, Cluster.PLAYBACK).beat(gateway=failing)
    assert readiness(client)["clusters"]["playback"]["ready"] is True
