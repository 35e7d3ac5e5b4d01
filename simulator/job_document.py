"""A job's document at a moment of its life, written from its plan."""

import json
import math
import random
from functools import cached_property
from typing import Any

from dqm2.records import LUMISECTION_S
from simulator import documents
from simulator.cmssw_log import JobLog
from simulator.fake_secrets import Sensitive
from simulator.machine import Document, Draft
from simulator.runs import Job, fraction

# Of all jobs this part has a monitor that sends the log as one text, and this as a JSON list in a text.
_SENDS_ONE_TEXT = 0.03
_SENDS_LIST_IN_A_TEXT = 0.03
# Of all jobs this part has missed some of its input.
_MISSES_INPUT = 0.25
_MISSED_LUMISECTIONS = 3
# Of all lumisections this part was reported in between, before it was over.
_REPORTED_BETWEEN = 0.2


def draft(job: Job, at: float, sensitive: Sensitive) -> Draft:
    """The report of a job at a time by its machine's clock, to be written out when it is asked for."""
    return Draft(
        documents.job_id(job.run.number, job.host, job.pid),
        lambda: JobLife(job, sensitive).document(at),
        timestamp=at,
        type="dqm-source-state",
        hostname=job.host,
        tag=job.client.tag,
        run=job.run.number,
    )


class JobLife:
    """What a job reports; all times are its machine's, in unix seconds."""

    def __init__(self, job: Job, sensitive: Sensitive) -> None:
        self._job = job
        self._sensitive = sensitive

    def document(self, at: float) -> Document:
        """The job's document as it is reported at a time."""
        job = self._job
        memory = self._memory(at)
        _, size_kb, rss_kb = memory[-1]
        log = JobLog(job, self._sensitive)
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
                "mem_info": {f"{t:.6f}": documents.memory_line(size, rss) for t, size, rss in memory},
                "lumi_stats": self._lumi_stats(at),
                "lumi_seen": self._lumi_seen(at),
                "stdlog_start": self._as_sent(log.head(at)),
                "stdlog_end": self._as_sent(log.tail(at)),
            },
            without=("events_total", "events_rate", "cmssw_run", "cmssw_lumi", "fi_state"),
            **self._own_report(at),
        )

    def events(self, lumisection: int) -> int:
        """The job's events in a lumisection; none where its input was missed."""
        job = self._job
        if lumisection in self._missed:
            return 0
        # All clients of a stream see the same events, less what one of them was too late for.
        run = job.run
        delivered = 0.8 + 0.4 * fraction(run.seed, run.number, job.client.stream, lumisection)
        taken = 1 - 0.04 * job.fraction("taken", lumisection)
        return int(job.client.events_a_second * LUMISECTION_S * delivered * taken)

    def _own_report(self, at: float) -> dict[str, Any]:
        """What the C++ job itself says, all of it text; nothing before its first lumisection."""
        job = self._job
        newest = job.lumisection(at)
        if newest < job.first_lumisection and not job.has_ended(at):
            return {}
        if not job.client.events_a_second:
            own = {"events_total": "0", "cmssw_run": "0", "cmssw_lumi": "0"}
            return {**own, "fi_state": self._input_state(at)}
        counts = [self.events(number) for number in range(job.first_lumisection, newest + 1)]
        return {
            "events_total": str(sum(counts)),
            "events_rate": f"{(counts or [0])[-1] / LUMISECTION_S:.9g}",
            "cmssw_run": str(job.run.number),
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
        if job.fraction("misses") >= _MISSES_INPUT:
            return frozenset()
        first = job.first_lumisection + int(job.fraction("missed") * job.run.lumisections)
        return frozenset(range(first, min(first + _MISSED_LUMISECTIONS, job.run.lumisections)))

    def _environment(self) -> dict[str, str]:
        job = self._job
        rng = random.Random(f"{job.run.seed}/{job.run.number}/{job.pid}")  # noqa: S311 - a simulation
        return {
            **documents.environment(job.host, job.run.number, job.pid),
            **self._sensitive.environment(rng),
        }

    def _memory(self, at: float) -> list[tuple[float, int, int]]:
        """Time, size and resident memory (kB) of each report: a job fills up, and some leak."""
        job = self._job
        leak = 0.004 if job.fraction("leaks") < 0.05 else 0.0
        series: list[tuple[float, int, int]] = []
        for number, reported_at in enumerate(job.reports_until(at)):
            filled = 0.5 + 0.5 * (1 - math.exp(-(number + 1) / 8)) + leak * number
            rss_kb = int(job.client.rss_kb * filled * (1 + 0.01 * job.fraction("rss", number)))
            series.append((reported_at, rss_kb * 3, rss_kb))
        return series

    def _lumi_stats(self, at: float) -> dict[str, dict[str, str]]:
        """Events by lumisection; one that was reported in between stands there twice."""
        job = self._job
        entries: dict[str, dict[str, str]] = {}
        for number in range(job.first_lumisection, job.lumisection(at) + 1):
            if number in self._missed:
                continue
            seen_at, count = job.seen_at(number), self.events(number)
            if job.fraction("between", number) < _REPORTED_BETWEEN:
                between_at = seen_at - 0.4 * job.run.lumisection_s
                entries[f"{between_at:.6f}"] = documents.lumisection_entry(number, count * 3 // 5, 13_986)
            entries[f"{seen_at:.6f}"] = documents.lumisection_entry(number, count)
        return entries

    def _lumi_seen(self, at: float) -> dict[str, str]:
        job = self._job
        newest = job.lumisection(at)
        fates = dict.fromkeys(range(1, job.first_lumisection), "skipped: fast-forward to the latest lumi")
        for number in range(job.first_lumisection, newest + 1):
            fates[number] = "skipped: timeout" if number in self._missed else "close: ok"
        if not job.client.events_a_second:
            fates = {1: "close: eof"}
        elif newest == job.run.lumisections:
            fates[newest] = "close: eof"
        elif not job.has_ended(at):
            fates[newest + 1] = "open: file iterator"
        return {f"lumi{number:06d}": fate for number, fate in fates.items()}

    def _as_sent(self, lines: list[str]) -> Any:
        """Log lines as this job's monitor sends them: newer ones a list, old ones a text."""
        kind = self._job.fraction("monitor")
        if kind < _SENDS_ONE_TEXT:
            return "".join(lines)
        return json.dumps(lines) if kind < _SENDS_ONE_TEXT + _SENDS_LIST_IN_A_TEXT else lines
