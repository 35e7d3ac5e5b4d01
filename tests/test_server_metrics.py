"""`/metrics` of a server: the sum of all workers, on its own port only."""

import os
import re
import resource
import signal
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import requests
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from runtime import version
from storage.mutes import MuteSubject, MuteWriter
from storage.schema import head_revision
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import ServerProcess, free_port, server_process, workers_of
from tests.waiting import TIMEOUT_S, until
from tools.deploy_check import exported_metrics
from web.databases import ClusterDatabase
from web.metrics import MirrorCollector
from web.responses import SECURITY_HEADERS

RUN = 358_791

# Makes each read of mutes end as by a statement's time limit.
TOO_SLOW_MUTES = (
    "ALTER TABLE mutes RENAME TO mutes_as_they_were",
    """
    CREATE FUNCTION too_slow() RETURNS SETOF mutes_as_they_were LANGUAGE plpgsql AS
    $$ BEGIN RAISE EXCEPTION USING ERRCODE = 'query_canceled'; END $$
    """,
    "CREATE VIEW mutes AS SELECT * FROM too_slow()",
)


@pytest.fixture(scope="module")
def server(shared_environment: dict[str, str]) -> Iterator[ServerProcess]:
    """A server with two workers."""
    settings = {"SERVER_METRICS_PORT": free_port(), "SERVER_WORKERS": "2"}
    with server_process({**shared_environment, **settings}) as server:
        until(lambda: len(workers_of(server)) == 2)
        yield server


def crashes(settings: Settings) -> dict[str, float]:
    """Crashed jobs of the production cluster by client, as its metrics say."""
    databases = {Cluster.PRODUCTION: ClusterDatabase(settings, Cluster.PRODUCTION)}
    [family] = [
        family for family in MirrorCollector(databases).collect() if family.name == "dqmsquare_crashed_jobs"
    ]
    assert all(sample.labels["cluster"] == "production" for sample in family.samples)
    return {sample.labels["client"]: sample.value for sample in family.samples}


def test_a_full_disk_ends_no_worker_that_counts(server: ServerProcess) -> None:
    """A file that is written through memory must have no holes."""
    server.get("/api?what=get_info&db=production")
    files = list(Path(server.environment["TMP_DIR"]).glob("server-metrics-*/*.db"))
    assert len(files) >= 4
    for file in files:
        state = file.stat()
        assert state.st_blocks * 512 >= state.st_size


def test_it_serves_pages_without_space_for_counts(shared_environment: dict[str, str]) -> None:
    """A file of the next worker may not be larger than 200 kB here, as on a disk that is nearly full."""
    environment = {**shared_environment, "SERVER_METRICS_PORT": free_port()}
    with server_process(environment) as server:
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (200_000, 200_000))
        [worker] = workers_of(server)
        os.kill(worker, signal.SIGKILL)
        until(lambda: workers_of(server) not in ([], [worker]))
        until(server.is_up)
        assert server.get("/api?what=get_info&db=production").ok
        assert 'dqmsquare_database_up{cluster="production"}' in server.samples()
        assert "metrics_incomplete reason=" in server.logged()


def test_it_counts_requests_of_all_workers_by_route_and_status(server: ServerProcess) -> None:
    expected = {
        ("/api?what=get_info", 200): 40,
        ("/api?what=get_run", 200): 3,
        ("/api?what=get_run", 400): 1,
        ("/api", 404): 1,
        ("none", 404): 1,
    }
    names = {
        pair: 'dqmsquare_http_requests_total{{route="{}",status="{}"}}'.format(*pair) for pair in expected
    }
    before = server.samples()

    def counted() -> dict[tuple[str, int], float]:
        found = server.samples()
        return {pair: found.get(name, 0) - before.get(name, 0) for pair, name in names.items()}

    for _ in range(40):
        server.get("/api?what=get_info&db=production")
    for run in range(3):
        server.get(f"/api?what=get_run&db=production&run={run}")
    server.get("/api?what=get_run&db=production&run=x")
    server.get("/api?what=made-up-1")
    server.get("/made-up-2")
    # A request is counted once its response is sent.
    until(lambda: counted() == expected)
    found = server.samples()
    assert found['dqmsquare_http_request_duration_seconds_count{route="/api?what=get_info"}'] >= 40
    assert not any("made-up" in name for name in found)


def test_it_has_the_security_headers_of_pages(server: ServerProcess) -> None:
    for path in ("/metrics", "/nowhere"):
        headers = requests.get(server.metrics_url.replace("/metrics", path), timeout=TIMEOUT_S).headers
        assert SECURITY_HEADERS.items() <= headers.items()


