"""The playback report: a test run of the playback cluster, client by client, against a reference run."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flask import url_for

from dqmsquare_cfg import Cluster
from storage.outages import Outage
from storage.playback_comparison_reader import ClientPerformance
from storage.read_models import Playback, Run
from web.pages.external_links import pull_request_url, pull_requests
from web.pages.formatting import DASH, counted, gibibytes, number, rate
from web.pages.reports import old_data
from web.pages.reports.document import NOTHING, Cell, Column, Level, Report, Section, number_cell
from web.pages.reports.playback_comparison import (
    DURATION,
    EVENTS,
    FIGURES,
    GROWTH,
    PEAK_MEMORY,
    RATE,
    SEVERITY,
    SKIPPED,
    THRESHOLDS,
    ComparedClient,
    Threshold,
    compare,
    standard_error,
)

_CLUSTER = Cluster.PLAYBACK
_VERDICTS = {
    Level.GOOD: "OK",
    Level.WARNING: "OK with remarks",
    Level.BAD: "Not OK",
}


@dataclass(frozen=True, slots=True)
class TestedRun:
    """A run of the playback cluster with its simulator and the work of its clients."""

    # Not a test of pytest's.
    __test__ = False

    run: Run
    playback: Playback | None
    clients: Sequence[ClientPerformance]

    @property
    def reported_until(self) -> datetime:
        """The time up to which its clients are expected to have reported."""
        ended_at = None if self.run.is_ongoing else self.run.updated_at
        return ended_at or datetime.now(UTC)

    @property
    def source_run(self) -> int | None:
        """The run that was played."""
        return (self.playback.source_run if self.playback else None) or self.run.cmssw_run

    @property
    def pull_requests(self) -> tuple[int, ...]:
        """The pull requests of its release."""
        return pull_requests(self.run.cmssw_version or "")


def build(tested: TestedRun, reference: TestedRun | None, outages: Iterable[Outage], url: str) -> Report:
    """The report; without a reference only the figures of the run, without judgement on differences.

    `outages` are those of the present.
    """
    clients = compare(tested.clients, None if reference is None else reference.clients)
    level = min((each.level for each in clients), key=SEVERITY.index, default=None)
    return Report(
        title=_title(tested),
        url=url,
        summary=_summary(tested, reference, clients, level),
        facts=[*old_data.facts(outages, tested.reported_until), *_facts(tested, reference)],
        sections=(_runs(tested, reference), _clients(clients, has_reference=reference is not None), _rules()),
        level=level,
    )


def _title(tested: TestedRun) -> str:
    release = f" of CMSSW_{tested.run.cmssw_version}" if tested.run.cmssw_version else ""
    return f"DQM playback test{release}, run {tested.run.run}"


def _summary(
    tested: TestedRun, reference: TestedRun | None, clients: Sequence[ComparedClient], level: Level | None
) -> str:
    if level is None:
        return "No client has reported."
    counts = {each: sum(client.level is each for client in clients) for each in Level}
    verdict = _VERDICTS[level]
    bad = [client.name for client in clients if client.level is Level.BAD]
    named = f" ({', '.join(bad)})" if bad else ""
    against = (
        "without a reference"
        if reference is None
        else f"against run {reference.run.run} ({_release(reference.run)})"
    )
    so_far = " so far, the run is ongoing" if tested.run.is_ongoing else ""
    return (
        f"{verdict}{so_far}: {counted(counts[Level.BAD], 'client')} bad{named}, "
        f"{counts[Level.WARNING]} with a warning, {counts[Level.GOOD]} good, {against}."
    )


def _release(run: Run) -> str:
    return f"CMSSW_{run.cmssw_version}" if run.cmssw_version else "unknown release"


def _facts(tested: TestedRun, reference: TestedRun | None) -> list[tuple[str, Sequence[Cell]]]:
    own = tested.pull_requests
    facts: list[tuple[str, Sequence[Cell]]] = [("Pull requests", _pull_request_cells(own))]
    if reference is not None:
        of_reference = reference.pull_requests
        added = [each for each in own if each not in of_reference]
        removed = [each for each in of_reference if each not in own]
        facts.append(("Not in the reference", _pull_request_cells(added)))
        if removed:
            facts.append(("Only in the reference", _pull_request_cells(removed)))
        notes = []
        if reference.source_run != tested.source_run:
            notes.append(Cell("the reference played another run", level=Level.WARNING))
        if reference.run.cmssw_version == tested.run.cmssw_version is not None:
            notes.append(Cell("the reference has the same release", level=Level.WARNING))
        if notes:
            facts.append(("Note", notes))
    return facts


def _pull_request_cells(numbers: Sequence[int]) -> Sequence[Cell]:
    cells = [Cell(f"#{each}", url=pull_request_url(each), value=each) for each in numbers]
    return cells or [Cell("none")]


def _runs(tested: TestedRun, reference: TestedRun | None) -> Section:
    columns = (
        Column("role", "Role"),
        Column("run", "Run", phrase="run {}"),
        Column("cmssw_version", "Release", "release", phrase="CMSSW_{}"),
        Column("run_key", "Run key"),
        Column("source_run", "Plays run", phrase="plays run {}"),
        Column("last_lumisection", "LS", "numeric", phrase="{} LS"),
        Column("clients", "Clients", "numeric", phrase="{} clients", singular="1 client"),
        Column("crashed", "Crashed", "numeric", phrase="{} crashed"),
        Column("started_at", "Start", phrase="from {}"),
    )
    runs = [("tested", tested), *([("reference", reference)] if reference else [])]
    rows = [
        (
            Cell(role),
            Cell(
                str(each.run.run), url=url_for("live.page", db=_CLUSTER, run=each.run.run), value=each.run.run
            ),
            Cell(each.run.cmssw_version or DASH),
            Cell(each.run.run_key or DASH),
            number_cell(each.source_run),
            number_cell(each.run.lumisection),
            number_cell(len(each.clients)),
            number_cell(sum(client.crashes for client in each.clients)),
            NOTHING if each.run.started_at is None else Cell(at=each.run.started_at),
        )
        for role, each in runs
    ]
    return Section("runs", "Runs", columns, rows, "No run.")


_FORMATS: Mapping[Threshold, Callable[[float], str]] = {
    EVENTS: lambda value: number(round(value)),
    RATE: rate,
    PEAK_MEMORY: lambda value: gibibytes(round(value)),
    GROWTH: lambda value: _signed(round(value)),
    DURATION: lambda value: f"{value / 1000:.1f}",
    SKIPPED: lambda value: str(round(value)),
}
_COLUMNS: Mapping[Threshold, Column] = {
    EVENTS: Column("events_per_ls", "Events/LS", "numeric", phrase="{} events/LS"),
    RATE: Column("events_per_s", "Events/s", "numeric", "Mean over the life of its jobs", "{} events/s"),
    PEAK_MEMORY: Column("peak_rss_kb", "Peak memory", "numeric", "Highest resident memory", "peak {}"),
    GROWTH: Column(
        "growth_kb_per_ls", "Growth (KiB/LS)", "numeric", "Slope of the resident memory", "growth {} KiB/LS"
    ),
    DURATION: Column("ls_duration_ms", "Time/LS (s)", "numeric", "Median", "{} s/LS"),
    SKIPPED: Column("skipped", "Skipped LS", "numeric", "That no job of the client saw", "{} LS skipped"),
}


def _clients(clients: Sequence[ComparedClient], *, has_reference: bool) -> Section:
    columns = [
        Column("client", "Client"),
        Column("verdict", "Verdict", "full-width"),
        Column("crashes", "Crashes", "numeric", phrase="{} crashes", singular="1 crash"),
        Column("lumisections", "LS", "numeric", phrase="{} LS"),
        *_COLUMNS.values(),
    ]
    if has_reference:
        columns[2:3] = [
            columns[2],
            Column("reference_crashes", "In the reference", "numeric", phrase="{} in the reference"),
        ]
    rows = [_client_row(each, has_reference=has_reference) for each in clients]
    compared = (
        "Figures are of the LS that the client reached in both runs. In parentheses: the difference from the "
        "reference. "
    )
    note = f"{compared if has_reference else ''}A dash: not known, or no longer stored."
    return Section("clients", "Clients", columns, rows, "No client has reported.", note)


def _client_row(each: ComparedClient, *, has_reference: bool) -> list[Cell]:
    tested, reference = each.tested, each.reference
    crashes = NOTHING if tested is None else number_cell(tested.crashes)
    cells = [
        Cell(each.name),
        Cell("; ".join(each.remarks) or "good", level=each.level, value=each.level),
        crashes,
    ]
    if has_reference:
        cells.append(NOTHING if reference is None else number_cell(reference.crashes))
    cells.append(NOTHING if tested is None else _lumisections_cell(tested, has_reference=has_reference))
    return [*cells, *(_figure_cell(threshold, tested, reference) for threshold in THRESHOLDS)]


def _lumisections_cell(tested: ClientPerformance, *, has_reference: bool) -> Cell:
    title = f"Figures up to LS {tested.compared}" if has_reference else None
    return replace(number_cell(tested.lumisections), title=title)


def _figure_cell(
    threshold: Threshold, tested: ClientPerformance | None, reference: ClientPerformance | None
) -> Cell:
    figure, form = FIGURES[threshold], _FORMATS[threshold]
    value = None if tested is None else figure(tested)
    if value is None:
        return NOTHING
    before = None if reference is None else figure(reference)
    error = 0 if tested is None or reference is None else standard_error(threshold, tested, reference)
    level = threshold.judge(value, before, error)
    return Cell(
        form(value) + _difference(threshold, value, before),
        title=None if before is None else f"{form(before)} in the reference",
        level=None if level is Level.GOOD else level,
        value=round(value, 3),
    )


def _difference(threshold: Threshold, value: float, before: float | None) -> str:
    if before is None:
        return ""
    if threshold.is_relative:
        percent = round(100 * (value - before) / before) if before else 0
        return f" ({_signed(percent)}%)" if percent else ""
    difference = round(value - before)
    return f" ({_signed(difference)})" if difference else ""


def _signed(value: int) -> str:
    """A number with its sign, in groups of three digits."""
    return f"{'−' if value < 0 else '+'}{number(abs(value))}"


def _rules() -> Section:
    columns = (
        Column("figure", "Figure"),
        Column("warning", "Warning", phrase="warning {}"),
        Column("bad", "Bad", phrase="bad {}"),
        Column("reason", "Reason", "full-width"),
    )
    rows = [
        (
            Cell("Crash"),
            Cell("as in the reference"),
            Cell("otherwise"),
            Cell("Crashes with the same group are known; another one is new with this release."),
        ),
        (
            Cell("Stuck or lost, no job"),
            Cell("stuck or lost in both"),
            Cell("otherwise"),
            Cell("A client that does not report monitors nothing."),
        ),
        *(
            (
                Cell(threshold.figure),
                Cell(_limit(threshold, threshold.warning)),
                Cell(_limit(threshold, threshold.bad)),
                Cell(threshold.reason),
            )
            for threshold in THRESHOLDS
        ),
    ]
    return Section("rules", "Thresholds", columns, rows, "None.")


def _limit(threshold: Threshold, value: float) -> str:
    sign = "+" if threshold.sign > 0 else "−"
    return f"{sign}{value:.0%}" if threshold.is_relative else f"{sign}{value:g} {threshold.unit}"
