"""Accessibility of the Control Room's pages, checked by axe in both themes, and layout on a phone."""

from playwright.sync_api import Page, expect

from simulator.fault_injection import FaultKind, RequestKind
from simulator.simulator import Simulator
from tests.browser.accessibility import violations_by_theme
from tests.browser.conftest import PHONE, OpenPage
from tests.browser.control_room import enter, item, press
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


def test_it_is_accessible_with_results_of_every_kind(page: Page, url: str, simulator: Simulator) -> None:
    page.goto(f"{url}/cr/")
    assert violations_by_theme(page) == {}
    enter(page, url)
    assert violations_by_theme(page, within="#activity") == {}
    show_results(page, simulator)
    assert violations_by_theme(page) == {}


def test_it_is_accessible_with_an_open_dialog(page: Page, url: str) -> None:
    enter(page, url)
    # The dialog of production has everything that the other has, and asks for a name.
    machine = item(page, PRODUCTION_UNIT, cluster="Production cluster")
    machine.get_by_role("button", name="Restart HLTD").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert violations_by_theme(page, within="dialog[open]") == {}


def test_it_has_an_accessible_audit(page: Page, url: str, simulator: Simulator) -> None:
    visitor = Visitor(url).sign_in()
    visitor.get_command("get_production_runs")
    visitor.get_command("get_dqm_clients", host="elsewhere", playback=1)
    simulator.faults.add(FaultKind.CONNECTION_CLOSED, request_kind=RequestKind.CONTROL, times=1)
    visitor.post_command("restart_hltd", host=UNIT)
    enter(page, url)
    page.get_by_role("link", name="Audit").click()
    assert violations_by_theme(page) == {}


def test_it_fits_a_phone(phone: Page, url: str, simulator: Simulator) -> None:
    enter(phone, url)
    show_results(phone, simulator)
    # The history comes after the commands, however long it is.
    places = [phone.get_by_role("region", name=name).bounding_box() for name in ORDER_ON_PHONE]
    tops = [place["y"] for place in places if place is not None]
    assert len(tops) == len(ORDER_ON_PHONE)
    assert tops == sorted(tops)
    for path in ("/cr/", "/cr/audit/"):
        if path != "/cr/":
            phone.goto(f"{url}{path}")
        # A mobile browser's innerWidth grows with the page.
        assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE["width"], path
    # The command is readable without scrolling the table.
    entries = phone.get_by_role("region", name="Entries")
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
