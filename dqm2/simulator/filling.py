"""Machines filled with jobs of the past by the thousand, for benchmarks."""

import time

from dqm2.simulator import documents, job_life
from dqm2.simulator.clients import CLIENTS
from dqm2.simulator.machine import Document, Draft, Machine
from dqm2.simulator.runs import Job, Run
from dqm2.simulator.sensitive import Sensitive
from mirror.records import LUMISECTION_S, Cluster

_FIRST_RUN = 300_000
_JOBS_A_RUN = 30
_LUMISECTIONS = 40


def fill(machine: Machine, count: int, sensitive: Sensitive, *, small: bool = False) -> None:
    """Uploads `count` documents of finished jobs, each with logs as the clusters write them (41 kB).

    `small` ones have no logs to speak of. Filling again adds more.
    """
    already = len(machine.headers_above(None))
    now = time.time()
    for number in range(already, already + count):
        job = _job(machine.name, number, now)
        if small:
            machine.upload_draft(_small_draft(job))
        else:
            machine.upload_draft(job_life.draft(job, job.ended_at, sensitive))


def _job(host: str, number: int, now: float) -> Job:
    run_number, client_number = divmod(number, _JOBS_A_RUN)
    run = Run(
        Cluster.PRODUCTION,
        _FIRST_RUN + run_number,
        "pp_run",
        documents.INSTALLATION,
        1,
        now - 2 * _LUMISECTIONS * LUMISECTION_S,
        _LUMISECTIONS,
        LUMISECTION_S,
    )
    return Job(run, CLIENTS[client_number], host, 10_000 + number % 89_999, run.started_at)


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
