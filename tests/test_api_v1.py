"""`/api/v1/`: resources with named fields, by a client without a server in between."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

import db
from dqm2.records import JobLog
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from storage import transitions
from storage.sync_status import LinkStatus
from storage.transitions import Thing, Transition, TransitionKind
from tests.api_v1_data import CRASHED_JOB, RUN, write_sample
from tests.mirrored_cluster import MirroredCluster, delivery, job, with_series
from tools.demo.postgres import EmbeddedPostgres

ROOT = "/api/v1"
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
# Always the same: pytest-xdist compares the names of tests between its workers.
UNKNOWN_JOB = UUID(int=1)


def get(client: FlaskClient, path: str, /, **query: object) -> Any:
    """A resource of the production cluster."""
    response = client.get(f"{ROOT}/clusters/production{path}", query_string=query)
    assert response.status_code == 200, response.text
    return response.json


def runs(client: FlaskClient, /, **query: object) -> list[int]:
    """The runs of a page."""
    return [run["run"] for run in get(client, "/runs", **query)["items"]]


def assert_problem(response: TestResponse, status: int, detail: str) -> None:
    """Fail unless a response is a problem as of RFC 9457."""
    assert (response.status_code, response.mimetype) == (status, "application/problem+json")
    assert response.json is not None
    assert response.json["status"] == status
    assert response.json["type"] == "about:blank"
    assert response.json["detail"] == detail


def test_it_lists_the_clusters(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), job(RUN + 7, "beam"))
    response = client.get(f"{ROOT}/clusters")
    assert response.json == {
        "items": [
            {"name": "playback", "is_available": True, "oldest_run": None, "newest_run": None},
            {"name": "production", "is_available": True, "oldest_run": RUN, "newest_run": RUN + 7},
        ]
    }


def test_it_lists_every_run_once_over_all_pages(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], *(job(RUN + number, "beam") for number in range(30)))
    found: list[int] = []
    page = get(client, "/runs", limit=7)
    for _ in range(10):
        found += [run["run"] for run in page["items"]]
        if page["next_cursor"] is None:
            break
        page = get(client, "/runs", limit=7, cursor=page["next_cursor"])
    assert found == [RUN + number for number in reversed(range(30))]


def test_a_new_run_does_not_shift_the_next_page(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *(job(RUN + number, "beam") for number in range(4)))
    first = get(client, "/runs", limit=2)
    mirrored.write(unit, job(RUN + 9, "beam"))
    assert runs(client, limit=2, cursor=first["next_cursor"]) == [RUN + 1, RUN]


@pytest.fixture(scope="module")
def various(shared_settings: Settings) -> Iterator[FlaskClient]:
    """A client of four runs that differ in everything that runs can be filtered by."""
    mirrored = MirroredCluster(shared_settings)
    unit, other = mirrored.filter_units[:2]
    old = NOW - 10 * DAY
    mirrored.write(unit, job(RUN, "beam", at=old, exit_code=0, run_key="cosmic_run"))
    mirrored.write(unit, job(RUN + 1, "dt", at=old, exit_code=-11, cmssw_version="15_0_1"))
    mirrored.write(unit, job(RUN + 2, "dt", at=NOW - 2 * DAY))
    mirrored.write(other, job(RUN + 3, "beam"), job(RUN + 3, "dt", exit_code=65))
    with create_app(shared_settings).test_client() as client:
        yield client


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({}, [3, 2, 1, 0]),
        ({"first_run": RUN + 1, "last_run": RUN + 2}, [2, 1]),
        ({"first_run": RUN + 2, "last_run": RUN + 1}, []),
        ({"since": (NOW - 3 * DAY).isoformat()}, [3, 2]),
        ({"until": (NOW - 3 * DAY).isoformat()}, [1, 0]),
        ({"run_key": "cosmic_run"}, [0]),
        ({"run_key": "cosmic"}, []),
        ({"cmssw_version": "15_0_1"}, [1]),
        ({"cmssw_version": "CMSSW_15_0_1"}, [1]),
        ({"client": "beam"}, [3, 0]),
        ({"state": "ongoing"}, [3]),
        ({"state": "ended"}, [2, 1, 0]),
        ({"state": "ended", "limit": 2}, [2, 1]),
        ({"job_state": "crashed"}, [3, 1]),
        ({"job_state": "running"}, [3]),
        ({"job_state": "lost"}, [2]),
        ({"job_state": "finished"}, [0]),
        ({"job_state": "stuck"}, []),
        ({"job_state": "crashed", "client": "beam"}, []),
        ({"job_state": "crashed", "since": (NOW - DAY).isoformat()}, [3]),
        ({"job_state": "crashed", "state": "ongoing"}, [3]),
    ],
)
def test_it_filters_runs(various: FlaskClient, query: dict[str, object], expected: list[int]) -> None:
    assert runs(various, **query) == [RUN + number for number in expected]


def test_it_continues_a_search_on_the_next_page(
    client: FlaskClient, mirrored: MirroredCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("web.api_v1.run_finder._RUNS_PER_PIECE", 2)
    monkeypatch.setattr("web.api_v1.run_finder._MAX_PIECES", 2)
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *(job(RUN + number, "beam", exit_code=number and 1) for number in range(8)))
    page = get(client, "/runs", job_state="finished")
    assert page == {"items": [], "next_cursor": str(RUN + 4)}
    page = get(client, "/runs", job_state="finished", cursor=page["next_cursor"])
    assert [run["run"] for run in page["items"]] == [RUN]


def test_it_names_the_neighbours_of_a_run(various: FlaskClient) -> None:
    run = get(various, f"/runs/{RUN + 1}")
    assert (run["previous_run"], run["next_run"]) == (RUN, RUN + 2)
    assert run["jobs_by_state"] == {"crashed": 1, "stuck": 0, "lost": 0, "running": 0, "finished": 0}


def test_it_leaves_unknown_values_null(client: FlaskClient, mirrored: MirroredCluster) -> None:
    missing = dict.fromkeys(
        ("run_key", "cmssw_version", "cmssw_run", "lumisection", "lumisection_at", "rss_kb", "events_total")
    )
    bare = job(RUN, "beam", at=NOW, started_at=NOW, events_rate=float("nan"), fi_state=None, **missing)
    mirrored.write(mirrored.filter_units[0], bare)
    [shown] = get(client, f"/runs/{RUN}/jobs")["items"]
    unknown = {name for name, value in shown.items() if value is None}
    assert unknown == {
        *("exit_code", "started_at", "cmssw_run", "lumisection", "events_total", "events_per_s", "fi_state"),
        *("rss_bytes", "crash", "crash_group"),
    }
    assert get(client, f"/runs/{RUN}")["run_key"] is None


def test_it_filters_jobs(various: FlaskClient) -> None:
    def clients(**query: str) -> list[str]:
        return [shown["client"] for shown in get(various, f"/runs/{RUN + 3}/jobs", **query)["items"]]

    assert clients() == ["beam", "dt"]
    assert clients(state="crashed") == ["dt"]
    assert clients(client="beam") == ["beam"]
    assert clients(client="beam", state="crashed") == []


def test_it_has_the_series_of_a_job(client: FlaskClient, mirrored: MirroredCluster) -> None:
    shown = with_series(job(RUN, "beam", lumisection=5, rss_kb=1000))
    mirrored.write(mirrored.filter_units[0], shown)
    found = get(client, f"/jobs/{shown.document.identity}")
    assert found["rss_bytes"] == 1_024_000
    assert found["memory"]["rss_bytes"] == [kb * 1024 for kb in shown.memory.rss_kb]
    assert len(found["memory"]["times"]) == len(shown.memory.at_s)
    assert found["events"]["lumisections"] == [1, 2, 3, 4, 5]
    assert found["events"]["duration_s"] == [23.31] * 5
    assert set(found["input"]["statuses"]) <= {"close: ok", "skipped: fast-forward to the latest lumi"}


def test_it_has_the_log_as_text(client: FlaskClient, mirrored: MirroredCluster) -> None:
    shown = job(RUN, "beam", log=JobLog("<first>\n", "", 0))
    mirrored.write(mirrored.filter_units[0], shown)
    response = client.get(f"{ROOT}/clusters/production/jobs/{shown.document.identity}/log")
    assert (response.mimetype, response.text) == ("text/plain", "<first>\n")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_it_has_the_file_delivery_of_a_run(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.builder_unit, delivery(RUN, NOW - DAY, 3, streams=("streamDQM",)))
    found = get(client, f"/runs/{RUN}/delivery")
    [stream] = found["streams"]
    assert found["machine"] == mirrored.label(mirrored.builder_unit)
    assert stream["lumisections"] == [1, 2, 3]
    assert {len(values) for name, values in stream.items() if name != "name"} == {3}
    assert all(delay_s > 0 for delay_s in stream["delay_s"])


def test_it_has_the_uptime_of_machines_between_two_times(
    client: FlaskClient, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    start = (NOW - 9 * DAY).replace(microsecond=0)
    mirrored.set_machine_state(unit, start)
    mirrored.set_machine_state(unit, start + DAY, down_reason="timed out")
    mirrored.set_machine_state(unit, start + 2 * DAY)
    mirrored.set_machine_state(unit, start + 4 * DAY, down_reason="gone")
    mirrored.beat()
    since, until = start - DAY, start + 3 * DAY
    found = get(client, "/machines", since=since.isoformat(), until=until.isoformat())
    machine = next(each for each in found["items"] if each["machine"] == mirrored.label(unit))
    assert (machine["is_up"], machine["reason"]) == (False, "gone")
    assert [
        (each["is_up"], datetime.fromisoformat(each["since"]) - start, each["reason"])
        for each in machine["uptime"]
    ] == [
        (None, -DAY, None),
        (True, 0 * DAY, None),
        (False, DAY, "timed out"),
        (True, 2 * DAY, None),
    ]
    ends = [each["until"] for each in machine["uptime"]]
    assert ends[:-1] == [each["since"] for each in machine["uptime"]][1:]
    assert datetime.fromisoformat(ends[-1]) == until


def test_it_lists_no_uptime_of_the_future(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.beat()
    found = get(client, "/machines", until=(NOW + 9 * DAY).isoformat())
    assert datetime.fromisoformat(found["uptime_until"]) <= datetime.now(UTC)
    found = get(client, "/machines", since=(NOW + DAY).isoformat())
    assert found["uptime_since"] == found["uptime_until"]
    assert found["items"][0]["uptime"] == []


def test_it_takes_the_earliest_and_the_latest_time(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.beat()
    for extreme in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
        for path in ("/runs", "/machines", "/crash-groups"):
            get(client, path, since=extreme)
            get(client, path, until=extreme)


def test_it_says_what_is_stale(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    failed = LinkStatus(failing_since=NOW - DAY, reason="timed out")
    mirrored.beat(machines={unit: failed})
    found = get(client, "/freshness")
    assert found["is_fresh"] is False
    assert [(outage["machine"], outage["reason"]) for outage in found["outages"]] == [
        (mirrored.label(unit), "timed out")
    ]
    stale = [each["machine"] for each in found["machines"] if not each["is_fresh"]]
    assert stale == [mirrored.label(unit)]


def test_it_says_that_a_machine_is_down(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.set_machine_state(unit, NOW, down_reason="connection refused")
    mirrored.beat(machines={unit: LinkStatus(NOW - DAY, failing_since=NOW - DAY, reason="timed out")})
    (outage,) = get(client, "/freshness")["outages"]
    assert outage["message"] == f"{mirrored.label(unit)} is down and not mirrored"
    assert outage["reason"] == "connection refused"


def test_it_says_that_nothing_was_mirrored_yet(client: FlaskClient) -> None:
    found = get(client, "/freshness")
    assert (found["is_fresh"], found["heartbeat_at"], found["machines"]) == (False, None, [])


def test_it_lists_groups_of_crashes_page_by_page(client: FlaskClient, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.write(unit, *(job(RUN + n, f"client{n}", exit_code=65) for n in range(5)))
    found: list[str] = []
    page = get(client, "/crash-groups", limit=2)
    while True:
        assert page["count"] == 5
        found += [group["client"] for group in page["items"]]
        if page["next_cursor"] is None:
            break
        page = get(client, "/crash-groups", limit=2, cursor=page["next_cursor"])
    assert found == [f"client{n}" for n in (4, 3, 2, 1, 0)]


def test_it_has_the_jobs_of_a_group_of_crashes(client: FlaskClient, settings: Settings) -> None:
    write_sample(settings, NOW)
    [group] = get(client, "/crash-groups", kind="exception", run_key="pp_run")["items"]
    found = get(client, f"/crash-groups/{group['signature']}")
    assert [shown["id"] for shown in found["newest_jobs"]] == [str(CRASHED_JOB)]
    assert found["newest_jobs"][0]["crash"]["category"] == "ProductNotFound"
    assert get(client, "/crash-groups", kind="cuda")["items"] == []
    in_time = get(client, "/crash-groups", kind="exception", run_key="pp_run", since="2000-01-01T00:00:00Z")
    assert in_time["items"] == [group]


def test_it_follows_transitions(client: FlaskClient, settings: Settings) -> None:
    write_sample(settings, NOW)
    assert get(client, "/transitions") == {"items": [], "next_cursor": "2", "is_complete": True}
    first = get(client, "/transitions", cursor=0, limit=1)
    second = get(client, "/transitions", cursor=first["next_cursor"])
    assert [(each["subject"], each["state"]) for page in (first, second) for each in page["items"]] == [
        ("ecalgpu", "running"),
        ("ecalgpu", "crashed"),
    ]
    assert first["is_complete"]
    end = {"items": [], "next_cursor": "2", "is_complete": True}
    assert get(client, "/transitions", cursor=second["next_cursor"]) == end


def test_it_marks_a_cursor_older_than_what_is_kept(client: FlaskClient, settings: Settings) -> None:
    write_sample(settings, NOW)
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        transitions.write(
            connection, [Transition(Thing(TransitionKind.GATEWAY), "down", is_problem=True, occurred_at=NOW)]
        )
        old = sa.update(db.transitions).where(db.transitions.c.id <= 2)
        connection.execute(old.values(noted_at=datetime.now(UTC) - transitions.RETENTION, run=None))
    assert sum(transitions.delete_old(database)) == 1
    database.dispose()
    expired = get(client, "/transitions", cursor=0)
    assert [each["id"] for each in expired["items"]] == [2, 3]
    assert not expired["is_complete"]
    followed = get(client, "/transitions", cursor=2)
    assert [each["id"] for each in followed["items"]] == [3]
    assert followed["is_complete"]


def test_it_restarts_a_cursor_of_a_database_that_was_replaced(
    client: FlaskClient, settings: Settings
) -> None:
    write_sample(settings, NOW)
    restarted = {"items": [], "next_cursor": "2", "is_complete": False}
    assert get(client, "/transitions", cursor=7) == restarted


def test_an_unchanged_resource_is_not_sent_again(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    url = f"{ROOT}/clusters/production/runs"
    tag = client.get(url).headers["ETag"]
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 304
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    assert client.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_it_compresses(client: FlaskClient, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], *(job(RUN + n, "beam") for n in range(10)))
    response = client.get(f"{ROOT}/clusters/production/runs", headers={"Accept-Encoding": "gzip"})
    assert response.headers["Content-Encoding"] == "gzip"


@pytest.mark.parametrize(
    ("path", "status", "detail"),
    [
        ("/clusters/lookarea", 404, "There is nothing at this address."),
        ("/clusters/lookarea/runs", 404, "There is no such cluster: it must be one of playback, production."),
        ("/clusters/production/runs/1", 404, "The mirror does not have this run."),
        ("/clusters/production/runs/1/jobs", 404, "The mirror does not have this run."),
        ("/clusters/production/runs/2147483648", 404, "There is nothing at this address."),
        ("/clusters/production/runs/-1", 404, "There is nothing at this address."),
        ("/clusters/production/runs/1/delivery", 404, "The mirror has no file delivery of this run."),
        (f"/clusters/production/jobs/{UNKNOWN_JOB}", 404, "The mirror does not have this job."),
        (f"/clusters/production/jobs/{UNKNOWN_JOB}/log", 404, "The mirror does not have this job."),
        ("/clusters/production/jobs/1", 404, "There is nothing at this address."),
        ("/clusters/production/crash-groups/%00", 404, "The cluster has no crash with this signature."),
        ("/clusters/production/runs?limit=0", 400, "limit: expected `int` >= 1"),
        ("/clusters/production/runs?limit=x", 400, "limit: expected `int`, got `str`"),
        ("/clusters/production/runs?limit=1&limit=2", 400, "limit must be given once"),
        ("/clusters/production/runs?limit=5%0A", 400, "limit must have no blank or line break around it"),
        ("/clusters/production/runs?limit=+5", 400, "limit must have no blank or line break around it"),
        ("/clusters/production/runs?client=a%0A", 400, "client must have no blank or line break around it"),
        ("/clusters/production/runs?order=run", 400, "There is no parameter `order`"),
        ("/clusters/production/runs/1?limit=1", 400, "There is no parameter `limit`"),
        ("/clusters/production/runs?since=2026", 400, "since: invalid RFC3339 encoded datetime"),
        (
            "/clusters/production/runs?since=2026-11-20T12:00:00",
            400,
            "since: expected `datetime` with a timezone component",
        ),
        (
            "/clusters/production/runs?state=over",
            400,
            "state: invalid enum value 'over'; it must be one of ongoing, ended",
        ),
    ],
)
def test_it_describes_problems(client: FlaskClient, path: str, status: int, detail: str) -> None:
    assert_problem(client.get(f"{ROOT}{path}"), status, detail)


@pytest.mark.parametrize("send", [FlaskClient.post, FlaskClient.put, FlaskClient.patch, FlaskClient.delete])
def test_it_is_read_only(client: FlaskClient, send: Callable[..., TestResponse]) -> None:
    response = send(client, f"{ROOT}/clusters")
    assert response.status_code == 405
    assert response.mimetype == "application/problem+json"
    assert set(response.allow) == {"GET", "HEAD", "OPTIONS"}


def test_it_says_that_a_database_does_not_respond(
    client: FlaskClient, postgres: EmbeddedPostgres, settings: Settings
) -> None:
    postgres.drop_database(settings.database(Cluster.PRODUCTION))
    response = client.get(f"{ROOT}/clusters/production/runs")
    assert_problem(response, 503, "The database of the production cluster can't be reached.")
    assert int(response.headers["Retry-After"]) > 0
    clusters = client.get(f"{ROOT}/clusters").get_json()["items"]
    assert [(each["name"], each["is_available"]) for each in clusters] == [
        ("playback", True),
        ("production", False),
    ]
    postgres.create_database(settings.database(Cluster.PRODUCTION))


def test_errors_elsewhere_stay_as_they_are(client: FlaskClient) -> None:
    assert client.get("/api?what=x").mimetype == "text/plain"
    assert client.get("/api/v10").mimetype != "application/problem+json"
