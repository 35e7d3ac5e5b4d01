"""The server learns of changes, whatever interrupts it."""

from typing import Any

import pytest

import db
from dqmsquare_cfg import Cluster, Settings
from storage import change_listener
from storage.change_listener import ChangeListener, ChangeTracker, Topic
from tests.waiting import until


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_it_listens_again_after_an_unexpected_error(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    changes = ChangeTracker()
    is_listening: list[bool] = []
    poll = change_listener._poll

    def fail_once(*arguments: Any) -> Any:
        is_listening.append(changes.is_listening)
        match len(is_listening):
            case 1:
                raise KeyError("satellite")
            case 2:
                return poll(*arguments)
        # Ends the thread.
        raise SystemExit

    monkeypatch.setattr(change_listener, "_poll", fail_once)
    monkeypatch.setattr(change_listener, "_RECONNECT_DELAY_S", 0.05)
    ChangeListener(db.engine(settings, Cluster.PRODUCTION, "tests"), changes).start()
    until(lambda: len(is_listening) == 3)
    assert is_listening == [False, False, True]
    assert "listener_failed" in caplog.text


def test_it_remembers_a_bounded_number_of_runs_of_which_only_deliveries_change() -> None:
    changes = ChangeTracker()
    for first in range(0, 3 * change_listener._MAX_RUNS, 100):
        changes.record_batch((), range(first, first + 100))
    assert len(changes._changed_at) <= change_listener._MAX_RUNS + len(Topic)
