"""Responses to control commands, each checked against the shape that it must have.

DQM² may send error text in place of all or a part of a response: when an ssh fails, it takes the error for a
version, a client or a log. Whatever is not of the expected shape is kept apart, to be shown as such.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dqm2.command_client import RawResponse
from dqm2.commands import PARAMETER_PATTERNS, Parameter
from dqm2.errors import Dqm2InvalidResponse
from dqm2.sync_messages import HOST_NAME, ClusterStatus, as_text, parse_cluster_status, parse_json

_OK = re.compile(r"\s*(start_playback_run )?Ok\s*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:-]{1,127}")
_STRONG = re.compile(r"(</?strong>)", re.IGNORECASE)
# Beginnings of the errors of ssh and of the programs behind it.
_SSH_FAILED = re.compile(
    r"ssh(: |_)|kex_exchange|Permission denied|Host key verification failed|Connection (closed|reset) "
)


@dataclass(frozen=True, slots=True)
class MachineGroups:
    """Machines known to DQM² (full names) by group (`playback_c2a06`); group "" if one kind was requested."""

    groups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """Version of a package on a machine; `None` if `raw_text` is not a version."""

    host: str
    version: str | None
    raw_text: str


@dataclass(frozen=True, slots=True)
class PackageVersions:
    """Versions of a package on all machines, by group."""

    groups: Mapping[str, Sequence[PackageVersion]]


@dataclass(frozen=True, slots=True)
class TextSegment:
    """Segment of a text."""

    text: str
    is_emphasized: bool


@dataclass(frozen=True, slots=True)
class CmsswInfo:
    """Release, pull requests and global tags of both clusters as a text."""

    segments: Sequence[TextSegment]


@dataclass(frozen=True, slots=True)
class SimulatorConfiguration:
    """Values of the simulator's configuration, and the run played back if its source names one."""

    values: Mapping[str, str]
    source_run: str | None

    @property
    def run_key(self) -> str | None:
        """Run key of the run played back, if the configuration has one."""
        return self._valid(Parameter.RUN_KEY)

    @property
    def number_of_ls(self) -> str | None:
        """Number of lumisections to play back, if the configuration has one."""
        return self._valid(Parameter.NUMBER_OF_LS)

    def _valid(self, parameter: Parameter) -> str | None:
        value = self.values.get(parameter, "")
        return value if PARAMETER_PATTERNS[parameter].matches(value) else None


@dataclass(frozen=True, slots=True)
class SimulatorRuns:
    """Runs that can be played back, and the entries that are something else."""

    runs: Sequence[str]
    invalid_entries: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClientSwitch:
    """Configuration file of a client, and whether the client starts with the next run."""

    name: str
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class ClientList:
    """Clients of a machine, and the entries that are something else."""

    clients: Sequence[ClientSwitch]
    invalid_entries: Sequence[str]


@dataclass(frozen=True, slots=True)
class LogFile:
    """Text of a log; `is_error` if it begins like an error of ssh."""

    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class DaemonLogs:
    """Logs of a daemon; of logs that are too long or too slow, the last part that was received in time."""

    files: Sequence[LogFile]
    is_start_missing: bool
    is_end_missing: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """DQM² sent Ok, which proves little: so does a command that failed silently or timed out."""


@dataclass(frozen=True, slots=True)
class RunKeyList:
    """Run keys of the mirror's settings."""

    run_keys: Sequence[str]


CommandResponse = (
    MachineGroups
    | ClusterStatus
    | PackageVersions
    | CmsswInfo
    | SimulatorConfiguration
    | SimulatorRuns
    | ClientList
    | DaemonLogs
    | Acknowledged
    | RunKeyList
)


def parse(what: str, raw: RawResponse) -> CommandResponse:
    """Parse the response to a command. Raises Dqm2InvalidResponse if it has not the expected shape."""
    parser = _PARSERS.get(what)
    if parser is None:
        raise Dqm2InvalidResponse("the response to this command has no known shape")
    return parser(raw)


def decode_text(raw: RawResponse) -> str:
    """Response as text, whatever its shape."""
    return raw.body.decode("utf-8", "replace")


def _machines(raw: RawResponse) -> MachineGroups:
    value = parse_json(raw.body)
    if isinstance(value, list):
        return MachineGroups({"": _hosts(value)})
    return MachineGroups({group: _hosts(hosts) for group, hosts in _object(value).items()})


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(host, str) for host in value):
        raise Dqm2InvalidResponse("the machines are not a list of names")
    if not all(HOST_NAME.fullmatch(host) for host in value):
        raise Dqm2InvalidResponse("a machine's name is invalid")
    return tuple(value)


def _cluster_status(raw: RawResponse) -> ClusterStatus:
    return parse_cluster_status(raw.body)


