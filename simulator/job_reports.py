"""The `dqm-source-state` document of a simulated job at a given time, built from its plan."""

import itertools
import json
import math
import random
import time
from dataclasses import replace
from functools import cached_property
from typing import Any

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator import documents
from simulator.clients import CLIENTS
from simulator.cmssw_log import JobLog
from simulator.fake_secrets import FakeSecrets
from simulator.machines import Document, DocumentHeader, Machine
from simulator.runs import Job, Run, fraction

# Share of the jobs whose monitor sends the log as one string, or as a JSON list in a string.
_LOG_IS_STRING_SHARE = 0.03
_LOG_IS_JSON_SHARE = 0.03
# Share of the jobs that miss some of their input.
_MISSED_INPUT_SHARE = 0.25
_MISSED_LUMISECTIONS = 3
# Share of the lumisections with an interim entry in `lumi_stats`.
_INTERIM_SHARE = 0.2

_FIRST_BULK_RUN = 300_000
_BULK_JOBS_PER_RUN = 30
_BULK_LUMISECTIONS = 40


def upload_job_report(machine: Machine, job: Job, at: float, secrets: FakeSecrets) -> None:
    """Upload the report of a job, with all times by the machine's clock."""
    local_job, local_at = _shifted(job, machine.clock_offset_s), at + machine.clock_offset_s
    machine.upload_lazily(
        _header(local_job, local_at), lambda: JobReport(local_job, secrets).document(local_at)
    )


