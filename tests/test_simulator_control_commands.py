"""Control commands of the simulator, in documented and in released mode."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from dqm2.records import LUMISECTION_S
from simulator.control_commands import CommandMode
from simulator.daemons import DaemonKind
from simulator.simulator import Simulator
from tests.examples import core_of
from tests.waiting import TIMEOUT_S

CLIENTS = ("beam", "csc", "dt", "ecal")
FILTER_UNIT = "dqmfu-c2b01-45-01"
PLAYBACK = ["dqmrubu-c2a06-03-01.cms", "dqmfu-c2b01-45-01.cms", "dqmfu-c2b02-45-01.cms"]
PRODUCTION = ["dqmrubu-c2a06-01-01.cms", "dqmfu-c2b03-45-01.cms", "dqmfu-c2b04-45-01.cms"]
GATEWAY = "dqmrubu-c2a06-03-01"
BEAM = "beam_dqm_sourceclient-live_cfg.py"
CSC = "csc_dqm_sourceclient-live_cfg.py"


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator with a few clients, whose timeouts are short."""
    with Simulator(tmp_path, clients=CLIENTS, run_length=(20, 20)) as simulator:
        simulator.control.dead_machine_timeout_s = 0.05
        simulator.control.self_call_timeout_s = 0.05
        yield simulator


def run_command(
    simulator: Simulator, session: requests.Session, what: str, **query: str
) -> requests.Response:
    return session.get(f"{simulator.base_url}/cr/exe", params={"what": what, **query}, timeout=TIMEOUT_S)


def run_json_command(simulator: Simulator, session: requests.Session, what: str, **query: str) -> Any:
    response = run_command(simulator, session, what, **query)
    assert response.status_code == 200
    return json.loads(response.text)


@pytest.mark.parametrize(("kind", "machines"), [("playback", PLAYBACK), ("production", PRODUCTION)])
def test_it_lists_the_machines_of_a_cluster(
    simulator: Simulator, session: requests.Session, kind: str, machines: list[str]
) -> None:
    assert run_json_command(simulator, session, "get_dqm_machines", kind=kind) == machines


def test_it_lists_all_machines_by_group(simulator: Simulator, session: requests.Session) -> None:
    groups = run_json_command(simulator, session, "get_dqm_machines")
    assert groups["production_c2a06"] == PRODUCTION
    assert groups["playback_c2a06"] == PLAYBACK
    assert groups["lookarea_c2a06"]


def test_it_sends_html_one_character_per_chunk(simulator: Simulator, session: requests.Session) -> None:
    response = session.get(
        f"{simulator.base_url}/cr/exe", params={"what": "get_cmssw_info"}, timeout=TIMEOUT_S, stream=True
    )
    assert response.headers["Content-Type"].startswith("text/html")
    assert response.headers["Transfer-Encoding"] == "chunked"
    chunks = list(response.raw.read_chunked())
    assert {len(chunk) for chunk in chunks} == {1}
    assert b"<strong>" in b"".join(chunks)


def test_it_reports_which_machines_are_up(simulator: Simulator, session: requests.Session) -> None:
    simulator.machine(FILTER_UNIT).is_dead = True
    status = run_json_command(simulator, session, "get_cluster_status", cluster="playback")
    assert list(status) == PLAYBACK
    assert [machine["up"] for machine in status.values()] == [True, False, True]
    assert status[PLAYBACK[0]] == {"up": True, "msg": None}
    assert "timed out" in status[PLAYBACK[1]]["msg"]


def test_it_returns_404_for_the_status_of_an_unknown_cluster(
    simulator: Simulator, session: requests.Session
) -> None:
    response = run_command(simulator, session, "get_cluster_status", cluster="lookarea")
    assert response.status_code == 404
    assert isinstance(json.loads(response.text), str)


@pytest.mark.parametrize("what", ["get_hltd_versions", "get_fff_versions"])
def test_it_reports_the_error_of_a_failed_ssh_as_a_version(
    simulator: Simulator, session: requests.Session, what: str
) -> None:
    simulator.machine(FILTER_UNIT).is_ssh_broken = True
    versions = run_json_command(simulator, session, what)["playback_c2a06"]
    assert versions[PLAYBACK[0]].startswith(("hltd-", "fff_dqmtools-"))
    assert versions[PLAYBACK[0]].endswith("\n")
    assert versions[PLAYBACK[1]].startswith("ssh: connect to host")
    assert versions[PLAYBACK[2]] != versions[PLAYBACK[0]]


def test_it_lists_playback_runs_with_an_empty_entry_at_the_end(
    simulator: Simulator, session: requests.Session
) -> None:
    runs = run_json_command(simulator, session, "get_simulator_runs", host=GATEWAY)
    assert runs[0] == "run256936"
    assert runs[-1] == ""


