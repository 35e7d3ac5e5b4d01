"""From a document's upload at DQM² to its visibility through `/api`, at one run's normal traffic.

Thirty jobs on two filter units report every 30 s, the builder unit tells of their files every 105 s; then the
same with one filter unit dead.
"""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import requests

from benchmarks import cli, results
from benchmarks.environment import BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT, Source, settings_of, stage
from benchmarks.results import Figure
from benchmarks.servers import mirror_server
from simulator.clients import CLIENTS
from simulator.documents import files_document, job_document

_RUN = 358788
_JOBS = CLIENTS[:30]
_REPORT_EVERY_S = 30.0
_FILES_EVERY_S = 105.0
_LOOK_EVERY_S = 0.05
# What is uploaded so late is not waited for.
_LAST_S = 15.0
_LINE = "Begin processing the 1st record. Run 358788, Event 1, LumiSection {} on stream 0 at 15-Sep-2022\n"
_LOG = [_LINE.format(number) for number in range(180)]


@dataclass
class Reports:
    """What was reported, when, and what was seen of it."""

    awaited: dict[str, tuple[int, float]] = field(default_factory=dict)
    seen_after_s: list[float] = field(default_factory=list)

    def see(self, client: str, lumisection: int, at_s: float) -> None:
        """A client is seen at a lumisection."""
        if client in self.awaited and lumisection >= self.awaited[client][0]:
            self.seen_after_s.append(at_s - self.awaited.pop(client)[1])

    def row(self, what: str) -> dict[str, Figure]:
        """How long it took to be seen."""
        percentiles = statistics.quantiles(self.seen_after_s, n=100, method="inclusive")
        return {
            "": what,
            "reports": len(self.seen_after_s),
            "never seen": len(self.awaited),
            "p50 s": percentiles[49],
            "p95 s": percentiles[94],
            "max s": max(self.seen_after_s),
        }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures with all machines well, then with one dead."""
    parser = cli.parser("end_to_end_latency", __doc__)
    parser.add_argument("--seconds", type=cli.duration, default=180, help="how long each time")
    seconds = parser.parse_args(arguments).seconds
    with stage() as made:
        source = made.source()
        environment = made.environment(source)
        made.start("grabber", ["grabber.py", "production"], environment)
        address = f"{mirror_server(made).url}/api?what=get_run&db=production&run={_RUN}"
        well = _measure(source, address, seconds, hosts=(FILTER_UNIT, OTHER_FILTER_UNIT))
        source.tell("set-machine", machine=OTHER_FILTER_UNIT, is_dead=True)
        dead = _measure(source, address, seconds, hosts=(FILTER_UNIT,))
        interval_s = settings_of(environment).grabber_sleep_time_info
    rows = [well.row("all machines well"), dead.row("one of three dead, the others")]
    results.tell("freshness", rows, notes=[f"The grabber pauses {interval_s:g} s between two polls."])


def _measure(source: Source, address: str, seconds: float, hosts: tuple[str, ...]) -> Reports:
    """Lets the jobs report in turn for so long, and looks what is seen."""
    reports = Reports()
    began_s = time.monotonic()
    reported, files_due_s = 0, 0.0
    with requests.Session() as session:
        while (passed_s := time.monotonic() - began_s) < seconds:
            if passed_s >= reported * _REPORT_EVERY_S / len(_JOBS) and passed_s < seconds - _LAST_S:
                _report(source, reports, reported, hosts)
                reported += 1
            if passed_s >= files_due_s:
                source.tell("upload", machine=BUILDER_UNIT, documents=[files_document(run=_RUN)])
                files_due_s += _FILES_EVERY_S
            _look(session, address, reports)
            time.sleep(_LOOK_EVERY_S)
    return reports


def _report(source: Source, reports: Reports, number: int, hosts: tuple[str, ...]) -> None:
    """Uploads the next job's report; its lumisection tells it from all before."""
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
    source.tell("upload", machine=host, documents=[document])
    reports.awaited[client.name] = (lumisection, time.monotonic())


def _look(session: requests.Session, address: str, reports: Reports) -> None:
    """Looks at the run through `/api`."""
    answer = session.get(address, timeout=10).json()
    now_s = time.monotonic()
    _, found = answer
    for _, _, _, _, client, lumisection, *_ in found[1] if found else []:
        reports.see(client, lumisection, now_s)


if __name__ == "__main__":
    main()
