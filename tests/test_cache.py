"""Unchanged responses are neither read nor rendered again; changes are visible to everyone at once."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from itertools import count
from pathlib import Path
from typing import Self
from uuid import uuid4

import pytest
import requests
import sqlalchemy as sa

import db
from dqm2.records import DocumentVersion, JobRecord, MemoryRecord
from dqmsquare_cfg import Cluster, Settings
from storage.job_state import LOST_AFTER
from storage.mutes import MuteSubject, MuteWriter
from storage.retention import prune
from tests.mirrored_cluster import MirroredCluster, beating_cluster, delivery, job, log_of
from tests.served import ServerProcess, free_port, server_process, workers_of
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

FRESHNESS = "/live/freshness?db=production"
INFO = "/api?what=get_info&db=production"
STUCK_AFTER = timedelta(minutes=15)
# Their responses are ten times as large as all that is kept.
ADDRESSES = 60
_RUNS = count(358_000, 10)
# A run that has no documents, of whose changes the server is notified all the same.
_MARKER = 357_000


@dataclass(frozen=True)
class Run:
    """A test's own run, newer than those of other tests, and where it is shown."""

    number: int

    @property
    def part(self) -> str:
        """The part of the live page that changes most."""
        return f"/live/run?db=production&run={self.number}"

    @property
    def graph(self) -> str:
        """Its file delivery, for scripts."""
        return f"/api?what=get_graph&db=production&run={self.number}"

    @property
    def jobs(self) -> str:
        """Its jobs, for scripts."""
        return f"/api?what=get_run&db=production&run={self.number}"

    @property
    def unchanging(self) -> Sequence[str]:
        """The live page as its scripts ask for it, and what other scripts ask for."""
        delivery = f"/live/delivery?db=production&run={self.number}"
        runs = f"db=production&from={self.number}&to={self.number}"
        ranges = (f"/api?what=get_runs&{runs}", f"/api?what=get_clients&{runs}")
        return (self.part, delivery, FRESHNESS, "/", INFO, self.graph, *ranges)


@pytest.fixture
def run() -> Run:
    """A run of the test's own."""
    return Run(next(_RUNS))


@pytest.fixture(scope="module")
def mirrored(shared_settings: Settings) -> MirroredCluster:
    """The production cluster of all tests, with a current heartbeat."""
    return beating_cluster(shared_settings)


@pytest.fixture(scope="module")
def server(shared_environment: dict[str, str], mirrored: MirroredCluster) -> Iterator[ServerProcess]:
    """A server on which no heartbeat becomes old."""
    del mirrored
    # No page changes because the heartbeat of the module has become old.
    settings = {"SERVER_METRICS_PORT": free_port(), "STALE_AFTER_S": "3600"}
    with server_process({**shared_environment, **settings}) as server:
        yield server


def made(server: ServerProcess) -> int:
    """Number of cacheable responses rendered so far."""
    return int(server.samples().get('dqmsquare_response_cache_requests_total{result="miss"}', 0))


def let_hear(server: ServerProcess, mirrored: MirroredCluster) -> None:
    """Wait until the server was notified of everything that was written.

    PostgreSQL delivers notifications in order, some time after the commit: the last one has arrived once the
    response that depends on it alone is rendered again.
    """
    # /metrics takes longer than a response.
    counted = [made(server)]

    def is_rendered() -> bool:
        """Whether the response is rendered, and not from the cache."""
        server.get(Run(_MARKER).graph)
        counted.append(made(server))
        return counted[-1] > counted[-2]

    until(lambda: not is_rendered())
    mirrored.notify(_MARKER)
    until(is_rendered)


def settled_tags(server: ServerProcess, mirrored: MirroredCluster, paths: Sequence[str]) -> dict[str, str]:
    """The entity tags of responses once they show everything that was written, and are cached."""
    let_hear(server, mirrored)
    known: dict[str, str] = {}
    counted = [made(server)]

    def are_kept() -> bool:
        known.update({path: server.get(path).headers["ETag"] for path in paths})
        counted.append(made(server))
        return counted[-1] == counted[-2]

    until(are_kept)
    return known


def status_if_changed(server: ServerProcess, path: str, tag: str) -> int:
    return server.get(path, headers={"If-None-Match": tag}).status_code


def lumisection_of(server: ServerProcess, run: Run) -> int | None:
    """The API's lumisection of a run's first job."""
    _neighbours, (_run, jobs) = server.get(run.jobs).json()
    return int(jobs[0][5]) if jobs else None


