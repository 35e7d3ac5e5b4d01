"""Comparison of a playback test with a reference run: the thresholds of figures, and each client judged."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import hypot

from dqm2.records import LUMISECTION_S
from storage.job_state import JobState
from storage.playback_comparison_reader import ClientPerformance
from web.pages.formatting import number
from web.pages.reports.document import Level

# The worst first.
SEVERITY = (Level.BAD, Level.WARNING, Level.GOOD)
_LONG_RUN_LS = 2000
# With three, about one client in 700 is judged worse by chance.
_MIN_STANDARD_ERRORS = 3


@dataclass(frozen=True, slots=True)
class Threshold:
    """Differences from the reference at which a figure gets a warning, and at which it is bad.

    `is_relative`: they are shares of the reference. `sign`: -1 if a lower figure is worse. `unit` and
    `reason` are for the reader.
    """

    figure: str
    warning: float
    bad: float
    reason: str
    sign: int = 1
    is_relative: bool = True
    unit: str = ""

    def judge(self, value: float | None, reference: float | None, error: float = 0) -> Level | None:
        """The judgement on a figure; `None` if either value is unknown.

        `error`: the standard error of their difference, of which a worse figure has to have several.
        """
        if value is None or reference is None:
            return None
        worse = self.sign * (value - reference)
        if worse < _MIN_STANDARD_ERRORS * error:
            return Level.GOOD
        if self.is_relative:
            if not reference:
                return None
            worse /= abs(reference)
        if worse >= self.bad:
            return Level.BAD
        return Level.WARNING if worse >= self.warning else Level.GOOD


EVENTS = Threshold(
    "Events per LS",
    0.05,
    0.20,
    "Both runs play the same data at the same pace. Without other changes, clients differ by the few events "
    "that they drop for lack of time.",
    sign=-1,
)
RATE = Threshold(
    "Events/s",
    0.10,
    0.30,
    "The mean over the life of the jobs, which includes their start: it varies more than the events per LS.",
    sign=-1,
)
PEAK_MEMORY = Threshold(
    "Peak memory",
    0.10,
    0.25,
    "All clients of a machine share its memory; the kernel kills the largest when none is left.",
)
GROWTH = Threshold(
    "Growth of memory",
    256,
    1024,
    f"In a long run of {number(_LONG_RUN_LS)} LS, 1 MiB per LS is 2 GiB at its end. It must also be "
    f"{_MIN_STANDARD_ERRORS} times the standard error of the difference.",
    is_relative=False,
    unit="KiB/LS",
)
DURATION = Threshold(
    "Time per LS",
    0.05,
    0.20,
    f"An LS takes {LUMISECTION_S:.1f} s: a client that needs longer falls behind and skips LS.",
)
SKIPPED = Threshold(
    "Skipped LS",
    1,
    5,
    "A skipped LS is not monitored. A few may be skipped at the start of a job.",
    is_relative=False,
    unit="LS",
)
THRESHOLDS = (EVENTS, RATE, PEAK_MEMORY, GROWTH, DURATION, SKIPPED)


FIGURES: Mapping[Threshold, Callable[[ClientPerformance], float | None]] = {
    EVENTS: lambda client: client.events_per_ls,
    RATE: lambda client: client.events_per_s,
    PEAK_MEMORY: lambda client: client.peak_rss_kb,
    GROWTH: lambda client: client.growth_kb_per_ls,
    DURATION: lambda client: client.ls_duration_ms,
    SKIPPED: lambda client: client.skipped,
}


@dataclass(frozen=True, slots=True)
class ComparedClient:
    """A client in both runs; `None` where it has no job. `remarks` are the judgements in words."""

    name: str
    tested: ClientPerformance | None
    reference: ClientPerformance | None
    level: Level
    remarks: Sequence[str]


def compare(
    tested: Sequence[ClientPerformance], reference: Sequence[ClientPerformance] | None
) -> list[ComparedClient]:
    """The clients of both runs, the worst first; without a reference only those of the tested run."""
    own = {client.name: client for client in tested}
    others = {client.name: client for client in reference or ()}
    found = [
        _compare_client(name, own.get(name), others.get(name), has_reference=reference is not None)
        for name in sorted({*own, *others})
    ]
    return sorted(found, key=lambda each: SEVERITY.index(each.level))


def standard_error(threshold: Threshold, tested: ClientPerformance, reference: ClientPerformance) -> float:
    """Standard error of the difference of a figure; 0 for figures that are not estimates."""
    if threshold is not GROWTH:
        return 0
    return hypot(tested.growth_error_kb_per_ls or 0, reference.growth_error_kb_per_ls or 0)


def _compare_client(
    name: str,
    tested: ClientPerformance | None,
    reference: ClientPerformance | None,
    *,
    has_reference: bool,
) -> ComparedClient:
    judged = list(_judgements(tested, reference, has_reference=has_reference))
    level = min((level for level, _ in judged), key=SEVERITY.index, default=Level.GOOD)
    remarks = [text for each, text in judged if text and (each is not Level.GOOD or level is Level.GOOD)]
    return ComparedClient(name, tested, reference, level, remarks)


def _judgements(
    tested: ClientPerformance | None, reference: ClientPerformance | None, *, has_reference: bool
) -> Iterator[tuple[Level, str]]:
    """The judgements on a client, each with a remark."""
    if tested is None:
        yield Level.BAD, "has no job"
        return
    yield from _judge_end(tested, reference)
    if reference is None:
        if has_reference:
            yield Level.GOOD, "not in the reference"
        return
    for threshold, figure in FIGURES.items():
        level = threshold.judge(
            figure(tested), figure(reference), standard_error(threshold, tested, reference)
        )
        if level is not None and level is not Level.GOOD:
            yield level, f"{threshold.figure[0].lower()}{threshold.figure[1:]}"


def _judge_end(tested: ClientPerformance, reference: ClientPerformance | None) -> Iterator[tuple[Level, str]]:
    """The judgement on crashes, and on jobs that do not report any more."""
    if tested.crashes:
        if reference is None or not reference.crashes:
            yield Level.BAD, "crashes"
        elif set(tested.crash_groups) <= set(reference.crash_groups):
            yield Level.WARNING, "crashes as in the reference"
        else:
            yield Level.BAD, "crashes in another way than in the reference"
    elif reference is not None and reference.crashes:
        is_over = tested.state is not JobState.RUNNING
        yield Level.GOOD, "no longer crashes" if is_over else "has not crashed so far"
    if tested.state in (JobState.STUCK, JobState.LOST):
        is_known = reference is not None and reference.state is tested.state
        yield Level.WARNING if is_known else Level.BAD, f"is {tested.state}"
