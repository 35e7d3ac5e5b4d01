"""Logs that look like those of a DQM client's `cmsRun`: settings, input files, records, messages, end.

The log of a job follows from its plan. Only its head and tail are generated, as DQM²'s monitor keeps no more.
"""

import random
import time
from collections.abc import Iterable, Iterator
from functools import lru_cache

from simulator import crash_log
from simulator.documents import STORAGE_MANAGER, command_line
from simulator.fake_secrets import FakeSecrets
from simulator.runs import KILLED_EXIT_CODE, Job, JobOutcome

# A monitor keeps this much of either end.
_MAX_CHARACTERS = 15_000
_MAX_LINES = 256
_SNAPSHOT_INTERVAL = 15
_MAX_RECORDS_PER_LUMISECTION = 9
# Shares of the lumisections with sensitive data, a message and a very long line.
_SECRET_SHARE = 0.4
_MESSAGE_SHARE = 0.3
_LONG_LINE_SHARE = 0.02
_OTHER_STREAMS = ("streamDQM", "streamDQMCalibration", "streamDQMEventDisplay", "streamDQMGPUvsCPU")

# Severity, module, text.
_MESSAGES = (
    ("w", "L1TStage2uGMT", "muon index 5 of bunch crossing 1 has no match"),
    ("w", "SiPixelRawToDigi", "siPixelDigis@cpu: 3 errors in FED 1217, type 30"),
    ("e", "EcalDQM", "TowerStatus: 12 channels of EB-09 without pedestal, expected 1700"),
    ("w", "HcalUnpacker", "hcalGPUComparisonTask: capid rotation 2 at (ieta, iphi) = (-17, 43)"),
    ("i", "BeamSpotDipServer", "beamSpotDipServer@endLumi: fit converged, width 0.0021 +- 0.00013 cm"),
    ("w", "CSCDigi", "csc::Monitor: DDU 724, 0x8000 0x0001 0xffff"),
    ("e", "TrackRefitter", "reco::Track with chi2/ndof = 1.7e+02 dropped"),
)
_WITH_RAW_DATA_ERRORS = ("sistrip", "beam", "mutracking")
_RAW_DATA_ERRORS = 14


