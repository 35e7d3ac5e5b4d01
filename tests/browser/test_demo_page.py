"""The demo end to end: from the simulated DQM² through grabber and PostgreSQL to a page."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.demo_process import DemoProcess

# All use the one demo, and so one origin.
pytestmark = [pytest.mark.long, pytest.mark.own_page]


def test_it_shows_a_job_change_its_state(page: Page, demo: DemoProcess) -> None:
    page.goto(demo.page)
    running = page.locator("tbody[data-state=running]")
    expect(running.first).to_be_visible()
    # Stay at this run when the next one starts.
    page.click("#follow")
    expect(page.locator("#follow")).to_have_attribute("aria-checked", "false")
    job = running.first.get_attribute("data-job")

    expect(page.locator(f"[data-job='{job}']")).not_to_have_attribute("data-state", "running")


def test_it_shows_new_lumisections(page: Page, demo: DemoProcess) -> None:
    page.goto(demo.page)
    newest = page.locator(".newest-ls strong")
    expect(newest).to_have_text(re.compile(r"\d+"))
    before = newest.inner_text()
    expect(newest).not_to_have_text(before)


def test_it_shows_both_clusters_up_to_date(page: Page, demo: DemoProcess) -> None:
    page.goto(demo.page)
    page.click("text=playback")
    expect(page.locator(".facts")).to_contain_text("Simulator")
    expect(page.locator(".machine-freshness dd")).to_have_count(3)
    expect(page.locator("[data-outage]")).to_have_count(0)


def test_it_shows_a_redacted_log(page: Page, demo: DemoProcess) -> None:
    page.goto(demo.page)
    page.locator(".log").first.click()
    expect(page.locator("#log")).to_contain_text("redacted")
    expect(page.locator("#log-lines li").first).to_be_visible()
    assert not re.search(r"\.cms\b|dqmfu-c2b0\d-45-01", page.locator("#log-lines").inner_text())
