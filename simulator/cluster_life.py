"""The life of a cluster: consecutive runs with their jobs, file delivery and playback.

Times are unix seconds of the simulation; documents have the times of their machine's own clock.
"""

import logging
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator import documents
from simulator.daemons import ClientSwitches
from simulator.delivery import upload_delivery
from simulator.fake_secrets import FakeSecrets
from simulator.job_reports import upload_job_report
from simulator.machines import Machine
from simulator.runs import Job, JobOutcome, PlaybackConfig, Run, RunPlanner, StoppedRun
from simulator.scheduler import EventScheduler

_DELIVERY_INTERVAL_S = 105.0
_RUNS_WITH_DELIVERY = 5
# Between a run's last lumisection and the next run, and before a crashed client is restarted.
_GAP_LUMISECTIONS = 3.0
_RESTART_AFTER_LUMISECTIONS = 0.7
# Machines delete the documents of older runs.
_RUNS_KEPT = 100

log = logging.getLogger(__name__)


class JobMonitor:
    """Uploads the reports of running jobs. After a job's last report it calls `on_end(job, time)`."""

    def __init__(
        self,
        machines: Mapping[str, Machine],
        scheduler: EventScheduler,
        secrets: FakeSecrets,
        on_end: Callable[[Job, float], None],
    ) -> None:
        self._machines = machines
        self._scheduler = scheduler
        self._secrets = secrets
        self._on_end = on_end
        self._jobs: dict[str, Job] = {}
        # The number of each job's current report event; events with earlier numbers are obsolete.
        self._event_numbers: dict[str, int] = {}

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs whose end is not reported yet, oldest first."""
        return tuple(self._jobs.values())

    def add(self, job: Job, at: float) -> None:
        """Monitor a new job."""
        self._jobs[_key(job)] = job
        self._schedule(job, at if job.first_report_at <= at else job.report_after(at))

    def update(self, job: Job, at: float) -> None:
        """Replace the plan of a job; it reports immediately if it has ended by the new plan."""
        self._jobs[_key(job)] = job
        self._schedule(job, at if job.has_ended(at) else job.report_after(at))

    def update_run(self, run: Run, at: float) -> None:
        """Replace the plan of a run in all of its jobs."""
        for job in self.jobs:
            if job.run.number == run.number:
                self.update(replace(job, run=run), at)

    def newest(self, run: Run, client: str) -> Job:
        """The newest job of a client, by name or tag. Raises LookupError if none is running."""
        for job in reversed(self._jobs.values()):
            if job.run.number == run.number and client in (job.client.name, job.client.tag):
                return job
        raise LookupError(f"no job of {client} is running in run {run.number}")

    def report_all(self, at: float) -> None:
        """Let every job report now, except silent ones."""
        for job in self.jobs:
            if not job.is_silent(at):
                self._schedule(job, at)

    def forget_vanished(self, current: Run) -> None:
        """Drop the vanished jobs of earlier runs."""
        for job in self.jobs:
            if job.outcome is JobOutcome.VANISHED and job.run.number != current.number:
                self._drop(job)

    def upload(self, job: Job, at: float) -> None:
        """Upload the report of a job."""
        upload_job_report(self._machines[job.host], job, at, self._secrets)

    def _schedule(self, job: Job, at: float) -> None:
        key = _key(job)
        number = self._event_numbers.get(key, 0) + 1
        self._event_numbers[key] = number
        self._scheduler.schedule(at, lambda now: self._report(key, number, now))

    def _report(self, key: str, number: int, at: float) -> None:
        if self._event_numbers.get(key) != number:
            return
        job = self._jobs[key]
        if job.is_silent(at):
            if job.outcome is not JobOutcome.VANISHED:
                self._schedule(job, job.ended_at)
            return
        self.upload(job, at)
        if job.has_ended(at):
            self._drop(job)
            self._on_end(job, at)
        else:
            self._schedule(job, job.report_after(at))

    def _drop(self, job: Job) -> None:
        key = _key(job)
        del self._jobs[key], self._event_numbers[key]


def _key(job: Job) -> str:
    return documents.job_id(job.run.number, job.host, job.pid)


class ClusterLife:
    """The runs of one cluster. Not thread-safe; methods are called with the scheduler's time."""

    def __init__(
        self,
        planner: RunPlanner,
        machines: Sequence[Machine],
        scheduler: EventScheduler,
        switches: ClientSwitches,
        secrets: FakeSecrets,
        speed: float,
    ) -> None:
        self.cluster = planner.cluster
        self.playback = PlaybackConfig()
        self._machines = {machine.name: machine for machine in machines}
        self._builder_unit = machines[0]
        self._scheduler = scheduler
        self._planner = planner
        self._switches = switches
        self._speed = speed
        self._monitor = JobMonitor(self._machines, scheduler, secrets, self._job_ended)
        self._run: Run | None = None
        self._runs_with_delivery: deque[Run] = deque(maxlen=_RUNS_WITH_DELIVERY)
        self._kept_runs: deque[int] = deque(maxlen=_RUNS_KEPT)
        self._reports_delivery = False

    @property
    def run(self) -> Run | None:
        """The current run, `None` between runs."""
        return self._run

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs whose end is not reported yet, those of earlier runs included."""
        return self._monitor.jobs

    def start_run(self, at: float, *, elapsed_lumisections: float = 0.0) -> Run:
        """End the current run and start the next one, which may already be in progress."""
        self.end_run(at)
        lumisection_s = LUMISECTION_S / self._speed
        run = self._plan_run(at - elapsed_lumisections * lumisection_s, lumisection_s)
        self._run = run
        self._remember(run)
        self._monitor.forget_vanished(run)
        for job in self._plan_jobs(run):
            self._monitor.add(job, at)
        log.info("run_started cluster=%s run=%d lumisections=%d", self.cluster, run.number, run.lumisections)
        self._scheduler.schedule(run.ended_at, lambda now: self._end_of_run(run, now))
        if run.source_run is not None:
            self._report_playback(run, at)
        if not self._reports_delivery:
            self._reports_delivery = True
            self._scheduler.repeat(at, _DELIVERY_INTERVAL_S / self._speed, self._report_delivery)
        return run

    def end_run(self, at: float, state: str = "stopped") -> None:
        """End the current run, if there is one, after its last complete lumisection."""
        if self._run is None:
            return
        run, self._run = self._run, None
        if run.source_run is not None:
            self._upload_playback(run, state, at)
        log.info("run_ended cluster=%s run=%d lumisection=%d", self.cluster, run.number, run.closed(at))
        ended = replace(run, lumisections=max(1, run.closed(at)))
        self._runs_with_delivery[self._runs_with_delivery.index(run)] = ended
        self._monitor.update_run(ended, at)

    def end_job(self, client: str, outcome: JobOutcome, exit_code: int, at: float) -> None:
        """Give the newest job of a client an outcome now. Raises LookupError if none is running."""
        job = self._monitor.newest(self._current_run(), client)
        changed = replace(job, outcome=outcome, exit_code=exit_code, outcome_at=at, is_restarted=False)
        self._monitor.update(changed, at)

    def start_extra_job(self, client: str, at: float) -> None:
        """Start another job of a client. Raises LookupError without a run or for an unknown client."""
        planned = self._planner.client(client)
        self._monitor.add(self._planner.plan_extra_job(self._current_run(), planned, at), at)

    def report_all(self, at: float) -> None:
        """Let every job report now, except silent ones."""
        self._monitor.report_all(at)

    def upload_past_run(self, started_at: float) -> None:
        """Upload the final documents of a past run, at the speed of data taking."""
        run = self._plan_run(started_at, LUMISECTION_S)
        self._upload_ended_run(run, self._plan_jobs(run))

    def upload_stopped_run(self, stopped: StoppedRun) -> None:
        """Upload the final documents of the run that ended when an earlier simulator stopped."""
        planned = self._plan_run(stopped.started_at, LUMISECTION_S / self._speed)
        run = replace(planned, lumisections=max(1, planned.closed(stopped.stopped_at)))
        self._upload_ended_run(run, [job.in_shortened_run(run) for job in self._plan_jobs(planned)])

    def _upload_ended_run(self, run: Run, jobs: list[Job]) -> None:
        self._remember(run)
        jobs += [self._restarted(job) for job in jobs if job.is_restarted]
        reports = [(at, job) for job in jobs if (at := job.last_report_at()) is not None]
        for at, job in sorted(reports, key=lambda report: report[0]):
            self._monitor.upload(job, at)
        upload_delivery(self._builder_unit, run, run.ended_at + _DELIVERY_INTERVAL_S)
        if run.source_run is not None:
            self._upload_playback(run, "eor", run.ended_at)

    def _plan_run(self, started_at: float, lumisection_s: float) -> Run:
        playback = self.playback if self.cluster is Cluster.PLAYBACK else None
        return self._planner.plan_run(started_at, lumisection_s, playback)

    def _plan_jobs(self, run: Run) -> list[Job]:
        """The jobs of the clients that are switched on."""
        is_playback = self.cluster is Cluster.PLAYBACK
        return [
            job
            for job in self._planner.plan_jobs(run)
            if self._switches.is_on(job.host, job.client.config_file, is_playback=is_playback)
        ]

    def _current_run(self) -> Run:
        if self._run is None:
            raise LookupError(f"no run is in progress in {self.cluster}")
        return self._run

    def _end_of_run(self, run: Run, at: float) -> None:
        if self._run is run:
            self.end_run(at, "eor")
            gap_s = _GAP_LUMISECTIONS * run.lumisection_s
            self._scheduler.schedule(at + gap_s, self._start_run_if_none)

    def _start_run_if_none(self, at: float) -> None:
        if self._run is None:
            self.start_run(at)

    def _job_ended(self, job: Job, at: float) -> None:
        if job.is_restarted and self._run is not None and self._run.number == job.run.number:
            self._monitor.add(self._restarted(job), at)

    def _restarted(self, job: Job) -> Job:
        delay_s = _RESTART_AFTER_LUMISECTIONS * job.run.lumisection_s
        return self._planner.plan_extra_job(job.run, job.client, job.ended_at + delay_s)

    def _remember(self, run: Run) -> None:
        """Add a run to those with delivery reports, and delete the documents of the oldest runs."""
        self._runs_with_delivery.append(run)
        self._kept_runs.append(run.number)
        if len(self._kept_runs) == _RUNS_KEPT:
            for machine in self._machines.values():
                machine.delete_runs_before(self._kept_runs[0])

    def _report_delivery(self, at: float) -> None:
        for run in self._runs_with_delivery:
            upload_delivery(self._builder_unit, run, at)

    def _report_playback(self, run: Run, at: float) -> None:
        """Upload the state of the playback cluster's simulator at each lumisection."""
        if self._run is not run or run.closed(at) == run.lumisections:
            return
        self._upload_playback(run, "running", at)
        next_at = run.closed_at(run.closed(at) + 1)
        self._scheduler.schedule(next_at, lambda now: self._report_playback(run, now))

    def _upload_playback(self, run: Run, state: str, at: float) -> None:
        machine = self._builder_unit
        machine.upload(
            documents.playback_document(
                host=machine.name,
                run=run.number,
                state=state,
                lumisection=run.closed(at) or None,
                timestamp=at + machine.clock_offset_s,
                source=f"/fff/output/playback_files/run{run.source_run}/",
                run_key=run.run_key,
                number_of_ls=run.lumisections,
            )
        )
