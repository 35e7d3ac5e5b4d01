"""docs/control-room.md agrees with the code."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import dqmsquare_cfg
from dqm2.commands import COMMANDS
from dqmsquare_cfg import Settings
from simulator.daemons import DaemonKind
from simulator.simulator import Simulator
from storage.audit_log import Outcome
from tests import skips
from tests.control_room import PASSWORD, UNIT
from tests.served import served
from tests.waiting import TIMEOUT_S

GUIDE = (Path(dqmsquare_cfg.__file__).parent / "docs" / "control-room.md").read_text()


@skips.needs("curl")
def test_it_has_an_example_script_that_works(simulated_settings: Settings, simulator: Simulator) -> None:
    script = re.findall(r"```sh\n(.*?)```", GUIDE, flags=re.DOTALL)[0]
    with served(replace(simulated_settings, dqm_cr_usernames={"demo": PASSWORD})) as url:
        adapted = script.replace("http://127.0.0.1:8887", url)
        assert adapted != script
        done = subprocess.run(
            ["bash", "-euc", adapted],
            env={"PASSWORD": PASSWORD, "PATH": "/usr/bin:/bin"},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=True,
        )
    assert re.fullmatch(r"\[\[.*_cfg\.py.*\]\]Ok", done.stdout)
    assert len(simulator.world.daemons.get(DaemonKind.HLTD, UNIT).starts) == 2


def test_it_names_every_outcome_and_timeout() -> None:
    outcomes = re.findall(r"^\| (\w[\w ]*) \|", GUIDE.partition("## The audit")[0], flags=re.MULTILINE)
    assert set(Outcome) <= set(outcomes)
    adapted = {int(seconds) for seconds in re.findall(r"\b(\d+) s\b(?= to|,| \|)", GUIDE)}
    assert {int(command.limits.timeout_s) for command in COMMANDS.values()} <= adapted
