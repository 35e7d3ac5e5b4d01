"""The life of a cluster: runs that follow each other, with their jobs, their files and their playback.

Times are unix seconds of the world; a machine whose clock is off writes its own into its documents.
"""

import logging
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from dqm2.records import LUMISECTION_S
from dqmsquare_cfg import Cluster
from simulator import delivery, documents
from simulator.fake_secrets import Sensitive
from simulator.machine import Machine
from simulator.monitors import Monitors
from simulator.run_planner import Planner, PlaybackConfiguration
from simulator.runs import Fate, Job, Run
from simulator.scheduler import Agenda
from simulator.switches import Panel, Switches

_FILES_EVERY_S = 105.0
_RUNS_WITH_FILES = 5
# Between a run's last lumisection and the next run, and before a crashed client is started anew.
_GAP_LUMISECTIONS = 3.0
_RESTARTED_AFTER_LUMISECTIONS = 0.7
# A machine forgets the documents of runs before so many.
_RUNS_KEPT = 100

log = logging.getLogger(__name__)


class ClusterLife:
    """One cluster. Its methods are called by one thread at a time, with the agenda's time."""

    def __init__(
        self,
        planner: Planner,
        machines: Sequence[Machine],
        agenda: Agenda,
        switches: Switches,
        sensitive: Sensitive,
        speed: float,
    ) -> None:
        self.cluster = planner.cluster
        self.playback = PlaybackConfiguration()
        self._machines = {machine.name: machine for machine in machines}
        self._builder_unit = machines[0]
        self._agenda = agenda
        self._planner = planner
        self._switches = switches
        self._speed = speed
        self._monitors = Monitors(self._machines, agenda, sensitive, self._job_ended)
        self._run: Run | None = None
        self._recent: deque[Run] = deque(maxlen=_RUNS_WITH_FILES)
        self._kept: deque[int] = deque(maxlen=_RUNS_KEPT)
        self._tells_of_files = False

    @property
    def run(self) -> Run | None:
        """The run that goes on, if one does."""
        return self._run

    @property
    def jobs(self) -> tuple[Job, ...]:
        """The jobs whose end was not told, those of earlier runs included."""
        return self._monitors.jobs

    def begin_run(self, at: float, *, behind_lumisections: float = 0.0) -> Run:
        """Ends the present run and begins the next, or finds it going on for so many lumisections already."""
        self.end_run(at)
        lumisection_s = LUMISECTION_S / self._speed
        run = self._plan_run(at - behind_lumisections * lumisection_s, lumisection_s)
        self._run = run
        self._remember(run)
        self._monitors.forget_vanished(run)
        for job in self._plan_jobs(run):
            self._monitors.watch(job, at)
        log.info("run begins cluster=%s run=%d lumisections=%d", self.cluster, run.number, run.lumisections)
        self._agenda.add(run.ended_at, lambda now: self._run_is_over(run, now))
        if run.source_run is not None:
            self._tell_playback(run, at)
        if not self._tells_of_files:
            self._tells_of_files = True
            self._tell_files(at)
        return run

    def end_run(self, at: float, state: str = "stopped") -> None:
        """Ends the present run, if there is one, with the lumisections that are over."""
        if self._run is None:
            return
        run, self._run = self._run, None
        if run.source_run is not None:
            self._upload_playback(run, state, at)
        log.info("run ends cluster=%s run=%d lumisection=%d", self.cluster, run.number, run.closed(at))
        ended = replace(run, lumisections=max(1, run.closed(at)))
        self._recent[self._recent.index(run)] = ended
        self._monitors.move_to(ended, at)

    def strike(self, client: str, fate: Fate, exit_code: int, at: float) -> None:
        """Lets the newest job of a client meet a fate now. Raises LookupError if none of it runs."""
        job = self._monitors.newest(self._present_run(), client)
        struck = replace(job, fate=fate, exit_code=exit_code, struck_at=at, is_restarted_after=False)
        self._monitors.change(struck, at)

    def start_another(self, client: str, at: float) -> None:
        """Starts another job of a client beside what it has. Raises LookupError without a run or client."""
        planned = self._planner.client(client)
        self._monitors.watch(self._planner.another_job(self._present_run(), planned, at), at)

    def report_all(self, at: float) -> None:
        """Lets every job report now that isn't silent."""
        self._monitors.report_all(at)

    def write_past_run(self, started_at: float) -> None:
        """Uploads what a run of the past has left behind, at the pace of data taking."""
        run = self._plan_run(started_at, LUMISECTION_S)
        self._remember(run)
        jobs = self._plan_jobs(run)
        jobs += [self._restarted(job) for job in jobs if job.is_restarted_after]
        reports = [(at, job) for job in jobs if (at := job.last_report_at()) is not None]
        for at, job in sorted(reports, key=lambda report: report[0]):
            self._monitors.upload(job, at)
        self._upload_files(run, run.ended_at + _FILES_EVERY_S)
        if run.source_run is not None:
            self._upload_playback(run, "eor", run.ended_at)

    def _plan_run(self, started_at: float, lumisection_s: float) -> Run:
        playback = self.playback if self.cluster is Cluster.PLAYBACK else None
        return self._planner.run(started_at, lumisection_s, playback)

    def _plan_jobs(self, run: Run) -> list[Job]:
        """The jobs of the clients that are switched on."""
        is_playback = self.cluster is Cluster.PLAYBACK
        return [
            job
            for job in self._planner.jobs(run)
            if self._switches.is_on(Panel(job.host, is_playback), job.client.configuration)
        ]

    def _present_run(self) -> Run:
        if self._run is None:
            raise LookupError(f"no run goes on in {self.cluster}")
        return self._run

    def _run_is_over(self, run: Run, at: float) -> None:
        if self._run is run:
            self.end_run(at, "eor")
            gap_s = _GAP_LUMISECTIONS * run.lumisection_s
            self._agenda.add(at + gap_s, self._begin_unless_begun)

    def _begin_unless_begun(self, at: float) -> None:
        if self._run is None:
            self.begin_run(at)

    def _job_ended(self, job: Job, at: float) -> None:
        if job.is_restarted_after and self._run is not None and self._run.number == job.run.number:
            self._monitors.watch(self._restarted(job), at)

    def _restarted(self, job: Job) -> Job:
        later_s = _RESTARTED_AFTER_LUMISECTIONS * job.run.lumisection_s
        return self._planner.another_job(job.run, job.client, job.ended_at + later_s)

    def _remember(self, run: Run) -> None:
        """Goes on telling of a run's files until later ones come, and loses the documents of the oldest."""
        self._recent.append(run)
        self._kept.append(run.number)
        if len(self._kept) == _RUNS_KEPT:
            for machine in self._machines.values():
                machine.delete_runs_before(self._kept[0])

    def _tell_files(self, at: float) -> None:
        for run in self._recent:
            self._upload_files(run, at)
        self._agenda.add(at + _FILES_EVERY_S / self._speed, self._tell_files)

    def _upload_files(self, run: Run, at: float) -> None:
        machine = self._builder_unit
        own = replace(run, started_at=run.started_at + machine.clock_offset_s)
        machine.upload_draft(delivery.draft(own, machine.name, at + machine.clock_offset_s))

    def _tell_playback(self, run: Run, at: float) -> None:
        """The simulator of the playback cluster tells of itself with each lumisection."""
        if self._run is not run or run.closed(at) == run.lumisections:
            return
        self._upload_playback(run, "running", at)
        self._agenda.add(run.closed_at(run.closed(at) + 1), lambda now: self._tell_playback(run, now))

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
