"""Formatting of numbers, sizes, times and durations, as template filters.

Times are shown in the time zone of the experiment. A time that is not of today has its date, one that is not
of this year its year; what depends on the date is not cached beyond midnight. Scripts format times by the
same rules, in UTC if the reader prefers that (`static/js/time_format.js`).
"""

from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from time import time as unix_time

from flask import Flask
from markupsafe import Markup, escape

from dqm2 import exit_codes
from dqmsquare_cfg import EXPERIMENT_ZONE
from web.cache import dependencies
from web.pages import crash_text
from web.times import unix_ms

DASH = "–"
BETWEEN_ZONES = " · "
# Narrow no-break space: the SI separator of digit groups and of numbers from their units.
_SPACE = "\u202f"
_BYTE_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI = 1024


def init_app(app: Flask) -> None:
    """Register the functions of this module as template filters, and the time as a global."""
    app.jinja_env.globals["current_minute"] = current_minute
    app.jinja_env.filters.update(
        number=number,
        rate=rate,
        seconds=seconds,
        size=size,
        gibibytes=gibibytes,
        duration=duration,
        unix_ms=unix_ms,
        time_of_day=time_of_day,
        datetime_short=datetime_short,
        datetime_tz=datetime_tz,
        exit_code=exit_codes.describe,
        crash_headline=crash_text.headline,
        crash_kind=crash_text.kind,
        crash_anchor=crash_text.anchor,
        breakable=breakable,
    )


def current_minute() -> datetime:
    """The time, to the minute."""
    return datetime.now(UTC).replace(second=0, microsecond=0)


def number(value: int | None) -> str:
    """A whole number in groups of three digits."""
    return DASH if value is None else f"{value:,}".replace(",", _SPACE)


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun: `1 crash`, `2 crashes`."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def abbreviated(value: int | None) -> str:
    """A number with two or three digits and a suffix for thousands and more: 0, 950, 12k, 1.2M."""
    if value is None:
        return DASH
    for suffix, unit in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= unit:
            scaled = value / unit
            return f"{scaled:.1f}{suffix}" if scaled < 10 else f"{scaled:.0f}{suffix}"
    return str(value)


def rate(per_s: float | None) -> str:
    """A rate in 1/s, with one decimal below 100."""
    if per_s is None:
        return DASH
    return f"{per_s:.1f}" if 0 < per_s < 100 else number(round(per_s))


def seconds(value: float | None) -> str:
    """A duration in seconds with one decimal."""
    return DASH if value is None else f"{value:.1f}"


def size(value: float | None) -> str:
    """A size in bytes, in the unit that leaves one to four digits before the point."""
    if value is None:
        return DASH
    power = 0
    while value >= _KIBI and power < len(_BYTE_UNITS) - 1:
        value /= _KIBI
        power += 1
    digits = f"{value:.1f}" if power and value < 10 else f"{value:.0f}"
    return f"{digits}{_SPACE}{_BYTE_UNITS[power]}"


def gibibytes(kilobytes: int | None) -> str:
    """A size in kB as the kernel defines them (1024 bytes), in GiB, so that all jobs have the same unit."""
    return DASH if kilobytes is None else f"{kilobytes / _KIBI**2:.2f}{_SPACE}GiB"


def duration(span: timedelta) -> str:
    """A duration in its two largest units; seconds only below an hour."""
    total_s = max(0, round(span.total_seconds()))
    days, rest = divmod(total_s, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days}{_SPACE}d {hours}{_SPACE}h"
    if hours:
        return f"{hours}{_SPACE}h {minutes}{_SPACE}min"
    if minutes:
        return f"{minutes}{_SPACE}min {seconds}{_SPACE}s"
    return f"{seconds}{_SPACE}s"


def time_of_day(at: datetime) -> str:
    """Time of day, with the date if that is not today, e.g. `13:05:12` or `15 Sep 2022 13:05:12`.

    It has the zone in the hour that comes twice when winter time begins.
    """
    local = at.astimezone(EXPERIMENT_ZONE)
    return f"{_date(local)}{local:%H:%M:%S}{_zone_if_ambiguous(local)}"


def datetime_tz(at: datetime) -> str:
    """Date and time with the zone, e.g. `15 Sep 2022 13:05:12 CEST`."""
    return f"{at.astimezone(EXPERIMENT_ZONE):%d %b %Y %H:%M:%S %Z}"


def datetime_short(at: datetime) -> str:
    """Minute with the zone, and the date if that is not today, e.g. `15 Sep 13:05 CEST`."""
    local = at.astimezone(EXPERIMENT_ZONE)
    return f"{_date(local)}{local:%H:%M %Z}"


# Most times are the same when a page is rendered again. A cluster page has those of a day.
@lru_cache(maxsize=1024)
def both_zones(at: datetime) -> str:
    """Date and time in the experiment's time zone and in UTC, as a tooltip."""
    return f"{datetime_tz(at)}{BETWEEN_ZONES}{at.astimezone(UTC):%d %b %Y %H:%M:%S} UTC"


def date_prefix(day: date, today: date) -> str:
    """A date in front of a time, with a blank: empty today, and without the year in this year."""
    if day == today:
        return ""
    return f"{day:%d %b} " if day.year == today.year else f"{day:%d %b %Y} "


def _date(local: datetime) -> str:
    today, ends_at = _day(int(unix_time()) // 60)
    dependencies.expire_at(ends_at)
    return date_prefix(local.date(), today)


@lru_cache(maxsize=1)
def _day(minute: int) -> tuple[date, datetime]:
    """Date of a minute since 1970 in the experiment's time zone, and the end of that day; pages ask often."""
    today = datetime.fromtimestamp(minute * 60, EXPERIMENT_ZONE).date()
    return today, datetime.combine(today + timedelta(days=1), time(), EXPERIMENT_ZONE).astimezone(UTC)


def is_ambiguous(local: datetime) -> bool:
    """Whether a local time is in the hour that comes twice when winter time begins."""
    return local.replace(fold=0).utcoffset() != local.replace(fold=1).utcoffset()


def _zone_if_ambiguous(local: datetime) -> str:
    return f"{local: %Z}" if is_ambiguous(local) else ""


def breakable(name: str) -> Markup:
    """A name such as `12_4_8_39145` that may be broken behind each underscore."""
    return escape(name).replace("_", Markup("_<wbr>"))
