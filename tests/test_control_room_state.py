"""Runs and machines beside the buttons of the Control Room, and the freshness of both clusters."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from dqmsquare_cfg import Cluster, Settings
from tests.control_room import Visitor
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import served, with_contacts
from tests.waiting import until

pytestmark = pytest.mark.usefixtures("mirrored", "playback")

RUN, PLAYBACK_RUN = 358_791, 500_012


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with contacts for clients."""
    return with_contacts(settings)


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster with an ongoing run in which a client has crashed."""
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], job(RUN, "csc"), job(RUN, "ecal", exit_code=-11))
    cluster.beat()
    return cluster


@pytest.fixture
def playback(settings: Settings) -> MirroredCluster:
    """The playback cluster with an ongoing run."""
    cluster = MirroredCluster(settings, Cluster.PLAYBACK)
    cluster.write(cluster.filter_units[0], job(PLAYBACK_RUN, "csc"))
    cluster.beat()
    return cluster


def words(page: str, element: str) -> str:
    """The text of the paragraph or division with this id."""
    [text] = re.findall(
        rf'id="{element}"[^>]*>(.*?)(?:\n</div>|</p>(?!\n))', page.replace("</p>\n<", "</p><"), re.DOTALL
    )
    return " ".join(re.sub(r"<[^>]*>", " ", text).split())


def test_it_shows_runs_and_machines_beside_their_buttons(url: str, mirrored: MirroredCluster) -> None:
    visitor = Visitor(url).sign_in()
    unit, idle = mirrored.filter_units[:2]
    for page in (visitor.get("/cr/").text, visitor.get("/cr/state").text):
        assert words(page, "run-production").startswith(f"Run {RUN} ongoing")
        assert words(page, "run-production").endswith("1 problem call DQM on call 16 0000")
        assert words(page, "run-playback").startswith(f"Run {PLAYBACK_RUN} ongoing")
        of_unit = words(page, f"machine-{unit}")
        assert f"run {RUN}: 1 crashed, 1 running" in of_unit
        assert of_unit.endswith("crashed ecal call ECAL on call 16 1234")
        assert str(RUN) not in words(page, f"machine-{idle}")


def test_it_names_the_run_that_a_command_may_end_only_while_it_is_ongoing(
    url: str, mirrored: MirroredCluster
) -> None:
    visitor = Visitor(url).sign_in()
    unit, idle = mirrored.filter_units[:2]
    page = visitor.get("/cr/state").text
    assert re.search(rf'id="run-playback"[^>]* data-run="{PLAYBACK_RUN}"', page)
    assert re.search(rf'id="machine-{unit}"[^>]* data-run="{RUN}"', page)
    assert not re.search(rf'id="machine-{idle}"[^>]* data-run=', page)


def test_it_shows_the_state_to_experts_only_and_lets_nobody_store_it(
    url: str, mirrored: MirroredCluster
) -> None:
    anonymous = Visitor(url).get("/cr/state")
    assert anonymous.status_code == 401
    assert mirrored.filter_units[0] not in anonymous.text
    response = Visitor(url).sign_in().get("/cr/state")
    assert mirrored.filter_units[0] in response.text
    assert response.headers["Cache-Control"] == "no-store"


def test_it_shows_the_freshness_of_both_clusters(
    url: str, mirrored: MirroredCluster, playback: MirroredCluster
) -> None:
    visitor = Visitor(url).sign_in()
    for path in ("/cr/", "/cr/audit/", "/cr/mutes/"):
        assert 'hx-get="/live/freshness/both"' in visitor.get(path).text, path
    page = Visitor(url).get("/live/freshness/both").text
    for cluster in (mirrored, playback):
        assert f'class="incidents" data-cluster="{cluster.cluster}"' in page
        assert all(cluster.label(host) in page for host in cluster.filter_units)
        assert all(host not in page for host in cluster.filter_units)
    assert f"ecal crashed in run {RUN} (production)" in page


def test_it_shows_the_freshness_of_one_cluster_while_the_database_of_the_other_is_down(
    settings: Settings, playback: MirroredCluster
) -> None:
    with served(replace(settings, postgres_production_db_name="missing")) as url:
        response = Visitor(url).get("/live/freshness/both")
    assert response.status_code == 200
    assert all(playback.label(host) in response.text for host in playback.filter_units)
    assert "Production: <span data-message>The mirror&#39;s database does not respond" in response.text
    # Otherwise a browser would take what it knows of the cluster's machines for over.
    assert response.text.count('data-key="data path"') == 1


def test_it_reports_a_shared_outage_once_and_names_the_cluster_of_another(
    url: str, mirrored: MirroredCluster, playback: MirroredCluster
) -> None:
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    mirrored.beat(long_ago)
    page = Visitor(url).get("/live/freshness/both").text
    assert "Production: <span data-message>Nothing has been read from DQM²" in page
    playback.beat(long_ago + timedelta(minutes=1))
    shared = "Production and playback: <span data-message>Nothing has been read from DQM²"
    until(lambda: shared in Visitor(url).get("/live/freshness/both").text)
    page = Visitor(url).get("/live/freshness/both").text
    assert page.count("data-outage") == 1
    assert page.count('data-key="data path"') == 1
