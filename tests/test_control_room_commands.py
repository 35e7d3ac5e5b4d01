"""Every command as scripts send it: its response, and its effect on the simulated clusters."""

import html
import json
import re
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
    commands_sent,
    control_room_database,
    execute_statement,
)
from tests.examples import core_of
from tests.served import served

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


def outcome(response: object) -> str:
    headers = getattr(response, "headers", {})
    return str(headers.get("Command-Outcome"))


def test_it_knows_every_command() -> None:
    assert COMMANDS.keys() == CHANGES.keys() | READS.keys()
    assert {what for what, command in COMMANDS.items() if command.is_change} == CHANGES.keys()


def test_it_returns_dqm2_s_response_to_scripts(visitor: Visitor) -> None:
    responses = {
        what: visitor.get_command(what, **parameters)
        for what, parameters in READS.items()
        if what != "get_production_runs"
    }
    by_post = visitor.post_command("get_dqm_machines", kind="production")
    for what, response in (*responses.items(), ("by post", by_post)):
        assert (response.status_code, outcome(response)) == (200, Outcome.OK), what
        kind = "text/plain" if what == "get_cmssw_info" else "application/json"
        assert response.headers["Content-Type"].partition(";")[0] == kind, what
    assert "<strong>" in responses.pop("get_cmssw_info").text
    assert by_post.json()[1] == f"{PRODUCTION_UNIT}.cms"
    read = {what: response.json() for what, response in responses.items()}
    assert set(read["get_dqm_machines"]) == {"production_c2a06", "playback_c2a06", "lookarea_c2a06"}
    assert read["get_cluster_status"][f"{UNIT}.cms"]["up"] is True
    assert read["get_hltd_versions"]["playback_c2a06"][f"{UNIT}.cms"].startswith("hltd-")
    assert read["get_simulator_config"]["run_key"] == "pp_run"
    assert RUN in read["get_simulator_runs"]
    assert read["get_simulator_run_keys"] == ["cosmic_run", "pp_run", "hi_run"]
    assert (len(read["get_hltd_logs"]), len(read["get_fff_logs"])) == (2, 1)
    assert [BEAM, True] in read["get_dqm_clients"]


@pytest.mark.long
def test_it_reads_by_post(visitor: Visitor) -> None:
    for what, parameters in READS.items():
        if what != "get_production_runs":
            response = visitor.post_command(what, **parameters)
            assert (response.status_code, outcome(response)) == (200, Outcome.OK), what


def test_it_starts_a_playback_run(visitor: Visitor, simulator: Simulator) -> None:
    response = visitor.post_command("start_playback_run", **CHANGES["start_playback_run"])
    assert (response.status_code, response.text) == (200, "start_playback_run Ok")
    run = simulator.world.current_run(Cluster.PLAYBACK)
    assert run is not None
    assert (run.source_run, run.run_key, run.lumisections) == (256936, "hi_run", 33)


def test_it_accepts_a_run_number_without_prefix(visitor: Visitor, simulator: Simulator) -> None:
    assert visitor.post_command("start_playback_run", run_number="256936").status_code == 200
    assert commands_sent(simulator)[-1]["run_number"] == RUN


def test_it_restarts_a_service(visitor: Visitor, simulator: Simulator) -> None:
    for what, service in (("restart_hltd", DaemonKind.HLTD), ("restart_fff", DaemonKind.FFF)):
        assert visitor.post_command(what, host=f"{UNIT}.cms").text == "Ok"
        assert len(simulator.world.daemons.get(service, UNIT).starts) == 2
        assert len(simulator.world.daemons.get(service, OTHER_UNIT).starts) == 1


def test_it_switches_a_client(visitor: Visitor, simulator: Simulator) -> None:
    assert visitor.post_command("change_dqm_client", **CHANGES["change_dqm_client"]).text == "Ok"
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is False
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=False) is True
    visitor.post_command("change_dqm_client", **{**CHANGES["change_dqm_client"], "state": "1"})
    assert simulator.world.switches.is_on(UNIT, BEAM, is_playback=True) is True


def test_it_sends_exactly_what_was_validated(visitor: Visitor, simulator: Simulator) -> None:
    visitor.get_command("get_simulator_config")
    visitor.get_command("get_simulator_runs", host=f"{GATEWAY}.cms")
    visitor.get_command("get_dqm_clients", host=f"{UNIT}.cms", playback=0)
    visitor.post_command("change_dqm_client", **CHANGES["change_dqm_client"])
    visitor.post_command("start_playback_run", run_number=RUN)
    assert commands_sent(simulator) == [
        {"what": "get_simulator_config", "host": GATEWAY},
        {"what": "get_simulator_runs", "host": GATEWAY},
        {"what": "get_dqm_clients", "host": UNIT, "playback": "0"},
        {"what": "get_dqm_clients", "host": UNIT, "playback": "1"},
        {"what": "change_dqm_client", **CHANGES["change_dqm_client"]},
        {"what": "get_simulator_runs", "host": GATEWAY},
        {"what": "start_playback_run", "host": GATEWAY, "run_number": RUN},
    ]


