"""Commands wait in one line, of all people and all servers; the mirror's pages wait for none of them."""

import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from itertools import pairwise

import pytest
import requests
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from storage.command_queue import CommandQueue, QueueUnavailable
from tests.control_room import BEAM, OTHER_UNIT, UNIT, Visitor, commands_sent, playback_database, served
from tests.served import frozen, server_process, workers_of
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres


@pytest.fixture
def simulated_settings(simulated_settings: Settings) -> Settings:
    return replace(simulated_settings, dqm_cr_usernames={"shifter": "first", "expert": "second"})


@contextmanager
def held_up(simulator: Simulator) -> Iterator[threading.Event]:
    """A gateway that has a control command in its hands, and no other, until the event is set."""
    go_on = threading.Event()

    def hold(request: object) -> None:
        if str(getattr(request, "path", "")).endswith("/cr/exe"):
            go_on.wait(60)

    simulator.on_request = hold
    try:
        yield go_on
    finally:
        go_on.set()


@pytest.fixture
def crowd() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(max_workers=40) as crowd:
        yield crowd


def under_way(settings: Settings) -> list[tuple[str, bool]]:
    """Person and whether it was sent, of the commands that have no outcome yet."""
    engine = playback_database(settings)
    audit = db.audit_log
    open_ = sa.select(audit.c.username, audit.c.sent_at).where(audit.c.outcome.is_(None)).order_by(audit.c.id)
    with engine.connect() as connection:
        rows = connection.execute(open_).all()
    engine.dispose()
    return [(row.username, row.sent_at is not None) for row in rows]


def in_order(
    crowd: ThreadPoolExecutor, settings: Settings, *commands: Callable[[], requests.Response]
) -> list[Future[requests.Response]]:
    """Gives commands one after the other, each once the one before stands in the line."""
    answers = []
    for number, command in enumerate(commands, start=1):
        answers.append(crowd.submit(command))
        until(lambda: len(under_way(settings)) >= number)  # noqa: B023 - waited for right here
    return answers


def test_it_does_one_command_at_a_time_whichever_server_has_it(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(simulated_settings)) for _ in range(2))
        shifter, expert = Visitor(one).sign_in("shifter", "first"), Visitor(other).sign_in("expert", "second")
        go_on = stack.enter_context(held_up(simulator))
        answers = in_order(
            crowd,
            simulated_settings,
            lambda: shifter.ask("get_dqm_machines"),
            lambda: expert.ask("get_cmssw_info"),
            lambda: shifter.tell("restart_hltd", host=UNIT),
            lambda: expert.tell("restart_fff", host=UNIT),
        )
        until(lambda: under_way(simulated_settings)[0][1])
        assert under_way(simulated_settings) == [
            ("shifter", True),
            ("expert", False),
            ("shifter", False),
            ("expert", False),
        ]
        go_on.set()
        assert [answer.result(30).status_code for answer in answers] == [200] * 4
    spans = sorted((request.started_s, request.ended_s) for request in simulator.requests)
    assert len(spans) == 4
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(spans))