def test_it_starts_a_playback_run_in_documented_mode(simulator: Simulator, session: requests.Session) -> None:
    current = simulator.world.start_run("playback")
    response = run_command(
        simulator,
        session,
        "start_playback_run",
        run_number="run300576",
        run_key="hi_run",
        number_of_ls="12",
        host=GATEWAY,
    )
    assert response.text == "start_playback_run Ok"
    run = simulator.world.current_run("playback")
    assert run is not None
    assert run.number > current.number
    assert (run.source_run, run.run_key, run.lumisections) == (300576, "hi_run", 12)
    configuration = run_json_command(simulator, session, "get_simulator_config")
    assert configuration["source"] == "/fff/output/playback_files/run300576/"
    assert (configuration["run_key"], configuration["number_of_ls"]) == ("hi_run", 12)


@pytest.mark.parametrize("query", [{}, {"run_key": "", "number_of_ls": "0"}])
def test_it_keeps_the_playback_settings_that_are_not_given(
    simulator: Simulator, session: requests.Session, query: dict[str, str]
) -> None:
    before = simulator.world.playback
    run_command(simulator, session, "start_playback_run", run_number="run300576", **query)
    run = simulator.world.current_run("playback")
    assert run is not None
    assert (run.run_key, run.lumisections) == (before.run_key, before.number_of_ls)


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"run_number": "run1"},
        {"run_number": "run300576", "number_of_ls": ""},
        {"run_number": "run300576", "number_of_ls": "many"},
        {"run_number": "run300576", "host": f"{GATEWAY}.cms"},
    ],
)
def test_it_changes_nothing_when_a_playback_run_fails_to_start(
    simulator: Simulator, session: requests.Session, query: dict[str, str]
) -> None:
    before = simulator.world.playback
    assert run_command(simulator, session, "start_playback_run", **query).status_code == 500
    assert simulator.world.playback == before
    assert simulator.world.current_run("playback") is None