def test_it_reports_what_dqm2_can_t_do(visitor: Visitor, simulator: Simulator) -> None:
    look, copy = (
        visitor.get_command("get_production_runs"),
        visitor.post_command("copy_production_runs", **CHANGES["copy_production_runs"]),
    )
    assert (look.status_code, copy.status_code) == (502, 502)
    assert look.text == "DQM² failed: it answered with status 500."
    assert "What it did before that is unknown." in copy.text
    assert [command["what"] for command in commands_sent(simulator)] == [
        "get_production_runs",
        "copy_production_runs",
    ]


def test_it_claims_nothing_if_the_released_dqm2_fails(visitor: Visitor, simulator: Simulator) -> None:
    simulator.control.mode = CommandMode.RELEASED
    for what in ("start_playback_run", "restart_hltd", "restart_fff"):
        response = visitor.post_command(what, **CHANGES[what])
        assert (response.status_code, outcome(response)) == (502, Outcome.FAILED)
        assert response.text == (
            "DQM² failed: it answered with status 500. What it did before that is unknown. "
            "Check its effect before you try again."
        )
    # It wrote the configuration before it failed.
    assert visitor.get_command("get_simulator_config").json()["run_key"] == "hi_run"
    assert simulator.world.current_run(Cluster.PLAYBACK) is None


def test_it_does_not_mistake_an_error_text_for_a_response(visitor: Visitor, simulator: Simulator) -> None:
    simulator.machine(UNIT).is_ssh_broken = True
    simulator.machine(GATEWAY).is_ssh_broken = True
    restart = visitor.post_command("restart_hltd", host=UNIT)
    assert (restart.status_code, outcome(restart)) == (502, Outcome.UNEXPECTED_RESPONSE)
    assert "No route to host" in restart.text
    configuration = visitor.get_command("get_simulator_config")
    assert (configuration.status_code, outcome(configuration)) == (502, Outcome.UNEXPECTED_RESPONSE)


def test_it_sends_nothing_without_the_list_to_check_against(visitor: Visitor, simulator: Simulator) -> None:
    simulator.machine(UNIT).is_ssh_broken = True
    simulator.machine(GATEWAY).is_ssh_broken = True
    for what in ("change_dqm_client", "start_playback_run"):
        response = visitor.post_command(what, **CHANGES[what])
        assert (response.status_code, outcome(response)) == (503, Outcome.NOT_SENT)
        assert response.text.endswith("nothing was sent.")
    simulator.machine(UNIT).is_ssh_broken = simulator.machine(GATEWAY).is_ssh_broken = False
    for kind in (FaultKind.ERROR_PAGE, FaultKind.CONNECTION_CLOSED, FaultKind.GARBAGE, FaultKind.EMPTY_BODY):
        simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
        for what in ("change_dqm_client", "start_playback_run"):
            assert visitor.post_command(what, **CHANGES[what]).status_code == 503
        simulator.faults.clear()
    assert not {"change_dqm_client", "start_playback_run"} & {
        command["what"] for command in commands_sent(simulator)
    }


def test_it_reports_an_unknown_outcome_and_sends_once(visitor: Visitor, simulator: Simulator) -> None:
    for kind in (FaultKind.CONNECTION_CLOSED, FaultKind.BODY_INTERRUPTED):
        simulator.recorder.clear()
        simulator.faults.add(kind, request_kind=RequestKind.CONTROL)
        response = visitor.post_command("restart_hltd", host=UNIT)
        assert (response.status_code, outcome(response)) == (504, Outcome.UNKNOWN)
        assert response.text.startswith("Outcome unknown: ")
        assert response.text.endswith("Check its effect before you try again.")
        assert len(commands_sent(simulator)) == 1
        simulator.faults.clear()


def test_it_reports_when_nothing_was_sent_or_done(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.LOGIN_REDIRECT, request_kind=RequestKind.CONTROL)
    denied = visitor.post_command("restart_hltd", host=UNIT)
    assert (denied.status_code, outcome(denied)) == (502, Outcome.DENIED)
    simulator.stop()
    away = visitor.post_command("restart_hltd", host=UNIT)
    assert (away.status_code, outcome(away)) == (503, Outcome.NOT_SENT)
    assert away.text == "DQM² can't be reached: nothing was sent."
    assert [entry["outcome"] for entry in visitor.audit(command="restart_hltd")] == ["not sent", "denied"]


