"""Pages while a machine is catching up: its jobs are old, and nothing that follows from them is claimed."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from flask.testing import FlaskClient

from dqmsquare_cfg import Cluster, Settings
from storage.sync_status import LinkStatus
from tests.examples import core_of
from tests.mirrored_cluster import MirroredCluster, job
from tests.test_pages_playback_report import played, write
from tests.test_pages_shift_report import copied

RUN = 358_788
BANNER = "dqmfu-c2b03-.. is catching up"
CAUSE = "is catching up: 5 318 documents are still to be mirrored"


@pytest.fixture
def unit(mirrored: MirroredCluster) -> str:
    """A machine of which one job is mirrored, and thousands of documents are not."""
    unit = mirrored.filter_units[0]
    mirrored.write(unit, job(RUN, "csc"))
    mirrored.beat(machines={unit: behind(5318)})
    return unit


def behind(documents: int) -> LinkStatus:
    """The link of a machine that is mirrored, except for some documents."""
    return replace(LinkStatus(datetime.now(UTC)), documents_behind=documents)


def with_blanks(text: str) -> str:
    """The text with blanks in place of the narrow spaces between the digits of numbers."""
    return text.replace("\u202f", " ")


def current_shift(client: FlaskClient, form: str = "text") -> str:
    """The report of the current shift."""
    return with_blanks(copied(client, form, "/report/shift?db=production"))


@pytest.mark.usefixtures("unit")
def test_a_banner_says_that_the_data_of_the_machine_are_old(client: FlaskClient) -> None:
    page = client.get("/live/freshness?db=production").text
    assert (
        f"<span data-message>{BANNER}</span></strong>: 5\u202f318 documents are still to be mirrored." in page
    )
    assert 'data-stale="production" data-machine' in page
    assert "Its data are old." in page


@pytest.mark.parametrize(("documents", "is_old"), [(200, False), (201, True), (None, True)])
def test_the_api_has_stale_data_when_pages_say_so(
    client: FlaskClient, mirrored: MirroredCluster, documents: int | None, *, is_old: bool
) -> None:
    failing = LinkStatus(failing_since=datetime.now(UTC) - timedelta(hours=1), reason="timed out")
    mirrored.beat(machines={mirrored.filter_units[0]: failing if documents is None else behind(documents)})
    assert ("data-stale=" in client.get("/live/freshness?db=production").text) is is_old
    assert client.get("/api/v1/clusters/production/freshness").get_json()["has_stale_data"] is is_old


@pytest.mark.usefixtures("unit")
def test_the_wall_does_not_claim_to_know_the_verdict(client: FlaskClient) -> None:
    wall = client.get("/live/wall?db=production").text
    assert "is-stale" in wall.partition(">")[0]
    assert BANNER in wall


@pytest.mark.usefixtures("unit")
def test_it_is_no_incident(client: FlaskClient) -> None:
    assert "data-key" not in client.get("/live/freshness?db=production").text


@pytest.mark.parametrize("documents", core_of([0, 200], 200))
def test_documents_that_have_just_arrived_make_nothing_old(
    client: FlaskClient, mirrored: MirroredCluster, unit: str, documents: int
) -> None:
    mirrored.beat(machines={unit: behind(documents)})
    assert "data-stale=" not in client.get("/live/freshness?db=production").text
    assert "is-stale" not in client.get("/live/wall?db=production").text.partition(">")[0]
    assert "Old data" not in current_shift(client).partition("\n\nRuns")[0]


def test_an_outage_hides_it(client: FlaskClient, mirrored: MirroredCluster, unit: str) -> None:
    failing = replace(behind(5318), last_success_at=datetime.now(UTC) - timedelta(minutes=5))
    mirrored.beat(machines={unit: failing})
    page = client.get("/live/freshness?db=production").text
    assert "dqmfu-c2b03-.. is not mirrored" in page
    assert BANNER not in page


@pytest.mark.usefixtures("unit")
@pytest.mark.parametrize("form", core_of(["text", "markdown"], "text"))
def test_the_shift_report_warns_of_it(client: FlaskClient, form: str) -> None:
    report = current_shift(client, form)
    assert "Old data: " in report
    assert CAUSE in report


def test_the_playback_report_warns_of_it(client: FlaskClient, settings: Settings) -> None:
    playback = MirroredCluster(settings, Cluster.PLAYBACK)
    write(playback, played(RUN))
    path = f"/report/playback?run={RUN}"
    assert "Old data" not in copied(client, "text", path)
    unit = playback.filter_units[0]
    playback.beat(machines={unit: behind(5318)})
    assert CAUSE in with_blanks(copied(client, "text", path))


def test_reports_do_not_warn_of_an_outage_that_began_after_their_end(
    client: FlaskClient, mirrored: MirroredCluster, unit: str
) -> None:
    failing = replace(behind(0), last_success_at=datetime.now(UTC) - timedelta(minutes=5))
    mirrored.beat(machines={unit: failing})
    assert "Old data: dqmfu-c2b03-.. is not mirrored since " in current_shift(client)
    past = "/report/shift?db=production&from=2022-09-15T07:00&to=2022-09-15T15:00"
    assert "Old data:" not in copied(client, "text", past)
