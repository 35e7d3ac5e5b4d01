"""Texts by which people look for runs: numbers, dates, and parts of run keys, releases and client names."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache

from dqmsquare_cfg import EXPERIMENT_ZONE

RUN_OR_DAY = "a run, e.g. 358788, or a day or month, e.g. 2022-09-15 or 2022-09"

_RUN = re.compile(r"\s*(?:run)?\s*([0-9]{1,10})\s*", re.IGNORECASE)
_DAY_FORMATS = ("%Y-%m-%d", "%d.%m.%Y", "%d/%m/%Y", "%d %b %Y", "%d %B %Y")
_MONTH_FORMATS = ("%Y-%m", "%b %Y", "%B %Y")
# Longer than any month; the first day of the next one follows from it.
_OVER_A_MONTH = timedelta(days=32)
_YEARS = range(2000, 2100)
_RELEASE_PREFIX = re.compile("^cmssw_?")


@dataclass(frozen=True, slots=True)
class Period:
    """A day or a month in the time zone of the experiment: from `since` to before `until`."""

    since: datetime
    until: datetime


def parse_run(text: str) -> int | None:
    """The run of a text such as `358788` or `run358788`; `None` for another text."""
    found = _RUN.fullmatch(text)
    return None if found is None else int(found[1])


def parse_period(text: str) -> Period | None:
    """The day or month of a text such as `2022-09-15`, `15.9.2022`, `15 Sep 2022` or `2022-09`."""
    words = " ".join(text.split())
    if not words.isascii():
        # `strptime` takes the digits of all scripts.
        return None
    if (day := _parse(words, _DAY_FORMATS)) is not None:
        return Period(day, _midnight(day + timedelta(days=1)))
    if (first := _parse(words, _MONTH_FORMATS)) is not None:
        return Period(first, _midnight((first + _OVER_A_MONTH).replace(day=1)))
    return None


def matching(values: Iterable[str], text: str) -> tuple[str, ...]:
    """The values that contain each word of a text, whatever its case."""
    words = text.lower().split()
    return tuple(value for value in values if all(word in value.lower() for word in words))


def matching_releases(versions: Iterable[str], text: str) -> tuple[str, ...]:
    """The CMSSW versions that contain each word of a text, with or without `CMSSW_` and with `.` for `_`."""
    words = (_RELEASE_PREFIX.sub("", word).replace(".", "_") for word in text.lower().split())
    return matching(versions, " ".join(words))


def matching_clients(names: Sequence[str], text: str) -> tuple[str, ...]:
    """The client of this name, or else those whose names contain each word of a text."""
    exact = text.strip().lower()
    return tuple(name for name in names if name.lower() == exact) or matching(names, text)


def newest_first(versions: Iterable[str]) -> list[str]:
    """CMSSW versions by their numbers, the highest first."""
    return sorted(versions, key=_numbers, reverse=True)


def _parse(text: str, formats: Sequence[str]) -> datetime | None:
    for form in formats:
        try:
            parsed = datetime.strptime(text, form).replace(tzinfo=EXPERIMENT_ZONE)
        except ValueError:
            continue
        return parsed if parsed.year in _YEARS else None
    return None


def _midnight(day: datetime) -> datetime:
    # Arithmetic within a zone keeps the time of day, so this is midnight after a change of the clock as well.
    return day.replace(hour=0)


# A cluster has hundreds of versions, and pages sort them.
@lru_cache(maxsize=1024)
def _numbers(version: str) -> tuple[list[int], str]:
    return [int(number) for number in re.findall(r"[0-9]+", version)], version
