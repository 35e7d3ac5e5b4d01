"""Mutes on the live page: shown to everyone, without alerts until they end."""

from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from dqmsquare_cfg import Settings
from tests.browser.accessibility import violations_by_theme
from tests.browser.conftest import PHONE, OpenPage, refresh
from tests.browser.control_room import enter
from tests.control_room import USER
from tests.mirrored_cluster import MirroredCluster, job, write_run
from tests.served import with_fast_passwords

RUN = 358_791


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings whose passwords are hashed at no cost."""
    return with_fast_passwords(settings)


@pytest.fixture
def expert(open_page: OpenPage, url: str) -> Page:
    """The page of an expert who is signed in."""
    page = open_page()
    enter(page, url)
    return page


def production(page: Page) -> Locator:
    """The section of the production cluster."""
    return page.get_by_role("region", name="Muted in the production cluster")


def test_it_raises_no_alert_for_a_muted_client(
    page: Page, expert: Page, url: str, mirrored: MirroredCluster
) -> None:
    jobs = write_run(mirrored, RUN, clients=("beam", "csc", "ecalgpu", "hcalreco"))
    beam = next(record for record in jobs if record.client.startswith("beam_"))
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("2 problems")

    expert.goto(f"{url}/?job={beam.document.identity}")
    expert.click("text=Mute this client")
    expect(production(expert).get_by_role("combobox", name="Client")).to_have_value(beam.client)
    production(expert).get_by_role("textbox").fill("its beam is off")
    expert.keyboard.press("Enter")
    expect(expert.locator(".mute-list")).to_contain_text(f"by {USER}, from")

    row = page.locator("[data-client=beam]")
    expect(row).to_contain_text(f"muted by {USER} until")
    expect(row).to_contain_text("its beam is off")
    for client in ("beam", "newcomer"):
        crashed = job(RUN, client, exit_code=-6, started_at=datetime.now(UTC))
        mirrored.write(mirrored.filter_units[0], crashed)
    expect(page.locator(".alert-toast")).to_have_count(1)
    expect(page.locator(".alert-toast")).to_contain_text("newcomer crashed")
    expect(row).to_have_attribute("data-state", "crashed")
    expect(page.locator(".verdict")).to_contain_text("3 problems in")
    expect(page.locator(".verdict")).to_contain_text("1 more muted")

    expert.get_by_role("button", name="End now").click()
    expect(row).not_to_contain_text("muted by")
    expect(page.locator(".verdict")).to_contain_text("4 problems")
    # A problem that started during the mute raises no alert after it. A toast is there for a minute.
    refresh(page, "freshness")
    expect(page.locator("#alert-list li")).to_have_count(1)


def test_it_says_that_all_problems_are_muted(
    page: Page, expert: Page, url: str, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", exit_code=-6), job(RUN, "pixel"))
    expert.goto(f"{url}/cr/mutes/")
    production(expert).get_by_role("combobox", name="Client").select_option(label="beam")
    production(expert).get_by_role("textbox").fill("its beam is off")
    production(expert).get_by_role("button", name="Mute").click()
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No new problems")
    expect(page.locator(".verdict")).to_contain_text("1 muted problem in 2 clients")
    assert violations_by_theme(page, within="#main") == {}
    page.set_viewport_size(PHONE)
    table = page.get_by_role("table")
    assert table.evaluate("at => at.scrollWidth <= at.parentElement.clientWidth")
    expert.reload()
    assert violations_by_theme(expert) == {}
