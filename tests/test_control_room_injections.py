"""Injections into parameters never reach DQM², which would execute them in a shell."""

from collections import Counter
from collections.abc import Collection

import pytest
import sqlalchemy as sa

import db
from dqm2.commands import COMMANDS, Parameter
from dqmsquare_cfg import Cluster, Settings
from server import create_app
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from tests.control_room import (
    OTHER_UNIT,
    PASSWORD,
    UNIT,
    USER,
    Visitor,
    commands_sent,
    control_room_database,
    token_in,
)
from tests.examples import long
from tests.injections import GOOD, injections
from tests.mirrored_cluster import MirroredCluster
from tests.served import with_fast_passwords

# Of a parameter that is invalid, and of a form that is too long.
REFUSED = (400, 413)
PARAMETERS = [
    (what, parameter) for what, command in COMMANDS.items() for parameter in sorted(command.parameters)
]


def good_parameters(what: str) -> dict[str, str]:
    return {
        parameter.value: good
        if not (parameter is Parameter.HOST and COMMANDS[what].targets_simulator)
        else "dqmrubu-c2a06-03-01"
        for parameter, good in GOOD.items()
        if parameter in COMMANDS[what].parameters
    }


def refusals(settings: Settings) -> dict[str, int]:
    """Return the number of audited refusals by command."""
    audit = db.audit_log
    refused = sa.select(audit.c.command, sa.func.count()).where(audit.c.outcome == Outcome.REFUSED)
    with control_room_database(settings).connect() as connection:
        return {row.command: row[1] for row in connection.execute(refused.group_by(audit.c.command))}


def test_it_tries_200_injections_for_each_parameter() -> None:
    assert all(len(injections(parameter)) > 200 for parameter in Parameter)


@pytest.mark.parametrize("step", [pytest.param(60, id="one in sixty"), long(1, id="all")])
def test_it_rejects_every_injection_in_every_parameter_of_every_command(
    simulated_settings: Settings, simulator: Simulator, step: int
) -> None:
    # Labels of mirrored machines are cached; others would be looked up for each refusal.
    MirroredCluster(simulated_settings, Cluster.PLAYBACK)
    client = create_app(with_fast_passwords(simulated_settings)).test_client()
    client.post("/cr/login/", data={"username": USER, "password": PASSWORD})
    headers = {"X-CSRF-Token": token_in(client.get("/cr/").text)}
    sent: Counter[str] = Counter()
    for number, (what, parameter) in enumerate(PARAMETERS):
        for text in injections(parameter)[number % step :: step]:
            form = {"what": what, **good_parameters(what), parameter: text}
            response = client.post("/cr/exe", data=form, headers=headers)
            assert response.status_code in REFUSED, (what, parameter, text)
            assert response.text.endswith("."), response.text
            # The command is not read from a form that is too long.
            sent[what if response.status_code == 400 else "unknown"] += 1
    assert commands_sent(simulator) == []
    assert refusals(simulated_settings) == sent


@pytest.mark.parametrize("step", [25, long(1)])
def test_it_rejects_injections_over_the_network(visitor: Visitor, simulator: Simulator, step: int) -> None:
    for text in injections(Parameter.HOST)[::step]:
        assert visitor.get_command("get_hltd_logs", host=text).status_code in REFUSED, text
        assert visitor.post_command("restart_hltd", host=text).status_code in REFUSED, text
    assert commands_sent(simulator) == []


@pytest.mark.parametrize("step", [25, long(1)])
def test_it_rejects_injections_in_place_of_a_command(
    visitor: Visitor, simulator: Simulator, step: int
) -> None:
    for text in injections(Parameter.RUN_KEY)[::step]:
        assert visitor.post_command(text, host=UNIT).status_code in REFUSED, text
    for what in ("get_dqm_machines ", "GET_DQM_MACHINES", "restart_hltd;", "exec", "__class__", ""):
        assert visitor.post_command(what).status_code == 400
    assert commands_sent(simulator) == []


# The commands with which each unknown parameter is tried; with the others, one is.
@pytest.mark.parametrize(
    "thorough", [pytest.param({"restart_hltd"}, id="one"), long(COMMANDS.keys(), id="all")]
)
def test_it_rejects_unknown_missing_and_repeated_parameters(
    visitor: Visitor, simulator: Simulator, thorough: Collection[str]
) -> None:
    for what, command in COMMANDS.items():
        good = list({"what": what, **good_parameters(what)}.items())
        headers = {"X-CSRF-Token": visitor.token}
        for name, value in good:
            twice = visitor.post("/cr/exe", [*good, (name, value)], headers=headers)
            assert twice.status_code == 400, (what, name)
        others = {"x": "1", "Host": UNIT, "host[]": UNIT, "csrf_token": visitor.token}
        for one in others.items() if what in thorough else [("x", "1")]:
            assert visitor.post("/cr/exe", [*good, one], headers=headers).status_code == 400
        for missing in command.required:
            less = [pair for pair in good if pair[0] != missing]
            assert visitor.post("/cr/exe", less, headers=headers).status_code == 400, (what, missing)
    assert visitor.get("/cr/exe?what=get_hltd_logs&host=a&host=b").status_code == 400
    assert commands_sent(simulator) == []


def test_it_takes_parameters_of_a_post_from_its_form_only(visitor: Visitor, simulator: Simulator) -> None:
    form = {"what": "restart_hltd", "host": UNIT}
    headers = {"X-CSRF-Token": visitor.token}
    assert visitor.post(f"/cr/exe?host={OTHER_UNIT}", form, headers=headers).status_code == 400
    assert visitor.post("/cr/exe?what=restart_hltd", {"host": UNIT}, headers=headers).status_code == 400
    assert visitor.post("/cr/exe", headers=headers, json=form).status_code == 415
    assert visitor.post("/cr/exe", headers=headers, files={"what": "restart_hltd"}).status_code == 415
    assert visitor.post(
        "/cr/exe", b"what=restart_hltd&host=" + b"a" * 70_000, headers=headers
    ).status_code in (
        413,
        415,
    )
    assert commands_sent(simulator) == []


def test_it_checks_clients_and_runs_against_dqm2_s_lists(visitor: Visitor, simulator: Simulator) -> None:
    client = visitor.post_command(
        "change_dqm_client", host=UNIT, playback=1, client="evil_dqm_sourceclient-live_cfg.py", state=0
    )
    assert (client.status_code, client.text) == (400, "client is not a client of this machine.")
    run = visitor.post_command("start_playback_run", run_number="run999999")
    assert (run.status_code, run.text) == (400, "run_number is not a run of the simulator.")
    assert [command["what"] for command in commands_sent(simulator)] == [
        "get_dqm_clients",
        "get_simulator_runs",
    ]


def test_it_sends_simulator_commands_to_the_playback_cluster_only(
    visitor: Visitor, simulator: Simulator
) -> None:
    for what in ("get_simulator_config", "get_simulator_runs", "start_playback_run"):
        parameters = {**good_parameters(what), "host": "dqmrubu-c2a06-01-01"}
        assert visitor.post_command(what, **parameters).status_code == 400
    assert commands_sent(simulator) == []