def show_lumisection(server: ServerProcess, run: Run, lumisection: int) -> None:
    """Wait until page and API show it."""
    until(lambda: lumisection_of(server, run) == lumisection)
    until(lambda: f">{lumisection}<" in "".join(server.get(run.part).text.split()))


def report(record: JobRecord, lumisection: int) -> JobRecord:
    """The job's next report."""
    now = datetime.now(UTC)
    origin = DocumentVersion(record.document.identity, 0, now)
    return replace(record, document=origin, lumisection=lumisection, lumisection_at=now)


def test_an_unchanged_response_takes_no_query(
    server: ServerProcess, mirrored: MirroredCluster, run: Run, postgres: EmbeddedPostgres
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    mirrored.write(mirrored.builder_unit, delivery(run.number, datetime.now(UTC), 5))

    def nothing_is_asked() -> bool:
        known = settled_tags(server, mirrored, run.unchanging)
        made_before, asked_before = made(server), last_questions(postgres)
        # /metrics queries the database on each request.
        statuses = {path: status_if_changed(server, path, tag) for path, tag in known.items()}
        asked = last_questions(postgres)
        return (set(statuses.values()), asked, made(server)) == ({304}, asked_before, made_before)

    # The live page has the minute, which may end.
    until(nothing_is_asked)


def last_questions(postgres: EmbeddedPostgres) -> list[tuple[object, ...]]:
    """The time of the last query of each connection of a server, except the listener's."""
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid, query_start FROM pg_stat_activity"
            " WHERE application_name LIKE 'dqmsquare-mirror server %' ORDER BY pid"
        )
        return list(cursor.fetchall())


