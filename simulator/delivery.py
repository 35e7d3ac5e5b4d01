"""File delivery of a run: arrival time and contents of each stream's files (`dqm-files`)."""

import random
from dataclasses import dataclass, replace
from typing import Any

from dqm2.records import LUMISECTION_S
from simulator import documents
from simulator.machines import Document, DocumentHeader, Machine
from simulator.runs import Run, fraction

# Share of the files that can't be read.
_UNREADABLE_SHARE = 0.004
# Share of the runs without a global file, whose start is a guess.
_GUESSED_START_SHARE = 0.15
# Share of the late files, and the factor by which they are late.
_LATE_SHARE = 0.03
_LATE_FACTOR = 4.0


@dataclass(frozen=True, slots=True)
class _Source:
    """A stream from one storage manager, per lumisection; `delay_s` at the speed of data taking."""

    name: str
    host: str
    delay_s: float
    processed: int
    accepted: int
    bytes_per_event: int


_SOURCES = (
    _Source("streamDQM", "sm-c2a11-43-01", 2.6, 9500, 1200, 92_000),
    _Source("streamDQM", "sm-c2a11-41-01", 3.4, 9300, 15, 92_000),
    _Source("streamDQMCalibration", "sm-c2a11-43-01", 2.9, 9500, 193, 3_100),
    _Source("streamDQMEventDisplay", "sm-c2a11-43-01", 3.8, 5900, 22, 180_000),
    _Source("streamDQMGPUvsCPU", "sm-c2a11-43-01", 3.1, 9500, 142, 120_000),
    _Source("streamDQMHistograms", "sm-c2a11-41-01", 24.0, 11_600, 11_600, 31),
    _Source("streamDQMOnlineBeamspot", "sm-c2a11-43-01", 4.4, 9500, 310, 9_000),
    _Source("streamDQMPPSRandom", "sm-c2a11-41-01", 2.2, 9500, 11, 4_000),
    _Source("streamHLTRates", "sm-c2a11-41-01", 17.0, 11_600, 1, 9_700),
    _Source("streamL1Rates", "sm-c2a11-41-01", 15.5, 11_600, 1, 4_100),
)


def upload_delivery(machine: Machine, run: Run, at: float) -> None:
    """Upload the delivery report of a run, with all times by the builder unit's clock."""
    local_run = replace(run, started_at=run.started_at + machine.clock_offset_s)
    local_at = at + machine.clock_offset_s
    header = DocumentHeader(
        documents.files_id(run.number, machine.name),
        timestamp=local_at,
        type="dqm-files",
        hostname=machine.name,
        tag="analyze_files",
        run=run.number,
    )
    machine.upload_lazily(header, lambda: _document(local_run, machine.name, local_at))


def _document(run: Run, host: str, at: float) -> Document:
    streams = {f"{source.name}_{source.host}": _stream(source, run, at) for source in _SOURCES}
    has_file = any(stream["lumis"] for stream in streams.values())
    is_guess = fraction(run.seed, run.number, "start") < _GUESSED_START_SHARE
    return documents.files_document(
        host=host,
        run=run.number,
        timestamp=at,
        global_start=run.started_at,
        streams=streams,
        extra={
            "global_start": run.started_at if has_file else None,
            "global_start_source": "first_lumi" if is_guess else "global_file",
            "lumi": run.lumisection_s,
        },
    )


def _stream(source: _Source, run: Run, at: float) -> dict[str, list[Any]]:
    """The files that have arrived, in the arbitrary order of a directory listing."""
    arrivals = [(n, _arrival(source, run, n)) for n in range(1, run.lumisections + 1)]
    arrived = [(n, arrived_at) for n, arrived_at in arrivals if arrived_at <= at]
    order = random.Random(f"{run.seed}/{run.number}/{source.name}/{len(arrived)}")  # noqa: S311 - a simulation
    order.shuffle(arrived)
    files = [_file(source, run, n) for n, _ in arrived]
    return documents.stream(
        [n for n, _ in arrived],
        [arrived_at for _, arrived_at in arrived],
        processed=[processed for processed, _, _ in files],
        accepted=[accepted for _, accepted, _ in files],
        sizes=[size for _, _, size in files],
    )


def _arrival(source: _Source, run: Run, lumisection: int) -> float:
    """Arrival time of a file, unix seconds; its delay is scaled with the speed of the run."""
    key = (run.seed, run.number, source.name, source.host, lumisection)
    factor = 0.8 + 0.5 * fraction("delay", *key)
    if fraction("late", *key) < _LATE_SHARE:
        factor *= _LATE_FACTOR
    return run.closed_at(lumisection) + source.delay_s * factor / LUMISECTION_S * run.lumisection_s


def _file(source: _Source, run: Run, lumisection: int) -> tuple[int, int, int]:
    """Events processed and accepted, and bytes; -1 if the file can't be read."""
    key = (run.seed, run.number, source.name, source.host, lumisection)
    if fraction("unreadable", *key) < _UNREADABLE_SHARE:
        return -1, -1, -1
    delivered = 0.8 + 0.4 * fraction(run.seed, run.number, source.name, lumisection)
    accepted = max(1, int(source.accepted * delivered))
    return int(source.processed * delivered), accepted, 340_000 + accepted * source.bytes_per_event
