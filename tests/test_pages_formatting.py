"""Formatting of numbers, sizes, times and durations."""

from datetime import UTC, date, datetime, timedelta

import pytest

from dqm2.records import InputStatus, InputStatuses
from web import times
from web.cache import dependencies
from web.pages import formatting, job_log


def test_it_formats_times_with_the_time_zone() -> None:
    summer = datetime(2022, 9, 15, 11, 5, 12, tzinfo=UTC)
    winter = datetime(2022, 12, 15, 11, 5, 12, tzinfo=UTC)
    assert formatting.datetime_tz(summer) == "15 Sep 2022 13:05:12 CEST"
    assert formatting.datetime_tz(winter) == "15 Dec 2022 12:05:12 CET"
    assert times.iso(summer) == "2022-09-15T11:05:12Z"


@pytest.mark.parametrize(
    ("day", "expected"),
    [
        (date(2026, 11, 28), ""),
        (date(2026, 11, 27), "27 Nov "),
        (date(2026, 1, 1), "01 Jan "),
        (date(2025, 11, 28), "28 Nov 2025 "),
        (date(2027, 1, 1), "01 Jan 2027 "),
    ],
)
def test_it_names_the_date_that_is_not_today_s_and_the_year_that_is_not_this_one(
    day: date, expected: str
) -> None:
    assert formatting.date_prefix(day, date(2026, 11, 28)) == expected


def test_it_tells_the_two_hours_apart_in_which_winter_time_begins() -> None:
    before = datetime(2022, 10, 30, 0, 30, tzinfo=UTC)
    assert formatting.time_of_day(before) == "30 Oct 2022 02:30:00 CEST"
    assert formatting.time_of_day(before + timedelta(hours=1)) == "30 Oct 2022 02:30:00 CET"
    assert formatting.time_of_day(before + timedelta(hours=2)) == "30 Oct 2022 03:30:00"
    assert formatting.datetime_short(before) == "30 Oct 2022 02:30 CEST"
    assert formatting.both_zones(before) == "30 Oct 2022 02:30:00 CEST · 30 Oct 2022 00:30:00 UTC"


def test_a_response_with_a_date_is_valid_until_midnight() -> None:
    with dependencies.collected() as collected:
        formatting.datetime_tz(datetime.now(UTC))
    assert collected.expires_at_s == float("inf")
    with dependencies.collected() as collected:
        formatting.time_of_day(datetime(2022, 9, 15, tzinfo=UTC))
    assert collected.expires_at_s < float("inf")


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
    ("size_bytes", "expected"),
    [(None, "–"), (0, "0 B"), (1024, "1.0 KiB"), (371_449_856, "354 MiB"), (1_856_249_856, "1.7 GiB")],
)
def test_it_formats_sizes_in_the_largest_fitting_unit(size_bytes: int | None, expected: str) -> None:
    assert formatting.size(size_bytes).replace("\u202f", " ") == expected


@pytest.mark.parametrize(
    ("kilobytes", "expected"),
    [(None, "–"), (0, "0.00 GiB"), (362_744, "0.35 GiB"), (1_812_744, "1.73 GiB"), (12_582_912, "12.00 GiB")],
)
def test_it_formats_the_memory_of_all_jobs_in_one_unit(kilobytes: int | None, expected: str) -> None:
    assert formatting.gibibytes(kilobytes).replace("\u202f", " ") == expected


def test_it_groups_digits() -> None:
    assert formatting.number(1_234_567).replace("\u202f", " ") == "1 234 567"
    assert formatting.number(None) == "–"
    assert formatting.rate(57.53) == "57.5"
    assert formatting.rate(0.0) == "0"


def test_it_joins_consecutive_skipped_lumisections() -> None:
    numbers = range(1, 9)
    timed_out = {2, 4, 5, 6, 8}
    fates = [InputStatus.TIMEOUT if number in timed_out else InputStatus.OK for number in numbers]
    assert job_log.skipped_lumisections(InputStatuses(numbers, fates)) == "2, 4–6, 8"
    assert job_log.skipped_lumisections(InputStatuses()) == ""


def test_it_lets_long_names_break_behind_their_underscores() -> None:
    assert formatting.breakable("12_4_8") == "12_<wbr>4_<wbr>8"
    assert formatting.breakable("<i>_</i>") == "&lt;i&gt;_<wbr>&lt;/i&gt;"
