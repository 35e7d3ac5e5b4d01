"""Transitions of clients: what has changed in the two newest runs since conditions were last recorded.

A client's state is that of its newest job, as on the live page. Crashes are recorded job by job: a client may
be restarted at once, and the jobs of the run before the newest may still crash at their end.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

import sqlalchemy as sa

import db
from storage import crash_marks
from storage.client_rows import ClientRow, ClientState, client_rows, is_starting
from storage.job_state import StateRules
from storage.log_findings import FINDINGS_VERSION
from storage.read_models import ExpectedClients, Job, Run
from storage.run_queries import of_run, select_newest_runs_with_job
from storage.run_reader import read_expected_clients, read_run
from storage.transitions import WATCHED_RUNS, Condition, Thing, Transition, TransitionKind, TransitionState

# A crash that was reported longer ago, by its machine's clock, is history, unless it is the client's present
# state in an ongoing run.
_RECENT = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CaughtUpMachine:
    """A machine whose documents are all mirrored; `is_watched`: its conditions were recorded before."""

    label: str
    clock_at: datetime | None
    is_watched: bool


@dataclass(frozen=True, slots=True)
class ClientWatch:
    """Finds transitions of clients.

    `machines` are those that are caught up, by label; nothing is known of the jobs of others. `is_complete`:
    all machines are, so that a client without a job is missing.
    """

    connection: sa.Connection
    rules: StateRules
    missing_after: timedelta
    conditions: Mapping[Thing, Condition]
    machines: Mapping[str, CaughtUpMachine]
    is_complete: bool

    def find(self) -> list[Transition]:
        """The transitions since conditions were recorded, in order as far as that is known."""
        newest_runs = select_newest_runs_with_job(db.jobs.c.run > 0, limit=WATCHED_RUNS)
        numbers = self.connection.scalars(newest_runs).all()
        runs = [run for number in numbers if (run := read_run(self.connection, number, self.rules))]
        if not runs:
            return []
        newest = runs[0]
        crashes = list(self._new_crashes(runs))
        present = dict(self.conditions)
        for crash in crashes:
            present[crash.thing] = Condition(crash.state, crash.is_problem, crash.occurred_at)
        releases = {run.run: run.cmssw_version for run in runs}
        return [*self._with_new_groups(crashes, releases), *self._states(newest, present)]

    def _new_crashes(self, runs: Collection[Run]) -> Iterator[Transition]:
        """The crashes that were not recorded yet, the earliest first."""
        newest = next(iter(runs))
        found = [
            (job, run is newest and run.is_ongoing and job is row.newest)
            for run in runs
            for row in client_rows(run, ())
            for job in row.crashes
            if job.machine in self.machines
        ]
        recorded = self._recorded([job.id for job, _ in found])
        for job, is_present in sorted(found, key=lambda each: (each[0].updated_at, each[0].id)):
            if job.id not in recorded:
                is_news = self.machines[job.machine].is_watched and (is_present or self._is_recent(job))
                crash = _of_job(job, ClientState.CRASHED, self.conditions, is_initial=not is_news)
                yield replace(crash, crash_group=job.crash_group)

    def _is_recent(self, job: Job) -> bool:
        clock_at = self.machines[job.machine].clock_at
        return clock_at is None or clock_at - job.updated_at < _RECENT

    def _recorded(self, jobs: Collection[UUID]) -> set[UUID]:
        """Those of the jobs whose crash was recorded."""
        if not jobs:
            return set()
        table = db.transitions.c
        is_one = table.job == sa.any_(sa.literal(list(jobs), sa.ARRAY(sa.Uuid)))
        statement = sa.select(table.job).where(is_one, table.state == TransitionState.CRASHED)
        return set(self.connection.scalars(statement))

    def _with_new_groups(
        self, crashes: Collection[Transition], releases: Mapping[int, str | None]
    ) -> Iterator[Transition]:
        """The crashes with the titles of their groups, each group behind its first crash.

        `releases`: of the runs of the crashes.
        """
        news = [crash for crash in crashes if not crash.is_initial]
        groups = self._groups(news)
        seen: set[str] = set()
        for crash in crashes:
            group = groups.get(crash.crash_group or "")
            if group is None or crash.is_initial:
                yield crash
                continue
            run = crash.run or 0
            is_new = crash_marks.is_new(group.first_run, group.first_release, run, releases.get(run))
            described = replace(crash, detail=group.title, is_new_group=is_new and not group.is_analyzing)
            yield described
            is_first = not group.is_known and not group.is_analyzing and group.signature not in seen
            seen.add(group.signature)
            if is_first:
                thing = Thing(TransitionKind.CRASH_GROUP, group.signature)
                yield replace(
                    described, thing=thing, state=TransitionState.NEW, previous_state=None, is_problem=False
                )

    def _groups(self, crashes: Collection[Transition]) -> dict[str, Any]:
        """The groups of crashes by signature, each with its title, its first run, and whether it is known.

        A group is known that has other crashes, or was recorded before. While logs are analyzed again by
        newer rules, no group counts as new: it may have another signature for the jobs that are still to
        come.
        """
        signatures = {crash.crash_group for crash in crashes if crash.crash_group is not None}
        if not signatures:
            return {}
        groups, other = db.crash_groups.c, db.jobs.alias()
        is_other = other.c.identity != sa.all_(
            sa.literal([crash.job for crash in crashes], sa.ARRAY(sa.Uuid))
        )
        has_crash = sa.exists().where(other.c.crash_group == groups.signature, is_other)
        recorded = db.conditions.c
        is_recorded = sa.exists().where(
            recorded.kind == TransitionKind.CRASH_GROUP, recorded.subject == groups.signature
        )
        is_analyzing = sa.exists().where(db.jobs.c.log_rules < FINDINGS_VERSION)
        first_run = sa.select(sa.func.min(db.jobs.c.run)).where(db.jobs.c.crash_group == groups.signature)
        found = (
            sa.select(
                groups.signature,
                groups.title,
                first_run.scalar_subquery().label("first_run"),
                sa.or_(has_crash, is_recorded).label("is_known"),
                is_analyzing.label("is_analyzing"),
            )
            .where(groups.signature.in_(signatures))
            .subquery()
        )
        first_release = of_run(db.runs.c.cmssw_version, found.c.first_run).label("first_release")
        rows = self.connection.execute(sa.select(found, first_release))
        return {row.signature: row for row in rows}

    def _states(self, run: Run, present: Mapping[Thing, Condition]) -> Iterator[Transition]:
        """Changes of clients from well to a problem, from one to another, and back."""
        expected = (
            ExpectedClients()
            if run.run_key is None
            else read_expected_clients(self.connection, run.run, run.run_key)
        )
        may_start = is_starting(run, expected.startup, self.missing_after)
        rows = client_rows(run, expected.clients, is_starting=may_start)
        for row in rows:
            known = present.get(Thing(TransitionKind.CLIENT, row.client))
            was_problem = known is not None and known.is_problem
            if not self._is_certain(row) or not (row.state.is_problem or was_problem):
                continue
            if known is None or known.state != row.state.value:
                yield self._change(run, row, present)
        if self.is_complete and not may_start:
            yield from _absent(run, {row.client for row in rows}, present)

    def _is_certain(self, row: ClientRow) -> bool:
        """Whether the state of a client is known; crashes are recorded by `_new_crashes`."""
        match row.state:
            case ClientState.STARTING | ClientState.CRASHED:
                return False
            case ClientState.MISSING:
                return self.is_complete
        return row.newest is not None and row.newest.machine in self.machines

    def _change(self, run: Run, row: ClientRow, present: Mapping[Thing, Condition]) -> Transition:
        if row.newest is not None:
            is_initial = not self.machines[row.newest.machine].is_watched
            return _of_job(row.newest, row.state, present, is_initial=is_initial)
        return Transition(
            thing=Thing(TransitionKind.CLIENT, row.client),
            state=TransitionState(row.state),
            is_problem=row.state.is_problem,
            occurred_at=_last_report(run),
            previous_state=_previous(present, row.client),
            is_initial=not all(machine.is_watched for machine in self.machines.values()),
            run=run.run,
        )


def _absent(run: Run, clients: Collection[str], present: Mapping[Thing, Condition]) -> Iterator[Transition]:
    """Clients that had a problem, and that the newest run neither has nor needs."""
    for thing, condition in present.items():
        is_client = thing.kind is TransitionKind.CLIENT
        if is_client and condition.is_problem and thing.subject not in clients:
            yield Transition(
                thing=thing,
                state=TransitionState.ABSENT,
                is_problem=False,
                occurred_at=_last_report(run),
                previous_state=condition.state,
                run=run.run,
            )


def _of_job(
    job: Job, state: ClientState, present: Mapping[Thing, Condition], *, is_initial: bool
) -> Transition:
    return Transition(
        thing=Thing(TransitionKind.CLIENT, job.client),
        state=TransitionState(state),
        is_problem=state.is_problem,
        occurred_at=job.updated_at,
        previous_state=_previous(present, job.client),
        is_initial=is_initial,
        run=job.run,
        job=job.id,
        machine=job.machine,
    )


def _previous(present: Mapping[Thing, Condition], client: str) -> str | None:
    condition = present.get(Thing(TransitionKind.CLIENT, client))
    return None if condition is None else condition.state


def _last_report(run: Run) -> datetime:
    return max(job.updated_at for job in run.jobs)
