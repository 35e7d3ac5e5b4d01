"""The fact of a report that its data are old, so that its copies warn the reader as its page does."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime

from storage.outages import Outage
from web.pages.formatting import datetime_tz
from web.pages.reports.document import Cell, Level


def facts(outages: Iterable[Outage], until: datetime) -> Iterator[tuple[str, Sequence[Cell]]]:
    """The present outages that began before `until`, the end of what is reported; nothing without any."""
    cells = [
        Cell(_sentence(outage), level=Level.WARNING)
        for outage in outages
        if outage.makes_jobs_stale and (outage.since is None or outage.since < until)
    ]
    if cells:
        yield "Old data", cells


def _sentence(outage: Outage) -> str:
    since = "" if outage.since is None else f" since {datetime_tz(outage.since)}"
    reason = "" if outage.reason is None else f": {outage.reason}"
    return f"{outage.message}{since}{reason}"
