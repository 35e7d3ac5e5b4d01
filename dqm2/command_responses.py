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

from dqm2.command_client import RawAnswer
from dqm2.commands import SHAPES, Parameter
from dqm2.errors import Dqm2Garbled
from dqm2.sync_messages import HOST, ClusterStatus, as_text, read_cluster_status, read_json

_OK = re.compile(r"\s*(start_playback_run )?Ok\s*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~:-]{1,127}")
_STRONG = re.compile(r"(</?strong>)", re.IGNORECASE)
# How ssh and what it starts say that they failed.
_SSH_FAILED = re.compile(
    r"ssh(: |_)|kex_exchange|Permission denied|Host key verification failed|Connection (closed|reset) "
)


@dataclass(frozen=True, slots=True)
class Machines:
    """The machines that DQM² knows, full names, by group (`playback_c2a06`); "" where one kind was asked."""

    groups: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class MachineVersion:
    """The version of a package on a machine; `None` where `told` is something else than a version."""

    host: str
    version: str | None
    told: str


@dataclass(frozen=True, slots=True)
class Versions:
    """The versions of a package on all machines, by group."""

    groups: Mapping[str, Sequence[MachineVersion]]


@dataclass(frozen=True, slots=True)
class Passage:
    """A part of a text, emphasized or not."""

    text: str
    is_strong: bool


@dataclass(frozen=True, slots=True)
class CmsswInfo:
    """Release, pull requests and global tags of both clusters, as a text."""

    passages: Sequence[Passage]


@dataclass(frozen=True, slots=True)
class SimulatorConfiguration:
    """The simulator's file, value by value, and the run that it plays back if its source names one."""

    values: Mapping[str, str]
    source_run: str | None


@dataclass(frozen=True, slots=True)
class SimulatorRuns:
    """The runs that can be played back, and what stood among them that is none."""

    runs: Sequence[str]
    strange: Sequence[str]


@dataclass(frozen=True, slots=True)
class ClientSwitch:
    """A client's configuration file, and whether the client is started with the next run."""

    client: str
    is_on: bool


@dataclass(frozen=True, slots=True)
class Clients:
    """The clients of a machine, and what stood among them that is none."""

    switches: Sequence[ClientSwitch]
    strange: Sequence[str]


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log; `is_error`: it reads like what ssh says when it fails."""

    text: str
    is_error: bool


@dataclass(frozen=True, slots=True)
class Logs:
    """The logs of a daemon. Of logs that are too long, or came too slowly, it is the end of what came."""

    files: Sequence[LogFile]
    lacks_head: bool
    lacks_end: bool


@dataclass(frozen=True, slots=True)
class Done:
    """DQM² says Ok, which proves little: a command that failed silently or was cut off says so too."""


@dataclass(frozen=True, slots=True)
class OwnList:
    """The mirror's own list of run keys."""

    words: Sequence[str]


Answer = (
    Machines
    | ClusterStatus
    | Versions
    | CmsswInfo
    | SimulatorConfiguration
    | SimulatorRuns
    | Clients
    | Logs
    | Done
    | OwnList
)


def read(what: str, raw: RawAnswer) -> Answer:
    """The answer to a command. Raises Dqm2Garbled where it is not what was asked for."""
    reader = _READERS.get(what)
    if reader is None:
        raise Dqm2Garbled("nobody knows what the answer to this command looks like")
    return reader(raw)


def text_of(raw: RawAnswer) -> str:
    """An answer as text, whatever it is."""
    return raw.body.decode("utf-8", "replace")


def _machines(raw: RawAnswer) -> Machines:
    value = read_json(raw.body)
    if isinstance(value, list):
        return Machines({"": _hosts(value)})
    return Machines({group: _hosts(hosts) for group, hosts in _object(value).items()})


def _hosts(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(host, str) for host in value):
        raise Dqm2Garbled("the machines are no list of names")
    if not all(HOST.fullmatch(host) for host in value):
        raise Dqm2Garbled("among the machines is something that is no name")
    return tuple(value)


def _cluster_status(raw: RawAnswer) -> ClusterStatus:
    return read_cluster_status(raw.body)


