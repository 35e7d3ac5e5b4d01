"""`/metrics`: all workers together, on a port of its own and on no other."""

import re
from collections.abc import Iterator

import pytest
import requests

import db
from dqmsquare_cfg import Settings
from runtime import version
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, free_port, server_process, workers_of
from tests.waiting import until

RUN = 358_791


@pytest.fixture
def server(environment: dict[str, str]) -> Iterator[ServerProcess]:
    given = {**environment, "SERVER_METRICS_PORT": free_port(), "SERVER_WORKERS": "2"}
    with server_process(given) as server:
        until(lambda: len(workers_of(server)) == 2)
        yield server


def test_it_counts_requests_of_all_workers_by_route_and_status(server: ServerProcess) -> None:
    for _ in range(40):
        requests.get(f"{server.url}/api?what=get_info&db=production", timeout=10)
    for run in range(3):
        server.get(f"/api?what=get_run&db=production&run={run}")
    server.get("/api?what=get_run&db=production&run=x")
    server.get("/api?what=made-up-1")
    server.get("/made-up-2")
    expected = {
        ("/api?what=get_info", 200): 40,
        ("/api?what=get_run", 200): 3,
        ("/api?what=get_run", 400): 1,
        ("/api", 404): 1,
        ("none", 404): 1,
    }

    def counted() -> dict[tuple[str, int], float]:
        found = server.samples()
        names = {
            pair: 'dqmsquare_http_requests_total{{route="{}",status="{}"}}'.format(*pair) for pair in expected
        }
        return {pair: found.get(name, 0) for pair, name in names.items()}

    # A request is counted once its answer is sent.
    until(lambda: counted() == expected)
    found = server.samples()
    assert found['dqmsquare_http_request_duration_seconds_count{route="/api?what=get_info"}'] == 40
    assert not any("made-up" in name for name in found)


def test_it_tells_how_many_answers_were_kept(server: ServerProcess) -> None:
    server.get("/api?what=get_run&db=production&run=1")
    for _ in range(40):
        server.get("/live/run?db=production")

    def count(result: str) -> float:
        return server.samples().get(f'dqmsquare_response_cache_requests_total{{result="{result}"}}', 0)

    # Each worker makes its own, once more where it has only just begun to hear of changes.
    assert count("hit") + count("miss") == 40
    assert 1 <= count("miss") <= 4


def test_it_tells_jobs_of_the_newest_run_by_state(server: ServerProcess, settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "beam", exit_code=1))
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, client) for client in ("beam", "dt")),
        job(RUN, "ecal", exit_code=0),
        job(RUN, "hcal", exit_code=-9),
    )
    found = server.samples()
    counts = {"running": 2, "finished": 1, "crashed": 1, "stuck": 0, "lost": 0}
    for state, count in counts.items():
        assert found[f'dqmsquare_jobs{{cluster="production",state="{state}"}}'] == count
        assert found[f'dqmsquare_jobs{{cluster="playback",state="{state}"}}'] == 0


def test_it_tells_its_version(server: ServerProcess) -> None:
    [info] = [name for name in server.samples() if name.startswith("dqmsquare_build_info")]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', info))
    assert (labels["version"], labels["schema"]) == (version.NUMBER, db.head_revision())
    assert re.fullmatch(r"unknown|[0-9a-f]{12}(-dirty)?", labels["commit"])


def test_it_answers_nothing_else_there_and_no_metrics_elsewhere(server: ServerProcess) -> None:
    there = server.metrics_url.removesuffix("/metrics")
    for path in ("/", "/api?what=get_info&db=production", "/healthz", "/metrics/", "/cr/"):
        assert requests.get(f"{there}{path}", timeout=10).status_code == 404
    host_of_metrics = {"Host": there.removeprefix("http://")}
    assert server.get("/metrics").status_code == 404
    assert server.get("/metrics", headers=host_of_metrics).status_code == 404


def test_it_tells_that_a_database_is_away(environment: dict[str, str]) -> None:
    given = {**environment, "POSTGRES_PORT": free_port(), "SERVER_METRICS_PORT": free_port()}
    with server_process(given) as server:
        found = server.samples()
        assert found['dqmsquare_database_up{cluster="production"}'] == 0
        assert not any(name.startswith("dqmsquare_jobs") for name in found)
