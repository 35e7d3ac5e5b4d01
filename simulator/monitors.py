"""The monitors of a cluster's jobs: who reports when, what happens to a job, and how it is told.

Times are unix seconds of the world; a machine whose clock is off writes its own into its documents.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from simulator import documents
from simulator.fake_secrets import Sensitive
from simulator.job_document import draft
from simulator.machine import Machine
from simulator.runs import Fate, Job, Run
from simulator.scheduler import Agenda


class Monitors:
    """Watches jobs to their end. `on_end` is called with each that has told of it, and when."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        agenda: Agenda,
        sensitive: Sensitive,
        on_end: Callable[[Job, float], None],
    ) -> None:
        self._machines = machines
        self._agenda = agenda
        self._sensitive = sensitive
        self._on_end = on_end
        self._jobs: dict[str, Job] = {}
        # The number of each job's latest appointment with its monitor: the earlier ones are void.
        self._appointments: dict[str, int] = {}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs whose end was not told, the oldest first."""
        return tuple(self._jobs.values())

    def watch(self, job: Job, at: float) -> None:
        """Follows a job from now on."""
        self._jobs[_key(job)] = job
        self._appoint(job, at if job.first_report_at <= at else job.report_after(at))

    def change(self, job: Job, at: float) -> None:
        """Takes over a new plan of a job that is watched; tells of it at once if it has ended by that."""
        self._jobs[_key(job)] = job
        self._appoint(job, at if job.has_ended(at) else job.report_after(at))

    def move_to(self, run: Run, at: float) -> None:
        """Takes over a new plan of a run for all of its jobs."""
        for job in self.jobs:
            if job.run.number == run.number:
                self.change(replace(job, run=run), at)

    def newest(self, run: Run, client: str) -> Job:
        """The newest job of a client, by name or tag. Raises LookupError if none of it runs."""
        for job in reversed(self._jobs.values()):
            if job.run.number == run.number and client in (job.client.name, job.client.tag):
                return job
        raise LookupError(f"no job of {client} runs in run {run.number}")

    def report_all(self, at: float) -> None:
        """Lets every job report now that isn't silent."""
        for job in self.jobs:
            if not job.is_silent(at):
                self._appoint(job, at)

    def forget_vanished(self, present: Run) -> None:
        """Stops waiting for jobs of earlier runs that nobody will hear of again."""
        for job in self.jobs:
            if job.fate is Fate.VANISHES and job.run.number != present.number:
                self._drop(job)

    def upload(self, job: Job, at: float) -> None:
        """A job reports, by its machine's clock."""
        machine = self._machines[job.host]
        ahead_s = machine.clock_offset_s
        machine.upload_draft(draft(_ahead(job, ahead_s), at + ahead_s, self._sensitive))

    def _appoint(self, job: Job, at: float) -> None:
        key = _key(job)
        number = self._appointments.get(key, 0) + 1
        self._appointments[key] = number
        self._agenda.add(at, lambda now: self._keep(key, number, now))

    def _keep(self, key: str, appointment: int, at: float) -> None:
        if self._appointments.get(key) != appointment:
            return
        job = self._jobs[key]
        if job.is_silent(at):
            self._wait_for_end(job)
            return
        self.upload(job, at)
        if job.has_ended(at):
            self._drop(job)
            self._on_end(job, at)
        else:
            self._appoint(job, job.report_after(at))

    def _wait_for_end(self, job: Job) -> None:
        if job.fate is not Fate.VANISHES:
            self._appoint(job, job.ended_at)

    def _drop(self, job: Job) -> None:
        key = _key(job)
        del self._jobs[key], self._appointments[key]


def _key(job: Job) -> str:
    return documents.job_id(job.run.number, job.host, job.pid)


def _ahead(job: Job, seconds: float) -> Job:
    """A job as a clock sees it that is ahead."""
    if not seconds:
        return job
    run = replace(job.run, started_at=job.run.started_at + seconds)
    struck_at = None if job.struck_at is None else job.struck_at + seconds
    return replace(job, run=run, started_at=job.started_at + seconds, struck_at=struck_at)
