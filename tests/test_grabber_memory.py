"""Memory of a grabber: little of what a catch-up needs stays with the process."""

import pytest

import db
from benchmarks import proc_usage
from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, count_rows, grabber_process, wait_for_log
from tests.waiting import until

# Enough to train a log dictionary, and too few for parser processes.
DOCUMENTS = 420
# The responses are 17 MB; caches and compiled patterns stay from the first document on.
MAX_GROWTH_MB = 18.0


@pytest.mark.long
def test_it_releases_the_memory_of_a_catch_up_and_of_training(
    simulator: Simulator, brisk_environment: dict[str, str], brisk_settings: Settings
) -> None:
    with grabber_process(brisk_environment, "production", forked=False) as grabber:
        wait_for_log(grabber, "lock_acquired cluster")
        before = proc_usage.rss_mb(grabber.pid)
        simulator.fill(FILTER_UNIT, DOCUMENTS)
        wait_for_log(grabber, "log_dictionary_trained")
        until(lambda: count_rows(brisk_settings, db.jobs) == DOCUMENTS)
        requests_before = len(simulator.requests)
        until(lambda: len(simulator.requests) > requests_before)
        assert proc_usage.rss_mb(grabber.pid) - before < MAX_GROWTH_MB
