"""The verdict on a run: the large field of the live page, which says whether somebody has to act.

The page also has "Unknown" in its place, which CSS shows while the data are stale (`makes_jobs_stale` of an
outage), or once a script finds that the server does not respond.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from storage.client_rows import ClientRow, ClientState
from storage.read_models import Run
from web.pages.formatting import counted


class VerdictLevel(StrEnum):
    """Severity of a verdict, as the CSS class of its colour."""

    PROBLEMS = "has-problems"
    WARNINGS = "has-warnings"
    OK = "is-ok"
    IDLE = "is-idle"


@dataclass(frozen=True, slots=True)
class Verdict:
    """A verdict: its icon, its headline, and a line below it."""

    level: VerdictLevel
    icon: str
    headline: str
    detail: str


_NO_RUN = Verdict(VerdictLevel.IDLE, "hourglass-split", "No run yet", "no data from this cluster yet")
_UNKNOWN_RUN = Verdict(
    VerdictLevel.IDLE, "question-circle-fill", "Unknown run", "this cluster has no data for it"
)
_NO_JOB = Verdict(VerdictLevel.IDLE, "hourglass-split", "No job yet", "no client of this run has reported")


def judge(number: int | None, run: Run | None, rows: Sequence[ClientRow]) -> Verdict:
    """The verdict on a run with these clients; `number` is `None` if there is no run at all.

    Problems and crashes that are muted are known, so they do not count.
    """
    if number is None:
        return _NO_RUN
    if run is None:
        return _UNKNOWN_RUN
    if not run.jobs:
        return _NO_JOB
    problems = [row for row in rows if row.needs_attention]
    muted_problems = sum(row.state.is_problem and row.is_muted for row in rows)
    recovered = [row for row in rows if row.unmuted_crashes and not row.needs_attention]
    starting = sum(row.state is ClientState.STARTING for row in rows)
    if problems:
        details = [f"in {counted(len(rows), 'client')}"]
        details += [f"{_crashes(recovered)} restarted"] if recovered else []
        details += [f"{muted_problems} more muted"] if muted_problems else []
        return Verdict(
            VerdictLevel.PROBLEMS, "x-octagon-fill", counted(len(problems), "problem"), ", ".join(details)
        )
    if recovered:
        where = _where(recovered, len(rows))
        return Verdict(VerdictLevel.WARNINGS, "arrow-repeat", f"{_crashes(recovered)}, restarted", where)
    if starting:
        detail = f"{len(rows) - starting} of {counted(len(rows), 'client')}"
        return Verdict(VerdictLevel.IDLE, "hourglass-split", "Starting", detail)
    if muted_problems:
        detail = f"{counted(muted_problems, 'muted problem')} in {counted(len(rows), 'client')}"
        return Verdict(VerdictLevel.IDLE, "bell-slash-fill", "No new problems", detail)
    if not run.is_ongoing:
        return Verdict(VerdictLevel.IDLE, "check-circle-fill", "All finished", counted(len(rows), "client"))
    behind = sum(row.is_behind for row in rows)
    detail = counted(len(rows), "client") + (f", {behind} behind" if behind else "")
    return Verdict(VerdictLevel.OK, "check-circle-fill", "All OK", detail)


def _where(recovered: Sequence[ClientRow], clients: int) -> str:
    """The place of the crashes of restarted clients."""
    row = recovered[0]
    if len(recovered) == len(row.unmuted_crashes) == 1:
        lumisection = row.unmuted_crashes[0].lumisection
        return row.name if lumisection is None else f"{row.name} at LS {lumisection}"
    return f"in {len(recovered)} of {counted(clients, 'client')}"


def _crashes(rows: Sequence[ClientRow]) -> str:
    return counted(sum(len(row.unmuted_crashes) for row in rows), "crash", "crashes")
