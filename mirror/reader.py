"""What pages and the API read: the mirror as it is, job states computed, everything in dataclasses."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import distinct_on

import db
from mirror import links as mirror_links
from mirror import packing, run_search, states
from mirror.links import Link, Links
from mirror.records import EventSeries, InputFates, Log, MemorySeries, SimulatorState, Stream
from mirror.run_search import RunSearch
from mirror.states import JobFacts, JobState

# Rows that a range of runs brings over at a time, so that its memory is bounded.
_ROWS_AT_A_TIME = 2000
# What a range of runs may take (s), however many they are, where the server limits others to less.
_WIDE: Mapping[str, Any] = {"answer_within_s": 30}


@dataclass(frozen=True, slots=True)
class RunSpan:
    """The lowest and the highest run that is mirrored; both `None` when there is none."""

    lowest: int | None
    highest: int | None


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The runs before and after a run."""

    previous: int | None
    next: int | None


@dataclass(frozen=True, slots=True)
class Job:
    """A job of a run, as lists show it; `lag` is how many lumisections it is behind the run's newest."""

    id: UUID
    run: int
    client: str
    machine: str
    state: JobState
    exit_code: int | None
    started_at: datetime
    updated_at: datetime
    cmssw_run: int | None
    lumisection: int | None
    lumisections_skipped: int
    lag: int
    events_total: int | None
    events_rate: float | None
    fi_state: int | None
    rss_kb: int | None

    @property
    def name(self) -> str:
        """The client's name as users know it: its tag without what most tags end in."""
        return client_name(self.client)


@dataclass(frozen=True, slots=True)
class Run:
    """A run and its jobs, ordered by client, then by start."""

    run: int
    run_key: str | None
    cmssw_version: str | None
    is_ongoing: bool
    jobs: tuple[Job, ...]

    @property
    def lumisection(self) -> int | None:
        """The newest lumisection that any of its jobs has reached."""
        return max((job.lumisection for job in self.jobs if job.lumisection is not None), default=None)

    @property
    def started_at(self) -> datetime | None:
        """The first report of any of its jobs."""
        return min((job.started_at for job in self.jobs), default=None)

    @property
    def updated_at(self) -> datetime | None:
        """The newest report of any of its jobs."""
        return max((job.updated_at for job in self.jobs), default=None)


@dataclass(frozen=True, slots=True)
class Playback:
    """The simulator of a run of the playback cluster."""

    run: int
    machine: str
    state: SimulatorState | None
    lumisection: int | None
    number_of_ls: int | None
    run_key: str | None
    source_run: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Delivery:
    """The file delivery of a run."""

    id: UUID
    run: int
    revision: int
    machine: str
    updated_at: datetime
    global_start: datetime | None
    global_start_is_guess: bool
    lumisection_s: float
    streams: tuple[Stream, ...]


@dataclass(frozen=True, slots=True)
class JobDetails:
    """What is shown of a job when it is opened."""

    job: Job
    memory: MemorySeries
    events: EventSeries
    fates: InputFates
    log: Log


@dataclass(frozen=True, slots=True)
class MachineStatus:
    """Whether a machine answers, as the gateway saw it at `checked_at`; in that state since `since`."""

    machine: str
    is_up: bool
    reason: str | None
    since: datetime
    checked_at: datetime | None


@dataclass(frozen=True, slots=True)
class StateChange:
    """A machine was seen to go up or down; `reason` is redacted."""

    machine: str
    at: datetime
    is_up: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk of a machine, in bytes."""

    tag: str
    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    files: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of a machine, in bytes."""

    total_bytes: int | None
    used_bytes: int | None
    free_bytes: int | None
    available_bytes: int | None
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine that is mirrored: its link, how far it is mirrored, and its resources."""

    label: str
    link: Link
    revision: int | None
    clock_at: datetime | None
    memory: Memory | None
    disks: tuple[Disk, ...]


@dataclass(frozen=True, slots=True)
class Freshness:
    """The grabber's last sign of life and what it knew of each link; machines by label."""

    beat_at: datetime
    gateway: Link
    status: Link
    machines: tuple[tuple[str, Link], ...]
    certificate_ends_at: datetime | None = None


