"""Every command of DQM², as scripts give it: what comes back, and what it does at the simulated clusters."""

import json
from collections.abc import Iterator
from dataclasses import replace

import pytest
import sqlalchemy as sa

import db
from dqm2.commands import COMMANDS
from dqmsquare_cfg import Cluster, Settings
from simulator.control_commands import CommandMode
from simulator.daemons import DaemonKind
from simulator.fault_injection import FaultKind, RequestKind
from simulator.http_types import Response
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from tests.control_room import (
    BEAM,
    GATEWAY,
    OTHER_UNIT,
    PRODUCTION_UNIT,
    RUN,
    UNIT,
    Visitor,
    change,
    commands_sent,
    served,
)

CHANGES = {
    "start_playback_run": {"run_number": RUN, "run_key": "hi_run", "number_of_ls": "33"},
    "restart_hltd": {"host": UNIT},
    "restart_fff": {"host": UNIT},
    "change_dqm_client": {"host": UNIT, "playback": "1", "client": BEAM, "state": "0"},
    "copy_production_runs": {"run_number": RUN, "number_of_ls": "10"},
}
READS = {
    "get_dqm_machines": {},
    "get_cluster_status": {"cluster": "playback"},
    "get_hltd_versions": {},
    "get_fff_versions": {},
    "get_cmssw_info": {},
    "get_simulator_config": {},
    "get_simulator_runs": {},
    "get_simulator_run_keys": {},
    "get_hltd_logs": {"host": UNIT},
    "get_fff_logs": {"host": UNIT},
    "get_dqm_clients": {"host": UNIT, "playback": "1"},
    "get_production_runs": {},
}


@pytest.fixture
def visitor(simulated_settings: Settings) -> Iterator[Visitor]:
    with served(simulated_settings) as url:
        yield Visitor(url).sign_in()


def outcome(answer: object) -> str:
    headers = getattr(answer, "headers", {})
    return str(headers.get("Command-Outcome"))


def test_it_knows_every_command_that_there_is() -> None:
    assert COMMANDS.keys() == CHANGES.keys() | READS.keys()
    assert {what for what, command in COMMANDS.items() if command.is_change} == CHANGES.keys()


def test_it_reads_by_get_and_by_post(visitor: Visitor) -> None:
    for what, parameters in READS.items():
        if what in ("get_production_runs", "get_cluster_status"):
            continue
        by_get, by_post = visitor.ask(what, **parameters), visitor.tell(what, **parameters)
        assert (by_get.status_code, by_post.status_code) == (200, 200), what
        assert outcome(by_get) == outcome(by_post) == Outcome.OK
        assert by_get.headers["Content-Type"].partition(";")[0] in ("application/json", "text/plain")


def test_it_answers_scripts_as_dqm2_does(visitor: Visitor) -> None:
    assert visitor.ask("get_dqm_machines", kind="production").json()[1] == f"{PRODUCTION_UNIT}.cms"
    assert set(visitor.ask("get_dqm_machines").json()) == {
        "production_c2a06",
        "playback_c2a06",
        "lookarea_c2a06",
    }
    assert visitor.ask("get_cluster_status", cluster="playback").json()[f"{UNIT}.cms"]["up"] is True
    assert visitor.ask("get_hltd_versions").json()["playback_c2a06"][f"{UNIT}.cms"].startswith("hltd-")
    assert "<strong>" in visitor.ask("get_cmssw_info").text
    assert visitor.ask("get_simulator_config").json()["run_key"] == "pp_run"
    assert RUN in visitor.ask("get_simulator_runs").json()
    assert visitor.ask("get_simulator_run_keys").json() == ["cosmic_run", "pp_run", "hi_run"]
    assert len(visitor.ask("get_hltd_logs", host=UNIT).json()) == 2
    assert [BEAM, True] in visitor.ask("get_dqm_clients", host=UNIT, playback=1).json()


def test_it_starts_a_playback_run(visitor: Visitor, simulator: Simulator) -> None:
    answer = visitor.tell("start_playback_run", **CHANGES["start_playback_run"])
    assert (answer.status_code, answer.text) == (200, "start_playback_run Ok")
    run = simulator.world.current_run(Cluster.PLAYBACK)
    assert run is not None
    assert (run.source_run, run.run_key, run.lumisections) == (256936, "hi_run", 33)


def test_it_restarts_a_service(visitor: Visitor, simulator: Simulator) -> None:
    for what, service in (("restart_hltd", DaemonKind.HLTD), ("restart_fff", DaemonKind.FFF)):
        assert visitor.tell(what, host=f"{UNIT}.cms").text == "Ok"
        assert len(simulator.world.daemons.get(service, UNIT).starts) == 2
        assert len(simulator.world.daemons.get(service, OTHER_UNIT).starts) == 1