def _versions(raw: RawResponse) -> PackageVersions:
    groups = _object(parse_json(raw.body))
    return PackageVersions(
        {
            group: tuple(_version(host, raw_text) for host, raw_text in _object(machines).items())
            for group, machines in groups.items()
        }
    )


def _version(host: str, raw_text: object) -> PackageVersion:
    text = as_text(raw_text).strip()
    return PackageVersion(host, text if _VERSION.fullmatch(text) else None, text)


def _cmssw_info(raw: RawResponse) -> CmsswInfo:
    text = decode_text(raw)
    if _SSH_FAILED.match(text) or "CMSSW" not in text:
        raise Dqm2InvalidResponse("it names no CMSSW release")
    segments, is_emphasized = [], False
    for part in _STRONG.split(text):
        if _STRONG.fullmatch(part):
            is_emphasized = not part.startswith("</")
        elif part:
            segments.append(TextSegment(part, is_emphasized))
    return CmsswInfo(tuple(segments))


def _simulator_configuration(raw: RawResponse) -> SimulatorConfiguration:
    value = _object(parse_json(raw.body))
    if "source" not in value and "run_key" not in value:
        raise Dqm2InvalidResponse("it is not a configuration of the simulator")
    source = value.get("source")
    last_part = source.rstrip("/").rpartition("/")[2] if isinstance(source, str) else ""
    is_run = PARAMETER_PATTERNS[Parameter.RUN_NUMBER].matches(last_part)
    return SimulatorConfiguration(
        {key: as_text(entry) for key, entry in value.items()},
        last_part if is_run else None,
    )


def _simulator_runs(raw: RawResponse) -> SimulatorRuns:
    entries = _texts(parse_json(raw.body))
    pattern = PARAMETER_PATTERNS[Parameter.RUN_NUMBER]
    return SimulatorRuns(
        tuple(dict.fromkeys(entry for entry in entries if pattern.matches(entry))),
        # The trailing line break makes an empty entry.
        tuple(entry for entry in entries if entry and not pattern.matches(entry)),
    )


def _clients(raw: RawResponse) -> ClientList:
    value = parse_json(raw.body)
    if not isinstance(value, list):
        raise Dqm2InvalidResponse("the clients are not a list")
    clients, invalid_entries = [], []
    for entry in value:
        client = _client(entry)
        if client is None:
            invalid_entries.append(as_text(entry))
        else:
            clients.append(client)
    return ClientList(tuple(clients), tuple(invalid_entries))


def _client(entry: object) -> ClientSwitch | None:
    match entry:
        case [str() as name, bool() as is_enabled] if PARAMETER_PATTERNS[Parameter.CLIENT].matches(name):
            return ClientSwitch(name, is_enabled)
    return None


def _logs(raw: RawResponse) -> DaemonLogs:
    files = _texts(parse_json(_repair_truncated_json(raw)))
    return DaemonLogs(
        tuple(LogFile(text, is_error=bool(_SSH_FAILED.match(text))) for text in files),
        raw.is_start_missing,
        raw.is_end_missing,
    )


def _repair_truncated_json(raw: RawResponse) -> bytes:
    """JSON list of texts, completed where its start or end is missing. Raises Dqm2InvalidResponse.

    A truncated start continues with the first complete line; a truncated escape at the end is dropped.
    """
    body = raw.body
    if raw.is_start_missing:
        _, line_break, body = body.partition(rb"\n")
        if not line_break:
            raise Dqm2InvalidResponse("the received part has no complete line")
        body = b'["' + body
    if not raw.is_end_missing:
        return body
    for end in (b"", b"]", b'"]', b'""]'):
        for cut in range(7):
            repaired = body[: len(body) - cut] + end
            if _is_json(repaired):
                return repaired
    raise Dqm2InvalidResponse("the received part is not a list of texts")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _acknowledged(raw: RawResponse) -> Acknowledged:
    if _OK.fullmatch(decode_text(raw)) is None:
        raise Dqm2InvalidResponse("it is not Ok")
    return Acknowledged()


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Dqm2InvalidResponse("the response is not a JSON object")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise Dqm2InvalidResponse("the response is not a list of texts")
    return value


# DQM² does not implement get_production_runs and copy_production_runs.
_PARSERS: Mapping[str, Callable[[RawResponse], CommandResponse]] = {
    "get_dqm_machines": _machines,
    "get_cluster_status": _cluster_status,
    "get_hltd_versions": _versions,
    "get_fff_versions": _versions,
    "get_cmssw_info": _cmssw_info,
    "get_simulator_config": _simulator_configuration,
    "get_simulator_runs": _simulator_runs,
    "start_playback_run": _acknowledged,
    "restart_hltd": _acknowledged,
    "restart_fff": _acknowledged,
    "get_hltd_logs": _logs,
    "get_fff_logs": _logs,
    "get_dqm_clients": _clients,
    "change_dqm_client": _acknowledged,
}