def test_it_shows_who_waits_for_what_on_everybody_s_page(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with ExitStack() as stack:
        one, other = (stack.enter_context(served(simulated_settings)) for _ in range(2))
        shifter, expert = Visitor(one).sign_in("shifter", "first"), Visitor(other).sign_in("expert", "second")
        assert "No command is queued or running." in expert.get("/cr/queue").text
        go_on = stack.enter_context(held_up(simulator))
        answers = in_order(
            crowd,
            simulated_settings,
            lambda: shifter.tell("restart_hltd", host=UNIT),
            lambda: expert.ask("get_hltd_logs", host=OTHER_UNIT),
        )
        until(lambda: under_way(simulated_settings)[0][1])
        for visitor in (shifter, expert):
            part = visitor.get("/cr/queue").text
            places = part[part.index('class="queue"') : part.index("</ol>")]
            first, second = places.split("</li>")[:2]
            assert all(word in first for word in ("running", "restart_hltd", "dqmfu-c2b01-..", "shifter"))
            assert all(word in second for word in ("waiting", "get_hltd_logs", "dqmfu-c2b02-..", "expert"))
            assert UNIT not in part
        go_on.set()
        assert [answer.result(30).status_code for answer in answers] == [200, 200]
        assert "No command is queued or running." in shifter.get("/cr/queue").text


def test_it_refuses_the_same_change_of_the_same_target_while_one_is_under_way(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with served(simulated_settings) as url, held_up(simulator) as go_on:
        shifter, expert = Visitor(url).sign_in("shifter", "first"), Visitor(url).sign_in("expert", "second")
        panel = {"host": UNIT, "playback": 1, "state": 0}
        answers = in_order(
            crowd,
            simulated_settings,
            lambda: shifter.tell("restart_hltd", host=UNIT),
            lambda: shifter.tell("change_dqm_client", client=BEAM, **panel),
        )
        again = expert.tell("restart_hltd", host=UNIT)
        assert (again.status_code, again.text) == (
            409,
            "shifter has already requested this, and it is still in progress.",
        )
        assert expert.tell("change_dqm_client", client=BEAM, **panel).status_code == 409
        refused = expert.audit(outcome="refused")
        assert [(entry["command"], entry["machine"], entry["parameters"]) for entry in refused] == [
            ("change_dqm_client", "dqmfu-c2b01-..", f"playback=1 client={BEAM} state=0"),
            ("restart_hltd", "dqmfu-c2b01-..", ""),
        ]
        more = [
            crowd.submit(expert.tell, "restart_hltd", host=OTHER_UNIT),
            crowd.submit(expert.tell, "restart_fff", host=UNIT),
        ]
        until(lambda: len(under_way(simulated_settings)) == 4)
        go_on.set()
        assert [answer.result(30).status_code for answer in (*answers, *more)] == [200] * 4
        assert expert.tell("restart_hltd", host=UNIT).status_code == 200


def test_it_counts_a_press_once_however_often_it_arrives(
    simulated_settings: Settings, simulator: Simulator
) -> None:
    key = {"Idempotency-Key": "0123456789abcdef0123456789abcdef"}
    with served(simulated_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")
        assert visitor.tell_with(key, "restart_hltd", host=UNIT).status_code == 200
        again = visitor.tell_with(key, "restart_hltd", host=UNIT)
        assert (again.status_code, again.text) == (409, "This request has already been received.")
        assert visitor.tell_with({"Idempotency-Key": "no key"}, "restart_hltd", host=UNIT).status_code == 400
    assert len(commands_sent(simulator)) == 1


def test_it_sends_nothing_for_who_signed_out_while_it_waited(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with served(simulated_settings) as url, held_up(simulator) as go_on:
        shifter, expert = Visitor(url).sign_in("shifter", "first"), Visitor(url).sign_in("expert", "second")
        waiting = in_order(
            crowd,
            simulated_settings,
            lambda: expert.ask("get_dqm_machines"),
            lambda: shifter.tell("restart_hltd", host=UNIT),
        )
        shifter.post("/cr/logout/", {"csrf_token": shifter.token})
        go_on.set()
        answers = [answer.result(30) for answer in waiting]
        assert [answer.status_code for answer in answers] == [200, 401]
        assert "Your session ended while this command was queued" in answers[1].text
        [entry] = expert.audit(command="restart_hltd")
    assert (entry["outcome"], entry["sent_at"]) == (Outcome.REFUSED, "")
    assert [command["what"] for command in commands_sent(simulator)] == ["get_dqm_machines"]


def test_it_keeps_the_pages_as_free_as_ever_with_twenty_in_line(
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    simulator: Simulator,
    crowd: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "SERVER_THREADS": "2", "DQM_CR_USERNAMES": "shifter:first"}
    with server_process(environment) as server, held_up(simulator) as go_on:
        visitor = Visitor(server.url).sign_in("shifter", "first")
        answers = [crowd.submit(visitor.ask, "get_dqm_machines") for _ in range(20)]
        until(lambda: len(under_way(simulated_settings)) == 20)
        # Each of these would wait for a minute if a command had its thread.
        pages = [crowd.submit(server.get, path) for path in ("/", "/cr/login/", "/readyz") * 4]
        assert [page.result(20).status_code for page in pages] == [200] * 12
        assert not any(answer.done() for answer in answers)
        more = [crowd.submit(visitor.ask, "get_dqm_machines") for _ in range(6)]
        until(lambda: sum(one.done() for one in more) == 2)
        assert [one.result().status_code for one in more if one.done()] == [503, 503]
        go_on.set()
        assert {answer.result(30).status_code for answer in answers} == {200}
    assert len(commands_sent(simulator)) == 24


def test_it_lets_nobody_wait_behind_a_server_that_was_killed(
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    simulator: Simulator,
    crowd: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "DQM_CR_USERNAMES": "shifter:first,expert:second"}
    with served(simulated_settings) as url, held_up(simulator) as go_on:
        expert = Visitor(url).sign_in("expert", "second")
        with server_process(environment) as doomed:
            shifter = Visitor(doomed.url).sign_in("shifter", "first")
            lost = crowd.submit(shifter.tell, "restart_hltd", host=UNIT)
            until(lambda: under_way(simulated_settings) == [("shifter", True)])
            for worker in workers_of(doomed):
                os.kill(worker, signal.SIGKILL)
            with pytest.raises(requests.ConnectionError):
                lost.result(30)
        go_on.set()
        assert expert.tell("restart_hltd", host=UNIT).status_code == 200
        part = expert.get("/cr/queue").text
    assert "No command is queued or running." in part
    [done, left] = restarts(simulated_settings)
    assert done == ("expert", Outcome.OK)
    assert left == ("shifter", None)
    assert "The server ended while the command was running: its effect is unknown" in part


def restarts(settings: Settings) -> list[tuple[str, str | None]]:
    """Person and outcome of each restart, newest first."""
    engine = playback_database(settings)
    audit = db.audit_log
    with engine.connect() as connection:
        rows = connection.execute(
            sa.select(audit).where(audit.c.command == "restart_hltd").order_by(audit.c.id.desc())
        ).all()
    engine.dispose()
    return [(row.username, row.outcome) for row in rows]


def test_it_sends_nothing_for_who_waited_on_a_connection_that_was_lost(
    settings: Settings, postgres: EmbeddedPostgres
) -> None:
    """The audit knows the server by that connection: it has told everybody that this entry's is gone."""
    engine = db.engine(settings, Cluster.PLAYBACK, "line", pool_size=1)
    line = CommandQueue(engine)
    with ExitStack() as stack:
        with line.join() as first:
            waits = stack.enter_context(line.join())
            with line.hold(first, 5):
                cut(postgres, settings.database(Cluster.PLAYBACK))
        later = stack.enter_context(line.join())
        assert later.worker_id != waits.worker_id
        with pytest.raises(QueueUnavailable), line.hold(waits, 5):
            pytest.fail("it was sent")
    engine.dispose()


def cut(postgres: EmbeddedPostgres, database: str) -> None:
    """Ends all connections to a database, as PostgreSQL's own end would."""
    with closing(postgres.connect("template1")) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,)
        )


def test_it_sends_nothing_while_it_can_t_write_it_down(
    simulated_settings: Settings, simulator: Simulator, postgres: EmbeddedPostgres
) -> None:
    with served(simulated_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")
        postgres.stop()
        try:
            answers = [visitor.ask("get_dqm_machines"), visitor.tell("restart_hltd", host=UNIT)]
            assert Visitor(url).try_password("shifter", "first").status_code == 503
        finally:
            postgres.start()
        assert [answer.status_code for answer in answers] == [503, 503]
        assert commands_sent(simulator) == []
        assert visitor.tell("restart_hltd", host=UNIT).status_code == 200


def alter(settings: Settings, statement: str) -> None:
    engine = playback_database(settings)
    with engine.begin() as connection:
        connection.execute(sa.text(statement))
    engine.dispose()


def test_it_sends_nothing_that_can_t_be_marked_as_sent(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with served(simulated_settings) as url, held_up(simulator) as go_on:
        shifter = Visitor(url).sign_in("shifter", "first")
        waiting = in_order(
            crowd,
            simulated_settings,
            lambda: shifter.ask("get_dqm_machines"),
            lambda: shifter.tell("restart_hltd", host=UNIT),
        )
        until(lambda: under_way(simulated_settings)[0][1])
        alter(simulated_settings, "ALTER TABLE audit_log RENAME COLUMN sent_at TO elsewhere")
        go_on.set()
        answers = [answer.result(30) for answer in waiting]
        alter(simulated_settings, "ALTER TABLE audit_log RENAME COLUMN elsewhere TO sent_at")
        assert [answer.status_code for answer in answers] == [200, 503]
        assert answers[1].text == "The audit can't be written: nothing was sent."
        [entry] = shifter.audit(command="restart_hltd")
    assert (entry["outcome"], entry["sent_at"]) == (Outcome.NOT_SENT, "")
    assert [command["what"] for command in commands_sent(simulator)] == ["get_dqm_machines"]


def test_it_tells_the_outcome_even_if_it_can_t_be_written_down(
    simulated_settings: Settings, simulator: Simulator, postgres: EmbeddedPostgres
) -> None:
    with served(simulated_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")

        def stop_once(_request: object) -> None:
            simulator.on_request = lambda _request: None
            postgres.stop()

        simulator.on_request = stop_once
        try:
            answer = visitor.tell_with({"HX-Request": "true"}, "restart_hltd", host=UNIT)
        finally:
            postgres.start()
        assert "DQM² says Ok." in answer.text
        assert "The outcome could not be recorded in the audit." in answer.text
        [entry] = visitor.audit(command="restart_hltd")
        assert (entry["outcome"], bool(entry["sent_at"])) == ("", True)


def test_it_tells_the_outcome_whatever_keeps_it_from_being_written_down(
    simulated_settings: Settings, simulator: Simulator, crowd: ThreadPoolExecutor
) -> None:
    with served(simulated_settings) as url, held_up(simulator) as go_on:
        visitor = Visitor(url).sign_in("shifter", "first")
        told = crowd.submit(visitor.tell_with, {"HX-Request": "true"}, "restart_hltd", host=UNIT)
        until(lambda: under_way(simulated_settings) == [("shifter", True)])
        alter(simulated_settings, "ALTER TABLE audit_log ADD CHECK (outcome <> 'ok') NOT VALID")
        go_on.set()
        answer = told.result(30)
    assert "DQM² says Ok." in answer.text
    assert "The outcome could not be recorded in the audit." in answer.text


def test_it_lets_the_next_one_go_on_after_an_answer_that_never_ends(
    simulated_settings: Settings, simulator: Simulator
) -> None:
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL, times=1)
    with served(simulated_settings) as url:
        visitor = Visitor(url).sign_in("shifter", "first")
        assert visitor.ask("get_dqm_machines").status_code == 504
        assert visitor.ask("get_dqm_machines").status_code == 200


def turn_is_waited_for_s(connection: sa.Connection) -> float:
    """For how long PostgreSQL has let a server wait for its turn."""
    waits = sa.text(
        "SELECT extract(epoch FROM clock_timestamp() - query_start) FROM pg_stat_activity"
        " WHERE wait_event = 'advisory' AND application_name LIKE '%command-queue%'"
        " AND datname = current_database()"
    )
    return float(connection.scalar(waits) or 0)


def test_it_waits_long_for_its_turn_but_not_for_a_database_that_hangs(
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
    simulator: Simulator,
    postgres: EmbeddedPostgres,
    crowd: ThreadPoolExecutor,
) -> None:
    environment = {**simulated_environment, "DQM_CR_USERNAMES": "shifter:first"}
    with server_process(environment) as server, held_up(simulator) as go_on:
        visitor = Visitor(server.url).sign_in("shifter", "first")
        with playback_database(simulated_settings).connect() as connection:
            elsewhere = connection.execution_options(isolation_level="AUTOCOMMIT")
            elsewhere.execute(sa.select(sa.func.pg_advisory_lock(db.COMMAND_LOCK)))
            told = crowd.submit(visitor.tell, "restart_hltd", host=UNIT)
            # Longer than any other answer of a database may take.
            until(lambda: turn_is_waited_for_s(elsewhere) > 2)
            elsewhere.execute(sa.select(sa.func.pg_advisory_unlock(db.COMMAND_LOCK)))
        until(lambda: under_way(simulated_settings) == [("shifter", True)])
        with frozen(postgres):
            go_on.set()
            assert told.result(20).text == "Ok"
        assert visitor.tell("restart_hltd", host=UNIT).status_code == 200
    assert len(commands_sent(simulator)) == 2
