"""Tasks of an expert who is called about a crash, each in one step from the page before."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from dqm2.records import JobLog, JobRecord
from tests.browser.conftest import update, wait_for_first_update, wait_for_scripts
from tests.mirrored_cluster import MirroredCluster, job, with_series

RUN = 358_791
CLIENT = "ecal"
LOG = JobLog(
    "".join(f"line {number}\n" for number in range(1, 81)),
    "".join(f"quiet {number}\n" for number in range(1, 81))
    + "----- Begin Fatal Exception 15-Sep-2022 13:45:45 CEST-----\n"
    + "An exception of category 'FileReadError' occurred while\n"
    + "   [0] Processing  Event run: 358791 lumi: 300 event: 7 stream: 0\n"
    + "   [1] Calling method for module DQMStreamerReader/'source'\n"
    + "Exception Message:\nInput file could not be read\n"
    + "----- End Fatal Exception -----\n"
    + "".join(f"cleanup {number}\n" for number in range(1, 81))
    + "-- process exit: 85 --\n",
)
LIVE_ROW = f"[data-client={CLIENT}]"


@pytest.fixture
def crashes(mirrored: MirroredCluster) -> list[JobRecord]:
    """The client's jobs in four runs: two good ones, and two that crashed."""
    now = datetime.now(UTC)
    ends = {RUN - 3: 0, RUN - 2: 0, RUN - 1: 85, RUN: 85}
    jobs = [
        job(run, CLIENT, at=now - (RUN - run) * timedelta(hours=3), exit_code=code, log=LOG)
        for run, code in ends.items()
    ]
    mirrored.write(mirrored.filter_units[0], *jobs, job(RUN, "csc"))
    return jobs


@pytest.fixture
def live(page: Page, url: str, crashes: list[JobRecord]) -> Page:
    """The live page of the run in which the client crashed."""
    del crashes
    page.goto(url)
    wait_for_first_update(page)
    return page


def test_it_is_one_step_to_the_fatal_line_and_from_there_to_a_link_to_a_line(live: Page, url: str) -> None:
    live.context.grant_permissions(["clipboard-read", "clipboard-write"])
    live.click(f"{LIVE_ROW} .log")
    fatal = live.locator("#log-lines li", has_text="Begin Fatal Exception")
    expect(fatal).to_be_in_viewport()
    expect(live.locator("#log .toolbar")).to_be_in_viewport()
    expect(live.locator("#log h2")).to_have_text(
        f"Log of {CLIENT} run {RUN} · CMSSW 12_4_8_39145_39162 · crashed"
    )
    # Updates do not move it.
    with live.expect_response("**/fragment*"):
        update(live)
    expect(fatal).to_be_in_viewport()

    line = live.locator("#log-lines li", has_text="Input file could not be read")
    wait_for_scripts(live)
    line.locator("a").click()
    expect(live.locator("#line-link")).to_have_text(re.compile(r"^Link to line \d+ copied$"))
    link = live.evaluate("navigator.clipboard.readText()")
    assert link == live.url
    live.goto(f"{url}/healthz")
    live.goto(link)
    expect(line).to_be_in_viewport()


def test_it_is_one_step_to_the_memory_of_the_previous_run_and_since_when_it_crashes(
    live: Page, mirrored: MirroredCluster, crashes: list[JobRecord]
) -> None:
    with_memory = [replace(with_series(record, seed=record.run), log=LOG) for record in crashes]
    mirrored.write(mirrored.filter_units[0], *with_memory)
    live.locator(f"{LIVE_ROW} .job .ls-cell .number").last.click()
    memory = live.locator("[data-graph=memory]")
    expect(memory.locator(".graph-previous")).to_be_visible()
    expect(memory.locator(".graph-previous")).to_have_text(f"run {RUN - 1} (previous with this key)")
    memory.locator(".u-over").hover()
    expect(memory.locator("output")).to_contain_text("GiB (")
    history = live.locator(f"{LIVE_ROW} .history")
    expect(history).to_contain_text(f"crashed in 2 runs in a row, since run {RUN - 1}.")
    expect(history).to_contain_text(f"The last good run is {RUN - 2}.")
    history.get_by_role("link", name=f"crashed {RUN - 1}").click()
    expect(live.locator("#log-lines li", has_text="Begin Fatal Exception")).to_be_in_viewport()


def test_its_tasks_can_be_done_with_the_keyboard_alone(live: Page) -> None:
    live.keyboard.press("/")
    live.keyboard.type(CLIENT)
    live.keyboard.press("Enter")
    expect(live.locator(f"{LIVE_ROW} .expanded")).to_be_visible()
    live.keyboard.press("Tab")
    expect(live.locator(f"{LIVE_ROW} .crash-note > a").first).to_be_focused()
    live.keyboard.press("Enter")
    expect(live.locator("#log-lines li", has_text="Begin Fatal Exception")).to_be_in_viewport()
    wait_for_scripts(live)
    live.keyboard.press("e")
    expect(live.locator("[data-jump=error]")).to_contain_text("1 of 1 error")
    live.keyboard.press("/")
    live.keyboard.type("quiet 77")
    live.keyboard.press("Enter")
    expect(live.locator("#log-matches")).to_have_text("1 of 1")
