"""Payloads of `NOTIFY` name the runs that changed, within PostgreSQL's limit."""

import pytest

from storage.notifications import ChangeNotification, MachineProgress

# PostgreSQL: NOTIFY payloads must be shorter than 8000 bytes.
LIMIT_BYTES = 8000
PROGRESS = MachineProgress(32_767, 2**31 - 1, 2**63 - 1)


def change_of(count: int) -> ChangeNotification:
    """A change of many runs, every other one without jobs."""
    runs = range(2**31 - 1 - count, 2**31 - 1)
    return ChangeNotification(tuple(runs[::2]), tuple(runs[1::2]), PROGRESS)


@pytest.mark.parametrize("count", [0, 1, 500, 501, 1_200, 100_000])
def test_a_payload_of_any_number_of_runs_fits(count: int) -> None:
    change = change_of(count)
    payload = change.serialize()
    assert len(payload.encode()) < LIMIT_BYTES
    parsed = ChangeNotification.parse(payload)
    assert parsed is not None
    assert parsed.progress == PROGRESS
    assert (parsed.runs, parsed.other_runs) in ((change.runs, change.other_runs), (None, None))


def test_it_names_the_runs_of_an_ordinary_batch() -> None:
    change = ChangeNotification((358_791, 358_792), (358_793,), PROGRESS)
    assert ChangeNotification.parse(change.serialize()) == change
