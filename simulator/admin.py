"""`POST /simulator/<verb>`: how another process tells the simulator what to do; no part of DQM²'s protocol.

A verb is a method below; the JSON object in the body holds its parameters. What can't be done is a 400 with
a sentence.
"""

import dataclasses
import json
from collections.abc import Callable, Mapping
from typing import Any

from dqmsquare_cfg import Cluster
from simulator.bulk_documents import fill
from simulator.control_commands import Control, Mode
from simulator.fault_injection import Faults
from simulator.http_types import Answer, Request
from simulator.request_recorder import Recorded, Recorder
from simulator.topology import Site
from simulator.world import World

ADMINISTRATION_PATH = "/simulator/"


class Administration:
    """Answers for faults, machines, documents, recorded requests and forced events."""

    def __init__(
        self, site: Site, world: World, faults: Faults, control: Control, recorder: Recorder
    ) -> None:
        self._site = site
        self._world = world
        self._faults = faults
        self._control = control
        self._recorder = recorder
        self._verbs: Mapping[str, Callable[..., Any]] = {
            "status": self._status,
            "mode": self._mode,
            "add-fault": faults.add,
            "clear-faults": faults.clear,
            "machine": self._machine,
            "upload": self._upload,
            "fill": self._fill,
            "reset": lambda machine: site.machine(machine).reset(),
            "prune": lambda machine, count: site.machine(machine).prune(count),
            "delete": lambda machine, document_id: site.machine(machine).delete(document_id),
            "documents": lambda machine: site.machine(machine).documents(),
            "headers": lambda machine: site.machine(machine).headers(),
            "requests": lambda: [_readable(recorded) for recorded in recorder.requests()],
            "clear-requests": recorder.clear,
            "event": self._event,
            "advance": world.advance,
        }

    def answer(self, request: Request) -> Answer:
        """The answer to a request below ADMINISTRATION_PATH."""
        verb = self._verbs.get(request.path.removeprefix(ADMINISTRATION_PATH))
        if request.method != "POST" or verb is None:
            return _json(404, {"error": f"POST one of: {', '.join(self._verbs)}"})
        try:
            return _json(200, verb(**json.loads(request.body or b"{}")))
        except (LookupError, TypeError, ValueError, RuntimeError) as error:
            return _json(400, {"error": str(error)})

    def _status(self) -> dict[str, Any]:
        return {
            "now": self._world.now,
            "mode": self._control.mode,
            "faults": [dataclasses.asdict(fault) for fault in self._faults.active()],
            "clusters": {cluster: self._cluster(cluster) for cluster in Cluster},
            "machines": {
                machine.name: {
                    "highest_revision": machine.highest_revision,
                    "documents": len(machine.headers_above(None)),
                    "is_dead": machine.is_dead,
                    "is_ssh_broken": machine.is_ssh_broken,
                }
                for machine in self._site.machines
            },
        }

    def _cluster(self, cluster: Cluster) -> dict[str, Any]:
        run = self._world.run(cluster)
        return {
            "run": run.number if run else None,
            "lumisection": run.lumisection(self._world.now) if run else None,
            "jobs": [
                {"client": job.client.name, "run": job.run.number, "host": job.host, "pid": job.pid}
                for job in self._world.jobs(cluster)
            ],
        }

    def _mode(self, mode: str) -> None:
        self._control.mode = Mode(mode)

    def _machine(
        self, machine: str, *, is_dead: bool | None = None, is_ssh_broken: bool | None = None
    ) -> None:
        told = self._site.machine(machine)
        if is_dead is not None:
            told.is_dead = is_dead
        if is_ssh_broken is not None:
            told.is_ssh_broken = is_ssh_broken

    def _upload(self, machine: str, documents: list[dict[str, Any]]) -> list[int]:
        """The documents' new revisions."""
        return [self._site.machine(machine).upload(document) for document in documents]

    def _fill(self, machine: str, count: int, *, small: bool = False, keep_answers: bool = False) -> int:
        """Documents of the past; `keep_answers` writes them out now, so that serving costs nearly nothing."""
        filled = self._site.machine(machine)
        fill(filled, count, self._world.sensitive, small=small)
        if keep_answers:
            filled.keep_answers()
        return filled.highest_revision

    def _event(self, event: str, cluster: str, **parameters: Any) -> None:
        """An event of the world by its method's name, e.g. `crash` with `client` and `exit_code`."""
        world = self._world
        events: Mapping[str, Callable[..., Any]] = {
            "next_run": world.next_run,
            "end_run": world.end_run,
            "crash": world.crash,
            "finish": world.finish,
            "hang": world.hang,
            "stand_still": world.stand_still,
            "vanish": world.vanish,
            "start_another": world.start_another,
            "report_all": world.report_all,
        }
        if event not in events:
            raise ValueError(f"{event!r} is no event; there are: {', '.join(events)}")
        events[event](cluster, **parameters)


def _readable(recorded: Recorded) -> dict[str, Any]:
    return {**dataclasses.asdict(recorded), "body": recorded.body.decode(errors="replace")}


def _json(status: int, value: Any) -> Answer:
    return Answer(status, json.dumps(value).encode())
