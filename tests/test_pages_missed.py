"""The summary of what happened while a page did not run."""

from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

import db
from dqmsquare_cfg import Cluster, Settings
from storage.mutes import MuteSubject, MuteWriter
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
NOW = datetime.now(UTC)
SINCE = NOW - timedelta(hours=1)
BEFORE = SINCE - timedelta(minutes=5)
LATER = SINCE + timedelta(minutes=5)


def summary(client: FlaskClient, since: datetime = SINCE) -> str:
    """The summary of what happened since a time."""
    text: str = client.get(f"/live/missed?since={round(since.timestamp() * 1000)}").get_json()["text"]
    return text


def test_it_names_new_runs_crashed_clients_and_machines_that_were_down(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    unit, other, third = *mirrored.filter_units, mirrored.builder_unit
    mirrored.write(
        unit,
        job(RUN, "gem", at=BEFORE, started_at=BEFORE, exit_code=-6),
        job(RUN + 1, "beam", at=LATER, started_at=LATER, exit_code=-6),
        job(RUN + 1, "csc", at=LATER, started_at=LATER, exit_code=-6),
        job(RUN + 1, "csc", at=NOW, started_at=LATER, exit_code=-11),
        job(RUN + 1, "dt", at=NOW, started_at=LATER),
    )
    for machine, at in ((unit, LATER), (other, BEFORE)):
        mirrored.set_machine_state(machine, at, down_reason="No route to host")
    mirrored.set_machine_state(unit, NOW)
    mirrored.set_machine_state(third, LATER)
    down = f"{mirrored.label(unit)} was down"
    assert summary(client) == f"1 new run, 3 crashes (beam, csc ×2); {down}"


def test_it_leaves_out_clients_that_are_muted(
    client: FlaskClient, mirrored: MirroredCluster, settings: Settings
) -> None:
    crashed = job(RUN, "beam", at=LATER, started_at=BEFORE, exit_code=-6)
    mirrored.write(mirrored.filter_units[0], crashed)
    assert summary(client) == "1 crash (beam)"
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    MuteWriter(database).mute(MuteSubject(crashed.client), "its cable is out", "alice", timedelta(hours=1))
    database.dispose()
    assert summary(client) == ""


def test_it_names_five_clients_at_most(client: FlaskClient, mirrored: MirroredCluster) -> None:
    names = ("beam", "csc", "dt", "ecal", "fed", "gem", "hcal")
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, name, at=LATER, started_at=BEFORE, exit_code=-6) for name in names),
    )
    assert summary(client) == "7 crashes (beam, csc, dt, ecal, fed and 2 more)"


def test_it_is_empty_if_nothing_happened(client: FlaskClient, mirrored: MirroredCluster) -> None:
    assert summary(client) == ""
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", at=BEFORE, exit_code=-6))
    assert summary(client) == ""


def test_it_has_the_last_seven_days_of_a_longer_time(client: FlaskClient, mirrored: MirroredCluster) -> None:
    days_ago = [NOW - timedelta(days=days) for days in range(9)]
    assert summary(client, days_ago[8]) == "nothing (in the last 7 days)"
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "beam", at=days_ago[8], exit_code=-6),
        job(RUN, "csc", at=days_ago[6], started_at=days_ago[8], exit_code=-6),
    )
    for machine, at in zip(mirrored.filter_units, (days_ago[8], days_ago[6]), strict=True):
        mirrored.set_machine_state(machine, at, down_reason="No route to host")
    down = f"{mirrored.label(mirrored.filter_units[1])} was down"
    assert summary(client, datetime.fromtimestamp(0, UTC)) == f"1 crash (csc); {down} (in the last 7 days)"


@pytest.mark.parametrize("since", ["", "yesterday", "1e99", "9" * 30])
@pytest.mark.usefixtures("mirrored")
def test_it_refuses_what_is_no_time(without_data: FlaskClient, since: str) -> None:
    response = without_data.get("/live/missed", query_string={"since": since})
    assert (response.status_code, response.text) == (400, "since must be a unix time in milliseconds")
