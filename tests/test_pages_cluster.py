"""The cluster page: intervals in which a machine was up, down or in an unknown state."""

import re
from datetime import UTC, datetime, timedelta

from storage.machine_rows import uptime_intervals
from storage.read_models import StateChange
from web.pages.cluster import uptime_bars

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = START + timedelta(hours=24)
MINUTE = timedelta(minutes=1)


def intervals(
    *changes: tuple[float, bool], known_until: datetime | None = None
) -> list[tuple[bool | None, float, float]]:
    """State, start and length of each interval; a change is its minute from START, and whether it is up."""
    seen = [
        StateChange("fu..01", START + minute * MINUTE, is_up=is_up, reason=None) for minute, is_up in changes
    ]
    found = uptime_intervals(seen, START, END, known_until)
    starts = [max(interval.since, START) for interval in found]
    return [
        (interval.is_up, (start - START) / MINUTE, (interval.until - start) / MINUTE)
        for interval, start in zip(found, starts, strict=True)
    ]


def test_it_reports_a_machine_that_was_never_seen_as_unknown() -> None:
    assert intervals() == [(None, 0, 1440)]


def test_it_starts_with_the_last_state_before_the_span() -> None:
    assert intervals((-500, True)) == [(True, 0, 1440)]


def test_it_shows_a_downtime() -> None:
    assert intervals((-500, True), (100, False), (130, True)) == [
        (True, 0, 100),
        (False, 100, 30),
        (True, 130, 1310),
    ]


def test_it_reports_the_time_before_the_first_state_as_unknown() -> None:
    assert intervals((60, True)) == [(None, 0, 60), (True, 60, 1380)]


def test_it_ignores_changes_after_the_end() -> None:
    assert intervals((-5, True), (1441, False)) == [(True, 0, 1440)]


def test_it_reports_the_time_after_the_last_check_as_unknown() -> None:
    checked_at = START + 600 * MINUTE
    assert intervals((-5, True), known_until=checked_at) == [(True, 0, 600), (None, 600, 840)]
    assert intervals((-5, True), known_until=START - 3 * MINUTE) == [(None, 0, 1440)]
    assert intervals((-5, True), (5, False), known_until=END) == [(True, 0, 5), (False, 5, 1435)]


def test_it_draws_a_bar_for_each_interval_within_the_span() -> None:
    seen = [
        StateChange("fu..01", START - 500 * MINUTE, is_up=True, reason=None),
        StateChange("fu..01", START + 100 * MINUTE, is_up=False, reason="<no ping>"),
    ]
    bars = uptime_bars(uptime_intervals(seen, START, END), START)
    drawn = re.findall(r'class="(\w+)" x="([\d.]+)" width="([\d.]+)"', bars)
    assert drawn == [("up", "0.0", "100.0"), ("down", "100.0", "1340.0")]
    assert "<title>up since 20 Nov 2026 04:40:00 CET" in bars
    assert bars.endswith("UTC: &lt;no ping&gt;</title></rect>")