def test_it_delays_a_playback_run_to_the_next_run_in_released_mode(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.control.mode = CommandMode.RELEASED
    current = simulator.world.start_run("playback")
    response = run_command(
        simulator, session, "start_playback_run", run_number="run300576", number_of_ls="12"
    )
    assert response.status_code == 500
    assert run_json_command(simulator, session, "get_simulator_config")["number_of_ls"] == 12
    assert simulator.world.current_run("playback") == current
    simulator.world.advance(25 * LUMISECTION_S)
    run = simulator.world.current_run("playback")
    assert run is not None
    assert (run.source_run, run.lumisections) == (300576, 12)


@pytest.mark.parametrize("kind", core_of(DaemonKind, DaemonKind.FFF))
def test_it_restarts_a_daemon_in_documented_mode(
    simulator: Simulator, session: requests.Session, kind: DaemonKind
) -> None:
    before = run_json_command(simulator, session, f"get_{kind}_logs", host=FILTER_UNIT)
    assert run_command(simulator, session, f"restart_{kind}", host=f"{FILTER_UNIT}.cms").text == "Ok"
    after = run_json_command(simulator, session, f"get_{kind}_logs", host=FILTER_UNIT)
    assert after[0].count("Service started") == before[0].count("Service started") + 1
    assert len(simulator.world.daemons.get(kind, FILTER_UNIT).starts) == 2


@pytest.mark.parametrize("kind", list(DaemonKind))
def test_it_restarts_nothing_in_released_mode(
    simulator: Simulator, session: requests.Session, kind: DaemonKind
) -> None:
    simulator.control.mode = CommandMode.RELEASED
    assert run_command(simulator, session, f"restart_{kind}", host=FILTER_UNIT).status_code == 500
    assert len(simulator.world.daemons.get(kind, FILTER_UNIT).starts) == 1


@pytest.mark.parametrize(("kind", "files"), [(DaemonKind.HLTD, 2), (DaemonKind.FFF, 1)])
def test_it_sends_complete_log_files(
    simulator: Simulator, session: requests.Session, kind: DaemonKind, files: int
) -> None:
    simulator.control.chunks_per_character = False
    simulator.control.logs.min_characters = 300_000
    logs = run_json_command(simulator, session, f"get_{kind}_logs", host=FILTER_UNIT)
    assert len(logs) == files
    assert all(len(log) > 300_000 for log in logs)


def test_it_lists_the_clients_of_a_machine(simulator: Simulator, session: requests.Session) -> None:
    clients = run_json_command(simulator, session, "get_dqm_clients", host=FILTER_UNIT, playback="1")
    assert clients == [[BEAM, True], ["dt_dqm_sourceclient-live_cfg.py", True]]
    assert run_json_command(simulator, session, "get_dqm_clients", host=GATEWAY, playback="1") == []


def test_it_leaves_a_switched_off_client_out_of_the_next_run(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.world.start_run("playback")

    def switch(state: str) -> None:
        response = run_command(
            simulator,
            session,
            "change_dqm_client",
            host=FILTER_UNIT,
            playback="1",
            client=BEAM,
            state=state,
        )
        assert response.text == "Ok"

    def clients_of_next_run() -> set[str]:
        run = simulator.world.start_run("playback")
        return {job.client.name for job in simulator.world.jobs("playback") if job.run == run}

    switch("0")
    assert [BEAM, False] in run_json_command(
        simulator, session, "get_dqm_clients", host=FILTER_UNIT, playback="1"
    )
    assert clients_of_next_run() == {"csc", "dt", "ecal"}
    switch("1")
    assert clients_of_next_run() == set(CLIENTS)


@pytest.mark.parametrize(
    ("query", "is_playback", "is_on"),
    [
        ({"playback": "1", "state": "0"}, True, False),
        ({"playback": "1", "state": "off"}, True, True),
        ({"playback": "1"}, True, True),
        ({"playback": "true", "state": "0"}, False, False),
        ({"state": "0"}, False, False),
    ],
)
def test_it_takes_unknown_values_for_on_and_for_production(
    simulator: Simulator,
    session: requests.Session,
    query: dict[str, str],
    *,
    is_playback: bool,
    is_on: bool,
) -> None:
    run_command(simulator, session, "change_dqm_client", host=FILTER_UNIT, client=BEAM, **query)
    switches = {
        side: dict(
            run_json_command(simulator, session, "get_dqm_clients", host=FILTER_UNIT, playback=str(int(side)))
        )
        for side in (False, True)
    }
    assert switches[is_playback][BEAM] is is_on
    assert switches[not is_playback][BEAM] is True


def test_it_reports_an_unknown_client(simulator: Simulator, session: requests.Session) -> None:
    response = run_command(simulator, session, "change_dqm_client", host=FILTER_UNIT, client=CSC, state="0")
    assert (response.status_code, response.text) == (200, f"No such client: {CSC}")


COMMANDS_FOR_A_HOST: Mapping[str, Mapping[str, str]] = {
    "get_dqm_clients": {},
    "get_hltd_logs": {},
    "get_simulator_runs": {},
    "get_simulator_config": {},
    "change_dqm_client": {"client": BEAM},
    "restart_hltd": {},
    "start_playback_run": {"run_number": "run256936"},
}


def test_it_returns_the_error_of_a_failed_ssh_as_the_result(
    simulator: Simulator, session: requests.Session
) -> None:
    simulator.machine(FILTER_UNIT).is_ssh_broken = True
    for what, query in COMMANDS_FOR_A_HOST.items():
        response = run_command(simulator, session, what, host=FILTER_UNIT, **query)
        assert response.status_code == 200, what
        assert "ssh: connect to host dqmfu-c2b01-45-01.cms port 22: No route to host" in response.text


@pytest.mark.parametrize("what", ["get_dqm_clients", "get_fff_logs", "restart_fff", "change_dqm_client"])
def test_it_runs_nothing_for_a_host_name_with_shell_syntax(
    simulator: Simulator, session: requests.Session, what: str
) -> None:
    response = run_command(simulator, session, what, host=f"{FILTER_UNIT};reboot", client=BEAM)
    assert "Could not resolve hostname" in response.text
    [request] = simulator.requests
    assert ("host", f"{FILTER_UNIT};reboot") in request.query


def test_it_fails_on_an_unknown_or_incomplete_command(
    simulator: Simulator, session: requests.Session
) -> None:
    unknown = ("get_production_runs", "copy_production_runs", "get_simulator_run_keys", "")
    for what in (*unknown, "get_dqm_clients"):
        response = run_command(simulator, session, what)
        assert response.status_code == 500, what
        assert "Error: 500 Internal Server Error" in response.text


def test_it_applies_faults_to_control_commands(simulator: Simulator, session: requests.Session) -> None:
    simulator.faults.add("body-interrupted", request_kind="control", times=1)
    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        run_command(simulator, session, "get_cmssw_info")
    simulator.faults.add("error-page", request_kind="control", times=1)
    assert run_command(simulator, session, "get_cmssw_info").status_code == 500
    simulator.faults.add("response-delay", 0.2, request_kind="control", times=1)
    assert run_command(simulator, session, "get_cmssw_info").status_code == 200
    slow = simulator.requests[-1]
    assert slow.ended_s - slow.started_s >= 0.2