def test_it_switches_a_client(visitor: Visitor, simulator: Simulator) -> None:
    assert visitor.tell("change_dqm_client", **CHANGES["change_dqm_client"]).text == "Ok"
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is False
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=False) is True
    visitor.tell("change_dqm_client", **{**CHANGES["change_dqm_client"], "state": "1"})
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is True


def test_it_sends_what_it_checked_and_all_of_it(visitor: Visitor, simulator: Simulator) -> None:
    visitor.ask("get_simulator_config")
    visitor.ask("get_simulator_runs", host=f"{GATEWAY}.cms")
    visitor.ask("get_dqm_clients", host=f"{UNIT}.cms", playback=0)
    visitor.tell("change_dqm_client", **CHANGES["change_dqm_client"])
    visitor.tell("start_playback_run", run_number=RUN)
    assert commands_sent(simulator) == [
        {"what": "get_simulator_config", "host": GATEWAY},
        {"what": "get_simulator_runs", "host": GATEWAY},
        {"what": "get_dqm_clients", "host": UNIT, "playback": "0"},
        {"what": "get_dqm_clients", "host": UNIT, "playback": "1"},
        {"what": "change_dqm_client", **CHANGES["change_dqm_client"]},
        {"what": "get_simulator_runs", "host": GATEWAY},
        {"what": "start_playback_run", "host": GATEWAY, "run_number": RUN},
    ]


def test_it_says_what_dqm2_can_t_do_as_it_answers(visitor: Visitor, simulator: Simulator) -> None:
    look, copy = (
        visitor.ask("get_production_runs"),
        visitor.tell("copy_production_runs", **CHANGES["copy_production_runs"]),
    )
    assert (look.status_code, copy.status_code) == (502, 502)
    assert look.text == "DQM² failed: it answered with status 500."
    assert "What it did before that is unknown." in copy.text
    assert [command["what"] for command in commands_sent(simulator)] == [
        "get_production_runs",
        "copy_production_runs",
    ]


def test_it_claims_nothing_where_the_released_dqm2_fails(visitor: Visitor, simulator: Simulator) -> None:
    simulator.control.mode = CommandMode.RELEASED
    for what in ("start_playback_run", "restart_hltd", "restart_fff"):
        answer = visitor.tell(what, **CHANGES[what])
        assert (answer.status_code, outcome(answer)) == (502, Outcome.FAILED)
        assert answer.text == (
            "DQM² failed: it answered with status 500. What it did before that is unknown. "
            "Check its effect before you try again."
        )
    # What it did before it failed.
    assert visitor.ask("get_simulator_config").json()["run_key"] == "hi_run"
    assert simulator.world.current_run(Cluster.PLAYBACK) is None


def test_it_does_not_take_an_error_s_text_for_an_answer(visitor: Visitor, simulator: Simulator) -> None:
    simulator.machine(UNIT).is_ssh_broken = True
    simulator.machine(GATEWAY).is_ssh_broken = True
    restart = visitor.tell("restart_hltd", host=UNIT)
    assert (restart.status_code, outcome(restart)) == (502, Outcome.UNEXPECTED_RESPONSE)
    assert "No route to host" in restart.text
    configuration = visitor.ask("get_simulator_config")
    assert (configuration.status_code, outcome(configuration)) == (502, Outcome.UNEXPECTED_RESPONSE)


def test_it_sends_nothing_without_the_list_that_it_checks_by(visitor: Visitor, simulator: Simulator) -> None:
    simulator.machine(UNIT).is_ssh_broken = True
    simulator.machine(GATEWAY).is_ssh_broken = True
    for what in ("change_dqm_client", "start_playback_run"):
        answer = visitor.tell(what, **CHANGES[what])
        assert (answer.status_code, outcome(answer)) == (503, Outcome.NOT_SENT)
        assert answer.text.endswith("nothing was sent.")
    simulator.machine(UNIT).is_ssh_broken = simulator.machine(GATEWAY).is_ssh_broken = False
    for kind in (FaultKind.ERROR_PAGE, FaultKind.CONNECTION_CLOSED, FaultKind.GARBAGE, FaultKind.EMPTY_BODY):
        simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
        for what in ("change_dqm_client", "start_playback_run"):
            assert visitor.tell(what, **CHANGES[what]).status_code == 503
        simulator.faults.clear()
    assert not {"change_dqm_client", "start_playback_run"} & {
        command["what"] for command in commands_sent(simulator)
    }


def test_it_says_that_the_outcome_is_unknown_and_sends_once(visitor: Visitor, simulator: Simulator) -> None:
    for kind in (FaultKind.CONNECTION_CLOSED, FaultKind.BODY_INTERRUPTED):
        simulator.recorder.clear()
        simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
        answer = visitor.tell("restart_hltd", host=UNIT)
        assert (answer.status_code, outcome(answer)) == (504, Outcome.UNKNOWN)
        assert answer.text.startswith("Outcome unknown: ")
        assert answer.text.endswith("Check its effect before you try again.")
        assert len(commands_sent(simulator)) == 1
        simulator.faults.clear()


