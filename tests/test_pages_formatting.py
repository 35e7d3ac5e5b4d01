"""Formatting of numbers, sizes, times and durations."""

from datetime import UTC, datetime, timedelta

import pytest

from dqm2.records import InputStatus, InputStatuses
from web.pages import formatting


def test_it_formats_times_with_the_time_zone() -> None:
    summer = datetime(2022, 9, 15, 11, 5, 12, tzinfo=UTC)
    winter = datetime(2022, 12, 15, 11, 5, 12, tzinfo=UTC)
    assert formatting.datetime_tz(summer) == "15 Sep 2022 13:05:12 CEST"
    assert formatting.datetime_tz(winter) == "15 Dec 2022 12:05:12 CET"
    assert formatting.iso(summer) == "2022-09-15T11:05:12Z"


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 s"),
        (59.6, "1 min 0 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 0 min"),
        (90_000, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_it_formats_durations_in_two_units(seconds: float, expected: str) -> None:
    assert formatting.duration(timedelta(seconds=seconds)).replace("\u202f", " ") == expected


@pytest.mark.parametrize(
    ("kilobytes", "expected"),
    [(None, "–"), (0, "0 B"), (1, "1.0 KiB"), (362_744, "354 MiB"), (1_812_744, "1.7 GiB")],
)
def test_it_formats_sizes_in_the_largest_fitting_unit(kilobytes: int | None, expected: str) -> None:
    assert formatting.kilobytes(kilobytes).replace("\u202f", " ") == expected


def test_it_groups_digits() -> None:
    assert formatting.number(1_234_567).replace("\u202f", " ") == "1 234 567"
    assert formatting.number(None) == "–"
    assert formatting.rate(57.53) == "57.5"
    assert formatting.rate(0.0) == "0"


def test_it_joins_consecutive_skipped_lumisections() -> None:
    numbers = range(1, 9)
    timed_out = {2, 4, 5, 6, 8}
    fates = [InputStatus.TIMEOUT if number in timed_out else InputStatus.OK for number in numbers]
    assert formatting.skipped_lumisections(InputStatuses(numbers, fates)) == "2, 4–6, 8"
    assert formatting.skipped_lumisections(InputStatuses()) == ""