def _versions(raw: RawAnswer) -> Versions:
    groups = _object(read_json(raw.body))
    return Versions(
        {
            group: tuple(_version(host, told) for host, told in _object(machines).items())
            for group, machines in groups.items()
        }
    )


def _version(host: str, told: object) -> MachineVersion:
    text = as_text(told).strip()
    return MachineVersion(host, text if _VERSION.fullmatch(text) else None, text)


def _cmssw_info(raw: RawAnswer) -> CmsswInfo:
    text = text_of(raw)
    if _SSH_FAILED.match(text) or "CMSSW" not in text:
        raise Dqm2Garbled("it does not tell a CMSSW release")
    passages, is_strong = [], False
    for part in _STRONG.split(text):
        if _STRONG.fullmatch(part):
            is_strong = not part.startswith("</")
        elif part:
            passages.append(Passage(part, is_strong))
    return CmsswInfo(tuple(passages))


def _simulator_configuration(raw: RawAnswer) -> SimulatorConfiguration:
    value = _object(read_json(raw.body))
    if "source" not in value and "run_key" not in value:
        raise Dqm2Garbled("it is no configuration of the simulator")
    source = value.get("source")
    last_part = source.rstrip("/").rpartition("/")[2] if isinstance(source, str) else ""
    is_run = SHAPES[Parameter.RUN_NUMBER].fits(last_part)
    return SimulatorConfiguration(
        {key: as_text(entry) for key, entry in value.items()},
        last_part if is_run else None,
    )


def _simulator_runs(raw: RawAnswer) -> SimulatorRuns:
    entries = _texts(read_json(raw.body))
    shape = SHAPES[Parameter.RUN_NUMBER]
    return SimulatorRuns(
        tuple(dict.fromkeys(entry for entry in entries if shape.fits(entry))),
        # The line break behind the last run makes an entry of nothing.
        tuple(entry for entry in entries if entry and not shape.fits(entry)),
    )


def _clients(raw: RawAnswer) -> Clients:
    value = read_json(raw.body)
    if not isinstance(value, list):
        raise Dqm2Garbled("the clients are no list")
    switches, strange = [], []
    for entry in value:
        switch = _switch(entry)
        if switch is None:
            strange.append(as_text(entry))
        else:
            switches.append(switch)
    return Clients(tuple(switches), tuple(strange))


def _switch(entry: object) -> ClientSwitch | None:
    match entry:
        case [str() as client, bool() as is_on] if SHAPES[Parameter.CLIENT].fits(client):
            return ClientSwitch(client, is_on)
    return None


def _logs(raw: RawAnswer) -> Logs:
    files = _texts(read_json(_mended(raw)))
    return Logs(
        tuple(LogFile(text, is_error=bool(_SSH_FAILED.match(text))) for text in files),
        raw.lacks_head,
        raw.lacks_end,
    )


def _mended(raw: RawAnswer) -> bytes:
    """A list of texts that was cut off at an end, made whole again. Raises Dqm2Garbled.

    At the front it goes on with the first whole line; an escape that is cut at the back is left out.
    """
    body = raw.body
    if raw.lacks_head:
        _, line_break, body = body.partition(rb"\n")
        if not line_break:
            raise Dqm2Garbled("the end that was kept has no line in it")
        body = b'["' + body
    if not raw.lacks_end:
        return body
    for end in (b"", b"]", b'"]', b'""]'):
        for cut in range(7):
            mended = body[: len(body) - cut] + end
            if _is_json(mended):
                return mended
    raise Dqm2Garbled("what came in time is no list of texts")


def _is_json(text: bytes) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _done(raw: RawAnswer) -> Done:
    if _OK.fullmatch(text_of(raw)) is None:
        raise Dqm2Garbled("it is not Ok")
    return Done()


def _object(value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Dqm2Garbled("the answer is no JSON object")
    return value


def _texts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(entry, str) for entry in value):
        raise Dqm2Garbled("the answer is no list of texts")
    return value


# The answers to get_production_runs and copy_production_runs are not known: DQM² has none.
_READERS: Mapping[str, Callable[[RawAnswer], Answer]] = {
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
