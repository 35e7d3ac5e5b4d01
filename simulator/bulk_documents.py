"""Machines filled with jobs of the past by the thousand, for benchmarks."""

import itertools
import time
from collections.abc import Iterable, Iterator

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator import documents
from simulator.clients import CLIENTS
from simulator.fake_secrets import Sensitive
from simulator.job_document import draft
from simulator.machine import Document, Draft, Machine
from simulator.runs import Job, Run

_FIRST_RUN = 300_000
_JOBS_A_RUN = 30
_LUMISECTIONS = 40


def fill(machine: Machine, count: int, sensitive: Sensitive, *, small: bool = False) -> None:
    """Uploads `count` documents of finished jobs, each with logs as the clusters write them (41 kB).

    `small` ones have no logs to speak of. Filling again adds more.
    """
    already = len(machine.headers_above(None))
    for job in _jobs(machine.name, range(already, already + count), time.time()):
        if small:
            machine.upload_draft(_small_draft(job))
        else:
            machine.upload_draft(draft(job, job.ended_at, sensitive))


def _jobs(host: str, numbers: Iterable[int], now: float) -> Iterator[Job]:
    for run_number, of_run in itertools.groupby(numbers, lambda number: number // _JOBS_A_RUN):
        run = _run(_FIRST_RUN + run_number, now)
        for number in of_run:
            client = CLIENTS[number % _JOBS_A_RUN]
            yield Job(run, client, host, 10_000 + number % 89_999, run.started_at)


def _run(number: int, now: float) -> Run:
    return Run(
        Cluster.PRODUCTION,
        number,
        "pp_run",
        documents.INSTALLATION,
        1,
        now - 2 * _LUMISECTIONS * LUMISECTION_S,
        _LUMISECTIONS,
        LUMISECTION_S,
    )


def _small_draft(job: Job) -> Draft:
    def write() -> Document:
        return documents.job_document(
            host=job.host,
            run=job.run.number,
            tag=job.client.tag,
            pid=job.pid,
            timestamp=job.ended_at,
            exit_code=0,
            lumisections=2,
        )

    return Draft(
        documents.job_id(job.run.number, job.host, job.pid),
        write,
        job.ended_at,
        "dqm-source-state",
        job.host,
        job.client.tag,
        job.run.number,
    )
