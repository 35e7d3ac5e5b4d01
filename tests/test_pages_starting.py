"""The start of a run: a client without a job is missing only after the usual startup time."""

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
NOW = datetime.now(UTC)
YESTERDAY = NOW - timedelta(days=1)
ENDED_AT = YESTERDAY + timedelta(hours=2)
# When the clients of earlier runs started, in seconds from the start of the run.
STARTED_AFTER_S = {"beam": 0, "csc": 10, "dt": 60}
REPORTING_S = 30


def write_earlier_run(
    mirrored: MirroredCluster, run: int, started_after_s: Mapping[str, float] = STARTED_AFTER_S
) -> None:
    records = [
        job(run, client, at=ENDED_AT, exit_code=0, started_at=YESTERDAY + timedelta(seconds=after_s))
        for client, after_s in started_after_s.items()
    ]
    mirrored.write(mirrored.filter_units[0], *records)


def write_start(mirrored: MirroredCluster, age_s: float, exit_code: int | None = None) -> None:
    """A run of one client, which has reported until it was so old."""
    record = job(RUN, "beam", at=NOW, started_at=NOW - timedelta(seconds=age_s), exit_code=exit_code)
    mirrored.write(mirrored.filter_units[0], record)


def states(client: FlaskClient) -> dict[str, str]:
    html = client.get("/live/run").text
    return dict(re.findall(r'data-client="(\w+)" data-state="(\w+)"', html))


def verdict(client: FlaskClient) -> str:
    html = client.get("/live/run").text.partition('class="verdict"')[2].partition("</p>")[0]
    return " ".join(re.sub(r"<[^>]*>", " ", html).split()).removeprefix("> ")


@pytest.fixture
def mirrored(mirrored: MirroredCluster) -> MirroredCluster:
    """A cluster with an earlier run of three clients."""
    write_earlier_run(mirrored, RUN - 1)
    return mirrored


def test_it_is_starting_for_as_long_as_the_previous_run_took(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    write_start(mirrored, age_s=60)
    assert verdict(client) == "Starting 1 of 3 clients"
    assert states(client) == {"beam": "running", "csc": "starting", "dt": "starting"}
    assert "is-idle" in client.get("/live/run").text


def test_a_client_is_missing_after_that(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write_start(mirrored, age_s=60 + REPORTING_S)
    assert verdict(client) == "2 problems in 3 clients"
    assert states(client) == {"beam": "running", "csc": "missing", "dt": "missing"}


def test_a_client_is_missing_in_a_run_that_has_ended(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write_start(mirrored, age_s=10, exit_code=0)
    assert states(client) == {"beam": "finished", "csc": "missing", "dt": "missing"}


def test_a_crash_is_a_problem_from_the_start(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write_start(mirrored, age_s=10)
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc", at=NOW, started_at=NOW, exit_code=65))
    assert verdict(client) == "1 problem in 3 clients"


@pytest.mark.long
def test_a_single_slow_start_does_not_count(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write_earlier_run(mirrored, RUN - 3)
    write_earlier_run(mirrored, RUN - 2, {"beam": 0, "dt": 4000})
    write_start(mirrored, age_s=60 + REPORTING_S)
    assert states(client)["dt"] == "missing"


def test_it_is_starting_for_a_limited_time(client: FlaskClient, mirrored: MirroredCluster) -> None:
    """The default of MISSING_AFTER_S is 300 s."""
    for run in (RUN - 3, RUN - 2):
        write_earlier_run(mirrored, run, {"beam": 0, "dt": 4000})
    write_start(mirrored, age_s=299)
    assert states(client)["dt"] == "starting"
    write_start(mirrored, age_s=300)
    assert states(client)["dt"] == "missing"


@pytest.mark.long
def test_it_is_starting_for_the_limited_time_if_no_earlier_start_is_known(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    ended = [job(RUN - 5, name, at=YESTERDAY, started_at=YESTERDAY, exit_code=0) for name in ("beam", "csc")]
    mirrored.write(mirrored.filter_units[0], *(replace(record, run_key="hi_run") for record in ended))
    record = job(RUN, "beam", at=NOW, started_at=NOW - timedelta(seconds=299), run_key="hi_run")
    mirrored.write(mirrored.filter_units[0], record)
    assert states(client) == {"beam": "running", "csc": "starting"}
