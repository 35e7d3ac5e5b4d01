"""Control commands, as DQM² documents them or as its released version implements them.

Like DQM², they validate nothing (docs/dqm2-protocol.md, "Control commands"). The one difference is that
parameters reach no shell: a host that isn't simulated is unreachable, whatever its name contains.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from dqmsquare_cfg import Cluster
from simulator.daemons import DaemonKind, DaemonLogs
from simulator.http_types import HTML, Request, Response, SendMode, server_error
from simulator.machines import DOMAIN, Machine, Topology
from simulator.world import World

# The rack in the names of the groups of machines.
_RACK = "c2a06"
# Machines of the third cluster: listed, but unreachable.
_LOOKAREA = ("dqmrubu-c2a06-05-01", "dqmfu-c2b05-45-01")
# DQM² release of the simulated machines; no real release has this number.
FFF_RELEASE = "2.3.1"
_VERSIONS: Mapping[DaemonKind, tuple[str, str]] = {
    DaemonKind.HLTD: ("hltd-2.12.0-1.x86_64", "hltd-2.11.3-0.x86_64"),
    DaemonKind.FFF: (f"fff_dqmtools-{FFF_RELEASE}-1.noarch", "fff_dqmtools-2.2.0-1.noarch"),
}
# Runs available for playback; the listing's trailing newline leaves an empty entry.
_PLAYBACK_RUNS = ("run256936", "run300576", "run355443", "run358788", "")
_CMSSW_INFO = """<strong>Playback:</strong>
CMSSW_12_4_9 with
 #39145 (merged), #39162 (merged), #39341 (<strong>open</strong>)
Global tag: 124X_dataRun3_HLT_v4, 124X_dataRun3_Express_v6
<strong>Production:</strong>
CMSSW_12_4_8 with
 #39145 (merged), #39162 (merged)
