"""Periods of shift reports: shifts in the time zone of the experiment, and other periods by their URL."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from werkzeug.exceptions import BadRequest

from dqmsquare_cfg import EXPERIMENT_ZONE
from web import query_args
from web.pages import run_search
from web.pages.formatting import is_ambiguous

# Hours at which shifts begin. No change of the clock is near them.
_SHIFT_HOURS = (7, 15, 23)
_DAY = timedelta(days=1)
# Bounds what a report reads; of days of the experiment, of which two a year have 23 or 25 hours.
MAX_PERIOD = timedelta(days=7)
_TIME_FORMAT = "%Y-%m-%dT%H:%M"
_TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?(Z|[+-][0-9]{2}:[0-9]{2})?")
_YEARS = range(2000, 2100)
_REFUSAL = "from and to must be times, e.g. 2022-09-15T07:00, or days, e.g. 2022-09-15"


@dataclass(frozen=True, slots=True)
class ShiftPeriod:
    """A period in UTC, from `since` to before `until`."""

    since: datetime
    until: datetime

    @property
    def query(self) -> dict[str, Any]:
        """The parameters of its URL, in the time zone of the experiment."""
        return {"from": _to_text(self.since), "to": _to_text(self.until)}


def shift_at(at: datetime) -> ShiftPeriod:
    """The shift during which a time is; one that a change of the clock is in has 7 or 9 hours."""
    day = at.astimezone(EXPERIMENT_ZONE).date()
    starts = list(_starts(day - _DAY, 3))
    current = max(index for index, start in enumerate(starts) if start <= at)
    return ShiftPeriod(starts[current], starts[current + 1])


def shift_before(period: ShiftPeriod) -> ShiftPeriod:
    """The last shift that ended when a period began, or before."""
    return shift_at(shift_at(period.since - timedelta(microseconds=1)).since)


def shift_after(period: ShiftPeriod) -> ShiftPeriod:
    """The shift that begins or continues when a period ends."""
    return shift_at(period.until)


def request_period(now: datetime) -> ShiftPeriod:
    """The period of the current request: by default the shift at `now`.

    Only one bound: from then until the end of that shift, or from the beginning of the shift until then.
    Raises BadRequest.
    """
    since, until = _bound("from"), _bound("to")
    if since is None and until is None:
        return shift_at(now)
    if since is None and until is not None:
        since = shift_at(until[1] - timedelta(microseconds=1)).since, until[1]
    if until is None and since is not None:
        until = since[0], shift_at(since[0]).until
    if since is None or until is None or since[0] >= until[1]:
        raise BadRequest("from must be before to")
    if since[0] > now:
        raise BadRequest("from must not be in the future")
    # Arithmetic within a zone keeps the time of day.
    if since[0].astimezone(EXPERIMENT_ZONE) + MAX_PERIOD < until[1].astimezone(EXPERIMENT_ZONE):
        raise BadRequest(f"A report covers at most {MAX_PERIOD.days} days.")
    return ShiftPeriod(since[0], until[1])


def _bound(name: str) -> tuple[datetime, datetime] | None:
    """The beginning and the end of the time or the day that a parameter names. Raises BadRequest."""
    text = query_args.text(name)
    if text is None:
        return None
    if _TIME.fullmatch(text):
        try:
            at = datetime.fromisoformat(text)
        except ValueError:
            raise BadRequest(_REFUSAL) from None
        if at.year in _YEARS:
            in_utc = (at if at.tzinfo else at.replace(tzinfo=EXPERIMENT_ZONE)).astimezone(UTC)
            return in_utc, in_utc
    day = run_search.parse_period(text)
    if day is None:
        raise BadRequest(_REFUSAL)
    return day.since.astimezone(UTC), day.until.astimezone(UTC)


def _starts(first: date, days: int) -> Iterator[datetime]:
    for number in range(days):
        for hour in _SHIFT_HOURS:
            yield datetime.combine(first + number * _DAY, time(hour), EXPERIMENT_ZONE).astimezone(UTC)


def _to_text(at: datetime) -> str:
    local = at.astimezone(EXPERIMENT_ZONE)
    # An ambiguous time needs its offset from UTC.
    return local.isoformat(timespec="minutes") if is_ambiguous(local) else local.strftime(_TIME_FORMAT)
