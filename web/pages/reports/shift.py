"""The shift report: runs, crashes, problems, mutes, machines, stale data and commands of a period."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter

from flask import url_for

from dqmsquare_cfg import EXPERIMENT_ZONE, Cluster
from storage.audit_log import AuditEntry, CommandStage
from storage.client_names import client_name
from storage.job_state import JobState
from storage.read_models import Job, Run, StateChange
from storage.shift_reader import ProblemInterval
from storage.transitions import TransitionKind
from web.action_text import describe_done
from web.pages import crash_text
from web.pages.formatting import DASH, counted
from web.pages.reports import old_data
from web.pages.reports.document import (
    NOTHING,
    Cell,
    Column,
    Level,
    Report,
    Section,
    number_cell,
    time_cell,
)
from web.pages.reports.shift_data import ShiftData, crashed_jobs
from web.pages.reports.shift_period import ShiftPeriod

_TOO_MANY = "Only the newest {} runs of the period are reported."
# Runs that are named in one cell.
_MAX_NAMED = 5
_NOT_NOTED = (
    "{} not known for the whole period: the mirror was not yet recording them, or no longer keeps them."
)


@dataclass(frozen=True, slots=True)
class _Crashes:
    """The crashes of a period that are alike."""

    signature: str | None
    jobs: Sequence[Job]

    @property
    def runs(self) -> list[int]:
        """Their runs, ascending."""
        return sorted({job.run for job in self.jobs})


def build(cluster: Cluster, period: ShiftPeriod, data: ShiftData, url: str, *, with_names: bool) -> Report:
    """The report; `with_names`: it names those who sent commands."""
    crashes = _crash_groups(data, period)
    sections = (
        _runs(cluster, data),
        _crashes(cluster, data, crashes),
        _unfinished(cluster, data, period),
        _missing(cluster, data),
        _mutes(data, period),
        _machines(data, period),
        _stale(data),
        _commands(data, with_names=with_names),
    )
    return Report(
        title=f"DQM shift report of the {cluster} cluster, {_span(period)}",
        url=url,
        summary=_summary(data, crashes, sections),
        facts=list(old_data.facts(data.outages, period.until)),
        sections=sections,
    )


def _span(period: ShiftPeriod) -> str:
    since, until = period.since.astimezone(EXPERIMENT_ZONE), period.until.astimezone(EXPERIMENT_ZONE)
    end = f"{until:%H:%M %Z}" if since.date() == until.date() else f"{until:%d %b %Y %H:%M %Z}"
    # The clock may change within the period.
    zone = "" if since.tzname() == until.tzname() else f" {since:%Z}"
    return f"{since:%d %b %Y %H:%M}{zone}–{end}"


def _summary(data: ShiftData, crashes: Sequence[_Crashes], sections: Sequence[Section]) -> str:
    jobs = sum(len(each.jobs) for each in crashes)
    new = sum(_is_new(each, data) for each in crashes)
    parts = [f"{'more than ' if data.has_older_runs else ''}{counted(len(data.runs), 'run')}"]
    if jobs:
        news = f", {new} of them new" if new else ", none of them new"
        parts.append(f"{counted(jobs, 'crash', 'crashes')} of {counted(len(crashes), 'kind')}{news}")
    else:
        parts.append("no crash")
    words = {
        "unfinished": "stuck or lost job",
        "missing": "missing client",
        "machines": "machine outage",
        "stale": "period of old data",
        "commands": "command",
    }
    plurals = {"stale": "periods of old data"}
    parts += [
        counted(len(section.rows), words[section.key], plurals.get(section.key))
        for section in sections
        if section.key in words and section.rows
    ]
    return f"{'' if data.is_over else 'So far: '}{'; '.join(parts)}."


def _run_cell(cluster: Cluster, run: int) -> Cell:
    return Cell(str(run), url=url_for("live.page", db=cluster, run=run), value=run)


def _runs(cluster: Cluster, data: ShiftData) -> Section:
    columns = (
        Column("run", "Run", phrase="run {}"),
        Column("run_key", "Run key"),
        Column("cmssw_version", "Release", "release", title="CMSSW release", phrase="CMSSW_{}"),
        Column("started_at", "Start", phrase="from {}"),
        Column("ended_at", "End", phrase="to {}"),
        Column("last_lumisection", "LS", "numeric", "Newest lumisection of a client", "{} LS"),
        Column("clients", "Clients", "numeric", phrase="{} clients", singular="1 client"),
        Column("crashed", "Crashed", "numeric", "Jobs that crashed, restarted or not", "{} crashed"),
    )
    rows = [
        (
            _run_cell(cluster, run.run),
            Cell(run.run_key or DASH),
            Cell(run.cmssw_version or DASH),
            time_cell(run.started_at),
            time_cell(None, "ongoing") if run.is_ongoing else time_cell(run.updated_at),
            number_cell(run.lumisection),
            number_cell(len({job.client for job in run.jobs})),
            _crash_count(run),
        )
        for run in data.runs
    ]
    note = _TOO_MANY.format(len(data.runs)) if data.has_older_runs else None
    return Section("runs", "Runs", columns, rows, "No run.", note)


def _crash_count(run: Run) -> Cell:
    crashed = sum(job.state is JobState.CRASHED for job in run.jobs)
    return Cell(str(crashed), value=crashed, level=Level.BAD if crashed else None)


def _crash_groups(data: ShiftData, period: ShiftPeriod) -> list[_Crashes]:
    """The crashes of the period by group, new ones first, then the most frequent."""

    def key(job: Job) -> tuple[str, str, int]:
        # A crash that is not analyzed yet has no group.
        return job.crash_group or "", job.client, job.exit_code or 0 if job.crash_group is None else 0

    jobs = sorted(crashed_jobs(data.runs, period), key=key)
    found = [_Crashes(alike[0].crash_group, alike) for _, each in groupby(jobs, key) if (alike := list(each))]
    return sorted(found, key=lambda each: (not _is_new(each, data), -len(each.jobs), each.jobs[0].client))


def _is_new(crashes: _Crashes, data: ShiftData) -> bool:
    known = data.crash_groups.get(crashes.signature or "")
    return known is not None and any(known.is_new_in(run) for run in data.runs if run.run in crashes.runs)


def _crashes(cluster: Cluster, data: ShiftData, crashes: Sequence[_Crashes]) -> Section:
    columns = (
        Column("crash", "Crash", "full-width"),
        Column("jobs", "Jobs", "numeric", phrase="{} jobs", singular="1 job"),
        Column("runs", "Runs", phrase="in {}"),
        Column("first_at", "First", phrase="first {}"),
        Column("last_at", "Last", phrase="last {}"),
        Column("since_run", "Since run", title="First of all runs with this crash", phrase="since run {}"),
        Column(
            "runs_in_all",
            "Total runs",
            "numeric",
            "Up to the end of the period",
            phrase="{} runs in total",
            singular="1 run in total",
        ),
    )
    rows = [_crash_row(cluster, data, each) for each in crashes]
    return Section("crashes", "Crashes", columns, rows, "No job crashed.")


def _crash_row(cluster: Cluster, data: ShiftData, crashes: _Crashes) -> tuple[Cell, ...]:
    known = data.crash_groups.get(crashes.signature or "")
    times = [job.updated_at for job in crashes.jobs]
    job = crashes.jobs[0]
    if known is None:
        title, url = f"{job.name}: {crash_text.headline(job)}", url_for("job.page", job=job.id, db=cluster)
    else:
        title = known.title
        url = url_for("crash_group.page", signature=crashes.signature, db=cluster)
    return (
        Cell(title, url=url, mark="new" if _is_new(crashes, data) else None),
        number_cell(len(crashes.jobs)),
        Cell(_abridged(map(str, crashes.runs))),
        Cell(at=min(times)),
        Cell(at=max(times)),
        NOTHING if known is None else _run_cell(cluster, known.since),
        NOTHING if known is None else number_cell(known.runs),
    )


def _abridged(values: Iterable[str]) -> str:
    shown = list(values)
    more = len(shown) - _MAX_NAMED
    return ", ".join(shown[:_MAX_NAMED]) + (f" and {more} more" if more > 0 else "")


def _unfinished(cluster: Cluster, data: ShiftData, period: ShiftPeriod) -> Section:
    columns = (
        Column("client", "Client"),
        Column("state", "State"),
        Column("run", "Run", phrase="in run {}"),
        Column("machine", "Machine", phrase="on {}"),
        Column("lumisection", "LS", "numeric", phrase="at LS {}"),
        Column("from", "From", title="For a job that no longer reports: its last report", phrase="from {}"),
        Column("to", "To", phrase="to {}"),
    )
    jobs = list(_unfinished_jobs(data.runs, period))
    listed = {(job.client, job.run) for job in jobs}
    rows = [
        *(_unfinished_row(cluster, job) for job in jobs),
        *(
            _was_stuck_row(cluster, data, each)
            for each in data.stuck
            if each.ended_at is not None or (each.thing.subject, each.beginning.run) not in listed
        ),
    ]
    empty = f"No job {'was' if data.has_transitions else 'is'} stuck or lost."
    note = None if data.has_transitions else _NOT_NOTED.format("Jobs that were stuck for a while are")
    return Section("unfinished", "Stuck or lost", columns, rows, empty, note)


def _unfinished_jobs(runs: Iterable[Run], period: ShiftPeriod) -> Iterator[Job]:
    """The jobs that are stuck, since the period or longer, and those that were lost in it."""
    for run in runs:
        for job in run.jobs:
            is_of_period = job.state is JobState.STUCK or job.updated_at >= period.since
            if (
                job.state in (JobState.STUCK, JobState.LOST)
                and is_of_period
                and job.updated_at < period.until
            ):
                yield job


def _unfinished_row(cluster: Cluster, job: Job) -> tuple[Cell, ...]:
    return (
        Cell(job.name, url=url_for("job.page", job=job.id, db=cluster)),
        Cell(str(job.state)),
        _run_cell(cluster, job.run),
        Cell(job.machine),
        number_cell(job.lumisection),
        Cell(at=job.updated_at),
        time_cell(None, "still"),
    )


def _was_stuck_row(cluster: Cluster, data: ShiftData, interval: ProblemInterval) -> tuple[Cell, ...]:
    beginning = interval.beginning
    return (
        Cell(client_name(interval.thing.subject)),
        Cell("was stuck"),
        NOTHING if beginning.run is None else _run_cell(cluster, beginning.run),
        Cell(beginning.machine or DASH),
        NOTHING,
        Cell(at=interval.began_at),
        _end_cell(data, interval.ended_at),
    )


def _end_cell(data: ShiftData, ended_at: datetime | None) -> Cell:
    """The end of a problem; one that did not end within the period may have ended since."""
    return time_cell(ended_at, "still at the end" if data.is_over else "still")


def _missing(cluster: Cluster, data: ShiftData) -> Section:
    columns = (
        Column("client", "Client"),
        Column("runs", "Runs", phrase="in {}"),
        Column("first_run", "First of them", phrase="first in run {}"),
    )
    runs_of: dict[str, list[int]] = {}
    for run, clients in data.missing.items():
        for client in clients:
            runs_of.setdefault(client, []).append(run)
    rows = [
        (Cell(client), Cell(_abridged(map(str, runs))), _run_cell(cluster, runs[0]))
        for client, runs in sorted(runs_of.items())
    ]
    note = "A client is missing if the previous run with the same run key had it." if rows else None
    return Section("missing", "Missing", columns, rows, "No client was missing.", note)


def _mutes(data: ShiftData, period: ShiftPeriod) -> Section:
    columns = (
        Column("muted", "Client or crash"),
        Column("set_at", "Set", phrase="muted {}"),
        Column("ends_at", "Ends", phrase="until {}"),
        Column("username", "By", phrase="by {}"),
        Column("reason", "Reason", "full-width", phrase="reason: {}"),
    )
    rows = [
        (
            Cell(mute.crash_title or client_name(mute.subject.client)),
            Cell(at=mute.muted_at, mark="set" if mute.muted_at >= period.since else None),
            Cell(at=mute.ends_at, mark="ended" if mute.ends_at <= data.until else None),
            Cell(mute.username),
            Cell(mute.reason),
        )
        for mute in data.mutes
    ]
    return Section("mutes", "Mutes", columns, rows, "No mute was set or ended.")


def _machines(data: ShiftData, period: ShiftPeriod) -> Section:
    columns = (
        Column("machine", "Machine"),
        Column("from", "Down from", phrase="down from {}"),
        Column("to", "To", phrase="to {}"),
        Column("reason", "Reason", "full-width"),
    )
    by_machine = groupby(sorted(data.state_changes, key=attrgetter("machine", "at")), attrgetter("machine"))
    rows = [
        (Cell(machine), Cell(at=down.at), _end_cell(data, up), Cell(down.reason or DASH))
        for machine, changes in by_machine
        for down, up in _downtimes(list(changes))
        if up is None or up > period.since
    ]
    # Without any state, nothing was asked about the machines.
    empty = "No machine was down." if data.state_changes else "Not known."
    return Section("machines", "Machines down", columns, rows, empty)


def _downtimes(changes: Sequence[StateChange]) -> Iterator[tuple[StateChange, datetime | None]]:
    """The beginning and the end of each time in which a machine was down."""
    began: StateChange | None = None
    for change in changes:
        if not change.is_up and began is None:
            began = change
        elif change.is_up and began is not None:
            yield began, change.at
            began = None
    if began is not None:
        yield began, None


def _stale(data: ShiftData) -> Section:
    columns = (
        Column("part", "Not up to date"),
        Column("from", "From", phrase="from {}"),
        Column("to", "To", phrase="to {}"),
        Column("reason", "Reason", "full-width"),
    )
    rows = [
        (
            Cell(_part(interval)),
            Cell(at=interval.began_at),
            _end_cell(data, interval.ended_at),
            Cell(interval.beginning.detail or DASH),
        )
        for interval in data.stale
    ]
    empty = "The mirror was up to date." if data.has_transitions else "None is known."
    note = None if data.has_transitions else _NOT_NOTED.format("Times with old data are")
    return Section("stale", "Old data", columns, rows, empty, note)


def _part(interval: ProblemInterval) -> str:
    if interval.thing.kind is TransitionKind.GATEWAY:
        return "DQM² gateway"
    return interval.thing.subject or "the mirror"


def _commands(data: ShiftData, *, with_names: bool) -> Section:
    columns = [
        Column("sent_at", "Sent"),
        Column("command", "Command", "full-width"),
        Column("outcome", "Outcome", phrase="outcome: {}"),
    ]
    if with_names:
        columns.append(Column("username", "By", phrase="by {}"))
    rows = [_command_row(entry, with_names=with_names) for entry in data.commands or ()]
    empty = (
        "Not known: the database of the playback cluster, which has the commands, can't be reached."
        if data.commands is None
        else "No command was sent."
    )
    return Section("commands", "Commands that changed something", columns, rows, empty)


def _command_row(entry: AuditEntry, *, with_names: bool) -> tuple[Cell, ...]:
    outcome = entry.outcome or ("unknown" if entry.stage is CommandStage.ENDED else "in progress")
    row = (time_cell(entry.sent_at), Cell(describe_done(entry.action)), Cell(str(outcome)))
    return (*row, Cell(entry.action.username or DASH)) if with_names else row
