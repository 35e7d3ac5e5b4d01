"""What a grabber does at its start leaves little memory behind: for months it has a few documents in hand."""

import db
from benchmarks import proc_usage
from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, grabber_process, rows, wait_for_log
from tests.waiting import until

# Enough for a dictionary to be trained of their logs, and too few for processes beside.
DOCUMENTS = 420
# What is read of them is 17 MB; what stays is what it works with from the first document on.
STAYS_MB = 18.0


def test_it_gives_back_what_a_catch_up_and_a_training_took(
    simulator: Simulator, brisk_environment: dict[str, str], brisk_settings: Settings
) -> None:
    with grabber_process(brisk_environment, "production") as grabber:
        wait_for_log(grabber, "lock_acquired cluster")
        before = proc_usage.rss_mb(grabber.pid)
        simulator.fill(FILTER_UNIT, DOCUMENTS)
        wait_for_log(grabber, "log_dictionary_trained")
        until(lambda: len(rows(brisk_settings, db.jobs)) == DOCUMENTS)
        asked = len(simulator.requests)
        until(lambda: len(simulator.requests) > asked)
        assert proc_usage.rss_mb(grabber.pid) - before < STAYS_MB