class JobLog:
    """The log of a job. Lines end in a newline; times are in UTC."""

    def __init__(self, job: Job, secrets: FakeSecrets) -> None:
        self._job = job
        self._secrets = secrets
        self._folder = f"/fff/BU0/ramdisk/run{job.run.number}"

    def head(self, at: float) -> list[str]:
        """The first lines of the log as written until `at`."""
        return list(_limited(line for part in self._parts(at) for line in _split(part)))

    def tail(self, at: float) -> list[str]:
        """The last lines of the log as written until `at`."""
        newest_first = (line for part in self._parts_backwards(at) for line in reversed(_split(part)))
        return list(_limited(newest_first))[::-1]

    def _parts(self, at: float) -> Iterator[list[str]]:
        yield self._start()
        for lumisection in range(self._job.first_lumisection, self._job.lumisection(at) + 1):
            yield self._lumisection(lumisection)
        yield self._end(at)

    def _parts_backwards(self, at: float) -> Iterator[list[str]]:
        yield self._end(at)
        for lumisection in range(self._job.lumisection(at), self._job.first_lumisection - 1, -1):
            yield self._lumisection(lumisection)
        yield self._start()

    def _start(self) -> list[str]:
        job = self._job
        command = command_line(job.client.tag, job.run.number, job.run.run_key, job.run.installation)
        started = _time(job.started_at)
        rng = self._rng("beginning")
        return [
            f"-- starting process: {command} --\n",
            *_settings("Initial", job, "streamDQM", at_least=1),
            "Loaded configuration file from: ['/etc/dqm_run_config']\n",
            *self._secrets.log_lines(rng),
            *_settings("Final", job, job.client.stream, at_least=100),
            f"Monitoring pipe: /tmp/dqm_monitoring/.es_monitoring_pid{job.pid - 1:08d}\n",
            f"{started}  Waiting for the first lumi in order to initialize.\n",
            *self._secrets.log_lines(rng),
            f"{started}  DQMStreamerReader initialised.\n",
            *self._raw_data_errors(started),
        ]

    def _lumisection(self, number: int) -> list[str]:
        job = self._job
        rng = self._rng(number)
        seen = _time(job.seen_at(number))
        file = f"{self._folder}/{self._file(number, job.client.stream)}"
        lines = [
            f"{seen}  Found and loaded json file: {file}.jsn\n",
            f"{seen}  Initiating request to open file {file}.dat\n",
            f"{seen}  Successfully opened file {file}.dat\n",
            *self._records(number, rng),
            f"{seen}  Closed file {file}.dat\n",
        ]
        if rng.random() < _SECRET_SHARE:
            lines[3:3] = self._secrets.log_lines(rng)
        if rng.random() < _MESSAGE_SHARE:
            lines[-1:-1] = self._message(number, rng)
        if rng.random() < _LONG_LINE_SHARE:
            lines.append(f"Booked: {' '.join(f'h_{job.client.name}_{n}' for n in range(150))}\n")
        if number % _SNAPSHOT_INTERVAL == 0:
            lines += self._snapshot(number, seen)
        return [*self._other_streams(number, rng, seen), *lines]

    def _file(self, number: int, stream: str) -> str:
        return f"run{self._job.run.number}_ls{number:04d}_{stream}_{STORAGE_MANAGER}"

    def _other_streams(self, number: int, rng: random.Random, seen: str) -> list[str]:
        own = self._job.client.stream
        return [
            f"{seen}  Found and skipped json file (stream label mismatch, "
            f"{other} [files] != {own} [config]): {self._folder}/{self._file(number, other)}.jsn\n"
            for other in _OTHER_STREAMS
            if other != own and rng.random() < 0.3
        ]

    def _records(self, number: int, rng: random.Random) -> list[str]:
        job = self._job
        if not job.client.events_per_s:
            return []
        first, count = (
            (number - 1) * _MAX_RECORDS_PER_LUMISECTION + 1,
            rng.randint(5, _MAX_RECORDS_PER_LUMISECTION),
        )
        at = job.seen_at(number)
        event = number * 11_000
        lines: list[str] = []
        for record in range(first, first + count):
            event += rng.randint(20, 900)
            at += 0.001 * rng.randint(1, 9)
            lines.append(
                f"Begin processing the {_ordinal(record)} record. Run {job.run.number}, Event {event}, "
                f"LumiSection {number} on stream 0 at {_time(at, milliseconds=True)}\n"
            )
        return lines

    def _message(self, number: int, rng: random.Random) -> list[str]:
        severity, module, text = rng.choice(_MESSAGES)
        seen = _time(self._job.seen_at(number))
        where = f"{module}:{module.lower()} {seen} Run: {self._job.run.number} Lumi: {number}"
        return [
            f"%MSG-{severity} {module}:  {where}\n",
            f"{text}\n",
            "%MSG\n",
        ]

    def _snapshot(self, number: int, seen: str) -> list[str]:
        job = self._job
        file = self._root_file()
        own = f"host{job.host}_pid{job.pid:08d}"
        return [
            f"{seen}  Writing DQM Root file: {file}.ls{number:08d}_{own}\n",
            f"{seen}  Deleting old snapshot (root): {file}.ls{number - _SNAPSHOT_INTERVAL:08d}_{own}\n",
        ]

    def _root_file(self) -> str:
        return f"./upload/DQM_V0001_{self._job.client.name.title()}_R{self._job.run.number:09d}.root"

    def _end(self, at: float) -> list[str]:
        """The last lines of the log at a time."""
        job = self._job
        exit_code = job.exit_code_at(at)
        if exit_code is None:
            return self._waiting(at) if job.outcome is JobOutcome.STALLED else []
        if exit_code == 0:
            lines = self._finished()
        elif exit_code == KILLED_EXIT_CODE:
            lines = []
        else:
            lines = self._crashed(exit_code)
        return [*lines, f"-- process exit: {exit_code} --\n"]

    def _waiting(self, at: float) -> list[str]:
        """A stalled job logs a line with every report."""
        job = self._job
        if job.outcome_at is None or at < job.outcome_at:
            return []
        waits = [t for t in job.reports_until(at) if t > job.outcome_at][-20:]
        number = job.lumisection(at) + 1
        return [f"{_time(t)}  Waiting for the next event of lumi {number}: ESProducer busy\n" for t in waits]

    def _finished(self) -> list[str]:
        job = self._job
        end = _time(job.ended_at)
        return [
            f"{end}  EoR file found: {self._folder}/run{job.run.number}_ls0000_EoR.jsn\n",
            f"{end}  Streamer state changed: 0->1\n",
            f"{end}  Writing DQM Root file: {self._root_file()}\n",
            "DQMFileSaver::globalEndRun()\n",
            *self._secrets.log_lines(self._rng("end")),
            "\n=============================================\n",
            "\nMessageLogger Summary\n",
            "\n type     category        sev    module        subroutine        count    total\n",
            " ---- -------------------- -- ---------------- ----------------  -----    -----\n",
            f"    1 fileAction           -s DQMFileSaverOnli                 {job.run.lumisections:>7}\n",
            "\ndropped waiting message count 0\n\n",
        ]

    def _crashed(self, exit_code: int) -> list[str]:
        job = self._job
        rng = self._rng("end")
        newest = job.lumisection(job.ended_at)
        crash = crash_log.Crash(
            client=job.client.name,
            release=job.run.installation,
            run=job.run.number,
            lumisection=newest,
            file=f"{self._folder}/{self._file(newest, job.client.stream)}.dat",
            at=_time(job.ended_at),
            exit_code=exit_code,
        )
        return [*self._secrets.log_lines(rng), *crash_log.last_lines(crash, rng)]

    def _raw_data_errors(self, started: str) -> list[str]:
        """Errors that clients of the strip tracker log at the start of every run, good or not."""
        if not self._job.client.name.startswith(_WITH_RAW_DATA_ERRORS):
            return []
        where = f"SiStripRawToDigiModule:siStripDigis  {started} Run: {self._job.run.number}"
        return [f"%MSG-e TooManyErrors:  {where}\nTotal number of errors = 3\n%MSG\n"] * _RAW_DATA_ERRORS

    def _rng(self, part: object) -> random.Random:
        job = self._job
        return random.Random(f"{job.run.seed}/{job.run.number}/{job.pid}/{part}")  # noqa: S311 - a simulation


