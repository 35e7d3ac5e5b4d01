"""A job in comparison: its client in the runs before, and the series of the previous run for its graphs."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from storage.job_state import JobState
from storage.read_models import Job, JobDetails, Run, has_another_release
from storage.reader import MirrorReader

# Number of earlier runs of the client that the page shows.
_SHOWN_RUNS = 10


@dataclass(frozen=True, slots=True)
class ClientRun:
    """A client in a run: its last job that crashed, else its newest.

    `has_new_release`: the run before it is known to have had another CMSSW version.
    """

    run: Run
    job: Job
    has_new_release: bool = False

    @property
    def has_crashed(self) -> bool:
        """Whether a job of the client crashed in the run."""
        return self.job.state is JobState.CRASHED


@dataclass(frozen=True, slots=True)
class ClientHistory:
    """The last runs of a client up to the one that the page is about, the oldest first."""

    runs: tuple[ClientRun, ...]

    @property
    def crashed_in_a_row(self) -> tuple[ClientRun, ...]:
        """The runs without a gap, up to this one, in which the client crashed; the oldest first."""
        return tuple(takewhile(lambda each: each.has_crashed, reversed(self.runs)))[::-1]

    @property
    def last_good(self) -> ClientRun | None:
        """The newest run in which the client finished without a crash."""
        return next((each for each in reversed(self.runs) if each.job.state is JobState.FINISHED), None)


def client_history(reader: MirrorReader, run: Run, client: str) -> ClientHistory:
    """Read the history of a client (tag) up to a run in which it has a job."""
    earlier = reader.jobs.client_history(run.run, client, _SHOWN_RUNS)
    runs = [ClientRun(each, _representative(each, client)) for each in (*reversed(earlier), run)]
    return ClientHistory(tuple(_with_releases(runs)))


def previous_memory(details: JobDetails, previous: JobDetails | None) -> list[int | None]:
    """Resident memory (kB) of the previous job as long after its start, at each report of the job."""
    if previous is None:
        return [None] * len(details.series.memory.at_s)
    later_s = (details.job.first_seen_at - previous.job.first_seen_at).total_seconds()
    at_s = [at + later_s for at in previous.series.memory.at_s]
    return [_interpolate(at_s, previous.series.memory.rss_kb, at) for at in details.series.memory.at_s]


def previous_events(details: JobDetails, previous: JobDetails | None) -> list[int | None]:
    """Events of the previous job in each lumisection of the job."""
    if previous is None:
        return [None] * len(details.series.events.lumisections)
    by_lumisection = dict(
        zip(previous.series.events.lumisections, previous.series.events.events, strict=True)
    )
    return [by_lumisection.get(lumisection) for lumisection in details.series.events.lumisections]


def _representative(run: Run, client: str) -> Job:
    jobs = sorted((job for job in run.jobs if job.client == client), key=lambda job: job.first_seen_at)
    crashes = [job for job in jobs if job.state is JobState.CRASHED]
    return (crashes or jobs)[-1]


def _with_releases(runs: Sequence[ClientRun]) -> Iterator[ClientRun]:
    yield from runs[:1]
    for before, each in pairwise(runs):
        is_new = has_another_release(each.run, before.run)
        yield ClientRun(each.run, each.job, has_new_release=is_new)


def _interpolate(at_s: Sequence[float], values: Sequence[int], at: float) -> int | None:
    """The value at a time between two of a series; `None` before and after it."""
    after = bisect_left(at_s, at)
    if after == len(at_s) or (after == 0 and at_s[0] != at):
        return None
    if at_s[after] == at:
        return values[after]
    begin, end = at_s[after - 1], at_s[after]
    share = (at - begin) / (end - begin)
    return round(values[after - 1] + share * (values[after] - values[after - 1]))