def client_name(tag: str) -> str:
    """A client's name: its tag without `_dqm_sourceclient-live` (api, `get_clients`)."""
    return tag.removesuffix("_dqm_sourceclient-live")


class MirrorReader:
    """The pages' side of a cluster's database. `stuck_after` is how long a silent job is not yet stuck."""

    def __init__(self, database: sa.Engine, stuck_after: timedelta) -> None:
        self._database = database
        self._stuck_after = stuck_after

    def schema(self) -> db.Schema:
        """How the database's schema stands to this program."""
        with self._database.connect() as connection:
            return db.schema(connection)

    def run_span(self) -> RunSpan:
        """The lowest and the highest run."""
        with self._database.connect() as connection:
            lowest, highest = connection.execute(
                sa.select(sa.func.min(db.runs.c.run), sa.func.max(db.runs.c.run))
            ).one()
        return RunSpan(lowest, highest)

    def neighbours(self, run: int) -> Neighbours:
        """The runs before and after `run`, which need not be there itself."""
        number = db.runs.c.run
        with self._database.connect() as connection:
            before, after = connection.execute(
                sa.select(
                    sa.select(sa.func.max(number)).where(number < run).scalar_subquery(),
                    sa.select(sa.func.min(number)).where(number > run).scalar_subquery(),
                )
            ).one()
        return Neighbours(before, after)

    def run(self, run: int) -> Run | None:
        """A run with its jobs; `None` if nothing of it is mirrored."""
        with self._database.connect() as connection:
            described = connection.execute(sa.select(db.runs).where(db.runs.c.run == run)).one_or_none()
            rows = connection.execute(_jobs().where(db.jobs.c.run == run)).all()
        if described is None and not rows:
            return None
        return self._run(run, described, rows)

    def runs(self, first: int, last: int) -> Iterator[Run]:
        """The runs from `first` to `last`, ascending; in bounded memory, however many they are."""
        yield from self._runs(db.jobs.c.run.between(first, last))

    def find_runs(self, search: RunSearch, *, below: int | None, most: int) -> list[Run]:
        """The newest runs that a search finds, at `most` so many, of those `below` a run; newest first."""
        statement = run_search.numbers(search).order_by(db.runs.c.run.desc()).limit(most)
        if below is not None:
            statement = statement.where(db.runs.c.run < below)
        with self._database.connect() as connection:
            numbers = connection.scalars(statement).all()
        return list(self._runs(db.jobs.c.run.in_(numbers)))[::-1]

    def count_runs(self, search: RunSearch) -> int:
        """How many runs a search finds."""
        numbers = run_search.numbers(search).subquery()
        with self._database.connect() as connection:
            return connection.scalar(sa.select(sa.func.count()).select_from(numbers)) or 0

    def clients(self, first: int, last: int) -> list[str]:
        """The names of the clients of the runs from `first` to `last`, sorted."""
        statement = sa.select(db.jobs.c.client).distinct().where(db.jobs.c.run.between(first, last))
        with self._database.connect() as connection:
            return sorted(map(client_name, connection.scalars(statement, execution_options=_WIDE)))

    def clients_before(self, run: int, run_key: str) -> frozenset[str]:
        """The clients, by tag, of the last run before `run` with this run key: what `run` should have too."""
        table = db.runs.c
        last = (
            sa.select(table.run)
            .where(table.run < run, table.run_key == run_key)
            .order_by(table.run.desc())
            .limit(1)
            .scalar_subquery()
        )
        statement = sa.select(db.jobs.c.client).distinct().where(db.jobs.c.run == last)
        with self._database.connect() as connection:
            return frozenset(connection.scalars(statement))

    def details(self, job: UUID) -> JobDetails | None:
        """A job with its series and its log; `None` if there is none of that id."""
        with self._database.connect() as connection:
            run = connection.scalar(sa.select(db.jobs.c.run).where(db.jobs.c.identity == job))
            kept = connection.execute(
                sa.select(db.job_details).where(db.job_details.c.identity == job)
            ).one_or_none()
        if run is None or kept is None:
            return None
        found = self.run(run)
        shown = next((shown for shown in found.jobs if shown.id == job), None) if found else None
        if shown is None:
            return None
        return JobDetails(
            job=shown,
            memory=packing.unpack_memory(kept.memory),
            events=packing.unpack_events(kept.events),
            fates=packing.unpack_fates(kept.fates),
            log=packing.unpack_log(kept.log, kept.log_replaced),
        )

    def delivery(self, run: int) -> Delivery | None:
        """The file delivery of a run, the newest where several machines report one."""
        table = db.deliveries
        statement = (
            sa.select(table, db.machines.c.label)
            .join(db.machines)
            .where(table.c.run == run)
            .order_by(table.c.updated_at.desc(), table.c.identity)
            .limit(1)
        )
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return Delivery(
            id=row.identity,
            run=row.run,
            revision=row.revision,
            machine=row.label,
            updated_at=row.updated_at,
            global_start=row.global_start,
            global_start_is_guess=row.global_start_is_guess,
            lumisection_s=row.lumisection_s,
            streams=packing.unpack_streams(row.streams),
        )

    def delivery_updated_at(self, run: int) -> datetime | None:
        """When what `delivery` answers was reported; `None` if nothing was."""
        table = db.deliveries.c
        statement = sa.select(sa.func.max(table.updated_at)).where(table.run == run)
        with self._database.connect() as connection:
            updated_at: datetime | None = connection.scalar(statement)
        return updated_at

    def playback(self, run: int) -> Playback | None:
        """The simulator of a run, the newest report where there are several."""
        table = db.playbacks
        statement = (
            sa.select(table, db.machines.c.label)
            .join(db.machines)
            .where(table.c.run == run)
            .order_by(table.c.updated_at.desc(), table.c.identity)
            .limit(1)
        )
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        return Playback(
            run=row.run,
            machine=row.label,
            state=None if row.state is None else SimulatorState(row.state),
            lumisection=row.lumisection,
            number_of_ls=row.number_of_ls,
            run_key=row.run_key,
            source_run=row.source_run,
            updated_at=row.updated_at,
        )

    def cluster_status(self) -> list[MachineStatus]:
        """The machines that the cluster's status last spoke of, a row each, by label."""
        table = db.machine_states
        statement = (
            sa.select(table, db.machines.c.label)
            .join(db.machines)
            .ext(distinct_on(table.c.machine_id))
            .order_by(table.c.machine_id, table.c.since.desc())
        )
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(statement).all()
        if links is None:
            return []
        asked = set(links.status_machines)
        found = (
            MachineStatus(row.label, row.is_up, row.reason, row.since, links.status.worked_at)
            for row in rows
            if row.machine_id in asked
        )
        return sorted(found, key=attrgetter("machine"))

    def state_changes(self, since: datetime) -> list[StateChange]:
        """When machines went up or down from `since` on, and the last change before, oldest first."""
        table, before = db.machine_states, db.machine_states.alias()
        last_before = (
            sa.select(sa.func.max(before.c.since))
            .where(before.c.machine_id == table.c.machine_id, before.c.since <= since)
            .scalar_subquery()
        )
        statement = (
            sa.select(table, db.machines.c.label)
            .join(db.machines)
            .where(table.c.since >= sa.func.coalesce(last_before, since))
            .order_by(table.c.since)
        )
        with self._database.connect() as connection:
            rows = connection.execute(statement).all()
        return [StateChange(row.label, row.since, row.is_up, row.reason) for row in rows]

    def machines(self) -> list[Machine]:
        """The machines that are mirrored, with their resources, by label."""
        with self._database.connect() as connection:
            links = _links(connection)
            rows = connection.execute(sa.select(db.machines)).all()
            memory = {row.machine_id: row for row in connection.execute(sa.select(db.machine_memory))}
            disks = connection.execute(sa.select(db.machine_disks).order_by(db.machine_disks.c.tag)).all()
        mirrored = {} if links is None else links.machines
        found = (
            Machine(
                label=row.label,
                link=mirrored[row.id],
                revision=row.revision,
                clock_at=row.clock_at,
                memory=_memory(memory.get(row.id)),
                disks=tuple(_disk(disk) for disk in disks if disk.machine_id == row.id),
            )
            for row in rows
            if row.id in mirrored
        )
        return sorted(found, key=attrgetter("label"))

    def freshness(self) -> Freshness | None:
        """How fresh the mirror is; `None` where no grabber has ever worked."""
        with self._database.connect() as connection:
            row = connection.execute(sa.select(db.heartbeat)).one_or_none()
            labels = {
                machine.id: machine.label
                for machine in connection.execute(sa.select(db.machines.c.id, db.machines.c.label))
            }
        if row is None:
            return None
        links = mirror_links.from_json(row.links)
        machines = sorted((labels[machine], link) for machine, link in links.machines.items())
        return Freshness(row.beat_at, links.gateway, links.status, tuple(machines), links.certificate_ends_at)

    def _runs(self, condition: sa.ColumnElement[bool]) -> Iterator[Run]:
        """The runs whose jobs meet a condition, ascending."""
        asked = _jobs(db.runs).outerjoin(db.runs, db.runs.c.run == db.jobs.c.run)
        with self._streaming() as connection:
            rows = connection.execute(asked.where(condition).order_by(db.jobs.c.run))
            for run, of_run in groupby(rows, attrgetter("run")):
                jobs = list(of_run)
                yield self._run(run, jobs[0], jobs)

    def _run(self, run: int, described: Any, rows: Sequence[Any]) -> Run:
        facts = [_facts(row) for row in rows]
        newest = max((row.lumisection for row in rows if row.lumisection is not None), default=0)
        jobs = [
            _job(row, state, newest)
            for row, state in zip(rows, states.job_states(facts, self._stuck_after), strict=True)
        ]
        return Run(
            run=run,
            run_key=None if described is None else described.run_key,
            cmssw_version=None if described is None else described.cmssw_version,
            is_ongoing=states.is_ongoing(facts, self._stuck_after),
            jobs=tuple(sorted(jobs, key=lambda job: (job.name, job.started_at, job.id))),
        )

    @contextmanager
    def _streaming(self) -> Iterator[sa.Connection]:
        with self._database.connect() as connection:
            yield connection.execution_options(stream_results=True, yield_per=_ROWS_AT_A_TIME, **_WIDE)