def test_a_304_has_the_headers_that_its_answer_has(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    settled_tags(server, mirrored, [run.part])
    whole = server.get(run.part)
    again = server.get(run.part)
    unchanged = server.get(run.part, headers={"If-None-Match": whole.headers["ETag"]})
    assert (whole.status_code, again.status_code, unchanged.status_code) == (200, 200, 304)
    assert (again.content, unchanged.content) == (whole.content, b"")
    of_each = {"x-request-id", "server-time", "date"}
    of_content = {"content-type", "content-length", "content-encoding"}
    names, names_again, names_unchanged = (
        {name.lower() for name in response.headers} for response in (whole, again, unchanged)
    )
    assert names == names_again == names_unchanged | of_content
    for name in names_unchanged - of_each:
        assert unchanged.headers[name] == whole.headers[name]
    assert int(unchanged.headers["Server-Time"]) >= int(whole.headers["Server-Time"])
    assert unchanged.headers["X-Request-ID"] != whole.headers["X-Request-ID"]


def test_a_kept_connection_gets_the_same_response(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    known = {"If-None-Match": settled_tags(server, mirrored, [run.part])[run.part]}
    counted = 'dqmsquare_http_requests_total{route="/live/run",status="304"}'
    before = server.samples().get(counted, 0)
    of_others = server.get(run.part, headers=known)
    with requests.Session() as visitor:
        first, *again = [
            visitor.get(f"{server.url}{run.part}", headers=known, timeout=TIMEOUT_S) for _ in range(4)
        ]
        after = visitor.get(f"{server.url}{run.part}", timeout=TIMEOUT_S)
        leaving = {**known, "Connection": "close"}
        last = visitor.get(f"{server.url}{run.part}", headers=leaving, timeout=TIMEOUT_S)
    assert [answer.status_code for answer in (first, *again, after, last)] == [304, 304, 304, 304, 200, 304]
    assert last.headers["Connection"] == "close"
    for answer in again:
        assert list(answer.headers) == list(of_others.headers)
        for name in set(answer.headers) - {"x-request-id", "server-time", "date"}:
            assert answer.headers[name] == of_others.headers[name]
    assert len({answer.headers["X-Request-ID"] for answer in (of_others, first, *again)}) == 5
    # A request is counted once its response is sent.
    until(lambda: server.samples()[counted] == before + 6)


def test_the_metrics_port_serves_only_metrics(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    known = {"If-None-Match": settled_tags(server, mirrored, [run.part])[run.part]}
    with requests.Session() as visitor:
        assert visitor.get(server.metrics_url, timeout=TIMEOUT_S).ok
        address = server.metrics_url.replace("/metrics", run.part)
        assert visitor.get(address, headers=known, timeout=TIMEOUT_S).status_code == 404


def test_it_accepts_its_tag_in_every_form(server: ServerProcess, mirrored: MirroredCluster, run: Run) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    quoted = settled_tags(server, mirrored, [run.part])[run.part].removeprefix("W/")
    for known in ("*", quoted, f"W/{quoted}", f'"other", {quoted}', f'"other",W/{quoted}'):
        assert status_if_changed(server, run.part, known) == 304, known
    assert status_if_changed(server, run.part, '"other"') == 200


def test_each_client_gets_an_encoding_that_it_accepts(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    settled_tags(server, mirrored, [run.part])
    plain = server.get(run.part, headers={"Accept-Encoding": "identity"})
    packed = server.get(run.part, headers={"Accept-Encoding": "gzip"})
    again = server.get(run.part, headers={"Accept-Encoding": "identity"})
    assert packed.headers["Content-Encoding"] == "gzip"
    for answer in (plain, again):
        assert "Content-Encoding" not in answer.headers
        assert answer.text == packed.text


def test_every_change_is_seen(server: ServerProcess, mirrored: MirroredCluster, run: Run) -> None:
    record = job(run.number, "beam", lumisection=100)
    mirrored.write(mirrored.filter_units[0], record)
    for lumisection in range(101, 109):
        mirrored.write(mirrored.filter_units[0], report(record, lumisection))
        show_lumisection(server, run, lumisection)


def test_many_viewers_cause_one_rendering_a_change(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    record = job(run.number, "beam", lumisection=100)
    mirrored.write(mirrored.filter_units[0], record)
    known = settled_tags(server, mirrored, [run.part])[run.part]
    before = made(server)
    mirrored.write(mirrored.filter_units[0], report(record, 101))

    def view(_viewer: int) -> None:
        with requests.Session() as session:
            session.headers["If-None-Match"] = known
            until(lambda: session.get(f"{server.url}{run.part}", timeout=TIMEOUT_S).status_code == 200)

    with ThreadPoolExecutor(30) as viewers:
        assert len(list(viewers.map(view, range(60)))) == 60
    assert made(server) == before + 1


def test_every_worker_is_notified_of_a_change(
    shared_environment: dict[str, str], mirrored: MirroredCluster, run: Run
) -> None:
    record = job(run.number, "beam", lumisection=100)
    mirrored.write(mirrored.filter_units[0], record)
    with server_process({**shared_environment, "SERVER_WORKERS": "3"}) as server:
        until(lambda: len(workers_of(server)) == 3)
        assert {lumisection_of(server, run) for _ in range(20)} == {100}
        mirrored.write(mirrored.filter_units[0], report(record, 101))
        until(lambda: {lumisection_of(server, run) for _ in range(20)} == {101})


def test_the_page_goes_on_to_a_new_run(server: ServerProcess, mirrored: MirroredCluster, run: Run) -> None:
    newest = "/live/run?db=production"
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    until(lambda: f'data-run="{run.number}"' in server.get(newest).text)
    mirrored.write(mirrored.filter_units[0], job(run.number + 1, "beam"))
    until(lambda: f'data-run="{run.number + 1}"' in server.get(newest).text)
    # The page of the run before has got a next one.
    assert f'id="next-run" href="?db=production&amp;run={run.number + 1}"' in server.get(run.part).text


def test_a_run_that_is_over_is_not_made_again_for_another(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    ended, running = job(run.number, "beam", exit_code=0), job(run.number + 1, "beam")
    mirrored.write(mirrored.filter_units[0], ended, running)
    runs = f"/api?what=get_runs&db=production&from={run.number}&to={run.number - 5}"
    clients = f"/api?what=get_clients&db=production&from=-2000000000&to={run.number}"
    known = settled_tags(server, mirrored, [run.graph, runs, clients])
    mirrored.write(mirrored.filter_units[0], report(running, 301))
    show_lumisection(server, Run(run.number + 1), 301)
    before = made(server)
    for path, tag in known.items():
        assert status_if_changed(server, path, tag) == 304, path
    assert made(server) == before


def test_a_range_changes_with_a_run_in_it(server: ServerProcess, mirrored: MirroredCluster, run: Run) -> None:
    small, large = (f"db=production&from={run.number - before}&to={run.number}" for before in (5, 10**9))
    paths = [
        f"/api?what=get_runs&{small}",
        f"/api?what=get_clients&{small}",
        f"/api?what=get_clients&{large}",
    ]
    for client in ("beam", "newest_client"):
        mirrored.write(mirrored.filter_units[0], job(run.number, client, exit_code=0))
        for path in paths:
            until(lambda: f'"{client}"' in server.get(path).text)  # noqa: B023 - waited for right here
        settled_tags(server, mirrored, paths)


def test_a_job_that_an_earlier_run_gets_late_is_in_the_history_of_its_client(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    unit, earlier = mirrored.filter_units[0], run.number - 1
    own = job(run.number, "beam", exit_code=0)
    mirrored.write(unit, job(earlier, "csc", exit_code=0))
    mirrored.write(unit, own)
    shown, graphs = (f"/job/{own.document.identity}/{part}?db=production" for part in ("fragment", "series"))
    settled_tags(server, mirrored, [shown, graphs])
    assert str(earlier) not in server.get(shown).text
    mirrored.write(unit, job(earlier, "beam", exit_code=0))
    let_hear(server, mirrored)
    assert str(earlier) in server.get(shown).text
    assert server.get(graphs).json()["previous_run"] == earlier


def test_a_day_gets_an_earlier_run_whose_job_began_on_it_late(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    unit, day = mirrored.filter_units[0], datetime.now(UTC) - timedelta(days=5)
    mirrored.write(unit, job(run.number, "beam", at=day - timedelta(days=20), exit_code=0))
    mirrored.write(unit, job(run.number + 1, "beam", at=day, exit_code=0))
    since, end = (f"{day + timedelta(hours=hours):%Y-%m-%dT%H:%M:%SZ}" for hours in (-12, 12))
    of_day = f"/api/v1/clusters/production/runs?since={since}&until={end}"
    page = f"/statistics/?from={since[:10]}&to={end[:10]}"
    settled_tags(server, mirrored, [of_day, page])
    assert [each["run"] for each in server.get(of_day).json()["items"]] == [run.number + 1]
    mirrored.write(unit, job(run.number, "csc", at=day, exit_code=0))
    let_hear(server, mirrored)
    assert [each["run"] for each in server.get(of_day).json()["items"]] == [run.number + 1, run.number]
    assert f"run={run.number}" in server.get(page).text


def test_a_heartbeat_outdates_nothing_but_freshness(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    known = settled_tags(server, mirrored, [run.part, FRESHNESS])
    before = made(server)
    mirrored.beat(datetime.now(UTC) + timedelta(seconds=1))
    until(lambda: status_if_changed(server, FRESHNESS, known[FRESHNESS]) == 200)
    assert status_if_changed(server, run.part, known[run.part]) == 304
    assert made(server) == before + 1


def test_a_job_gets_stuck_and_lost_with_no_row_of_it_changing(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    now = datetime.now(UTC)
    silent = job(run.number, "beam", at=now - STUCK_AFTER + timedelta(minutes=1))
    unit = mirrored.filter_units[1]
    mirrored.write(unit, silent, clock_at=now)
    assert 'data-state="running"' in server.get(run.part).text
    # A document of the machine itself, of no run.
    memory = MemoryRecord(DocumentVersion(uuid4(), 0, now + timedelta(minutes=2)), 1, 1, 1, 1)
    mirrored.write(unit, memory)
    until(lambda: 'data-state="stuck"' in server.get(run.part).text)
    # Later documents of its machine do not change it either.
    mirrored.write(unit, job(run.number + 1, "dt", at=now + timedelta(minutes=3)))
    until(lambda: 'data-state="lost"' in server.get(run.part).text)


def test_a_silent_grabber_becomes_stale_without_a_change(
    shared_environment: dict[str, str], mirrored: MirroredCluster
) -> None:
    settings = {"SERVER_METRICS_PORT": free_port(), "STALE_AFTER_S": "5"}
    with server_process({**shared_environment, **settings}) as server:

        def is_fresh() -> bool:
            # On a loaded machine a heartbeat may be old before it is shown and cached.
            mirrored.beat()
            settled_tags(server, mirrored, [FRESHNESS])
            return "data-outage" not in server.get(FRESHNESS).text

        until(is_fresh)
        until(lambda: "The grabber is not reporting" in server.get(FRESHNESS).text)
        # The page has it without any script.
        assert "The grabber is not reporting" in server.get("/").text


class AheadClock(datetime):
    """The clock of a grabber that is 33 s ahead."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        """The time that it has."""
        return super().now(tz) + timedelta(seconds=33)


def test_a_heartbeat_from_the_future_counts_once_its_time_has_come(
    shared_environment: dict[str, str], mirrored: MirroredCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.writer.datetime", AheadClock)
    settings = {"SERVER_METRICS_PORT": free_port(), "STALE_AFTER_S": "30"}
    with server_process({**shared_environment, **settings}) as server:

        def is_ahead() -> bool:
            # On a loaded machine its time may have come before it is shown and cached.
            mirrored.beat(AheadClock.now(UTC))
            settled_tags(server, mirrored, [FRESHNESS])
            return "clock is ahead" in server.get(FRESHNESS).text

        until(is_ahead)
        until(lambda: "data-outage" not in server.get(FRESHNESS).text)


def test_seconds_since_are_counted_for_each_answer(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    reported_at = datetime.now(UTC) - timedelta(seconds=100)
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam", at=reported_at))

    def seconds_since() -> int:
        return int(server.get(run.jobs).json()[1][1][0][1])

    first = seconds_since()
    assert first >= 100
    until(lambda: seconds_since() > first)


def test_a_notification_is_enough_even_if_it_is_of_another_release(
    server: ServerProcess, mirrored: MirroredCluster, run: Run, shared_settings: Settings
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam", lumisection=100))
    let_hear(server, mirrored)
    show_lumisection(server, run, 100)
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    of_run = db.jobs.c.run == run.number
    not_a_machine = '[[], {"machine_id": [], "epoch": 0, "revision": 0}]'
    for number, payload in enumerate(["of another release", "[[[358000]], null]", not_a_machine], start=101):
        with engine.begin() as connection:
            # The look behind the notifications does not see this: no machine has moved on.
            connection.execute(sa.update(db.jobs).where(of_run).values(lumisection=number))
            connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, payload)))
        show_lumisection(server, run, number)
    engine.dispose()


def test_a_log_that_was_deleted_is_not_served_any_more(
    server: ServerProcess, mirrored: MirroredCluster, run: Run, shared_settings: Settings
) -> None:
    ended = job(run.number, "beam", at=datetime.now(UTC) - timedelta(days=31), exit_code=0)
    ended = replace(ended, log=log_of(ended))
    mirrored.write(mirrored.filter_units[0], ended, clock_at=datetime.now(UTC))
    identity = ended.document.identity
    paths = (f"/job/{identity}?db=production", f"/api?what=get_logs&db=production&id={identity}")
    settled_tags(server, mirrored, paths)
    assert not any("longer" in server.get(path).text for path in paths)
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    assert sum(prune(engine, timedelta(days=30))) == 1
    engine.dispose()
    until(lambda: all("longer" in server.get(path).text for path in paths))


def test_a_lost_notification_is_found_out(
    server: ServerProcess, mirrored: MirroredCluster, run: Run, shared_settings: Settings
) -> None:
    unit, other = mirrored.filter_units
    mirrored.write(unit, job(run.number, "beam", lumisection=100))
    assert lumisection_of(server, run) == 100
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    with engine.begin() as connection:
        # As a grabber would write it, but for the notification.
        of_run, label = db.jobs.c.run == run.number, mirrored.label(unit)
        connection.execute(sa.update(db.jobs).where(of_run).values(lumisection=101))
        of_unit = sa.update(db.machines).where(db.machines.c.label == label)
        connection.execute(of_unit.values(revision=db.machines.c.revision + 1))
    engine.dispose()
    # Another's, in the same moment, does not hide it.
    mirrored.write(other, job(run.number + 1, "beam"))
    until(lambda: lumisection_of(server, run) == 101)


def test_a_mute_is_seen_and_ends_in_time(
    server: ServerProcess, mirrored: MirroredCluster, run: Run, shared_settings: Settings
) -> None:
    record = job(run.number, "beam", exit_code=1)
    # A mute does not apply to a run that has ended before.
    mirrored.write(mirrored.filter_units[0], record, job(run.number, "pixel"))
    settled_tags(server, mirrored, [run.part])
    engine = db.engine(shared_settings, Cluster.PRODUCTION, "tests")

    def is_muted_for(duration: timedelta) -> bool:
        """Mute the client; whether the cached page shows it."""
        MuteWriter(engine).mute(MuteSubject(record.client), "known to be bad", "shifter", duration)
        settled_tags(server, mirrored, [run.part])
        return "data-muted" in server.get(run.part).text

    assert is_muted_for(timedelta(hours=1))
    # On a loaded machine a mute may end before its page is cached.
    assert any(is_muted_for(timedelta(seconds=2**attempt)) for attempt in range(1, 8))
    until(lambda: "data-muted" not in server.get(run.part).text)
    engine.dispose()


def test_it_listens_again_after_its_connection_was_cut(
    server: ServerProcess,
    mirrored: MirroredCluster,
    run: Run,
    postgres: EmbeddedPostgres,
    shared_settings: Settings,
) -> None:
    database = shared_settings.database(Cluster.PRODUCTION)
    record = job(run.number, "beam", lumisection=100)
    mirrored.write(mirrored.filter_units[0], record)
    assert lumisection_of(server, run) == 100
    # Those of servers that have ended may still be closing.
    until(lambda: len(listeners(postgres, database)) == 1)
    [before] = listeners(postgres, database)
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (before,))
    mirrored.write(mirrored.filter_units[0], report(record, 101))
    until(lambda: lumisection_of(server, run) == 101)
    until(lambda: listeners(postgres, database) not in ([], [before]))
    settled_tags(server, mirrored, [run.part])
    mirrored.write(mirrored.filter_units[0], report(record, 102))
    show_lumisection(server, run, 102)


def listeners(postgres: EmbeddedPostgres, database: str) -> list[int]:
    """The connections on which servers are notified of changes."""
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity"
            " WHERE datname = %s AND application_name = 'dqmsquare-mirror listener'",
            (database,),
        )
        return [pid for (pid,) in cursor.fetchall()]


def test_addresses_without_end_leave_memory_bounded(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.builder_unit, delivery(run.number, datetime.now(UTC), 3000))
    size = len(server.get(run.graph, headers={"Accept-Encoding": "identity"}).content)
    before = resident_bytes(server)
    with requests.Session() as session:
        session.headers["Accept-Encoding"] = "identity"
        for number in range(ADDRESSES):
            assert session.get(f"{server.url}{run.graph}&q={number}", timeout=TIMEOUT_S).ok
    # All of them together would be far more than what is kept.
    assert resident_bytes(server) - before < ADDRESSES * size / 2


def resident_bytes(server: ServerProcess) -> int:
    [worker] = workers_of(server)
    return int(Path(f"/proc/{worker}/statm").read_text().split()[1]) * 4096


def test_a_page_changes_when_a_state_changes_by_the_clock(
    server: ServerProcess, mirrored: MirroredCluster
) -> None:
    def is_lost(run: Run) -> bool:
        return 'data-state="lost"' in server.get(run.part).text

    def run_of_job(seconds_left: int) -> Run:
        """A run whose page is cached, its job being lost in that time."""
        run = Run(next(_RUNS))
        reported_at = datetime.now(UTC) - LOST_AFTER + timedelta(seconds=seconds_left)
        mirrored.write(mirrored.filter_units[0], job(run.number, "beam", at=reported_at))
        settled_tags(server, mirrored, [run.part])
        return run

    # On a loaded machine it may be lost before its page is cached: the next one gets twice the time.
    runs = (run_of_job(2**attempt) for attempt in range(1, 8))
    run = next(run for run in runs if not is_lost(run))
    until(lambda: is_lost(run))


def test_a_summary_of_the_last_minutes_does_not_shorten_the_history_of_machines(
    server: ServerProcess, mirrored: MirroredCluster
) -> None:
    now = datetime.now(UTC)
    mirrored.set_machine_state(mirrored.builder_unit, now - timedelta(hours=3), down_reason="timed out")
    mirrored.set_machine_state(mirrored.builder_unit, now - timedelta(hours=2))
    before = server.get(FRESHNESS).text
    mirrored.beat()
    until(lambda: server.get(FRESHNESS).text != before)
    missed = f"/live/missed?db=production&since={round(now.timestamp() * 1000)}"
    assert server.get(missed).json() == {"text": ""}
    assert '<rect class="down"' in server.get("/cluster/fragment?db=production").text


def test_a_run_is_the_newest_from_its_first_job_on(
    server: ServerProcess, mirrored: MirroredCluster, run: Run
) -> None:
    mirrored.write(mirrored.filter_units[0], job(run.number, "beam"))
    until(lambda: server.get(INFO).json()[1] == run.number)
    mirrored.write(mirrored.builder_unit, delivery(run.number + 1, datetime.now(UTC), 5))
    until(lambda: bool(server.get(Run(run.number + 1).graph).json()))
    assert server.get(INFO).json()[1] == run.number
    mirrored.write(mirrored.filter_units[0], job(run.number + 1, "beam"))
    until(lambda: server.get(INFO).json()[1] == run.number + 1)