def test_it_says_when_nothing_was_sent_or_done(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.LOGIN_REDIRECT, request_kind=RequestKind.CONTROL)
    denied = visitor.tell("restart_hltd", host=UNIT)
    assert (denied.status_code, outcome(denied)) == (502, Outcome.DENIED)
    simulator.stop()
    away = visitor.tell("restart_hltd", host=UNIT)
    assert (away.status_code, outcome(away)) == (503, Outcome.NOT_SENT)
    assert away.text == "DQM² can't be reached: nothing was sent."
    assert [entry["outcome"] for entry in visitor.audit(command="restart_hltd")] == ["not sent", "denied"]


def test_it_takes_a_page_of_html_for_no_answer(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.LOGIN_PAGE, request_kind=RequestKind.CONTROL)
    for what in ("restart_hltd", "restart_fff"):
        answer = visitor.tell(what, host=UNIT)
        assert (answer.status_code, outcome(answer)) == (502, Outcome.UNEXPECTED_RESPONSE)
        assert answer.headers["Content-Type"].startswith("text/plain")
    for what in ("get_cmssw_info", "get_dqm_machines", "get_simulator_config", "get_simulator_runs"):
        assert outcome(visitor.ask(what)) == Outcome.UNEXPECTED_RESPONSE, what


def test_it_asks_for_the_status_no_more_than_every_half_minute(
    visitor: Visitor, simulator: Simulator, simulated_settings: Settings
) -> None:
    assert visitor.ask("get_cluster_status", cluster="playback").status_code == 200
    again = visitor.ask("get_cluster_status", cluster="playback")
    assert again.status_code == 429
    assert "Try again in" in again.text
    assert visitor.ask("get_cluster_status", cluster="production").status_code == 200
    earlier = db.audit_log.c.sent_at - sa.text("'31 s'::interval")
    change(simulated_settings, sa.update(db.audit_log).values(sent_at=earlier))
    assert visitor.ask("get_cluster_status", cluster="playback").status_code == 200
    assert len(commands_sent(simulator)) == 3


def test_it_shows_apart_what_tells_no_state_of_a_machine(
    visitor: Visitor, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {f"{UNIT}.cms": {"up": True, "msg": None}, f"{GATEWAY}.cms": "Permission denied"}
    answer = Response(200, json.dumps(told).encode())
    monkeypatch.setitem(simulator.control.handlers, "get_cluster_status", lambda _request: answer)
    page = visitor.tell_with({"HX-Request": "true"}, "get_cluster_status", cluster="playback").text
    table, _, strange = page.partition("</table>")
    assert f"{UNIT}.cms" in table
    assert f"{GATEWAY}.cms" not in table
    assert f"{GATEWAY}.cms: Permission denied" in strange


def test_it_does_not_make_up_which_dqm2_it_was_made_for(visitor: Visitor) -> None:
    page = visitor.tell_with({"HX-Request": "true"}, "get_fff_versions").text
    assert "The DQM² release that the mirror was tested with is not configured" in page


def test_it_counts_commands_by_their_outcome(visitor: Visitor) -> None:
    from prometheus_client import REGISTRY

    labels = {"command": "restart_fff", "outcome": "ok"}
    before = REGISTRY.get_sample_value("dqmsquare_control_commands_total", labels) or 0
    visitor.tell("restart_fff", host=UNIT)
    assert REGISTRY.get_sample_value("dqmsquare_control_commands_total", labels) == before + 1


def test_it_leaves_production_alone_where_that_is_switched_off(
    simulated_settings: Settings, simulator: Simulator
) -> None:
    with served(replace(simulated_settings, cr_production=False)) as url:
        visitor = Visitor(url).sign_in()
        for what, parameters in (
            ("restart_hltd", {"host": PRODUCTION_UNIT}),
            ("restart_fff", {"host": PRODUCTION_UNIT}),
            ("change_dqm_client", {"host": PRODUCTION_UNIT, "playback": "1", "client": BEAM, "state": "0"}),
            ("change_dqm_client", {"host": UNIT, "playback": "0", "client": BEAM, "state": "0"}),
        ):
            assert visitor.tell(what, **parameters).status_code == 403
        assert commands_sent(simulator) == []
        assert visitor.ask("get_hltd_logs", host=PRODUCTION_UNIT).status_code == 200
        assert visitor.tell("restart_hltd", host=UNIT).status_code == 200


def test_it_gives_scripts_the_end_of_a_log_as_json(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.BODY_INTERRUPTED, 3000, request_kind=RequestKind.CONTROL)
    answer = visitor.ask("get_hltd_logs", host=UNIT)
    assert outcome(answer) == Outcome.OK
    [text] = answer.json()
    assert 2000 < len(text) <= 3000
