"""Latency from a document's upload at DQM² until the mirror's API returns it, at the traffic of one run.

Thirty jobs on two filter units report every 30 s, the builder unit reports file delivery every 105 s. It is
measured with all machines up, then with one filter unit down.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import requests

from benchmarks import cli
from benchmarks.cli import Figure
from benchmarks.environment import (
    BUILDER_UNIT,
    FILTER_UNIT,
    OTHER_FILTER_UNIT,
    SimulatedDqm2,
    benchmark_environment,
)
from simulator.clients import CLIENTS
from simulator.documents import files_document, job_document

_RUN = 358788
_JOBS = CLIENTS[:30]
_REPORT_INTERVAL_S = 30.0
_FILES_INTERVAL_S = 105.0
_POLL_INTERVAL_S = 0.05
# Nothing is uploaded so shortly before the end, as it could not be awaited.
_LAST_UPLOAD_S = 15.0
_LINE = "Begin processing the 1st record. Run 358788, Event 1, LumiSection {} on stream 0 at 15-Sep-2022\n"
_LOG = [_LINE.format(number) for number in range(180)]


@dataclass
class Reports:
    """Reports by client: awaited ones with lumisection and upload time, and the latencies of the others."""

    awaited: dict[str, tuple[int, float]] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)

    def observe(self, client: str, lumisection: int, at_s: float) -> None:
        """Record that the API shows a client at a lumisection."""
        if client in self.awaited and lumisection >= self.awaited[client][0]:
            self.latencies_s.append(at_s - self.awaited.pop(client)[1])

    def row(self, name: str) -> dict[str, Figure]:
        """A row of the result table."""
        percentiles = statistics.quantiles(self.latencies_s, n=100, method="inclusive")
        return {
            "": name,
            "reports": len(self.latencies_s),
            "never shown": len(self.awaited),
            "p50 s": percentiles[49],
            "p95 s": percentiles[94],
            "max s": max(self.latencies_s),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure with all machines up, then with one down."""
    parser = cli.parser("end_to_end_latency", __doc__)
    parser.add_argument(
        "--seconds", type=cli.positive_number, default=180, help="duration of each measurement"
    )
    seconds = parser.parse_args(arguments).seconds
    with benchmark_environment() as environment:
        dqm2 = environment.start_dqm2()
        environment.start("grabber", ["grabber.py", "production"], environment.variables(dqm2))
        url = f"{environment.mirror_server().url}/api?what=get_run&db=production&run={_RUN}"
        all_up = _measure(dqm2, url, seconds, hosts=(FILTER_UNIT, OTHER_FILTER_UNIT))
        dqm2.admin.call("set-machine", machine=OTHER_FILTER_UNIT, is_dead=True)
        one_down = _measure(dqm2, url, seconds, hosts=(FILTER_UNIT,))
        interval_s = environment.settings(dqm2).grabber_sleep_time_info
    cli.report(
        "end_to_end_latency",
        [all_up.row("all machines up"), one_down.row("one of three down, the others")],
        notes=[f"The grabber polls every {interval_s:g} s."],
    )


def _measure(dqm2: SimulatedDqm2, url: str, seconds: float, hosts: tuple[str, ...]) -> Reports:
    """Upload reports of the jobs in turn and poll the API for them."""
    reports = Reports()
    started_at_s = time.monotonic()
    uploaded, files_due_s = 0, 0.0
    with requests.Session() as session:
        while (elapsed_s := time.monotonic() - started_at_s) < seconds:
            is_due = elapsed_s >= uploaded * _REPORT_INTERVAL_S / len(_JOBS)
            if is_due and elapsed_s < seconds - _LAST_UPLOAD_S:
                _upload_report(dqm2, reports, uploaded, hosts)
                uploaded += 1
            if elapsed_s >= files_due_s:
                dqm2.admin.call("upload", machine=BUILDER_UNIT, documents=[files_document(run=_RUN)])
                files_due_s += _FILES_INTERVAL_S
            _poll(session, url, reports)
            time.sleep(_POLL_INTERVAL_S)
    return reports


def _upload_report(dqm2: SimulatedDqm2, reports: Reports, number: int, hosts: tuple[str, ...]) -> None:
    """Upload the next job's report; its lumisection distinguishes it from all earlier ones."""
    job = number % len(_JOBS)
    client, host = _JOBS[job], hosts[job % len(hosts)]
    lumisection = int(time.monotonic() * 10)
    document = job_document(
        host=host,
        run=_RUN,
        tag=client.tag,
        pid=10_000 + job,
        cmssw_lumi=str(lumisection),
        lumisections=60,
        extra={"stdlog_start": _LOG, "stdlog_end": _LOG},
    )
    dqm2.admin.call("upload", machine=host, documents=[document])
    reports.awaited[client.name] = (lumisection, time.monotonic())


def _poll(session: requests.Session, url: str, reports: Reports) -> None:
    _, found = session.get(url, timeout=10).json()
    now_s = time.monotonic()
    for _, _, _, _, client, lumisection, *_ in found[1] if found else []:
        reports.observe(client, lumisection, now_s)


if __name__ == "__main__":
    main()