def upload_finished_jobs(machine: Machine, count: int, secrets: FakeSecrets, *, small: bool = False) -> None:
    """Upload `count` documents of finished jobs, for benchmarks: 41 kB each, or `small` ones without logs.

    Further calls add more.
    """
    existing = len(machine.headers_above(None))
    now = time.time()
    numbers = range(existing, existing + count)
    for run_index, of_run in itertools.groupby(numbers, lambda number: number // _BULK_JOBS_PER_RUN):
        run = Run(
            Cluster.PRODUCTION,
            _FIRST_BULK_RUN + run_index,
            "pp_run",
            documents.INSTALLATION,
            1,
            now - 2 * _BULK_LUMISECTIONS * LUMISECTION_S,
            _BULK_LUMISECTIONS,
            LUMISECTION_S,
        )
        for number in of_run:
            client = CLIENTS[number % _BULK_JOBS_PER_RUN]
            job = Job(run, client, machine.name, 10_000 + number % 89_999, run.started_at)
            if small:
                _upload_small_report(machine, job)
            else:
                upload_job_report(machine, job, job.ended_at, secrets)


def _upload_small_report(machine: Machine, job: Job) -> None:
    def build() -> Document:
        return documents.job_document(
            host=job.host,
            run=job.run.number,
            tag=job.client.tag,
            pid=job.pid,
            timestamp=job.ended_at,
            exit_code=0,
            lumisections=2,
        )

    machine.upload_lazily(_header(job, job.ended_at), build)


def _header(job: Job, at: float) -> DocumentHeader:
    return DocumentHeader(
        documents.job_id(job.run.number, job.host, job.pid),
        timestamp=at,
        type="dqm-source-state",
        hostname=job.host,
        tag=job.client.tag,
        run=job.run.number,
    )


def _shifted(job: Job, seconds: float) -> Job:
    """The job with all times moved by some seconds."""
    return replace(
        job,
        run=replace(job.run, started_at=job.run.started_at + seconds),
        started_at=job.started_at + seconds,
        outcome_at=None if job.outcome_at is None else job.outcome_at + seconds,
    )


class JobReport:
    """Builder of a job's document."""

    def __init__(self, job: Job, secrets: FakeSecrets) -> None:
        self._job = job
        self._secrets = secrets

    def document(self, at: float) -> Document:
        """The job's document at a time."""
        job = self._job
        memory = self._memory(at)
        _, size_kb, rss_kb = memory[-1]
        log = JobLog(job, self._secrets)
        return documents.job_document(
            host=job.host,
            run=job.run.number,
            tag=job.client.tag,
            pid=job.pid,
            timestamp=at,
            exit_code=job.exit_code_at(at),
            run_key=job.run.run_key,
            installation=job.run.installation,
            extra={
                "environ": self._environment(),
                "ps_info": documents.process_status(job.pid, size_kb=size_kb, rss_kb=rss_kb),
                "mem_info": {f"{t:.6f}": documents.statm_line(size, rss) for t, size, rss in memory},
                "lumi_stats": self._lumi_stats(at),
                "lumi_seen": self._lumi_seen(at),
                "stdlog_start": self._as_sent(log.head(at)),
                "stdlog_end": self._as_sent(log.tail(at)),
            },
            without=("events_total", "events_rate", "cmssw_run", "cmssw_lumi", "fi_state"),
            **self._own_fields(at),
        )

    def _events(self, lumisection: int) -> int:
        """The job's events in a lumisection, 0 if its input was missed."""
        job, run = self._job, self._job.run
        if lumisection in self._missed:
            return 0
        # All clients of a stream receive the same events, and skip a few for lack of time.
        delivered = 0.8 + 0.4 * fraction(run.seed, run.number, job.client.stream, lumisection)
        processed = 1 - 0.04 * job.fraction("taken", lumisection)
        return int(job.client.events_per_s * LUMISECTION_S * delivered * processed)

    def _own_fields(self, at: float) -> dict[str, Any]:
        """The fields that the C++ job reports itself, as strings; none before its first lumisection."""
        job = self._job
        newest = job.lumisection(at)
        if newest < job.first_lumisection and not job.has_ended(at):
            return {}
        if not job.client.events_per_s:
            empty = {"events_total": "0", "cmssw_run": "0", "cmssw_lumi": "0"}
            return {**empty, "fi_state": self._input_state(at)}
        counts = [self._events(number) for number in range(job.first_lumisection, newest + 1)]
        return {
            "events_total": str(sum(counts)),
            "events_rate": f"{(counts or [0])[-1] / LUMISECTION_S:.9g}",
            # The events of a playback run are those of the run that it plays.
            "cmssw_run": str(job.run.source_run or job.run.number),
            "cmssw_lumi": str(newest),
            "fi_state": self._input_state(at),
        }

    def _input_state(self, at: float) -> str:
        """`0` open, `1` end of run seen, `2` done."""
        job = self._job
        if job.lumisection(at) < job.run.lumisections:
            return "0"
        return "2" if job.has_ended(at) and job.fraction("input") < 0.3 else "1"

    @cached_property
    def _missed(self) -> frozenset[int]:
        """The lumisections whose input timed out."""
        job = self._job
        if job.fraction("misses") >= _MISSED_INPUT_SHARE:
            return frozenset()
        first = job.first_lumisection + int(job.fraction("missed") * job.run.lumisections)
        return frozenset(range(first, min(first + _MISSED_LUMISECTIONS, job.run.lumisections)))

    def _environment(self) -> dict[str, str]:
        job = self._job
        rng = random.Random(f"{job.run.seed}/{job.run.number}/{job.pid}")  # noqa: S311 - a simulation
        return {
            **documents.environment(job.host, job.run.number, job.pid),
            **self._secrets.environment(rng),
        }

    def _memory(self, at: float) -> list[tuple[float, int, int]]:
        """Time, size and resident memory (kB) of each report: memory fills up, and some jobs leak."""
        job = self._job
        leak = 0.004 if job.fraction("leaks") < 0.05 else 0.0
        series: list[tuple[float, int, int]] = []
        for number, reported_at in enumerate(job.reports_until(at)):
            filled = 0.5 + 0.5 * (1 - math.exp(-(number + 1) / 2)) + leak * number
            rss_kb = int(job.client.rss_kb * filled * (1 + 0.002 * job.fraction("rss", number)))
            series.append((reported_at, rss_kb * 3, rss_kb))
        return series

    def _lumi_stats(self, at: float) -> dict[str, dict[str, str]]:
        """Events by lumisection; one with an interim entry appears twice."""
        job = self._job
        entries: dict[str, dict[str, str]] = {}
        for number in range(job.first_lumisection, job.lumisection(at) + 1):
            if number in self._missed:
                continue
            seen_at, count = job.seen_at(number), self._events(number)
            if job.fraction("between", number) < _INTERIM_SHARE:
                interim_at = seen_at - 0.4 * job.run.lumisection_s
                entries[f"{interim_at:.6f}"] = documents.lumisection_entry(number, count * 3 // 5, 13_986)
            entries[f"{seen_at:.6f}"] = documents.lumisection_entry(number, count)
        return entries

    def _lumi_seen(self, at: float) -> dict[str, str]:
        job = self._job
        newest = job.lumisection(at)
        fates = dict.fromkeys(range(1, job.first_lumisection), "skipped: fast-forward to the latest lumi")
        for number in range(job.first_lumisection, newest + 1):
            fates[number] = "skipped: timeout" if number in self._missed else "close: ok"
        if not job.client.events_per_s:
            fates = {1: "close: eof"}
        elif newest == job.run.lumisections:
            fates[newest] = "close: eof"
        elif not job.has_ended(at):
            fates[newest + 1] = "open: file iterator"
        return {f"lumi{number:06d}": fate for number, fate in fates.items()}

    def _as_sent(self, lines: list[str]) -> Any:
        """Log lines in the format of this job's monitor: a list from new ones, a string from old ones."""
        kind = self._job.fraction("monitor")
        if kind < _LOG_IS_STRING_SHARE:
            return "".join(lines)
        return json.dumps(lines) if kind < _LOG_IS_STRING_SHARE + _LOG_IS_JSON_SHARE else lines
