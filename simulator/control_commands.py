"""Control commands as DQM² announces them, and as its released version answers them.

DQM² checks nothing, the caller is the only guard (protocol, "Control commands"). Only what a shell would do
with a parameter is left out: a host that isn't simulated can't be reached, whatever its name holds.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any

from dqmsquare_cfg import Cluster
from simulator.daemon_logs import DaemonLogs
from simulator.daemons import Service
from simulator.http_types import HTML, Answer, Manner, Request, failure
from simulator.machine import Machine
from simulator.switches import Panel
from simulator.topology import DOMAIN, Site
from simulator.world import World

# The rack that gives each group of machines its name.
_RACK = "c2a06"
# The third cluster's machines: they are listed, and can't be reached.
_LOOKAREA = ("dqmrubu-c2a06-05-01", "dqmfu-c2b05-45-01")
# The release that the simulated machines have, and is none of the real DQM²'s.
RELEASE = "2.3.1"
_VERSIONS: Mapping[Service, tuple[str, str]] = {
    Service.HLTD: ("hltd-2.12.0-1.x86_64", "hltd-2.11.3-0.x86_64"),
    Service.FFF: (f"fff_dqmtools-{RELEASE}-1.noarch", "fff_dqmtools-2.2.0-1.noarch"),
}
# The runs that lie ready to be played back, and what the listing's last line break leaves behind them.
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


class Mode(StrEnum):
    """Whether commands do what DQM² promises, or what its released version does."""

    ANNOUNCED = "announced"
    RELEASED = "released"


class CommandError(Exception):
    """An exception inside DQM²: 500 outside."""


class Control:
    """Answers `GET {base}/cr/exe?what=…`. What it waits for it waits for by `wait`, in seconds.

    `switched_off_blocks_s`: how long a dead machine holds up a question for the cluster's status, up to two
    minutes at P5; `calls_itself_s`: how long a simulator command for a long host name does;
    `sends_characters`: whether answers are chunked a character at a time.
    """

    def __init__(self, site: Site, world: World, mode: Mode, wait: Callable[[float], object]) -> None:
        self.mode = mode
        self.switched_off_blocks_s = 5.0
        self.calls_itself_s = 60.0
        self.sends_characters = True
        self.logs = DaemonLogs(world.services, world.sensitive)
        self._site = site
        self._world = world
        self._wait = wait
        self._commands: Mapping[str, Callable[[Request], Answer]] = {
            "get_dqm_machines": self._machines,
            "get_cluster_status": self._cluster_status,
            "get_hltd_versions": lambda _request: self._versions(Service.HLTD),
            "get_fff_versions": lambda _request: self._versions(Service.FFF),
            "get_cmssw_info": lambda _request: self._text(_CMSSW_INFO),
            "get_simulator_config": self._simulator_config,
            "get_simulator_runs": self._simulator_runs,
            "start_playback_run": self._start_playback_run,
            "restart_hltd": lambda request: self._restart(Service.HLTD, request),
            "restart_fff": lambda request: self._restart(Service.FFF, request),
            "get_hltd_logs": lambda request: self._logs(Service.HLTD, request),
            "get_fff_logs": lambda request: self._logs(Service.FFF, request),
            "get_dqm_clients": self._clients,
            "change_dqm_client": self._change_client,
        }

    def answer(self, request: Request) -> Answer:
        """The answer to a command whose cookie was right."""
        command = self._commands.get(request.parameter("what") or "")
        if command is None:
            return failure("NotImplementedError()")
        try:
            return command(request)
        except CommandError as error:
            return failure(str(error))

    def _machines(self, request: Request) -> Answer:
        kind = request.parameter("kind")
        if kind is None:
            return self._json({group: list(map(_full, hosts)) for group, hosts in self._groups().items()})
        if kind not in list(Cluster):
            raise CommandError(f"KeyError({kind!r})")
        return self._json([_full(host) for host in self._site.clusters[Cluster(kind)]])

    def _cluster_status(self, request: Request) -> Answer:
        cluster = request.parameter("cluster")
        if cluster not in list(Cluster):
            return replace(self._json(f"unknown cluster {cluster}"), status=404)
        machines = self._site.machines_of(Cluster(cluster))
        return self._json({_full(machine.name): self._status(machine) for machine in machines})

    def _status(self, machine: Machine) -> dict[str, Any]:
        # The gateway always calls itself up.
        if not machine.is_dead or machine is self._site.gateway:
            return {"up": True, "msg": None}
        self._wait(self.switched_off_blocks_s)
        return {"up": False, "msg": f"timeout('timed out') for ws://{_full(machine.name)}:9215/sync"}

    def _versions(self, service: Service) -> Answer:
        return self._json(
            {
                group: {_full(host): self._by_ssh(host) or self._version(service, host) for host in hosts}
                for group, hosts in self._groups().items()
            }
        )

    def _version(self, service: Service, host: str) -> str:
        """The last machine of the playback cluster was forgotten at the last update."""
        newest, older = _VERSIONS[service]
        is_behind = host == self._site.clusters[Cluster.PLAYBACK][-1]
        return f"{older if is_behind else newest}\n"

    def _simulator_config(self, request: Request) -> Answer:
        if error := self._by_ssh(self._simulator_host(request)):
            return self._text(error)
        configuration, run = self._world.playback, self._world.run(Cluster.PLAYBACK)
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

    def _simulator_runs(self, request: Request) -> Answer:
        if error := self._by_ssh(self._simulator_host(request)):
            return self._json([error])
        return self._json(_PLAYBACK_RUNS)

    def _start_playback_run(self, request: Request) -> Answer:
        host = self._simulator_host(request)
        if host.endswith(DOMAIN):
            # It doesn't know itself by this name, and asks the machine of that name: itself, which is busy.
            self._wait(self.calls_itself_s)
            raise CommandError("URLError(timeout('timed out'))")
        run_number = request.parameter("run_number")
        if run_number not in _PLAYBACK_RUNS[:-1]:
            raise CommandError(f"IOError('No such file or directory: {run_number}')")
        if error := self._by_ssh(host):
            return self._text(error)
        present = self._world.playback
        self._world.configure_playback(
            replace(
                present,
                source_run=run_number,
                run_key=request.parameter("run_key") or present.run_key,
                number_of_ls=_number(request.parameter("number_of_ls")) or present.number_of_ls,
            )
        )
        if self.mode is Mode.RELEASED:
            raise CommandError("AttributeError(\"'NoneType' object has no attribute 'wake'\")")
        self._world.next_run(Cluster.PLAYBACK)
        return self._text("start_playback_run Ok")

    def _restart(self, service: Service, request: Request) -> Answer:
        host = _required(request, "host")
        if self.mode is Mode.RELEASED:
            raise CommandError("TypeError('a bytes-like object is required')")
        if error := self._by_ssh(host):
            return self._text(error)
        self._world.restart_service(service, self._site.machine(host).name)
        return self._text("Ok")

    def _logs(self, service: Service, request: Request) -> Answer:
        host = _required(request, "host")
        if error := self._by_ssh(host):
            return self._json([error])
        return self._json(self.logs.files(service, self._site.machine(host).name, self._world.now))

    def _clients(self, request: Request) -> Answer:
        panel = self._panel(request)
        if error := self._by_ssh(panel.host):
            return self._json([[error, True]])
        return self._json(list(self._world.switches.of(panel).items()))

    def _change_client(self, request: Request) -> Answer:
        panel, client = self._panel(request), _required(request, "client")
        if error := self._by_ssh(panel.host):
            return self._text(error)
        if client not in self._world.switches.of(panel):
            return self._text(f"No such client: {client}")
        # Anything but 0 switches on, absent included.
        self._world.switches.set(panel, client, on=request.parameter("state") != "0")
        return self._text("Ok")

    def _panel(self, request: Request) -> Panel:
        """Anything but playback=1 is production, absent included."""
        host = _required(request, "host")
        machine = self._site.find(host)
        return Panel(machine.name if machine else host, request.parameter("playback") == "1")

    def _simulator_host(self, request: Request) -> str:
        return request.parameter("host") or self._site.clusters[Cluster.PLAYBACK][0]

    def _groups(self) -> dict[str, Sequence[str]]:
        groups: dict[str, Sequence[str]] = {
            f"{cluster}_{_RACK}": hosts for cluster, hosts in self._site.clusters.items()
        }
        return {**groups, f"lookarea_{_RACK}": _LOOKAREA}

    def _by_ssh(self, host: str) -> str | None:
        """What an ssh says that fails, which DQM² takes for the answer; `None` if it gets there."""
        machine = self._site.find(host)
        if machine is None:
            return f"ssh: Could not resolve hostname {host}: Name or service not known\r\n"
        if machine.is_ssh_broken:
            return f"ssh: connect to host {_full(machine.name)} port 22: No route to host\r\n"
        return None

    def _json(self, value: Any) -> Answer:
        return self._text(json.dumps(value))

    def _text(self, text: str) -> Answer:
        manner = Manner.CHARACTERS if self.sends_characters else Manner.WHOLE
        return Answer(200, text.encode(), HTML, manner=manner)


def _required(request: Request, name: str) -> str:
    value = request.parameter(name)
    if not value:
        raise CommandError(f"KeyError({name!r})")
    return value


def _number(text: str | None) -> int:
    """A number of lumisections, 0 if it is absent."""
    try:
        return 0 if text is None else int(text)
    except ValueError as error:
        raise CommandError(repr(error)) from error


def _full(host: str) -> str:
    return f"{host}{DOMAIN}"
