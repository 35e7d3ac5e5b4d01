"""Control commands of DQM²: names, parameters, and limits of their responses.

DQM² pastes parameters unquoted into shell commands (docs/dqm2-protocol.md, "Control commands"), so a value
that does not match its pattern is never sent. Whether the value exists is checked by the caller: machines
against the configuration, clients and runs against DQM²'s own lists.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from config.parsers import RUN_KEY
from dqm2.command_client import ResponseLimits


class Parameter(StrEnum):
    """Query parameters of control commands."""

    KIND = "kind"
    CLUSTER = "cluster"
    HOST = "host"
    PLAYBACK = "playback"
    CLIENT = "client"
    STATE = "state"
    RUN_NUMBER = "run_number"
    RUN_KEY = "run_key"
    NUMBER_OF_LS = "number_of_ls"


@dataclass(frozen=True, slots=True)
class ParameterPattern:
    """Regular expression of a parameter's whole value, and its description."""

    pattern: re.Pattern[str]
    description: str

    def matches(self, text: str) -> bool:
        """Whether a value is acceptable."""
        return self.pattern.fullmatch(text) is not None


def _pattern(pattern: str, description: str) -> ParameterPattern:
    return ParameterPattern(re.compile(pattern, re.ASCII), description)


_CLUSTER = _pattern("playback|production", "playback or production")
_SWITCH = _pattern("[01]", "0 or 1")

PARAMETER_PATTERNS: Mapping[Parameter, ParameterPattern] = {
    Parameter.KIND: _CLUSTER,
    Parameter.CLUSTER: _CLUSTER,
    Parameter.HOST: _pattern(r"[a-z0-9][a-z0-9-]{0,62}(\.cms)?", "the name of a machine"),
    Parameter.PLAYBACK: _SWITCH,
    Parameter.CLIENT: _pattern(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,127}_cfg\.py", "a client's …_cfg.py"),
    Parameter.STATE: _SWITCH,
    Parameter.RUN_NUMBER: _pattern("run[0-9]{1,9}", "run and a number, as in run358788"),
    Parameter.RUN_KEY: _pattern(RUN_KEY.pattern, "a run key"),
    Parameter.NUMBER_OF_LS: _pattern("[1-9][0-9]{0,3}|10000", "a number from 1 to 10000"),
}


@dataclass(frozen=True, slots=True)
class Command:
    """A control command.

    `is_change`: it changes something at P5. `targets_simulator`: it runs on the machine with the playback
    simulator. `is_slow`: it blocks the gateway for a long time. `is_local`: the mirror answers it without
    DQM².
    """

    what: str
    title: str
    limits: ResponseLimits
    required: tuple[Parameter, ...] = ()
    optional: tuple[Parameter, ...] = ()
    is_change: bool = False
    targets_simulator: bool = False
    is_slow: bool = False
    is_local: bool = False

    @property
    def parameters(self) -> frozenset[Parameter]:
        """Required and optional parameters."""
        return frozenset((*self.required, *self.optional))


_MEGABYTE = 1024 * 1024
# A short output of an ssh. The gateway may be busy with other requests first.
_SHORT = ResponseLimits(45, _MEGABYTE)
# Up to 5 s per machine.
_VERSIONS = ResponseLimits(120, _MEGABYTE)
# A machine that is switched off blocks the gateway for up to 2 minutes.
_STATUS = ResponseLimits(150, _MEGABYTE)
_INFO = ResponseLimits(60, _MEGABYTE)
_CHANGE = ResponseLimits(90, _MEGABYTE)
# Up to 30 s per file, sent at 80 kB/s; the viewer can't handle more.
_LOGS = ResponseLimits(120, 8 * _MEGABYTE, accepts_partial=True)

_CLIENTS_OF_HOST = (Parameter.HOST, Parameter.PLAYBACK)
_PRODUCTION_RUNS = (Parameter.RUN_NUMBER, Parameter.NUMBER_OF_LS)

_ALL = (
    Command("get_dqm_machines", "Machines", _SHORT, optional=(Parameter.KIND,)),
    Command("get_cluster_status", "Cluster status", _STATUS, required=(Parameter.CLUSTER,), is_slow=True),
    Command("get_hltd_versions", "HLTD versions", _VERSIONS, is_slow=True),
    Command("get_fff_versions", "DQM² versions", _VERSIONS, is_slow=True),
    Command("get_cmssw_info", "CMSSW", _INFO),
    Command(
        "get_simulator_config",
        "Simulator configuration",
        _SHORT,
        optional=(Parameter.HOST,),
        targets_simulator=True,
    ),
    Command(
        "get_simulator_runs", "Simulator runs", _SHORT, optional=(Parameter.HOST,), targets_simulator=True
    ),
    Command("get_simulator_run_keys", "Simulator run keys", _SHORT, is_local=True),
    Command(
        "start_playback_run",
        "Start a playback run",
        _CHANGE,
        required=(Parameter.RUN_NUMBER,),
        optional=(Parameter.RUN_KEY, Parameter.NUMBER_OF_LS, Parameter.HOST),
        is_change=True,
        targets_simulator=True,
    ),
    Command("restart_hltd", "Restart HLTD", _CHANGE, required=(Parameter.HOST,), is_change=True),
    Command("restart_fff", "Restart DQM²", _CHANGE, required=(Parameter.HOST,), is_change=True),
    Command("get_hltd_logs", "HLTD logs", _LOGS, required=(Parameter.HOST,), is_slow=True),
    Command("get_fff_logs", "DQM² logs", _LOGS, required=(Parameter.HOST,), is_slow=True),
    Command("get_dqm_clients", "Clients", _SHORT, required=_CLIENTS_OF_HOST),
    Command(
        "change_dqm_client",
        "Switch a client",
        _CHANGE,
        required=(*_CLIENTS_OF_HOST, Parameter.CLIENT, Parameter.STATE),
        is_change=True,
    ),
    Command("get_production_runs", "Production runs", _SHORT, optional=_PRODUCTION_RUNS),
    Command(
        "copy_production_runs",
        "Copy a production run",
        _CHANGE,
        required=_PRODUCTION_RUNS,
        is_change=True,
    ),
)

COMMANDS: Mapping[str, Command] = {command.what: command for command in _ALL}