Global tag: 124X_dataRun3_HLT_v4, 124X_dataRun3_Express_v5
"""


class CommandMode(StrEnum):
    """Whether commands do what DQM² documents, or what its released version does."""

    DOCUMENTED = "documented"
    RELEASED = "released"


class CommandError(Exception):
    """Raised where DQM² raises an unhandled exception, which the client sees as a 500."""


class ControlCommands:
    """Responds to `GET {base}/cr/exe?what=…`. `wait` sleeps for some seconds, or until the simulator stops.

    `handlers`: by command. `dead_machine_timeout_s`: time that `get_cluster_status` waits for a dead machine,
    up to two minutes at P5. `self_call_timeout_s`: time that `start_playback_run` waits if its host name ends
    in `.cms`. `chunks_per_character`: whether responses are sent one character per chunk.
    """

    def __init__(
        self, topology: Topology, world: World, mode: CommandMode, wait: Callable[[float], object]
    ) -> None:
        self.mode = mode
        self.dead_machine_timeout_s = 5.0
        self.self_call_timeout_s = 60.0
        self.chunks_per_character = True
        self.logs = DaemonLogs(world.daemons, world.secrets)
        self._topology = topology
        self._world = world
        self._wait = wait
        self.handlers: dict[str, Callable[[Request], Response]] = {
            "get_dqm_machines": self._machines,
            "get_cluster_status": self._cluster_status,
            "get_hltd_versions": lambda _request: self._versions(DaemonKind.HLTD),
            "get_fff_versions": lambda _request: self._versions(DaemonKind.FFF),
            "get_cmssw_info": lambda _request: self._text(_CMSSW_INFO),
            "get_simulator_config": self._simulator_config,
            "get_simulator_runs": self._simulator_runs,
            "start_playback_run": self._start_playback_run,
            "restart_hltd": lambda request: self._restart(DaemonKind.HLTD, request),
            "restart_fff": lambda request: self._restart(DaemonKind.FFF, request),
            "get_hltd_logs": lambda request: self._logs(DaemonKind.HLTD, request),
            "get_fff_logs": lambda request: self._logs(DaemonKind.FFF, request),
            "get_dqm_clients": self._clients,
            "change_dqm_client": self._change_client,
        }

    def respond(self, request: Request) -> Response:
        """The response to a command with a valid cookie."""
        handler = self.handlers.get(request.parameter("what") or "")
        if handler is None:
            return server_error("NotImplementedError()")
        try:
            return handler(request)
        except CommandError as error:
            return server_error(str(error))

    def _machines(self, request: Request) -> Response:
        kind = request.parameter("kind")
        if kind is None:
            return self._json({group: list(map(_full, hosts)) for group, hosts in self._groups().items()})
        if kind not in list(Cluster):
            raise CommandError(f"KeyError({kind!r})")
        return self._json([_full(host) for host in self._topology.clusters[Cluster(kind)]])

    def _cluster_status(self, request: Request) -> Response:
        cluster = request.parameter("cluster")
        if cluster not in list(Cluster):
            return replace(self._json(f"unknown cluster {cluster}"), status=404)
        machines = self._topology.machines_of(Cluster(cluster))
        return self._json({_full(machine.name): self._status(machine) for machine in machines})

    def _status(self, machine: Machine) -> dict[str, Any]:
        # The gateway always reports itself as up.
        if not machine.is_dead or machine is self._topology.gateway:
            return {"up": True, "msg": None}
        self._wait(self.dead_machine_timeout_s)
        return {"up": False, "msg": f"timeout('timed out') for ws://{_full(machine.name)}:9215/sync"}

    def _versions(self, kind: DaemonKind) -> Response:
        return self._json(
            {
                group: {_full(host): self._ssh_error(host) or self._version(kind, host) for host in hosts}
                for group, hosts in self._groups().items()
            }
        )

    def _version(self, kind: DaemonKind, host: str) -> str:
        """The version of a daemon; the last machine of the playback cluster missed an update."""
        newest, older = _VERSIONS[kind]
        is_outdated = host == self._topology.clusters[Cluster.PLAYBACK][-1]
        return f"{older if is_outdated else newest}\n"

    def _simulator_config(self, request: Request) -> Response:
        if error := self._ssh_error(self._simulator_host(request)):
            return self._text(error)
        configuration, run = self._world.playback, self._world.current_run(Cluster.PLAYBACK)
        return self._json(
            {
                "source": f"/fff/output/playback_files/{configuration.source_run}/",
                "ramdisk": "/fff/ramdisk/",
                "run_key": configuration.run_key,
                "number_of_ls": configuration.number_of_ls,
                "lumi_timeout": 23.4,
                "run": run.number if run else None,
            }
        )

    def _simulator_runs(self, request: Request) -> Response:
        if error := self._ssh_error(self._simulator_host(request)):
            return self._json([error])
        return self._json(_PLAYBACK_RUNS)

    def _start_playback_run(self, request: Request) -> Response:
        host = self._simulator_host(request)
        if host.endswith(DOMAIN):
            # The gateway doesn't recognize its own full name and calls that machine: itself, which is busy.
            self._wait(self.self_call_timeout_s)
            raise CommandError("URLError(timeout('timed out'))")
        run_number = request.parameter("run_number")
        if run_number not in _PLAYBACK_RUNS[:-1]:
            raise CommandError(f"IOError('No such file or directory: {run_number}')")
        if error := self._ssh_error(host):
            return self._text(error)
        current = self._world.playback
        self._world.configure_playback(
            replace(
                current,
                source_run=run_number,
                run_key=request.parameter("run_key") or current.run_key,
                number_of_ls=_number(request.parameter("number_of_ls")) or current.number_of_ls,
            )
        )
        if self.mode is CommandMode.RELEASED:
            raise CommandError("AttributeError(\"'NoneType' object has no attribute 'wake'\")")
        self._world.start_run(Cluster.PLAYBACK)
        return self._text("start_playback_run Ok")

    def _restart(self, kind: DaemonKind, request: Request) -> Response:
        host = _required(request, "host")
        if self.mode is CommandMode.RELEASED:
            raise CommandError("TypeError('a bytes-like object is required')")
        if error := self._ssh_error(host):
            return self._text(error)
        self._world.restart_daemon(kind, self._topology.machine(host).name)
        return self._text("Ok")

    def _logs(self, kind: DaemonKind, request: Request) -> Response:
        host = _required(request, "host")
        if error := self._ssh_error(host):
            return self._json([error])
        return self._json(self.logs.files(kind, self._topology.machine(host).name, self._world.now))

    def _clients(self, request: Request) -> Response:
        host, is_playback = self._switch_location(request)
        if error := self._ssh_error(host):
            return self._json([[error, True]])
        return self._json(list(self._world.switches.of(host, is_playback=is_playback).items()))

    def _change_client(self, request: Request) -> Response:
        host, is_playback = self._switch_location(request)
        client = _required(request, "client")
        if error := self._ssh_error(host):
            return self._text(error)
        if client not in self._world.switches.of(host, is_playback=is_playback):
            return self._text(f"No such client: {client}")
        # Any state but 0 switches the client on, also none at all.
        is_on = request.parameter("state") != "0"
        self._world.switches.set(host, client, is_playback=is_playback, on=is_on)
        return self._text("Ok")

    def _switch_location(self, request: Request) -> tuple[str, bool]:
        """Host, and whether the switch is for playback: any value but 1, or none, means production."""
        host = _required(request, "host")
        machine = self._topology.resolve(host)
        return machine.name if machine else host, request.parameter("playback") == "1"

    def _simulator_host(self, request: Request) -> str:
        return request.parameter("host") or self._topology.clusters[Cluster.PLAYBACK][0]

    def _groups(self) -> dict[str, Sequence[str]]:
        groups: dict[str, Sequence[str]] = {
            f"{cluster}_{_RACK}": hosts for cluster, hosts in self._topology.clusters.items()
        }
        return {**groups, f"lookarea_{_RACK}": _LOOKAREA}

    def _ssh_error(self, host: str) -> str | None:
        """The output of a failed ssh, which DQM² returns as the result; `None` if the host is reachable."""
        machine = self._topology.resolve(host)
        if machine is None:
            return f"ssh: Could not resolve hostname {host}: Name or service not known\r\n"
        if machine.is_ssh_broken:
            return f"ssh: connect to host {_full(machine.name)} port 22: No route to host\r\n"
        return None

    def _json(self, value: Any) -> Response:
        return self._text(json.dumps(value))

    def _text(self, text: str) -> Response:
        send_mode = SendMode.CHUNK_PER_CHARACTER if self.chunks_per_character else SendMode.NORMAL
        return Response(200, text.encode(), HTML, send_mode=send_mode)


def _required(request: Request, name: str) -> str:
    value = request.parameter(name)
    if not value:
        raise CommandError(f"KeyError({name!r})")
    return value


def _number(text: str | None) -> int:
    """A number of lumisections, 0 if the parameter is absent."""
    try:
        return 0 if text is None else int(text)
    except ValueError as error:
        raise CommandError(repr(error)) from error


def _full(host: str) -> str:
    return f"{host}{DOMAIN}"
