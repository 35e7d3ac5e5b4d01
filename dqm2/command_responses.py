"""What DQM² answers to control commands, checked against the shape that each answer must have.

The text of an error can stand in the place of an answer, whole or in part: where an ssh failed, DQM² takes
what it said for a version, a client or a log. So what does not look like what was asked for is kept apart
and shown as what it is.
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
# How ssh and what it starts say that they failed.
_SSH_FAILED = re.compile(
    r"ssh(: |_)|kex_exchange|Permission denied|Host key verification failed|Connection (closed|reset) "
)


@dataclass(frozen=True, slots=True)
class MachineGroups:
    """The machines that DQM² knows, full names, by group (`playback_c2a06`); "" where one kind was asked."""

    groups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class PackageVersion:
    """The version of a package on a machine; `None` where `raw_text` is something else than a version."""

    host: str
    version: str | None
    raw_text: str


@dataclass(frozen=True, slots=True)
class PackageVersions:
    """The versions of a package on all machines, by group."""

    groups: Mapping[str, Sequence[PackageVersion]]


@dataclass(frozen=True, slots=True)
class TextSegment:
    """A part of a text, emphasized or not."""

    text: str
    is_emphasized: bool


@dataclass(frozen=True, slots=True)
class CmsswInfo:
    """Release, pull requests and global tags of both clusters, as a text."""

    segments: Sequence[TextSegment]


@dataclass(frozen=True, slots=True)
class SimulatorConfiguration:
    """The simulator's file, value by value, and the run that it plays back if its source names one."""

    values: Mapping[str, str]
    source_run: str | None


@dataclass(frozen=True, slots=True)
class SimulatorRuns:
    """The runs that can be played back, and what stood among them that is none."""

    runs: Sequence[str]
    invalid_entries: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClientState:
    """A client's configuration file, and whether the client is started with the next run."""

    name: str
    is_enabled: bool


@dataclass(frozen=True, slots=True)
class ClientList:
    """The clients of a machine, and what stood among them that is none."""

    clients: Sequence[ClientState]
    invalid_entries: Sequence[str]


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log; `is_error`: it reads like what ssh says when it fails."""

    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class DaemonLogs:
    """The logs of a daemon. Of logs that are too long, or came too slowly, it is the end of what came."""

    files: Sequence[LogFile]
    is_start_missing: bool
    is_end_missing: bool


@dataclass(frozen=True, slots=True)
class Acknowledged:
    """DQM² says Ok, which proves little: a command that failed silently or was cut off says so too."""


@dataclass(frozen=True, slots=True)
class RunKeyList:
    """The mirror's own list of run keys."""

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
    """The answer to a command. Raises Dqm2InvalidResponse where it is not what was asked for."""
    reader = _READERS.get(what)
    if reader is None:
        raise Dqm2InvalidResponse("nobody knows what the answer to this command looks like")
    return reader(raw)


def decode_text(raw: RawResponse) -> str:
    """An answer as text, whatever it is."""
    return raw.body.decode("utf-8", "replace")


def _machines(raw: RawResponse) -> MachineGroups:
    value = parse_json(raw.body)
    if isinstance(value, list):
        return MachineGroups({"": _hosts(value)})
    return MachineGroups({group: _hosts(hosts) for group, hosts in _object(value).items()})


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(host, str) for host in value):
        raise Dqm2InvalidResponse("the machines are no list of names")
    if not all(HOST_NAME.fullmatch(host) for host in value):
        raise Dqm2InvalidResponse("among the machines is something that is no name")
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
        raise Dqm2InvalidResponse("it does not tell a CMSSW release")
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
        raise Dqm2InvalidResponse("it is no configuration of the simulator")
    source = value.get("source")
    last_part = source.rstrip("/").rpartition("/")[2] if isinstance(source, str) else ""
    is_run = PARAMETER_PATTERNS[Parameter.RUN_NUMBER].matches(last_part)
    return SimulatorConfiguration(
        {key: as_text(entry) for key, entry in value.items()},
        last_part if is_run else None,
    )


def _simulator_runs(raw: RawResponse) -> SimulatorRuns:
    entries = _texts(parse_json(raw.body))
    shape = PARAMETER_PATTERNS[Parameter.RUN_NUMBER]
    return SimulatorRuns(
        tuple(dict.fromkeys(entry for entry in entries if shape.matches(entry))),
        # The line break behind the last run makes an entry of nothing.
        tuple(entry for entry in entries if entry and not shape.matches(entry)),
    )


def _clients(raw: RawResponse) -> ClientList:
    value = parse_json(raw.body)
    if not isinstance(value, list):
        raise Dqm2InvalidResponse("the clients are no list")
    clients, invalid_entries = [], []
    for entry in value:
        switch = _switch(entry)
        if switch is None:
            invalid_entries.append(as_text(entry))
        else:
            clients.append(switch)
    return ClientList(tuple(clients), tuple(invalid_entries))


def _switch(entry: object) -> ClientState | None:
    match entry:
        case [str() as client, bool() as is_enabled] if PARAMETER_PATTERNS[Parameter.CLIENT].matches(client):
            return ClientState(client, is_enabled)
    return None


def _logs(raw: RawResponse) -> DaemonLogs:
    files = _texts(parse_json(_mended(raw)))
    return DaemonLogs(
        tuple(LogFile(text, is_error=bool(_SSH_FAILED.match(text))) for text in files),
        raw.is_start_missing,
        raw.is_end_missing,
    )


def _mended(raw: RawResponse) -> bytes:
    """A list of texts that was cut off at an end, made whole again. Raises Dqm2InvalidResponse.

    At the front it goes on with the first whole line; an escape that is cut at the back is left out.
    """
    body = raw.body
    if raw.is_start_missing:
        _, line_break, body = body.partition(rb"\n")
        if not line_break:
            raise Dqm2InvalidResponse("the end that was kept has no line in it")
        body = b'["' + body
    if not raw.is_end_missing:
        return body
    for end in (b"", b"]", b'"]', b'""]'):
        for cut in range(7):
            mended = body[: len(body) - cut] + end
            if _is_json(mended):
                return mended
    raise Dqm2InvalidResponse("what came in time is no list of texts")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _done(raw: RawResponse) -> Acknowledged:
    if _OK.fullmatch(decode_text(raw)) is None:
        raise Dqm2InvalidResponse("it is not Ok")
    return Acknowledged()


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Dqm2InvalidResponse("the answer is no JSON object")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise Dqm2InvalidResponse("the answer is no list of texts")
    return value


# The answers to get_production_runs and copy_production_runs are not known: DQM² has none.
_READERS: Mapping[str, Callable[[RawResponse], CommandResponse]] = {
    "get_dqm_machines": _machines,
    "get_cluster_status": _cluster_status,
    "get_hltd_versions": _versions,
    "get_fff_versions": _versions,
    "get_cmssw_info": _cmssw_info,
    "get_simulator_config": _simulator_configuration,
    "get_simulator_runs": _simulator_runs,
    "start_playback_run": _done,
    "restart_hltd": _done,
    "restart_fff": _done,
    "get_hltd_logs": _logs,
    "get_fff_logs": _logs,
    "get_dqm_clients": _clients,
    "change_dqm_client": _done,
}
