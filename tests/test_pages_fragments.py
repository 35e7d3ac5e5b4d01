"""Pages and their fragments over HTTP: parameters, errors, ETags, content."""

import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from tests.mirrored_cluster import MirroredCluster, job, write_run
from tests.waiting import until

RUN = 358_791
TEMPLATES = Path(__file__).parent.parent / "templates"


@pytest.mark.parametrize("path", ["/", "/live/run", "/live/freshness", "/live/delivery?run=1", "/cluster/"])
def test_it_responds_before_anything_is_mirrored(without_data: FlaskClient, path: str) -> None:
    assert without_data.get(path).status_code == 200


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("db=lookarea", "db must be playback or production"),
        ("run=x", "run must be an integer"),
        ("run=99999999999", "run must be an integer"),
        ("sort=size", "sort must be one of"),
        ("sort=--ls", "sort must be one of"),
        ("state=crashed,dead", "state must be one or more of"),
        ("job=1", "job must be one or more job ids"),
        ("time=atime", "time must be one of mtime, ctime"),
        ("db=production&db=playback", "db must be given once"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/live/run"])
def test_it_rejects_invalid_parameters(
    without_data: FlaskClient, path: str, query: str, message: str
) -> None:
    response = without_data.get(f"{path}?{query}")
    assert response.status_code == 400
    assert message in response.text


def test_it_sends_an_unchanged_fragment_once(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    mirrored.beat()

    def is_sent_once(path: str) -> bool:
        first = client.get(path)
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert int(again.headers["Server-Time"]) >= int(first.headers["Server-Time"])
        return (again.status_code, again.data) == (304, b"")

    for path in ("/", "/live/run", "/live/freshness", "/cluster/fragment"):
        # Some have the minute, which may end in between.
        until(lambda: is_sent_once(path))  # noqa: B023 - waited for right here


def test_it_sends_a_changed_fragment_again(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    tag = client.get("/live/run").headers["ETag"]
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc"))
    assert client.get("/live/run", headers={"If-None-Match": tag}).status_code == 200


def test_it_includes_the_fragments_in_the_page(client: FlaskClient, mirrored: MirroredCluster) -> None:
    write_run(mirrored, RUN)
    page = client.get("/?sort=-events").text
    assert client.get("/live/run?sort=-events").text.strip() in page
    assert client.get("/live/freshness").text.strip() in page


def test_it_expects_the_clients_of_the_previous_run_with_the_same_run_key(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, job(RUN - 3, "es", exit_code=0))
    mirrored.write(unit, job(RUN - 2, "beam", exit_code=0), job(RUN - 2, "csc", exit_code=0))
    mirrored.write(unit, job(RUN - 1, "dt", exit_code=0, run_key="cosmic_run"))
    mirrored.write(unit, job(RUN, "beam"))
    shown = client.get("/live/run").text
    assert 'data-client="csc" data-state="missing"' in shown
    assert 'data-client="es"' not in shown
    assert 'data-client="dt"' not in shown


def test_it_says_that_no_run_is_ongoing(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", exit_code=0))
    assert "No ongoing run." in client.get("/").text
    assert "Ended" in client.get(f"/?run={RUN}").text


def test_it_says_that_a_run_is_unknown(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    shown = client.get("/?run=7").text
    assert "Unknown run" in shown
    assert f'The newest run is <a href="?db=production" data-params="run job">{RUN}</a>' in shown


def test_it_returns_the_delivery_of_all_streams_on_one_axis(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    write_run(mirrored, RUN, lumisections=20)
    delivery = json.loads(client.get(f"/live/delivery?run={RUN}").text)
    assert delivery["lumisections"] == list(range(1, 21))
    assert [len(stream["delay_s"]) for stream in delivery["streams"]] == [20] * 6
    assert not delivery["start_is_guess"]


def test_it_has_no_page_for_an_unknown_job(without_data: FlaskClient) -> None:
    for path in (
        "/job/4f1c2e1a-0000-4000-8000-000000000000",
        "/job/x",
        "/job/4f1c2e1a-0000-4000-8000-000000000000/log.txt",
    ):
        assert without_data.get(path).status_code == 404


def test_it_has_its_own_message_for_an_unknown_url(client: FlaskClient) -> None:
    assert client.get("/nowhere").text == "There is nothing at this address."


def test_it_shows_which_machines_are_up_and_down(client: FlaskClient, mirrored: MirroredCluster) -> None:
    now = datetime.now(UTC)
    unit, other = mirrored.filter_units
    mirrored.beat()
    mirrored.set_machine_state(unit, now - timedelta(days=3))
    mirrored.set_machine_state(unit, now - timedelta(hours=2), down_reason="connection refused")
    mirrored.set_machine_state(other, now - timedelta(days=3))
    shown = client.get("/cluster/fragment").text
    assert shown.count('class="state state-crashed"') == 1
    assert "connection refused" in shown
    assert "up since" in shown


def test_scripts_can_request_each_part_of_a_page_again() -> None:
    """After a failure, and when a hidden page is seen again."""
    triggers = {
        path.name: re.findall(r'hx-trigger="([^"]*)"', path.read_text()) for path in TEMPLATES.rglob("*.html")
    }
    found = [(name, trigger) for name, each in triggers.items() for trigger in each]
    assert len(found) > 10
    assert [(name, trigger) for name, trigger in found if "refresh" not in trigger.split(", ")] == []
