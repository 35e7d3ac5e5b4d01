"""The state of the receivers of notifications, on the cluster page of signed-in experts."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import insert

import db
from dqmsquare_cfg import Cluster, Settings
from tests.control_room import Visitor
from tests.mirrored_cluster import MirroredCluster

PATH = "/cr/receivers"

pytestmark = pytest.mark.usefixtures("database")


@pytest.fixture
def database(settings: Settings) -> Iterator[sa.Engine]:
    """The database of the production cluster, with a current heartbeat."""
    MirroredCluster(settings).beat()
    engine = db.engine(settings, Cluster.PRODUCTION, "tests")
    yield engine
    engine.dispose()


def add_receiver(database: sa.Engine, name: str, **values: object) -> None:
    with database.begin() as connection:
        connection.execute(
            insert(db.notification_receivers).values(name=name, scheme="json", cursor=0, **values)
        )


def test_it_shows_each_receiver_to_signed_in_experts(url: str, database: sa.Engine) -> None:
    now = datetime.now(UTC)
    add_receiver(database, "shift", sent=12, last_success_at=now)
    add_receiver(database, "night", failing_since=now - timedelta(hours=1), failures=3, reason="HTTP 500 <b>")
    page = Visitor(url).sign_in().get(PATH, params={"db": "production"}).text
    night, shift = page.split("<tbody>")[1].split("</tr>")[:2]
    assert "night" in night
    assert "failing" in night
    assert "3 attempts: HTTP 500 &lt;b&gt;" in night
    assert "never" in night
    assert "shift" in shift
    assert "working" in shift
    assert '<td data-head="Sent" class="numeric">12</td>' in shift


def test_it_shows_that_there_is_no_receiver(url: str) -> None:
    assert "None is configured" in Visitor(url).sign_in().get(PATH).text


def test_it_shows_nothing_to_others_and_records_no_refusal(url: str, database: sa.Engine) -> None:
    add_receiver(database, "shift")
    response = Visitor(url).get(PATH)
    assert (response.status_code, response.text) == (200, "")
    assert response.headers["Cache-Control"] == "no-store"
    assert Visitor(url).sign_in().audit(outcome="refused") == []


def test_the_cluster_page_asks_for_them(url: str) -> None:
    assert f'hx-get="{PATH}?db=production"' in Visitor(url).get("/cluster/").text