def test_it_counts_hits_and_misses_of_the_response_cache(server: ServerProcess) -> None:
    def hits_and_misses() -> list[float]:
        names = (f'dqmsquare_response_cache_requests_total{{result="{one}"}}' for one in ("hit", "miss"))
        found = server.samples()
        return [found.get(name, 0) for name in names]

    def are_hits() -> bool:
        hits, misses = hits_and_misses()
        for _ in range(40):
            server.get("/live/run?db=production")
        return hits_and_misses() == [hits + 40, misses]

    _, misses = hits_and_misses()
    # Each worker renders it once, and again as long as it does not listen for changes.
    until(are_hits)
    assert hits_and_misses()[1] > misses


def test_it_counts_the_jobs_of_the_newest_run_by_state(
    server: ServerProcess, shared_settings: Settings
) -> None:
    mirrored = MirroredCluster(shared_settings)
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
    for client in ("beam", "hcal"):
        assert found[f'dqmsquare_crashed_jobs{{client="{client}",cluster="production"}}'] == 1


def test_it_counts_the_mutes_in_force(settings: Settings) -> None:
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    for subject in (MuteSubject("csc"), MuteSubject("csc", "0" * 16), MuteSubject("csc", "1" * 16)):
        MuteWriter(database).mute(subject, "known", "alice", timedelta(hours=1))
    database.dispose()
    databases = {Cluster.PRODUCTION: ClusterDatabase(settings, Cluster.PRODUCTION)}
    [family] = [one for one in MirrorCollector(databases).collect() if one.name == "dqmsquare_mutes"]
    assert {sample.labels["subject"]: sample.value for sample in family.samples} == {"client": 1, "crash": 2}


def test_it_counts_the_crashes_of_the_newest_runs_by_client(settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, client, exit_code=-9) for client in ("beam", "beam", "dt")),
        job(RUN, "ecal", exit_code=0),
        job(RUN, "hcal"),
        job(RUN - 1, "beam", exit_code=65),
        *(job(RUN - back, "gem", exit_code=0) for back in range(2, 20)),
        job(RUN - 20, "csc", exit_code=65),
    )
    assert crashes(settings) == {"beam": 3, "dt": 1}


def test_a_database_that_takes_too_long_for_a_statistic_is_up(settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    database = db.engine(settings, Cluster.PRODUCTION, "tests")
    with database.begin() as connection:
        for statement in TOO_SLOW_MUTES:
            connection.execute(sa.text(statement))
    database.dispose()
    databases = {Cluster.PRODUCTION: ClusterDatabase(settings, Cluster.PRODUCTION)}
    samples = {family.name: family.samples for family in MirrorCollector(databases).collect()}
    assert [sample.value for sample in samples["dqmsquare_database_up"]] == [1]
    assert sum(sample.value for sample in samples["dqmsquare_jobs"]) == 1
    assert samples["dqmsquare_mutes"] == []


def test_it_bounds_the_number_of_clients_with_crashes(settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    clients = [f"client{number}" for number in range(120)]
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, client, exit_code=1) for client in [*clients, *clients[:50]]),
    )
    counted = crashes(settings)
    assert len(counted) == 101
    assert counted["(other)"] == 20
    assert sum(counted.values()) == 170
    assert [counted[client] for client in clients[:50]] == [2] * 50


def test_its_series_have_the_labels_that_alerts_and_dashboard_are_checked_with(server: ServerProcess) -> None:
    server.get("/api?what=get_info&db=production")
    found = {
        name.partition("{")[0]: set(re.findall(r'[{,](\w+)="', name))
        for name in server.samples()
        if name.startswith("dqmsquare_")
    }
    assert "dqmsquare_http_requests_total" in found
    expected = {name: set(labels) for name, labels in exported_metrics.labels_by_name().items()}
    assert found == {name: expected.get(name) for name in found}


def test_it_has_version_and_schema(server: ServerProcess) -> None:
    [info] = [name for name in server.samples() if name.startswith("dqmsquare_build_info")]
    labels = dict(re.findall(r'(\w+)="([^"]*)"', info))
    assert (labels["version"], labels["schema"]) == (version.NUMBER, head_revision())
    assert re.fullmatch(r"unknown|[0-9a-f]{12}(-dirty)?", labels["commit"])


def test_its_port_has_no_other_urls_and_other_ports_have_no_metrics(server: ServerProcess) -> None:
    origin = server.metrics_url.removesuffix("/metrics")
    for path in ("/", "/api?what=get_info&db=production", "/healthz", "/metrics/", "/cr/"):
        assert requests.get(f"{origin}{path}", timeout=TIMEOUT_S).status_code == 404
    metrics_host = {"Host": origin.removeprefix("http://")}
    assert server.get("/metrics").status_code == 404
    assert server.get("/metrics", headers=metrics_host).status_code == 404


def test_it_reports_an_unreachable_database(environment: dict[str, str]) -> None:
    given = {**environment, "POSTGRES_PORT": free_port(), "SERVER_METRICS_PORT": free_port()}
    with server_process(given) as server:
        found = server.samples()
        assert found['dqmsquare_database_up{cluster="production"}'] == 0
        assert not any(name.startswith(("dqmsquare_jobs", "dqmsquare_crashed_jobs")) for name in found)