def test_it_does_not_mistake_html_for_a_response(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.LOGIN_PAGE, request_kind=RequestKind.CONTROL)
    for what in ("restart_hltd", "restart_fff"):
        response = visitor.post_command(what, host=UNIT)
        assert (response.status_code, outcome(response)) == (502, Outcome.UNEXPECTED_RESPONSE)
        assert response.headers["Content-Type"].startswith("text/plain")
    for what in ("get_cmssw_info", "get_dqm_machines", "get_simulator_config", "get_simulator_runs"):
        assert outcome(visitor.get_command(what)) == Outcome.UNEXPECTED_RESPONSE, what


def test_it_explains_each_kind_of_response(visitor: Visitor, simulator: Simulator) -> None:
    page = {"HX-Request": "true", "Repeat-Command": "true"}
    for kind, words in (
        (
            FaultKind.CONNECTION_CLOSED,
            "Outcome unknown: the response was interrupted: the connection was closed",
        ),
        (
            FaultKind.ERROR_PAGE,
            "DQM² failed: it answered with status 500. What it did before that is unknown.",
        ),
        (FaultKind.LOGIN_REDIRECT, "DQM² denied access to the mirror. Nothing was done."),
        (FaultKind.LOGIN_PAGE, "DQM² did not say Ok. What it did is unknown."),
        (FaultKind.CONNECTION_REFUSED, "DQM² can't be reached: nothing was sent."),
    ):
        simulator.faults.add(kind, times=1)
        assert words in html.unescape(visitor.post_command_with(page, "restart_hltd", host=UNIT).text)
        simulator.faults.clear()
    simulator.machine(UNIT).is_ssh_broken = True
    text = visitor.post_command_with(page, "restart_hltd", host=UNIT).text
    assert "DQM² did not say Ok." in text
    assert re.search("<pre[^>]*>[^<]*No route to host", text)


def test_it_limits_status_requests_to_one_in_30_s(
    visitor: Visitor, simulator: Simulator, simulated_settings: Settings
) -> None:
    assert visitor.get_command("get_cluster_status", cluster="playback").status_code == 200
    again = visitor.get_command("get_cluster_status", cluster="playback")
    assert again.status_code == 429
    assert "Try again in" in again.text
    assert visitor.get_command("get_cluster_status", cluster="production").status_code == 200
    earlier = db.audit_log.c.sent_at - sa.text("'31 s'::interval")
    execute_statement(simulated_settings, sa.update(db.audit_log).values(sent_at=earlier))
    assert visitor.get_command("get_cluster_status", cluster="playback").status_code == 200
    assert len(commands_sent(simulator)) == 3


