"""Pauses between attempts at what fails."""

import pytest

from grabbing.backoff import Backoff


def test_a_pause_is_no_longer_than_its_cause_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose documents could not be stored is tried again sooner than one that does not answer."""
    now_s = 0.0
    monkeypatch.setattr("grabbing.backoff.time.monotonic", lambda: now_s)
    machine = Backoff(interval_s=1, first_pause_s=1, max_pause_s=60)
    for _ in range(10):
        machine.failed(15)
    now_s = 15 * 1.2
    assert machine.is_due()
    machine.failed()
    now_s += 59
    assert not machine.is_due()
