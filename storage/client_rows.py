"""Clients of a run: a row each, with its newest and its earlier jobs, also for clients without a job."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from itertools import groupby
from operator import attrgetter

from storage.client_names import client_name
from storage.job_state import JobState
from storage.mutes import Mute, mute_of_client, mute_of_job
from storage.read_models import Job, Run

# A job reports every 30 s, which is more than one lumisection, so that a healthy job is up to 4 behind.
MAX_NORMAL_LAG = 4
# A job is reported up to 30 s after its start.
_REPORTING_INTERVAL = timedelta(seconds=30)


class ClientState(StrEnum):
    """The state of a client in a run: that of its newest job, else `starting` or `missing`. Worst first."""

    CRASHED = "crashed"
    STUCK = "stuck"
    LOST = "lost"
    MISSING = "missing"
    STARTING = "starting"
    RUNNING = "running"
    FINISHED = "finished"

    @property
    def is_problem(self) -> bool:
        """Whether somebody should look at the client."""
        return self not in (ClientState.STARTING, ClientState.RUNNING, ClientState.FINISHED)


@dataclass(frozen=True)
class ClientRow:
    """A client of a run: its newest job, `None` if it has none, and its earlier jobs, newest first.

    `is_starting`: it has no job yet, but the run has just started. `lumisections_skipped`: how many of them
    no job of it saw. `mutes` are those of the client and of its crashes.
    """

    client: str
    newest: Job | None
    earlier: tuple[Job, ...] = ()
    is_starting: bool = False
    lumisections_skipped: int = 0
    mutes: tuple[Mute, ...] = ()

    @property
    def name(self) -> str:
        """The client's name as users know it."""
        return client_name(self.client)

    # Computed once, since a page asks for it more than ten times, as for the crashes.
    @cached_property
    def state(self) -> ClientState:
        """The state of the newest job, else `starting` or `missing`."""
        if self.newest is not None:
            return ClientState(self.newest.state)
        return ClientState.STARTING if self.is_starting else ClientState.MISSING

    @property
    def jobs(self) -> tuple[Job, ...]:
        """All jobs of the client, newest first."""
        return () if self.newest is None else (self.newest, *self.earlier)

    @cached_property
    def crashes(self) -> tuple[Job, ...]:
        """The jobs of the client that crashed, newest first."""
        return tuple(job for job in self.jobs if job.state is JobState.CRASHED)

    @property
    def earlier_crashes(self) -> tuple[Job, ...]:
        """The jobs of the client that crashed before its last restart, newest first."""
        return tuple(job for job in self.crashes if job is not self.newest)

    @property
    def has_recovered(self) -> bool:
        """Whether the client crashed, but was restarted and has no problem now."""
        return bool(self.crashes) and not self.state.is_problem

    @property
    def mute(self) -> Mute | None:
        """The mute of the client, else that of its newest crash."""
        of_client = mute_of_client(self.client, self.mutes)
        return of_client or (self.mute_of(self.crashes[0]) if self.crashes else None)

    @property
    def is_muted(self) -> bool:
        """Whether the state of the client raises no alert."""
        if self.newest is None:
            return mute_of_client(self.client, self.mutes) is not None
        return self.mute_of(self.newest) is not None

    @property
    def needs_attention(self) -> bool:
        """Whether the client has a problem that is not muted."""
        return self.state.is_problem and not self.is_muted

    @property
    def unmuted_crashes(self) -> tuple[Job, ...]:
        """The crashes that are not muted, newest first."""
        return tuple(job for job in self.crashes if self.mute_of(job) is None)

    def mute_of(self, job: Job) -> Mute | None:
        """The mute that covers a job of the client."""
        return mute_of_job(job, self.mutes)

    @property
    def is_idle(self) -> bool:
        """Whether the newest job is well but no job has seen a lumisection: its stream is not in the run."""
        if self.newest is None or self.state.is_problem or any(job.lumisection for job in self.jobs):
            return False
        return self.newest.lag > MAX_NORMAL_LAG

    @property
    def is_behind(self) -> bool:
        """Whether the newest job is running, but further behind than its reporting interval explains."""
        return self.newest is not None and is_behind(self.newest)


def is_behind(job: Job) -> bool:
    """Whether a job is running, but further behind the run's newest lumisection than its reports explain."""
    return job.exit_code is None and bool(job.lumisection) and job.lag > MAX_NORMAL_LAG


def client_rows(
    run: Run, expected: Iterable[str], mutes: Iterable[Mute] = (), *, is_starting: bool = False
) -> list[ClientRow]:
    """A row per client of a run, and per `expected` client that the run lacks, each with its mutes."""
    mutes_by_client: dict[str, list[Mute]] = {}
    for mute in mutes:
        mutes_by_client.setdefault(mute.subject.client, []).append(mute)
    by_client = groupby(
        sorted(run.jobs, key=attrgetter("client", "first_seen_at", "id")), attrgetter("client")
    )
    rows = [_row(client, list(jobs)) for client, jobs in by_client]
    present = {row.client for row in rows}
    absent = sorted(set(expected) - present)
    rows += [ClientRow(client, None, is_starting=is_starting) for client in absent]
    return [replace(row, mutes=tuple(mutes_by_client.get(row.client, ()))) for row in rows]


def count_by_state(rows: Iterable[ClientRow]) -> dict[ClientState, int]:
    """The number of clients in each state, including states with none."""
    counts = dict.fromkeys(ClientState, 0)
    for row in rows:
        counts[row.state] += 1
    return counts


def is_starting(run: Run, startup: timedelta | None, missing_after: timedelta) -> bool:
    """Whether a client may still be about to start, if the previous runs took `startup` for that.

    The age of the run is that of its reports, so that it does not depend on this program's clock.
    """
    if not run.is_ongoing or run.first_seen_at is None or run.updated_at is None:
        return False
    grace = missing_after if startup is None else min(startup + _REPORTING_INTERVAL, missing_after)
    return run.updated_at - run.first_seen_at < grace


def _row(client: str, jobs: list[Job]) -> ClientRow:
    *earlier, newest = jobs
    skipped = newest.lumisections_skipped
    return ClientRow(client, newest, tuple(reversed(earlier)), lumisections_skipped=skipped)
