"""What every machine tells of itself: its memory with DQM²'s logs, and the disk of a builder unit."""

from collections.abc import Iterable

from simulator import documents
from simulator.daemons import Service, Services
from simulator.machine import Machine
from simulator.runs import fraction
from simulator.scheduler import Agenda

_STATS_EVERY_S = 75.0
_DISKSPACE_EVERY_S = 30.0
_GIB = 1 << 30
_MEMORY_BYTES = 63 * _GIB
_DISK_BYTES = 240 * _GIB


class Vitals:
    """Machines that tell of themselves, by their own clocks, in a rhythm `speed` times the usual."""

    def __init__(self, agenda: Agenda, services: Services, speed: float) -> None:
        self._agenda = agenda
        self._services = services
        self._speed = speed

    def begin(self, machines: Iterable[Machine], builder_units: Iterable[Machine], at: float) -> None:
        """Tells of all now, and goes on."""
        for machine in machines:
            self._tell_memory(machine, at)
        for machine in builder_units:
            self._tell_disk(machine, at)

    def _tell_memory(self, machine: Machine, at: float) -> None:
        self.upload_memory(machine, at)
        self._agenda.add(at + _STATS_EVERY_S / self._speed, lambda now: self._tell_memory(machine, now))

    def _tell_disk(self, machine: Machine, at: float) -> None:
        self.upload_disk(machine, at)
        self._agenda.add(at + _DISKSPACE_EVERY_S / self._speed, lambda now: self._tell_disk(machine, now))

    def upload_memory(self, machine: Machine, at: float) -> None:
        """Memory, and the logs of the machine's DQM²."""
        daemon = self._services.daemon(Service.FFF, machine.name)
        machine.upload(
            documents.stats_document(
                host=machine.name,
                timestamp=at + machine.clock_offset_s,
                total_bytes=_MEMORY_BYTES,
                free_bytes=int(_MEMORY_BYTES * (0.02 + 0.03 * fraction("free", machine.name, at))),
                available_bytes=int(_MEMORY_BYTES * (0.45 + 0.2 * fraction("available", machine.name, at))),
                loggers={
                    "root": daemon.log(),
                    "fff_web": [f"WebSocket connected: ['{machine.name}.cms', 53312]\n"],
                },
                pid=daemon.pid,
                sequence=int((at - daemon.starts[-1]) * self._speed / _STATS_EVERY_S),
            )
        )

    def upload_disk(self, machine: Machine, at: float) -> None:
        """The disk that the run's files come to."""
        free = 0.4 + 0.25 * fraction("disk", machine.name, at)
        machine.upload(
            documents.diskspace_document(
                host=machine.name,
                timestamp=at + machine.clock_offset_s,
                total_bytes=_DISK_BYTES,
                free_bytes=int(_DISK_BYTES * free),
                file_count=int(20_000 * (1 - free)),
            )
        )
