"""The cluster page's history: when a machine was up, was down, or was not known."""

from datetime import UTC, datetime, timedelta

from storage.read_models import StateChange
from web.pages.cluster import spells

START = datetime(2026, 11, 20, 12, tzinfo=UTC)
END = START + timedelta(hours=24)
MINUTE = timedelta(minutes=1)


def history(*changes: tuple[float, bool]) -> list[tuple[bool | None, float, float]]:
    """What changes, by minutes from the start, make of the time from start to end."""
    seen = [
        StateChange("fu..01", START + minute * MINUTE, is_up=is_up, reason=None) for minute, is_up in changes
    ]
    return [(spell.is_up, spell.start_min, spell.length_min) for spell in spells(seen, START, END)]


def test_it_knows_nothing_of_a_machine_that_was_never_seen() -> None:
    assert history() == [(None, 0, 1440)]


def test_it_begins_with_what_was_before() -> None:
    assert history((-500, True)) == [(True, 0, 1440)]


def test_it_shows_a_time_of_being_down() -> None:
    assert history((-500, True), (100, False), (130, True)) == [
        (True, 0, 100),
        (False, 100, 30),
        (True, 130, 1310),
    ]


def test_it_does_not_know_what_was_before_it_was_first_seen() -> None:
    assert history((60, True)) == [(None, 0, 60), (True, 60, 1380)]


def test_it_leaves_out_what_comes_after_the_end() -> None:
    assert history((-5, True), (1441, False)) == [(True, 0, 1440)]
