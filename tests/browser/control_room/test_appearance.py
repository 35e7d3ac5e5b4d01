"""Accessibility of the Control Room's pages, checked by axe in both themes, and layout on a phone."""

import pytest
from playwright.sync_api import Page, expect

from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from tests.browser.accessibility import Theme, in_each_theme, violations, violations_by_theme
from tests.browser.conftest import PHONE, OpenPage
from tests.browser.control_room import enter, item, press, sign_in
from tests.browser.test_appearance import widths
from tests.control_room import OTHER_UNIT, PRODUCTION_UNIT, UNIT, Visitor, commands_sent

ORDER_ON_PHONE = ("Queue", "Playback cluster", "Production cluster", "Last hour")


def show_results(page: Page, simulator: Simulator) -> None:
    """Show every kind of result on the page."""
    press(item(page, "Simulator"), "Configuration")
    press(item(page, UNIT), "Clients")
    press(item(page, OTHER_UNIT), "HLTD logs")
    press(item(page, "Whole cluster"), "Cluster status")
    press(item(page, "Versions", cluster="Both clusters"), "DQM² versions")
    press(item(page, "Machines", cluster="Both clusters"), "All machines")
    simulator.faults.add(FaultKind.LOGIN_PAGE, request_kind=RequestKind.CONTROL, times=1)
    press(item(page, PRODUCTION_UNIT, cluster="Production cluster"), "Clients")
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL, times=1)
    press(item(page, "Whole cluster", cluster="Production cluster"), "Cluster status")


@in_each_theme
def test_it_is_accessible_with_results_of_every_kind_and_fits_a_phone(
    page: Page, url: str, simulator: Simulator, theme: Theme
) -> None:
    enter(page, url)
    show_results(page, simulator)
    assert violations(page, theme, within="#main") == []
    page.set_viewport_size(PHONE)
    # The history comes after the commands, however long it is.
    places = [page.get_by_role("region", name=name).bounding_box() for name in ORDER_ON_PHONE]
    tops = [place["y"] for place in places if place is not None]
    assert len(tops) == len(ORDER_ON_PHONE)
    assert tops == sorted(tops)
    assert widths(page) == (PHONE["width"], PHONE["width"])


@pytest.mark.long
def test_its_dialog_is_accessible_in_both_themes(page: Page, url: str) -> None:
    """The dialog for production has all that the one for playback has, and asks for a name."""
    enter(page, url)
    machine = item(page, PRODUCTION_UNIT, cluster="Production cluster")
    machine.get_by_role("button", name="Restart HLTD").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations_by_theme(page) == {}


@pytest.mark.long
@in_each_theme
def test_its_sign_in_and_its_audit_are_accessible_and_the_audit_fits_a_phone(
    page: Page, url: str, simulator: Simulator, theme: Theme
) -> None:
    page.goto(f"{url}/cr/")
    assert violations(page, theme, within="#main") == []
    visitor = Visitor(url).sign_in()
    visitor.get_command("get_production_runs")
    visitor.get_command("get_dqm_clients", host="elsewhere", playback=1)
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL, times=1)
    visitor.post_command("restart_hltd", host=UNIT)
    sign_in(page, url)
    page.goto(f"{url}/cr/audit/")
    assert violations(page, theme, within="#main") == []
    page.set_viewport_size(PHONE)
    assert widths(page) == (PHONE["width"], PHONE["width"])
    # The command is readable without scrolling the table.
    entries = page.get_by_role("region", name="Entries")
    expect(entries).to_contain_text("get_dqm_clients")
    assert entries.evaluate("at => at.scrollWidth <= at.clientWidth")


def test_it_does_nothing_without_javascript_and_says_so(
    open_page: OpenPage, url: str, simulator: Simulator
) -> None:
    page = open_page(java_script_enabled=False)
    enter(page, url)
    expect(page.get_by_text("The commands on this page need JavaScript.")).to_be_visible()
    item(page, UNIT).get_by_role("button", name="Restart HLTD").click()
    expect(page).to_have_url(f"{url}/cr/")
    assert commands_sent(simulator) == []