def _settings(which: str, job: Job, stream: str, *, at_least: int) -> list[str]:
    rows = (
        "SelectEvents = cms.untracked.vstring('*')",
        "delayMillis = cms.untracked.uint32(500)",
        "deleteDatFiles = cms.untracked.bool(False)",
        "endOfRunKills = cms.untracked.bool(True)",
        f"minEventsPerLumi = cms.untracked.int32({at_least})",
        "nextLumiTimeoutMillis = cms.untracked.int32(240000)",
        "runInputDir = cms.untracked.string('/fff/BU0/ramdisk')",
        f"runNumber = cms.untracked.uint32({job.run.number})",
        f"skipFirstLumis = cms.untracked.bool({job.first_lumisection > 1})",
        f"streamLabel = cms.untracked.string('{stream}')",
    )
    return [
        f'{which} Source settings: cms.Source("DQMStreamerReader",\n',
        *(f"    {row},\n" for row in rows),
        ")\n",
        "\n",
    ]


def _split(part: list[str]) -> list[str]:
    """A part of the log with one line per entry."""
    return "".join(part).splitlines(keepends=True)


def _limited(lines: Iterable[str]) -> Iterator[str]:
    """Lines up to a monitor's limits, including the line that exceeds them."""
    characters = 0
    for number, line in enumerate(lines):
        if characters >= _MAX_CHARACTERS or number >= _MAX_LINES:
            return
        yield line
        characters += len(line)


def _time(at: float, *, milliseconds: bool = False) -> str:
    text = _second(int(at))
    return f"{text}.{int(at % 1 * 1000):03d} UTC" if milliseconds else f"{text} UTC"


@lru_cache(maxsize=1024)
def _second(at: int) -> str:
    return time.strftime("%d-%b-%Y %H:%M:%S", time.gmtime(at))


def _ordinal(number: int) -> str:
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return f"{number}{ {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th') }"
