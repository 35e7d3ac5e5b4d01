"""Memory of a grabber: little of what a catch-up needs stays with the process."""

import db
from benchmarks import proc_usage
from dqmsquare_cfg import Settings
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, grabber_process, rows, wait_for_log
from tests.waiting import until

# Enough to train a log dictionary, and too few for parser processes.
DOCUMENTS = 420
# Parsing them fills caches and compiles patterns, which stay.
FIRST_DOCUMENTS = 20
# The responses are 17 MB, and training takes several times as much.
MAX_GROWTH_MB = 14.0


def test_it_releases_the_memory_of_a_catch_up_and_of_training(
    simulator: Simulator, brisk_environment: dict[str, str], brisk_settings: Settings
) -> None:
    with grabber_process(brisk_environment, "production") as grabber:
        simulator.fill(FILTER_UNIT, FIRST_DOCUMENTS)
        until(lambda: len(rows(brisk_settings, db.jobs)) == FIRST_DOCUMENTS)
        before = proc_usage.rss_mb(grabber.pid)
        simulator.fill(FILTER_UNIT, DOCUMENTS)
        wait_for_log(grabber, "log_dictionary_trained")
        until(lambda: len(rows(brisk_settings, db.jobs)) >= DOCUMENTS)
        until(lambda: proc_usage.rss_mb(grabber.pid) - before < MAX_GROWTH_MB)