def test_it_shows_invalid_entries_separately(
    visitor: Visitor, simulator: Simulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    reported = {f"{UNIT}.cms": {"up": True, "msg": None}, f"{GATEWAY}.cms": "Permission denied"}
    response = Response(200, json.dumps(reported).encode())
    monkeypatch.setitem(simulator.control.handlers, "get_cluster_status", lambda _request: response)
    page = visitor.post_command_with({"HX-Request": "true"}, "get_cluster_status", cluster="playback").text
    table, _, strange = page.partition("</table>")
    assert f"{UNIT}.cms" in table
    assert f"{GATEWAY}.cms" not in table
    assert f"{GATEWAY}.cms: Permission denied" in strange


def test_it_shows_which_machines_have_another_version(visitor: Visitor) -> None:
    page = visitor.post_command_with({"HX-Request": "true"}, "get_fff_versions").text
    assert "The machines have different versions." in page
    rows = dict(re.findall(r'<th scope="row">(\S+?)(?:\.cms)?</th>(.*?)</tr>', page, re.DOTALL))
    assert " differs<" in rows[OTHER_UNIT]
    assert "differs" not in rows[UNIT]
    assert "no version: ssh:" in rows["dqmfu-c2b05-45-01"]


def test_it_does_not_make_up_the_tested_dqm2_release(visitor: Visitor) -> None:
    page = visitor.post_command_with({"HX-Request": "true"}, "get_fff_versions").text
    assert "The DQM² release that the mirror was tested with is not configured" in page


def test_it_asks_the_page_before_a_change_is_repeated(
    visitor: Visitor, simulator: Simulator, simulated_settings: Settings
) -> None:
    page = {"HX-Request": "true"}
    assert "Send it again?" not in visitor.post_command_with(page, "restart_hltd", host=UNIT).text
    assert "Send it again?" in visitor.post_command_with(page, "restart_hltd", host=UNIT).text
    assert "Send it again?" not in visitor.post_command_with(page, "restart_hltd", host=OTHER_UNIT).text
    assert len(commands_sent(simulator)) == 2
    assert visitor.audit()[1]["message"] == "shifter has just requested this."
    # A script is not asked, nor is the answer, nor anybody after a minute.
    assert visitor.post_command("restart_hltd", host=UNIT).status_code == 200
    visitor.post_command_with({**page, "Repeat-Command": "true"}, "restart_hltd", host=UNIT)
    earlier = db.audit_log.c.sent_at - sa.text("'1 min'::interval")
    execute_statement(simulated_settings, sa.update(db.audit_log).values(sent_at=earlier))
    visitor.post_command_with(page, "restart_hltd", host=UNIT)
    assert len(commands_sent(simulator)) == 5


def test_it_does_not_ask_for_an_opposite_change_or_one_that_was_not_sent(
    visitor: Visitor, simulator: Simulator
) -> None:
    page = {"HX-Request": "true"}
    for state in ("0", "1", "0"):
        change = {**CHANGES["change_dqm_client"], "state": state}
        assert "DQM² says Ok." in visitor.post_command_with(page, "change_dqm_client", **change).text
    simulator.stop()
    for _ in range(2):
        text = visitor.post_command_with(page, "restart_hltd", host=UNIT).text
        assert "nothing was sent" in text


def test_it_counts_commands_by_outcome(visitor: Visitor) -> None:
    from prometheus_client import REGISTRY

    for command in ("restart_fff", "get_simulator_run_keys"):
        labels = {"command": command, "outcome": "ok"}
        before = REGISTRY.get_sample_value("dqmsquare_control_commands_total", labels) or 0
        visitor.post_command(command, **(CHANGES | READS)[command])
        assert REGISTRY.get_sample_value("dqmsquare_control_commands_total", labels) == before + 1


def test_it_does_not_change_production_if_disabled(
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
            assert visitor.post_command(what, **parameters).status_code == 403
        assert commands_sent(simulator) == []
        assert visitor.get_command("get_hltd_logs", host=PRODUCTION_UNIT).status_code == 200
        assert visitor.post_command("restart_hltd", host=UNIT).status_code == 200


def test_it_returns_the_end_of_a_log_as_json(visitor: Visitor, simulator: Simulator) -> None:
    simulator.faults.add(FaultKind.BODY_INTERRUPTED, 3000, request_kind=RequestKind.CONTROL)
    response = visitor.get_command("get_hltd_logs", host=UNIT)
    assert outcome(response) == Outcome.OK
    [text] = response.json()
    assert 2000 < len(text) <= 3000


@pytest.mark.parametrize(
    "what", core_of(["get_dqm_machines", "get_hltd_versions", "get_fff_versions"], "get_hltd_versions")
)
def test_it_ignores_the_format_that_earlier_pages_sent_with_reads(
    visitor: Visitor, simulator: Simulator, what: str
) -> None:
    assert visitor.get_command(what, format="1").text == visitor.get_command(what).text
    assert visitor.post_command(what, format="1").status_code == 200
    assert commands_sent(simulator) == [{"what": what}] * 3


def test_it_accepts_no_format_of_a_change(visitor: Visitor, simulator: Simulator) -> None:
    assert visitor.post_command("restart_hltd", host=UNIT, format="1").status_code == 400
    assert not commands_sent(simulator)


def form_for_a_run(visitor: Visitor) -> str:
    fragment = visitor.post_command_with({"HX-Request": "true"}, "get_simulator_runs", host=GATEWAY)
    assert fragment.status_code == 200
    return fragment.text


def test_the_form_for_a_run_begins_with_the_configuration(visitor: Visitor) -> None:
    *_, last_run = visitor.get_command("get_simulator_runs").json()[:-1]
    visitor.post_command("start_playback_run", run_number=last_run, run_key="pp_run", number_of_ls=33)
    form = form_for_a_run(visitor)
    assert re.findall(r'<option value="(run\d+)"[^>]* selected>', form) == [last_run]
    assert re.findall(r"<option selected>(\w+)<", form) == ["pp_run"]
    assert 'name="number_of_ls" type="number" min="1" max="10000" value="33"' in form


def test_the_form_for_a_run_does_without_a_configuration_that_can_t_be_recorded(
    visitor: Visitor, simulated_settings: Settings
) -> None:
    refused = "CHECK (command <> 'get_simulator_config')"
    with control_room_database(simulated_settings).begin() as connection:
        connection.execute(sa.text(f"ALTER TABLE audit_log ADD CONSTRAINT refused {refused}"))
    assert "could not be read" in form_for_a_run(visitor)


def test_the_form_for_a_run_does_without_a_configuration(visitor: Visitor, simulator: Simulator) -> None:
    simulator.control.handlers["get_simulator_config"] = lambda _: Response(200, b"ssh: connect to host")
    form = form_for_a_run(visitor)
    assert "could not be read" in form
    assert not re.findall(r"<option[^>]* selected>", form)[1:]
