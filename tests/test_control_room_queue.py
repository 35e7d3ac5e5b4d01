"""The queue of commands, shared by all users and servers, never blocks pages."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from storage.command_queue import CommandQueue, QueueTimeout, QueueUnavailable
from tests.control_room import BEAM, OTHER_UNIT, UNIT, Visitor, commands_sent, control_room_database
from tests.served import ServerProcess, cheap_hash, frozen, served, server_process, workers_of
from tests.waiting import TIMEOUT_S, until
from tools.demo.postgres import EmbeddedPostgres

# A user of a server as a process.
SHIFTER = f"shifter:{cheap_hash('first')}"


@contextmanager
def blocked_gateway(simulator: Simulator) -> Iterator[threading.Event]:
    """Block control commands at the gateway until the event is set."""
    release = threading.Event()

    def hold(request: object) -> None:
        if str(getattr(request, "path", "")).endswith("/cr/exe"):
            release.wait(TIMEOUT_S)

    simulator.on_request = hold
    try:
        yield release
    finally:
        release.set()


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    """Threads for visitors who wait."""
    with ThreadPoolExecutor(max_workers=40) as pool:
        yield pool


def in_progress(settings: Settings) -> list[tuple[str, bool]]:
    """Return user, and whether it was sent, of each command without an outcome."""
    audit = db.audit_log
    open_ = sa.select(audit.c.username, audit.c.sent_at).where(audit.c.outcome.is_(None)).order_by(audit.c.id)
    with control_room_database(settings).connect() as connection:
        rows = connection.execute(open_).all()
    return [(row.username, row.sent_at is not None) for row in rows]


def submit_in_order(
    pool: ThreadPoolExecutor, settings: Settings, *commands: Callable[[], requests.Response]
) -> list[Future[requests.Response]]:
    """Submit commands one after the other, each when the previous one is queued and the first is sent.

    The gateway must be blocked. A command is recorded before it takes its turn: of another server, the second
    could overtake the first.
    """
    responses = []
    for number, command in enumerate(commands, start=1):
        responses.append(pool.submit(command))
        until(lambda: len(in_progress(settings)) >= number)  # noqa: B023 - waited for right here
        until(lambda: in_progress(settings)[0][1])
    return responses


def test_it_executes_one_command_at_a_time_across_servers(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(two_user_settings)) for _ in range(2))
        shifter, expert = Visitor(one).sign_in("shifter", "first"), Visitor(other).sign_in("expert", "second")
        release = stack.enter_context(blocked_gateway(simulator))
        responses = submit_in_order(
            pool,
            two_user_settings,
            lambda: shifter.get_command("get_dqm_machines"),
            lambda: expert.get_command("get_cmssw_info"),
            lambda: shifter.post_command("restart_hltd", host=UNIT),
            lambda: expert.post_command("restart_fff", host=UNIT),
        )
        assert in_progress(two_user_settings) == [
            ("shifter", True),
            ("expert", False),
            ("shifter", False),
            ("expert", False),
        ]
        release.set()
        assert [response.result(TIMEOUT_S).status_code for response in responses] == [200] * 4
    spans = sorted((request.started_s, request.ended_s) for request in simulator.requests)
    assert len(spans) == 4
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_it_shows_the_queue_on_every_page(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(two_user_settings)) for _ in range(2))
        shifter, expert = Visitor(one).sign_in("shifter", "first"), Visitor(other).sign_in("expert", "second")
        assert "No command is queued or running." in expert.get("/cr/queue").text
        release = stack.enter_context(blocked_gateway(simulator))
        responses = submit_in_order(
            pool,
            two_user_settings,
            lambda: shifter.post_command("restart_hltd", host=UNIT),
            lambda: expert.get_command("get_hltd_logs", host=OTHER_UNIT),
        )
        for visitor in (shifter, expert):
            fragment = visitor.get("/cr/queue").text
            queue = fragment[fragment.index('class="queue"') : fragment.index("</ol>")]
            first, second = queue.split("</li>")[:2]
            assert all(word in first for word in ("running", "restart_hltd", "dqmfu-c2b01-..", "shifter"))
            assert all(word in second for word in ("waiting", "get_hltd_logs", "dqmfu-c2b02-..", "expert"))
            assert UNIT not in fragment
        release.set()
        assert [response.result(TIMEOUT_S).status_code for response in responses] == [200, 200]
        assert "No command is queued or running." in shifter.get("/cr/queue").text


def test_it_refuses_the_same_change_while_one_is_in_progress(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with served(two_user_settings) as url, blocked_gateway(simulator) as release:
        shifter, expert = Visitor(url).sign_in("shifter", "first"), Visitor(url).sign_in("expert", "second")
        panel = {"host": UNIT, "playback": 1, "state": 0}
        responses = submit_in_order(
            pool,
            two_user_settings,
            lambda: shifter.post_command("restart_hltd", host=UNIT),
            lambda: shifter.post_command("change_dqm_client", client=BEAM, **panel),
        )
        again = expert.post_command("restart_hltd", host=UNIT)
        assert (again.status_code, again.text) == (
            409,
            "shifter has already requested this, and it is still in progress.",
        )
        assert expert.post_command("change_dqm_client", client=BEAM, **panel).status_code == 409
        refused = expert.audit(outcome="refused")
        assert [(entry["command"], entry["machine"], entry["parameters"]) for entry in refused] == [
            ("change_dqm_client", "dqmfu-c2b01-..", f"playback=1 client={BEAM} state=0"),
            ("restart_hltd", "dqmfu-c2b01-..", ""),
        ]
        more = [
            pool.submit(expert.post_command, "restart_hltd", host=OTHER_UNIT),
            pool.submit(expert.post_command, "restart_fff", host=UNIT),
        ]
        until(lambda: len(in_progress(two_user_settings)) == 4)
        release.set()
        assert [response.result(TIMEOUT_S).status_code for response in (*responses, *more)] == [200] * 4
        assert expert.post_command("restart_hltd", host=UNIT).status_code == 200


def test_it_executes_an_idempotency_key_once(two_user_settings: Settings, simulator: Simulator) -> None:
    key = {"Idempotency-Key": "0123456789abcdef0123456789abcdef"}
    with served(two_user_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")
        assert visitor.post_command_with(key, "restart_hltd", host=UNIT).status_code == 200
        again = visitor.post_command_with(key, "restart_hltd", host=UNIT)
        assert (again.status_code, again.text) == (409, "This request has already been received.")
        assert (
            visitor.post_command_with({"Idempotency-Key": "no key"}, "restart_hltd", host=UNIT).status_code
            == 400
        )
    assert len(commands_sent(simulator)) == 1


def test_it_sends_nothing_for_a_session_that_ended_in_the_queue(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with served(two_user_settings) as url, blocked_gateway(simulator) as release:
        shifter, expert = Visitor(url).sign_in("shifter", "first"), Visitor(url).sign_in("expert", "second")
        waiting = submit_in_order(
            pool,
            two_user_settings,
            lambda: expert.get_command("get_dqm_machines"),
            lambda: shifter.post_command("restart_hltd", host=UNIT),
        )
        shifter.post("/cr/logout/", {"csrf_token": shifter.token})
        release.set()
        responses = [response.result(TIMEOUT_S) for response in waiting]
        assert [response.status_code for response in responses] == [200, 401]
        assert "Your session ended while this command was queued" in responses[1].text
        [entry] = expert.audit(command="restart_hltd")
    assert (entry["outcome"], entry["sent_at"]) == (Outcome.REFUSED, "")
    assert [command["what"] for command in commands_sent(simulator)] == ["get_dqm_machines"]


def test_it_sends_nothing_for_a_sender_that_left_the_queue(
    simulated_environment: dict[str, str],
    two_user_settings: Settings,
    simulator: Simulator,
    pool: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "DQM_CR_USERNAMES": SHIFTER}
    with server_process(environment) as server, blocked_gateway(simulator) as release:
        # With the token, whose page would leave a connection that counts below.
        visitor = Visitor(server.url).sign_in("shifter", "first").load_token()
        first = pool.submit(visitor.get_command, "get_dqm_machines")
        until(lambda: in_progress(two_user_settings) == [("shifter", True)])
        with closing(send_command(server, visitor, f"what=restart_hltd&host={UNIT}")):
            until(lambda: len(in_progress(two_user_settings)) == 2)
        until(lambda: connections_to(server) == 1)
        release.set()
        assert first.result(TIMEOUT_S).status_code == 200
        until(lambda: in_progress(two_user_settings) == [])
        [entry] = visitor.audit(command="restart_hltd")
    assert (entry["outcome"], entry["sent_at"]) == (Outcome.NOT_SENT, "")
    assert [command["what"] for command in commands_sent(simulator)] == ["get_dqm_machines"]


def send_command(server: ServerProcess, visitor: Visitor, form: str) -> socket.socket:
    """Send a command on a connection of its own, which is returned."""
    client = socket.create_connection(("127.0.0.1", int(server.environment["SERVER_PORT"])))
    cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in visitor.http.cookies)
    client.sendall(
        f"POST /cr/exe HTTP/1.1\r\nHost: x\r\nCookie: {cookies}\r\nX-CSRF-Token: {visitor.token}\r\n"
        "Content-Type: application/x-www-form-urlencoded\r\n"
        f"Content-Length: {len(form)}\r\n\r\n{form}".encode()
    )
    return client


def connections_to(server: ServerProcess) -> int:
    """Number of established connections to the server's port, as the server's side sees them."""
    port, established = f":{int(server.environment['SERVER_PORT']):04X}", "01"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(row[1].endswith(port) and row[3] == established for row in rows)


def test_it_serves_pages_with_20_commands_in_the_queue(
    simulated_environment: dict[str, str],
    two_user_settings: Settings,
    simulator: Simulator,
    pool: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "SERVER_THREADS": "2", "DQM_CR_USERNAMES": SHIFTER}
    with server_process(environment) as server, blocked_gateway(simulator) as release:
        visitor = Visitor(server.url).sign_in("shifter", "first")
        responses = [pool.submit(visitor.get_command, "get_dqm_machines") for _ in range(20)]
        until(lambda: len(in_progress(two_user_settings)) == 20)
        # Each of these would time out if commands used the threads of pages.
        pages = [pool.submit(server.get, path) for path in ("/", "/cr/login/", "/readyz") * 4]
        assert [page.result(TIMEOUT_S).status_code for page in pages] == [200] * 12
        assert not any(response.done() for response in responses)
        # Those beyond 24, more than may wait for a thread, are refused and recorded.
        more = [pool.submit(visitor.get_command, "get_dqm_machines") for _ in range(16)]
        until(lambda: sum(one.done() for one in more) == 12)
        assert {one.result().status_code for one in more if one.done()} == {503}
        refused = [entry["message"] for entry in visitor.audit(outcome=Outcome.REFUSED)]
        assert refused == ["Too many commands are queued. Try again later."] * 12
        release.set()
        assert {response.result(TIMEOUT_S).status_code for response in responses} == {200}
    assert len(commands_sent(simulator)) == 24


def test_it_does_not_wait_for_a_server_that_was_killed(
    simulated_environment: dict[str, str],
    two_user_settings: Settings,
    simulator: Simulator,
    pool: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "DQM_CR_USERNAMES": f"{SHIFTER},expert:{cheap_hash('second')}"}
    with served(two_user_settings) as url, blocked_gateway(simulator) as release:
        expert = Visitor(url).sign_in("expert", "second")
        with server_process(environment) as doomed:
            shifter = Visitor(doomed.url).sign_in("shifter", "first")
            lost = pool.submit(shifter.post_command, "restart_hltd", host=UNIT)
            until(lambda: in_progress(two_user_settings) == [("shifter", True)])
            for worker in workers_of(doomed):
                os.kill(worker, signal.SIGKILL)
            with pytest.raises(requests.ConnectionError):
                lost.result(TIMEOUT_S)
        release.set()
        assert expert.post_command("restart_hltd", host=UNIT).status_code == 200
        fragment = expert.get("/cr/queue").text
    assert "No command is queued or running." in fragment
    [done, left] = restarts(two_user_settings)
    assert done == ("expert", Outcome.OK)
    assert left == ("shifter", None)
    assert "The server ended while the command was running: its effect is unknown" in fragment


def restarts(settings: Settings) -> list[tuple[str, str | None]]:
    """Return user and outcome of each restart, newest first."""
    audit = db.audit_log
    with control_room_database(settings).connect() as connection:
        rows = connection.execute(
            sa.select(audit).where(audit.c.command == "restart_hltd").order_by(audit.c.id.desc())
        ).all()
    return [(row.username, row.outcome) for row in rows]


def test_it_sends_nothing_if_the_queue_s_connection_was_lost(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    """The connection identifies the worker in the audit, which already reports the entry as lost."""
    engine = db.engine(settings, Cluster.PLAYBACK, "queue", pool_size=1)
    queue = CommandQueue(engine)
    with ExitStack() as stack:
        with queue.join() as first:
            waits = stack.enter_context(queue.join())
            with queue.hold(first, 5):
                terminate_connections(postgres, settings.database(Cluster.PLAYBACK))
        later = stack.enter_context(queue.join())
        assert later.worker_id != waits.worker_id
        with pytest.raises(QueueUnavailable), queue.hold(waits, 5):
            pytest.fail("it was sent")
    engine.dispose()


def test_a_wait_that_ends_at_once_shortens_nothing_else(settings: Settings) -> None:
    engine = db.engine(settings, Cluster.PLAYBACK, "queue", pool_size=1)

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def take_longer(_connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> tuple[str, Any]:
        """As on a database that is busy."""
        is_unlock = "pg_advisory_unlock" in statement
        return (f"{statement}, pg_sleep(0.1)" if is_unlock else statement), values

    queue = CommandQueue(engine)
    with queue.join() as first, queue.join() as second:
        with suppress(QueueTimeout), queue.hold(first, 0.005):
            pass
        worker_id = second.worker_id
        with queue.join() as later:
            assert later.worker_id == worker_id
    engine.dispose()


def terminate_connections(postgres: EmbeddedPostgres, database: str) -> None:
    """Terminate all connections to a database, as a restart of PostgreSQL does."""
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
        )


def test_it_sends_nothing_while_the_audit_is_unavailable(
    two_user_settings: Settings, simulator: Simulator, postgres: EmbeddedPostgres
) -> None:
    with served(two_user_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first").load_token()
        postgres.stop()
        try:
            responses = [
                visitor.get_command("get_dqm_machines"),
                visitor.post_command("restart_hltd", host=UNIT),
            ]
            assert Visitor(url).submit_password("shifter", "first").status_code == 503
        finally:
            postgres.start()
        assert [response.status_code for response in responses] == [503, 503]
        assert commands_sent(simulator) == []
        assert visitor.post_command("restart_hltd", host=UNIT).status_code == 200


def alter(settings: Settings, statement: str) -> None:
    with control_room_database(settings).begin() as connection:
        connection.execute(sa.text(statement))


def test_it_sends_nothing_that_can_t_be_marked_as_sent(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with served(two_user_settings) as url, blocked_gateway(simulator) as release:
        shifter = Visitor(url).sign_in("shifter", "first")
        waiting = submit_in_order(
            pool,
            two_user_settings,
            lambda: shifter.get_command("get_dqm_machines"),
            lambda: shifter.post_command("restart_hltd", host=UNIT),
        )
        alter(two_user_settings, "ALTER TABLE audit_log RENAME COLUMN sent_at TO elsewhere")
        release.set()
        responses = [response.result(TIMEOUT_S) for response in waiting]
        alter(two_user_settings, "ALTER TABLE audit_log RENAME COLUMN elsewhere TO sent_at")
        assert [response.status_code for response in responses] == [200, 503]
        assert responses[1].text == "The audit can't be written: nothing was sent."
        [entry] = shifter.audit(command="restart_hltd")
    assert (entry["outcome"], entry["sent_at"]) == (Outcome.NOT_SENT, "")
    assert [command["what"] for command in commands_sent(simulator)] == ["get_dqm_machines"]


def test_it_reports_the_outcome_even_if_it_can_t_be_recorded(
    two_user_settings: Settings, simulator: Simulator, postgres: EmbeddedPostgres
) -> None:
    with served(two_user_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")

        def stop_once(_request: object) -> None:
            simulator.on_request = lambda _request: None
            postgres.stop()

        simulator.on_request = stop_once
        try:
            response = visitor.post_command_with({"HX-Request": "true"}, "restart_hltd", host=UNIT)
        finally:
            postgres.start()
        assert "DQM² says Ok." in response.text
        assert "The outcome could not be recorded in the audit." in response.text
        [entry] = visitor.audit(command="restart_hltd")
        assert (entry["outcome"], bool(entry["sent_at"])) == ("", True)


def test_it_reports_the_outcome_whatever_prevents_its_recording(
    two_user_settings: Settings, simulator: Simulator, pool: ThreadPoolExecutor
) -> None:
    with served(two_user_settings) as url, blocked_gateway(simulator) as release:
        visitor = Visitor(url).sign_in("shifter", "first")
        pending = pool.submit(visitor.post_command_with, {"HX-Request": "true"}, "restart_hltd", host=UNIT)
        until(lambda: in_progress(two_user_settings) == [("shifter", True)])
        alter(two_user_settings, "ALTER TABLE audit_log ADD CHECK (outcome <> 'ok') NOT VALID")
        release.set()
        response = pending.result(TIMEOUT_S)
    assert "DQM² says Ok." in response.text
    assert "The outcome could not be recorded in the audit." in response.text


def test_it_continues_after_a_response_that_broke_off(
    two_user_settings: Settings, simulator: Simulator
) -> None:
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL, times=1)
    with served(two_user_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")
        assert visitor.get_command("get_dqm_machines").status_code == 504
        assert visitor.get_command("get_dqm_machines").status_code == 200


def lock_wait_s(connection: sa.Connection) -> float:
    """Return how long a server has been waiting for the lock, in seconds."""
    waits = sa.text(
        "SELECT extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity"
        " WHERE wait_event = 'advisory' AND application_name LIKE '%command-queue%'"
        " AND datname = current_database()"
    )
    return float(connection.scalar(waits) or 0)


def test_it_waits_long_for_its_turn_but_not_for_a_hanging_database(
    simulated_environment: dict[str, str],
    two_user_settings: Settings,
    simulator: Simulator,
    postgres: EmbeddedPostgres,
    pool: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "DQM_CR_USERNAMES": SHIFTER}
    with server_process(environment) as server, blocked_gateway(simulator) as release:
        visitor = Visitor(server.url).sign_in("shifter", "first")
        with control_room_database(two_user_settings).connect() as connection:
            elsewhere = connection.execution_options(isolation_level="AUTOCOMMIT")
            elsewhere.execute(sa.select(sa.func.pg_advisory_lock(db.COMMAND_LOCK)))
            pending = pool.submit(visitor.post_command, "restart_hltd", host=UNIT)
            # Longer than the time limit of other statements.
            until(lambda: lock_wait_s(elsewhere) > 2)
            elsewhere.execute(sa.select(sa.func.pg_advisory_unlock(db.COMMAND_LOCK)))
        until(lambda: in_progress(two_user_settings) == [("shifter", True)])
        with frozen(postgres):
            release.set()
            assert pending.result(TIMEOUT_S).text == "Ok"
        assert visitor.post_command("restart_hltd", host=UNIT).status_code == 200
    assert len(commands_sent(simulator)) == 2