def _jobs(*more: sa.FromClause) -> sa.Select[Any]:
    """Jobs with what their state depends on, and the columns of `more`."""
    columns: Iterable[Any] = (
        column for table in more for column in table.c if column.name in ("run_key", "cmssw_version")
    )
    machine = db.machines.c
    return sa.select(db.jobs, machine.label, machine.clock_at, machine.newest_run, *columns).join_from(
        db.jobs, db.machines
    )


def _facts(row: Any) -> JobFacts:
    return JobFacts(
        run=row.run,
        exit_code=row.exit_code,
        updated_at=row.updated_at,
        lumisection=row.lumisection,
        lumisection_at=row.lumisection_at,
        machine_clock_at=row.clock_at,
        machine_newest_run=row.newest_run,
    )


def _job(row: Any, state: JobState, newest_lumisection: int) -> Job:
    return Job(
        id=row.identity,
        run=row.run,
        client=row.client,
        machine=row.label,
        state=state,
        exit_code=row.exit_code,
        started_at=row.started_at,
        updated_at=row.updated_at,
        cmssw_run=row.cmssw_run,
        lumisection=row.lumisection,
        lumisections_skipped=row.lumisections_skipped,
        lag=newest_lumisection - (row.lumisection or 0),
        events_total=row.events_total,
        events_rate=row.events_rate,
        fi_state=row.fi_state,
        rss_kb=row.rss_kb,
    )


def _links(connection: sa.Connection) -> Links | None:
    kept = connection.scalar(sa.select(db.heartbeat.c.links))
    return None if kept is None else mirror_links.from_json(kept)


def _memory(row: Any) -> Memory | None:
    if row is None:
        return None
    return Memory(row.total_bytes, row.used_bytes, row.free_bytes, row.available_bytes, row.updated_at)


def _disk(row: Any) -> Disk:
    return Disk(row.tag, row.total_bytes, row.used_bytes, row.free_bytes, row.files, row.updated_at)
