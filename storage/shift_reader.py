"""Queries about a period such as a shift: its runs, problems with their beginning and end, and commands."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster
from storage import audit_log, run_queries, transitions
from storage.audit_log import AuditEntry
from storage.database_reader import DatabaseReader
from storage.job_state import JobState
from storage.read_models import Run
from storage.run_queries import RunFilter
from storage.run_reader import RunReader
from storage.transitions import Thing, Transition, TransitionKind

# Time before the period that is searched for transitions: an older problem that continues is not found.
_LOOK_BACK = timedelta(days=7)
# Far more than in a week; of more, the oldest are left out.
_MAX_TRANSITIONS = 5000
_MAX_COMMANDS = 500
_DATA_PATH = (TransitionKind.MIRROR, TransitionKind.GATEWAY)

_transitions = db.transitions.c


@dataclass(frozen=True, slots=True)
class ProblemInterval:
    """A time in which a thing had a problem; `ended_at` is `None` if it had not ended before the period did.

    `began_at` may be before the period. `beginning` is the transition at that time.
    """

    thing: Thing
    began_at: datetime
    ended_at: datetime | None
    beginning: Transition


class ShiftReader(DatabaseReader):
    """Reads what happened in a period; `runs` reads its runs."""

    def __init__(self, database: sa.Engine, runs: RunReader) -> None:
        super().__init__(database)
        self._runs = runs

    def runs(self, since: datetime, until: datetime, limit: int) -> list[Run]:
        """The newest runs of which a job ran in a period, newest first, with all their jobs."""
        span = self._runs.span_between(since, until)
        if span.lowest is None or span.highest is None:
            return []
        run_filter = RunFilter(max(1, span.lowest), span.highest, since=since, until=until)
        newest = run_queries.select_newest_runs(run_filter, below=None, limit=limit)
        with self._database.connect() as connection:
            numbers = connection.scalars(newest).all()
        return self._runs.read_all(numbers)[::-1]

    def data_path_problems(self, since: datetime, until: datetime) -> list[ProblemInterval]:
        """The times in a period in which data were not up to date, or the gateway did not respond."""
        return self._problems(since, until, _transitions.kind.in_(_DATA_PATH))

    def transitions_known_since(self) -> datetime | None:
        """The time from which all transitions are stored; `None` if there is none.

        A few that are older than `RETENTION` are kept.
        """
        first = sa.select(_transitions.noted_at).order_by(_transitions.id).limit(1)
        with self._database.connect() as connection:
            noted_at: datetime | None = connection.scalar(first)
        return None if noted_at is None else max(noted_at, datetime.now(UTC) - transitions.RETENTION)

    def stuck_clients(self, since: datetime, until: datetime) -> list[ProblemInterval]:
        """The times in a period in which clients were stuck."""
        is_stuck = sa.or_(_transitions.state == JobState.STUCK, _transitions.previous_state == JobState.STUCK)
        return self._problems(since, until, _transitions.kind == TransitionKind.CLIENT, is_stuck)

    def control_changes(self, cluster: Cluster, since: datetime, until: datetime) -> list[AuditEntry]:
        """The commands of a period that were sent to change something in a cluster, oldest first.

        They are in the playback cluster's database, whichever cluster they are about.
        """
        with self._database.connect() as connection:
            return audit_log.sent_changes(connection, cluster, since, until, _MAX_COMMANDS)

    def _problems(
        self, since: datetime, until: datetime, *conditions: sa.ColumnElement[bool]
    ) -> list[ProblemInterval]:
        newest = (
            sa.select(db.transitions)
            .where(*conditions, _transitions.occurred_at.between(since - _LOOK_BACK, until))
            .order_by(_transitions.occurred_at.desc(), _transitions.id.desc())
            .limit(_MAX_TRANSITIONS)
        )
        with self._database.connect() as connection:
            found = transitions.read(connection, newest)
        in_order = (recorded.transition for recorded in reversed(found))
        intervals = (each for each in _intervals(in_order) if each.ended_at is None or each.ended_at > since)
        return sorted(intervals, key=lambda each: each.began_at)


def _intervals(in_order: Iterable[Transition]) -> Iterator[ProblemInterval]:
    """The times in which things had a problem, by their transitions, oldest first."""
    open_intervals: dict[Thing, ProblemInterval] = {}
    for transition in in_order:
        interval = open_intervals.get(transition.thing)
        if transition.is_problem and interval is None:
            open_intervals[transition.thing] = ProblemInterval(
                transition.thing, transition.occurred_at, None, transition
            )
        elif interval is not None and (
            not transition.is_problem or transition.state != interval.beginning.state
        ):
            yield replace(interval, ended_at=transition.occurred_at)
            del open_intervals[transition.thing]
    yield from open_intervals.values()
