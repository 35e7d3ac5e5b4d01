"""`POST /simulator/<command>`: remote control of the simulator for other processes, and its client.

No part of DQM²'s protocol. A command's parameters are the JSON object in the body; an error is a 400 with a
message.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self
from urllib.parse import urljoin

import requests

from dqmsquare_cfg import Cluster
from simulator.certificates import CertificateAuthority
from simulator.control_commands import CommandMode, ControlCommands
from simulator.fault_injection import FaultInjector
from simulator.http_types import RecordedRequest, Request, RequestRecorder, Response
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Topology
from simulator.world import World

ADMIN_PATH = "/simulator/"
_TIMEOUT_S = 600.0


class AdminEndpoint:
    """Faults, machines, documents, recorded requests and forced events."""

    def __init__(
        self,
        topology: Topology,
        world: World,
        faults: FaultInjector,
        control: ControlCommands,
        recorder: RequestRecorder,
    ) -> None:
        self._topology = topology
        self._world = world
        self._faults = faults
        self._control = control
        self._commands: Mapping[str, Callable[..., Any]] = {
            "status": self._status,
            "set-mode": self._set_mode,
            "add-fault": faults.add,
            "clear-faults": faults.clear,
            "set-machine": self._set_machine,
            "upload": self._upload,
            "fill": self._fill,
            "reset": lambda machine: topology.machine(machine).reset(),
            "prune": lambda machine, count: topology.machine(machine).prune(count),
            "delete": lambda machine, document_id: topology.machine(machine).delete(document_id),
            "documents": lambda machine: topology.machine(machine).documents(),
            "headers": lambda machine: topology.machine(machine).headers(),
            "requests": lambda: [_as_json(recorded) for recorded in recorder.requests()],
            "clear-requests": recorder.clear,
            "event": self._event,
            "advance": world.advance,
        }
        # Each takes a cluster and parameters of its own, e.g. `crash` a client and an exit code.
        self._events: Mapping[str, Callable[..., Any]] = {
            "start_run": world.start_run,
            "end_run": world.end_run,
            "crash": world.crash,
            "finish": world.finish,
            "hang": world.hang,
            "stall": world.stall,
            "vanish": world.vanish,
            "start_extra_job": world.start_extra_job,
            "report_all": world.report_all,
        }

    def respond(self, request: Request) -> Response:
        """The response to a request below ADMIN_PATH."""
        command = self._commands.get(request.path.removeprefix(ADMIN_PATH))
        if request.method != "POST" or command is None:
            return _json(404, {"error": f"POST one of: {', '.join(self._commands)}"})
        try:
            return _json(200, command(**json.loads(request.body or b"{}")))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            return _json(400, {"error": str(error)})

    def _status(self) -> dict[str, Any]:
        return {
            "now": self._world.now,
            "mode": self._control.mode,
            "faults": [asdict(fault) for fault in self._faults.active()],
            "clusters": {cluster: self._cluster(cluster) for cluster in Cluster},
            "machines": {
                machine.name: {
                    "highest_revision": machine.highest_revision,
                    "documents": len(machine.headers_above(None)),
                    "is_dead": machine.is_dead,
                    "is_ssh_broken": machine.is_ssh_broken,
                }
                for machine in self._topology.machines
            },
        }

    def _cluster(self, cluster: Cluster) -> dict[str, Any]:
        run = self._world.current_run(cluster)
        return {
            "run": run.number if run else None,
            "lumisection": run.lumisection(self._world.now) if run else None,
            "jobs": [
                {"client": job.client.name, "run": job.run.number, "host": job.host, "pid": job.pid}
                for job in self._world.jobs(cluster)
            ],
        }

    def _set_mode(self, mode: str) -> None:
        self._control.mode = CommandMode(mode)

    def _set_machine(
        self, machine: str, *, is_dead: bool | None = None, is_ssh_broken: bool | None = None
    ) -> None:
        target = self._topology.machine(machine)
        if is_dead is not None:
            target.is_dead = is_dead
        if is_ssh_broken is not None:
            target.is_ssh_broken = is_ssh_broken

    def _upload(self, machine: str, documents: list[dict[str, Any]]) -> list[int]:
        """Upload documents and return their revisions."""
        return [self._topology.machine(machine).upload(document) for document in documents]

    def _fill(self, machine: str, count: int, *, small: bool = False, cache_json: bool = False) -> int:
        """Upload finished jobs; `cache_json` serializes them now, so that serving costs almost nothing."""
        target = self._topology.machine(machine)
        upload_finished_jobs(target, count, self._world.secrets, small=small)
        if cache_json:
            target.cache_json()
        return target.highest_revision

    def _event(self, event: str, cluster: str, **parameters: Any) -> None:
        if event not in self._events:
            raise ValueError(f"unknown event {event!r}; known events: {', '.join(self._events)}")
        self._events[event](cluster, **parameters)


class AdminError(Exception):
    """Raised when the simulator rejects a command; the message is its own."""


class AdminClient:
    """Client of the simulator at a base URL, with the certificates of the simulator's folder."""

    def __init__(self, base_url: str, folder: Path) -> None:
        authority = CertificateAuthority(folder)
        self._url = urljoin(base_url, ADMIN_PATH)
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.cert = (str(authority.client.certificate), str(authority.client.key))
        self._session.verify = str(authority.ca_path)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._session.close()

    def call(self, command: str, **parameters: Any) -> Any:
        """Run a command and return its result, e.g. `call("reset", machine="dqmfu-c2b03-45-01")`.

        Raises AdminError if the simulator rejects it.
        """
        response = self._session.post(f"{self._url}{command}", json=parameters, timeout=_TIMEOUT_S)
        if response.status_code != requests.codes.ok:
            raise AdminError(response.json()["error"])
        return response.json()


def _as_json(recorded: RecordedRequest) -> dict[str, Any]:
    return {**asdict(recorded), "body": recorded.body.decode(errors="replace")}


def _json(status: int, value: Any) -> Response:
    return Response(status, json.dumps(value).encode())
