"""The efficiency report: clients by month, release or run key, and what is worse since the last release."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from flask import url_for

from dqmsquare_cfg import Cluster
from storage.efficiency_reader import ClientEfficiency, EfficiencyRange, Grouping
from web.pages.formatting import DASH, counted, gibibytes, rate
from web.pages.reports.document import (
    MAX_HEAT,
    NOTHING,
    Cell,
    Column,
    Level,
    Report,
    Section,
    number_cell,
)

# Newest periods that have a column.
_MAX_PERIODS = 24
_MAX_RELEASES = 8
# Lowest shares of the colours of the heat map, from the second worst to the best.
_HEAT_FROM = (0.5, 0.8, 0.95, 0.995)
# A release with fewer runs of a client says little about it.
_MIN_RUNS = 3
_UNKNOWN_LS = "Of runs in which it ended before its first LS: whether its stream was in them is not known"
_PERIOD_HEADS = {Grouping.MONTH: "month", Grouping.RELEASE: "release", Grouping.KEY: "run key"}


@dataclass(frozen=True, slots=True)
class _Figure:
    """A figure that is compared between two releases, and the change from which it is worse.

    `sign`: -1 if a lower figure is worse. `is_relative`: the change is a share of the earlier figure.
    `is_share`: the figure itself is a share.
    """

    name: str
    of: Callable[[ClientEfficiency], float | None]
    text: Callable[[float], str]
    worse_from: float
    sign: int = -1
    is_relative: bool = False
    is_share: bool = False

    @property
    def limit(self) -> str:
        """The change from which it is worse, for the reader."""
        if self.is_share:
            return counted(round(100 * self.worse_from), "percentage point")
        return f"{self.worse_from:.0%}" if self.is_relative else f"{self.worse_from:g}"

    def worsening(self, before: ClientEfficiency, now: ClientEfficiency) -> float | None:
        """By how much it is worse, in units of the change from which it counts; `None` if it is not."""
        earlier, later = self.of(before), self.of(now)
        if earlier is None or later is None or (self.is_relative and not earlier):
            return None
        change = self.sign * (later - earlier) / (earlier if self.is_relative else 1)
        return change / self.worse_from if change >= self.worse_from else None


@dataclass(frozen=True, slots=True)
class _Worsening:
    """A figure of a client that is worse than before; `severity` as in `_Figure.worsening`."""

    severity: float
    figure: _Figure
    before: ClientEfficiency
    now: ClientEfficiency


def percent(share: float) -> str:
    """A share in percent with one decimal, which is 100.0 only if it is complete and 0.0 only if it is 0."""
    value = round(100 * share, 1)
    return f"{value if share in (0, 1) else min(max(value, 0.1), 99.9):.1f}%"


def _crashes_per_run(each: ClientEfficiency) -> float | None:
    return each.crashes / each.runs if each.runs else None


_FINISHED = _Figure("runs finished", lambda each: each.finished_share, percent, 0.05, is_share=True)
_AVAILABILITY = _Figure("availability", lambda each: each.availability, percent, 0.01, is_share=True)
_CRASHES = _Figure("crashes per run", _crashes_per_run, "{:.2f}".format, 0.05, sign=1)
_PEAK_MEMORY = _Figure(
    "peak memory",
    lambda each: each.peak_rss_kb,
    lambda kb: gibibytes(round(kb)),
    0.10,
    sign=1,
    is_relative=True,
)
_RATE = _Figure("events/s", lambda each: each.events_per_s, rate, 0.20, is_relative=True)
_FIGURES = (_FINISHED, _AVAILABILITY, _CRASHES, _PEAK_MEMORY, _RATE)


@dataclass(frozen=True, slots=True)
class EfficiencyData:
    """The efficiency of clients by period and by release, of the runs of a range."""

    found: EfficiencyRange
    grouping: Grouping
    by_period: Sequence[ClientEfficiency]
    by_release: Sequence[ClientEfficiency]


def build(cluster: Cluster, data: EfficiencyData, url: str) -> Report:
    """The report."""
    releases = [period for period in _periods(data.by_release) if period is not None]
    worse = _find_worse(data.by_release, releases)
    return Report(
        title=f"Efficiency of the DQM clients of the {cluster} cluster",
        url=url,
        summary=_summary(data, releases, worse),
        facts=(),
        sections=(
            _worse_section(cluster, worse, releases),
            _heat_map(cluster, data),
            _totals(cluster, data.by_period),
            _trend(cluster, data.by_release, releases, _PEAK_MEMORY, "peak_rss_kb", "Peak memory by release"),
            _trend(cluster, data.by_release, releases, _RATE, "events_per_s", "Events/s by release"),
        ),
        level=Level.WARNING if worse else None,
    )


def _summary(data: EfficiencyData, releases: Sequence[str], worse: Sequence[object]) -> str:
    runs = counted(data.found.runs, "run")
    rows = data.by_period
    finished, total = sum(each.finished for each in rows), sum(each.runs for each in rows)
    if not total:
        return f"{runs}; no client has ended in any of them."
    share = f"clients finished {percent(finished / total)} of their runs"
    crashes = counted(sum(each.crashes for each in rows), "crash", "crashes")
    if len(releases) < 2:
        return f"{runs}; {share}; {crashes}."
    news = f"{counted(len(worse), 'figure')} worse" if worse else "nothing is worse"
    return f"{runs}; {share}; {crashes}; {news} since CMSSW_{releases[-2]}."


def _periods(rows: Sequence[ClientEfficiency]) -> list[str | None]:
    """The periods in the order of their last runs: a release that is back is the newest."""
    last: dict[str | None, int] = {}
    for row in rows:
        last[row.period] = max(row.last_run, last.get(row.period, 0))
    return sorted(last, key=lambda period: last[period])


def _find_worse(rows: Sequence[ClientEfficiency], releases: Sequence[str]) -> list[_Worsening]:
    """Figures that are worse in the newest release than in the one before, the worst first."""
    if len(releases) < 2:
        return []
    before, now = (
        {row.client: row for row in rows if row.period == release and row.runs >= _MIN_RUNS}
        for release in releases[-2:]
    )
    found = [
        _Worsening(severity, figure, before[client], now[client])
        for client in before.keys() & now.keys()
        for figure in _FIGURES
        if (severity := figure.worsening(before[client], now[client])) is not None
    ]
    return sorted(found, key=lambda each: (-each.severity, each.now.client, each.figure.name))


def _client_cell(cluster: Cluster, each: ClientEfficiency) -> Cell:
    return Cell(each.name, url=url_for("timeline.page", db=cluster, client=each.name))


def _worse_section(cluster: Cluster, worse: Sequence[_Worsening], releases: Sequence[str]) -> Section:
    columns = (
        Column("client", "Client"),
        Column("figure", "Figure"),
        Column("before", "Before", "numeric", phrase="was {}"),
        Column("now", "Now", "numeric", phrase="is {}"),
        Column("runs", "Runs", "numeric", "Runs of the newest release", "in {} runs", "in 1 run"),
    )
    if len(releases) < 2:
        return Section(
            "worse",
            "Worse since the last release",
            columns,
            (),
            "Nothing to compare: there are fewer than two releases.",
        )
    rows = [
        (
            _client_cell(cluster, each.now),
            Cell(each.figure.name),
            Cell(_text(each.figure, each.before)),
            Cell(_text(each.figure, each.now), level=Level.BAD if each.severity >= 2 else Level.WARNING),
            number_cell(each.now.runs),
        )
        for each in worse
    ]
    *limits, last_limit = (f"{figure.name} by {figure.limit}" for figure in _FIGURES)
    changes = f"{', '.join(limits)} or {last_limit}, in at least {_MIN_RUNS} runs of both releases"
    return Section(
        "worse",
        f"Worse in {releases[-1]} than in {releases[-2]}",
        columns,
        rows,
        f"Nothing is worse by these limits: {changes}.",
        f"Listed are changes of {changes}." if rows else None,
    )


def _text(figure: _Figure, each: ClientEfficiency) -> str:
    value = figure.of(each)
    return DASH if value is None else figure.text(value)


def _heat_map(cluster: Cluster, data: EfficiencyData) -> Section:
    all_periods = _periods(data.by_period)
    periods = all_periods[-_MAX_PERIODS:]
    columns = [
        Column("client", "Client"),
        *(
            Column(period or "unknown", period or "unknown", "numeric", phrase=f"{period or 'unknown'}: {{}}")
            for period in periods
        ),
    ]
    rows = [
        [
            _client_cell(cluster, next(iter(by_period.values()))),
            *(_heat(by_period.get(each)) for each in periods),
        ]
        for by_period in _by_client(data.by_period).values()
    ]
    head = _PERIOD_HEADS[data.grouping]
    return Section(
        "finished",
        f"Runs finished by {head}",
        columns,
        rows,
        "No client has ended.",
        f"Only the newest {_MAX_PERIODS} are shown." if len(all_periods) > len(periods) else None,
        is_compact=True,
    )


def _by_client(rows: Sequence[ClientEfficiency]) -> Mapping[str, Mapping[str | None, ClientEfficiency]]:
    found: dict[str, dict[str | None, ClientEfficiency]] = {}
    for row in rows:
        found.setdefault(row.client, {})[row.period] = row
    return found


def _heat(each: ClientEfficiency | None) -> Cell:
    if each is None or each.finished_share is None:
        return NOTHING
    share = each.finished_share
    return Cell(
        percent(share),
        title=f"{each.finished} of {counted(each.runs, 'run')}, {counted(each.crashes, 'crash', 'crashes')}",
        value=round(share, 4),
        heat=min(MAX_HEAT, sum(share >= limit for limit in _HEAT_FROM)),
    )


def _totals(cluster: Cluster, rows: Sequence[ClientEfficiency]) -> Section:
    columns = (
        Column("client", "Client"),
        Column("runs", "Runs", "numeric", "That are over", "{} runs", "1 run"),
        Column("finished", "Finished", "numeric", "Share of the runs that it finished", "{} finished"),
        Column("availability", "Availability", "numeric", "Share of LS that it monitored", "{} available"),
        Column("crashes", "Crashes", "numeric", None, "{} crashes", "1 crash"),
        Column("restarts", "Restarts", "numeric", None, "{} restarts", "1 restart"),
        Column("lost_lumisections", "Lost LS", "numeric", "Skipped, or after its last crash", "{} LS lost"),
        Column("unknown_lumisections", "Unknown LS", "numeric", _UNKNOWN_LS, "{} LS unknown"),
    )
    table = []
    for client, of_client in _by_client(rows).items():
        each = list(of_client.values())
        runs, finished = sum(row.runs for row in each), sum(row.finished for row in each)
        lumisections, lost = sum(row.lumisections for row in each), sum(row.lost for row in each)
        share = finished / runs if runs else None
        available = 1 - lost / lumisections if lumisections else None
        table.append(
            (
                client,
                (
                    _client_cell(cluster, each[0]),
                    number_cell(runs),
                    _share_cell(share),
                    _share_cell(available),
                    number_cell(sum(row.crashes for row in each)),
                    number_cell(sum(row.restarts for row in each)),
                    number_cell(lost),
                    number_cell(sum(row.unknown_lumisections for row in each)),
                ),
            )
        )
    return Section("clients", "Clients", columns, [row for _, row in sorted(table)], "No client has ended.")


def _share_cell(share: float | None) -> Cell:
    return NOTHING if share is None else Cell(percent(share), value=round(share, 4))


def _trend(
    cluster: Cluster,
    rows: Sequence[ClientEfficiency],
    releases: Sequence[str],
    figure: _Figure,
    key: str,
    heading: str,
) -> Section:
    shown = releases[-_MAX_RELEASES:]
    columns = [
        Column("client", "Client"),
        *(Column(release, release, "numeric", phrase=f"{release}: {{}}") for release in shown),
    ]
    table = []
    for _, by_release in sorted(_by_client(rows).items()):
        known = [by_release[release] for release in shown if release in by_release]
        if any(figure.of(each) is not None for each in known):
            table.append([_client_cell(cluster, known[0]), *_trend_cells(by_release, shown, figure)])
    note = "With a sign: worse than in the release before." if table else None
    return Section(key, heading, columns, table, "Not known of any release.", note, is_compact=True)


def _trend_cells(
    by_release: Mapping[str | None, ClientEfficiency], shown: Sequence[str], figure: _Figure
) -> Iterator[Cell]:
    before: ClientEfficiency | None = None
    for release in shown:
        each = by_release.get(release)
        value = None if each is None else figure.of(each)
        if each is None or value is None:
            yield NOTHING
            continue
        is_worse = before is not None and figure.worsening(before, each) is not None
        yield Cell(figure.text(value), value=round(value, 3), level=Level.WARNING if is_worse else None)
        before = each
