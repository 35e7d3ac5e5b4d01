"""The audit of the Control Room, on its page and as CSV."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.simulator import Simulator
from storage.audit_log import AuditedAction, AuditFilter, AuditLog, Outcome
from tests.control_room import BEAM, RUN, UNIT, Visitor, control_room_database, execute_statement
from tests.log_files import read_log
from tests.mirrored_cluster import MirroredCluster
from tests.served import served


@pytest.fixture
def url(two_user_settings: Settings) -> Iterator[str]:
    """The URL of a server with `two_user_settings`."""
    with served(two_user_settings) as url:
        yield url


@pytest.fixture
def shifter(url: str) -> Visitor:
    """The first user, signed in."""
    return Visitor(url).sign_in("shifter", "first")


@pytest.fixture
def expert(url: str) -> Visitor:
    """The second user, signed in."""
    return Visitor(url).sign_in("expert", "second")


def test_it_records_all_details_of_a_command(shifter: Visitor) -> None:
    shifter.post_command("change_dqm_client", host=UNIT, playback=1, client=BEAM, state=0)
    entry = shifter.audit()[0]
    times = [datetime.fromisoformat(entry[name]) for name in ("received_at", "sent_at", "ended_at")]
    assert times == sorted(times)
    assert float(entry["seconds"]) >= 0
    assert entry | {"received_at": "", "sent_at": "", "ended_at": "", "seconds": ""} == {
        "received_at": "",
        "username": "shifter",
        "cmsweb_login": "",
        "command": "change_dqm_client",
        "cluster": "playback",
        "machine": "dqmfu-c2b01-..",
        "parameters": f"playback=1 client={BEAM} state=0",
        "sent_at": "",
        "ended_at": "",
        "seconds": "",
        "outcome": Outcome.OK,
        "message": "DQM² says Ok.",
        "occurrences": "1",
        "address": "",
    }


def test_it_names_a_machine_by_its_label(shifter: Visitor, two_user_settings: Settings) -> None:
    # Labels of machines with similar names have a suffix.
    mirrored = MirroredCluster(two_user_settings, Cluster.PLAYBACK)
    execute_statement(
        two_user_settings,
        sa.update(db.machines)
        .where(db.machines.c.label == mirrored.label(UNIT))
        .values(label="dqmfu-c2b01-..·2"),
    )
    shifter.get_command("get_hltd_logs", host=UNIT)
    assert shifter.audit()[0]["machine"] == "dqmfu-c2b01-..·2"


def test_it_stores_no_full_machine_name(
    shifter: Visitor, simulator: Simulator, two_user_settings: Settings
) -> None:
    simulator.machine(UNIT).is_ssh_broken = True
    shifter.post_command("restart_hltd", host=UNIT)
    shifter.get_command("get_dqm_machines")
    shifter.get_command("get_hltd_logs", host=UNIT)
    shifter.get_command("get_hltd_logs", host="dqmfu-c2b99-45-01")
    shifter.get_command("get_hltd_logs", host=f"{UNIT};reboot")
    with control_room_database(two_user_settings).connect() as connection:
        kept = str([tuple(row) for row in connection.execute(sa.select(db.audit_log))])
    assert "45-01" not in kept
    assert "reboot" not in kept
    for path in ("/cr/audit/", "/cr/audit.csv", "/cr/queue"):
        assert "45-01" not in shifter.get(path).text
    logged = read_log(two_user_settings, "server")
    assert "45-01" not in logged
    assert "reboot" not in logged


def test_it_records_refusals(shifter: Visitor) -> None:
    shifter.get_command("restart_hltd", host=UNIT)
    shifter.get_command("get_hltd_logs", host="elsewhere")
    shifter.get_command("no_such_command")
    refused = shifter.audit(outcome="refused")
    assert [(entry["command"], entry["username"], entry["sent_at"]) for entry in refused] == [
        ("unknown", "shifter", ""),
        ("get_hltd_logs", "shifter", ""),
        ("restart_hltd", "shifter", ""),
    ]


def test_it_records_the_valid_parameters_of_a_rejected_command(shifter: Visitor) -> None:
    shifter.post_command("change_dqm_client", host=UNIT, playback=0, client="x;reboot", state="1;reboot")
    [entry] = shifter.audit(outcome="refused")
    assert (entry["command"], entry["machine"], entry["parameters"]) == (
        "change_dqm_client",
        "dqmfu-c2b01-..",
        "playback=0",
    )


def test_it_records_the_user_of_a_request_that_is_too_large(shifter: Visitor) -> None:
    assert shifter.post_command("restart_hltd", host="a" * 70_000).status_code == 413
    [entry] = shifter.audit(outcome="refused")
    assert (entry["username"], entry["command"]) == ("shifter", "unknown")


def test_it_deletes_entries_after_their_retention(two_user_settings: Settings) -> None:
    def age(days: int) -> None:
        earlier = db.audit_log.c.received_at - sa.func.make_interval(0, 0, 0, days)
        execute_statement(two_user_settings, sa.update(db.audit_log).values(received_at=earlier))

    with served(replace(two_user_settings, cr_audit_retention_days=30)) as url:
        shifter = Visitor(url).sign_in("shifter", "first")
        age(20)
        shifter.get_command("get_dqm_machines")
        assert [entry["command"] for entry in shifter.audit()] == ["get_dqm_machines", "sign_in"]
        age(20)
        shifter.get_command("get_cmssw_info")
        assert [entry["command"] for entry in shifter.audit()] == ["get_cmssw_info", "get_dqm_machines"]
        age(20)
        # Recording a refusal deletes old entries, too.
        shifter.get_command("no_such_command")
        assert [entry["command"] for entry in shifter.audit()] == ["unknown", "get_cmssw_info"]


def test_it_deletes_years_of_entries_some_at_a_time(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.audit_log._MAX_DELETED", 2)
    engine = control_room_database(settings)
    audit = AuditLog(engine, timedelta(days=1))
    with engine.begin() as connection:
        rows = [{"command": "old", "is_change": False, "parameters": {}} for _ in range(5)]
        connection.execute(sa.insert(db.audit_log).values(received_at=datetime(2020, 1, 1, tzinfo=UTC)), rows)
    remaining = []
    for _ in range(3):
        audit.record(AuditedAction("new"), Outcome.OK)
        remaining.append(sum(entry.action.command == "old" for entry in audit.find(AuditFilter(), 10)))
    assert remaining == [3, 1, 0]


def test_it_identifies_live_workers_by_their_lock_in_this_database(settings: Settings) -> None:
    engines = {cluster: db.engine(settings, cluster, "tests") for cluster in Cluster}
    audit = AuditLog(engines[Cluster.PLAYBACK], retention=None)
    desk = 7
    entry = audit.begin(AuditedAction("restart_hltd"), desk)
    lock = sa.select(sa.func.pg_advisory_lock(db.WORKER_LOCKS, desk))
    with engines[Cluster.PRODUCTION].connect() as elsewhere:
        elsewhere.execute(lock)
        assert audit.in_progress() == []
    with engines[Cluster.PLAYBACK].connect() as here:
        here.execute(lock)
        assert [found.id for found in audit.in_progress()] == [entry]
        here.invalidate()
    for engine in engines.values():
        engine.dispose()


def test_it_is_filtered_by_user_command_and_outcome(shifter: Visitor, expert: Visitor) -> None:
    shifter.get_command("get_dqm_machines")
    expert.get_command("get_dqm_machines")
    expert.get_command("get_production_runs")
    assert {entry["username"] for entry in expert.audit(username="shifter")} == {"shifter"}
    assert [entry["command"] for entry in expert.audit(command="get_dqm_machines")] == [
        "get_dqm_machines"
    ] * 2
    assert [entry["command"] for entry in expert.audit(outcome="failed")] == ["get_production_runs"]
    assert expert.audit(username="shifter", outcome="failed") == []
    page = expert.get("/cr/audit/", params={"username": "shifter", "command": "get_dqm_machines"}).text
    assert page.count('<tr id="entry-') == 1
    assert "<option selected>get_dqm_machines</option>" in page
    assert "No entries match." in expert.get("/cr/audit/", params={"outcome": "denied"}).text


def test_it_rejects_invalid_filters(shifter: Visitor) -> None:
    for query in ("outcome=nothing", "before=x", "username=a&username=b", "username=%00"):
        assert shifter.get(f"/cr/audit/?{query}").status_code == 400, query


def test_it_is_paginated(shifter: Visitor, two_user_settings: Settings) -> None:
    with control_room_database(two_user_settings).begin() as connection:
        connection.execute(
            sa.insert(db.audit_log),
            [{"command": "sign_in", "is_change": False, "parameters": {}, "outcome": "ok"}] * 150,
        )
    first = shifter.get("/cr/audit/").text
    assert first.count('<tr id="entry-') == 100
    earlier = first[first.index("before=") :].partition('"')[0]
    assert shifter.get(f"/cr/audit/?{earlier}").text.count('<tr id="entry-') == 51
    assert len(shifter.audit()) == 151


def test_it_is_read_in_pieces_for_a_file_with_time_for_each(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.audit_log._ENTRIES_PER_PIECE", 2)
    engine = db.engine(settings, Cluster.PLAYBACK, "tests")
    audit = AuditLog(engine, retention=None)
    for command in ("a", "b", "c", "d", "e", "f"):
        audit.record(AuditedAction(command, username=f"user of {command}"), Outcome.OK)
    sizes, timeouts_s = [], []

    @sa.event.listens_for(engine, "after_cursor_execute")
    def note(_connection: Any, cursor: Any, _statement: Any, _values: Any, context: Any, _many: Any) -> None:
        sizes.append(cursor.rowcount)
        timeouts_s.append(context.execution_options.get("response_timeout_s"))

    found = audit.iter_found(AuditFilter(outcome=Outcome.OK), 5)
    assert [entry.action.command for entry in found] == ["f", "e", "d", "c", "b"]
    assert sizes == [2, 2, 1]
    assert len(audit.usernames()) == 6
    assert timeouts_s == [10] * 4
    engine.dispose()


def test_it_looks_for_a_repetition_among_recent_entries_only(settings: Settings) -> None:
    engine = db.engine(settings, Cluster.PLAYBACK, "tests")
    action = AuditedAction("restart_hltd", is_change=True, machine="dqmfu")
    AuditLog(engine, retention=None).record(action, Outcome.OK)
    with engine.begin() as connection:
        copies = sa.text(
            "INSERT INTO audit_log (received_at, sent_at, command, is_change, machine, parameters) "
            "SELECT at, at, command, is_change, machine, parameters FROM audit_log, "
            "LATERAL (SELECT received_at - make_interval(days => number) AS at "
            "FROM generate_series(1, 5000) AS number) AS earlier"
        )
        connection.execute(copies)
        connection.execute(sa.text("ANALYZE audit_log"))
    plans: list[dict[str, Any]] = []

    @sa.event.listens_for(engine, "before_cursor_execute", retval=True)
    def explain(_connection: Any, cursor: Any, statement: str, values: Any, *_: Any) -> tuple[str, Any]:
        if statement.startswith("SELECT audit_log"):
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT JSON) {statement}", values)
            plans.append(cursor.fetchone()[0][0]["Plan"])
        return statement, values

    assert AuditLog(engine, retention=None).latest_repetition(action, timedelta(minutes=1)) is None
    assert sum(map(_rows_read, plans)) < 10
    engine.dispose()


def _rows_read(plan: dict[str, Any]) -> int:
    """Rows of the log that a plan read."""
    own = plan.get("Rows Removed by Filter", 0) + plan["Actual Rows"]
    return int(own if plan.get("Relation Name") == "audit_log" else 0) + sum(
        map(_rows_read, plan.get("Plans", []))
    )


def test_it_escapes_spreadsheet_formulas(shifter: Visitor, two_user_settings: Settings) -> None:
    shifter.get_command("get_dqm_machines")
    for formula in ("=HYPERLINK(1)", "+1", "-1", "@SUM(1)", "\n=1", "＝1", "－1"):
        execute_statement(two_user_settings, sa.update(db.audit_log).values(message=formula))
        response = shifter.get("/cr/audit.csv")
        [row, *_] = csv.DictReader(io.StringIO(response.text))
        assert row["message"] == f"'{formula}"
    assert response.headers["Content-Disposition"].startswith("attachment")


def test_it_shows_markup_as_text(shifter: Visitor, two_user_settings: Settings) -> None:
    execute_statement(two_user_settings, sa.update(db.audit_log).values(message="<b>", username="<i>"))
    for path in ("/cr/audit/", "/cr/queue"):
        text = shifter.get(path).text
        assert "<b>" not in text
        assert "<i>" not in text


def test_it_shows_the_actions_of_the_last_hour_on_the_page(
    shifter: Visitor, expert: Visitor, two_user_settings: Settings
) -> None:
    shifter.post_command("start_playback_run", run_number=RUN, run_key="pp_run", number_of_ls=12)
    page = expert.get("/cr/").text
    done = page[page.index('class="history"') :]
    assert all(word in done for word in ("shifter", "start_playback_run", RUN, "pp_run", "12"))
    earlier = db.audit_log.c.received_at - sa.text("'61 min'::interval")
    execute_statement(two_user_settings, sa.update(db.audit_log).values(received_at=earlier))
    assert "start_playback_run" not in expert.get("/cr/queue").text
    assert "start_playback_run" in expert.get("/cr/audit/").text
