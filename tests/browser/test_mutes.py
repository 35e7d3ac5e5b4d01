"""Mutes on the live page: shown to everyone, without alerts until they end."""

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.browser.accessibility import Theme, in_each_theme, violations
from tests.browser.conftest import PHONE, ConsoleErrors, refresh
from tests.browser.control_room import sign_in
from tests.control_room import USER
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791


@pytest.fixture
def expert(page: Page, url: str, console_errors: ConsoleErrors) -> Iterator[Page]:
    """The page of an expert who is signed in, in another tab of the same browser."""
    with console_errors.of(page.context.new_page()) as expert:
        sign_in(expert, url)
        yield expert


def production(page: Page) -> Locator:
    """The section of the production cluster."""
    return page.get_by_role("region", name="Muted in the production cluster")


def test_it_raises_no_alert_for_a_muted_client(
    page: Page, expert: Page, url: str, mirrored: MirroredCluster
) -> None:
    beam = job(RUN, "beam")
    mirrored.write(mirrored.filter_units[0], beam, job(RUN, "ecal", exit_code=-6))
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("1 problem")

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
    expect(page.locator(".verdict")).to_contain_text("2 problems in")
    expect(page.locator(".verdict")).to_contain_text("1 more muted")

    expert.get_by_role("button", name="End now").click()
    expect(row).not_to_contain_text("muted by")
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    # A problem that started during the mute raises no alert after it. A toast is there for a minute.
    refresh(page, "freshness")
    expect(page.locator("#alert-list li")).to_have_count(1)


@in_each_theme
def test_it_says_that_all_problems_are_muted(
    page: Page, url: str, mirrored: MirroredCluster, theme: Theme
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam", exit_code=-6), job(RUN, "pixel"))
    sign_in(page, url)
    page.goto(f"{url}/cr/mutes/")
    production(page).get_by_role("combobox", name="Client").select_option(label="beam")
    production(page).get_by_role("textbox").fill("its beam is off")
    production(page).get_by_role("button", name="Mute").click()
    expect(page.locator(".mute-list")).to_contain_text(f"by {USER}, from")
    assert violations(page, theme, within="#main") == []
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No new problems")
    expect(page.locator(".verdict")).to_contain_text("1 muted problem in 2 clients")
    assert violations(page, theme, within="#main") == []
    page.set_viewport_size(PHONE)
    table = page.get_by_role("table")
    assert table.evaluate("at => at.scrollWidth <= at.parentElement.clientWidth")
