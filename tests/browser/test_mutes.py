"""Mutes on the live page: shown to everyone, without alerts until they end."""

import re
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import violations_by_theme
from tests.browser.conftest import PHONE, refresh
from tests.browser.control_room import sign_in
from tests.control_room import USER, Visitor
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791


def test_it_raises_no_alert_for_a_muted_client(page: Page, url: str, mirrored: MirroredCluster) -> None:
    beam = job(RUN, "beam")
    mirrored.write(mirrored.filter_units[0], beam, job(RUN, "ecal", exit_code=-6))
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("1 problem")

    expert = Visitor(url).sign_in()
    mute = {"csrf_token": expert.token, "db": "production", "client": beam.client}
    assert expert.post("/cr/mutes/", {**mute, "reason": "its beam is off", "hours": "8"}).status_code == 303

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

    assert expert.post("/cr/mutes/end", mute).status_code == 303

    expect(row).not_to_contain_text("muted by")
    expect(page.locator(".verdict")).to_contain_text("3 problems")
    # A problem that started during the mute raises no alert after it. A toast is there for a minute.
    refresh(page, "freshness")
    expect(page.locator("#alert-list li")).to_have_count(1)


@pytest.fixture
def muted(page: Page, url: str, mirrored: MirroredCluster) -> Page:
    """The page of mutes after an expert muted the only client with a problem, from the live page."""
    beam = job(RUN, "beam", exit_code=-6)
    mirrored.write(mirrored.filter_units[0], beam, job(RUN, "pixel"))
    sign_in(page, url)
    page.goto(f"{url}/?job={beam.document.identity}")
    page.click("text=Mute this crash or client")
    form = page.get_by_role("region", name="Muted in the production cluster")
    subject = form.get_by_role("combobox", name="Client or crash")
    expect(subject).to_have_value(re.compile(f"^{re.escape(beam.client)}/"))
    subject.select_option(label="beam")
    form.get_by_role("textbox").fill("its beam is off")
    page.keyboard.press("Enter")
    expect(page.locator(".mute-list")).to_contain_text(f"by {USER}, from")
    return page


def test_it_says_that_all_problems_are_muted_until_an_expert_ends_it(muted: Page, url: str) -> None:
    muted.goto(url)
    expect(muted.locator(".verdict")).to_contain_text("No new problems")
    expect(muted.locator(".verdict")).to_contain_text("1 muted problem in 2 clients")
    muted.set_viewport_size(PHONE)
    table = muted.get_by_role("table")
    assert table.evaluate("at => at.scrollWidth <= at.parentElement.clientWidth")
    muted.go_back()
    muted.get_by_role("button", name="End now").click()
    expect(muted.get_by_text(f"by {USER}, from")).to_have_count(0)


@pytest.mark.long
def test_it_is_accessible_in_both_themes(muted: Page, url: str) -> None:
    assert violations_by_theme(muted) == {}
    muted.goto(url)
    expect(muted.locator(".verdict")).to_contain_text("No new problems")
    assert violations_by_theme(muted) == {}
