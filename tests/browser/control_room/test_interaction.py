"""Interaction with the Control Room's page: double clicks, the queue, the keyboard, lost servers."""

import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa
from playwright.sync_api import Page, expect

import db
from dqmsquare_cfg import Settings
from simulator.daemons import DaemonKind
from simulator.simulator import Simulator
from tests.browser.conftest import ConsoleErrors, pass_time, wait_for_scripts
from tests.browser.control_room import enter, item, press, sign_in
from tests.control_room import (
    BEAM,
    PASSWORD,
    UNIT,
    USER,
    Visitor,
    commands_sent,
    control_room_database,
    execute_statement,
)
from tests.served import served
from tests.waiting import TIMEOUT_S

PRODUCTION = "Production cluster"


@contextmanager
def blocked_gateway(simulator: Simulator) -> Iterator[threading.Event]:
    """Block the gateway until the event is set."""
    release = threading.Event()
    simulator.on_request = lambda _request: release.wait(TIMEOUT_S)
    try:
        yield release
    finally:
        release.set()


def test_it_disables_the_button_shows_the_elapsed_time_and_brings_the_result_into_view(
    page: Page, url: str, simulator: Simulator
) -> None:
    page.set_viewport_size({"width": 1440, "height": 400})
    enter(page, url)
    section = item(page, UNIT)
    with blocked_gateway(simulator) as release:
        button = section.get_by_role("button", name="Clients")
        button.evaluate("button => button.scrollIntoView({ block: 'end' })")
        button.click()
        expect(button).to_be_disabled()
        expect(button).to_have_text(re.compile(r"Clients [1-9]\d* s"))
        button.click(force=True)
        button.dispatch_event("click")
        button.evaluate("button => button.form.requestSubmit()")
        release.set()
        expect(section.get_by_role("switch").first).to_be_visible()
    expect(section.locator(".result")).to_be_in_viewport(ratio=1)
    expect(button).to_be_enabled()
    expect(button).to_have_text("Clients")
    assert len(commands_sent(simulator)) == 1


def test_it_shows_commands_of_others_in_the_queue(page: Page, url: str, simulator: Simulator) -> None:
    enter(page, url)
    other = Visitor(url).sign_in()
    queue = page.get_by_role("region", name="Queue")
    with ThreadPoolExecutor() as pool, blocked_gateway(simulator) as release:
        item(page, UNIT).get_by_role("button", name="HLTD logs").click()
        expect(queue.get_by_role("listitem")).to_have_count(1)
        pool.submit(other.get_command, "get_fff_logs", host=UNIT)
        expect(queue.get_by_role("listitem")).to_have_count(2)
        expect(queue).to_contain_text("running")
        expect(queue).to_contain_text("waiting")
        expect(queue).to_contain_text("dqmfu-c2b01-..")
        release.set()
        expect(queue).to_contain_text("No command")
    last_hour = page.get_by_role("region", name="Last hour")
    expect(last_hour).to_contain_text("show HLTD logs")
    expect(last_hour).to_contain_text("show DQM² logs")


def test_it_works_by_keyboard_only_also_after_a_wrong_password(
    page: Page, url: str, simulator: Simulator, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed = ["401"]
    page.goto(f"{url}/cr/")
    expect(page.get_by_label("Name")).to_be_focused()
    page.keyboard.type(USER)
    page.keyboard.press("Tab")
    page.keyboard.type("wrong")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("Wrong name or password.")
    expect(page.get_by_label("Name")).to_have_value(USER)
    expect(page.get_by_label("Password")).to_be_focused()
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Playback cluster")).to_be_visible()
    wait_for_scripts(page)
    button = item(page, UNIT).get_by_role("button", name="Restart HLTD")
    _tab_to(page, button.element_handle().evaluate_handle("button => button"))
    page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    # The initial focus is not on the confirmation; Escape cancels.
    expect(dialog.get_by_role("button", name="Cancel")).to_be_focused()
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    expect(button).to_be_focused()
    page.keyboard.press("Space")
    expect(dialog).to_be_visible()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(item(page, UNIT)).to_contain_text("DQM² says Ok.")
    assert len(simulator.world.daemons.get(DaemonKind.HLTD, UNIT).starts) == 2


def test_a_command_keeps_the_focus(page: Page, url: str, simulator: Simulator) -> None:
    enter(page, url)
    button = item(page, UNIT).get_by_role("button", name="Clients")
    with blocked_gateway(simulator):
        button.press("Enter")
        expect(page.locator("body")).to_be_focused()
    expect(button).to_be_focused()
    switch = item(page, UNIT).get_by_role("switch", name=BEAM)
    switch.press("Space")
    expect(switch).to_have_attribute("aria-checked", "false")
    expect(switch).to_be_focused()


def _tab_to(page: Page, target: object) -> None:
    for _ in range(100):
        page.keyboard.press("Tab")
        if page.evaluate("target => document.activeElement === target", target):
            return
    raise AssertionError("it can't be reached by the keyboard")


def test_it_keeps_what_was_read_when_the_session_was_ended_elsewhere(
    page: Page, url: str, settings: Settings, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed = ["401"]
    enter(page, url)
    output = press(item(page, UNIT), "Clients")
    execute_statement(settings, sa.delete(db.login_sessions))
    ended = page.get_by_role("alert").filter(has_text="Session ended")
    expect(ended).to_be_visible()
    expect(output.get_by_role("switch").first).to_be_visible()
    expect(item(page, UNIT).get_by_role("button", name="Restart HLTD")).to_be_disabled()
    ended.get_by_role("link", name="Sign in").click()
    expect(page.get_by_role("button", name="Sign in")).to_be_visible()


def test_it_says_that_it_needs_a_cookie(page: Page, url: str) -> None:
    page.goto(f"{url}/cr/login/")
    wait_for_scripts(page)
    expect(page.get_by_role("alert")).to_have_count(0)
    with page.add_init_script("Object.defineProperty(navigator, 'cookieEnabled', { value: false })"):
        page.reload()
    expect(page.get_by_role("alert")).to_contain_text("This browser refuses cookies")


@pytest.mark.long
def test_it_shows_changes_in_words_and_folds_reads(page: Page, url: str) -> None:
    visitor = Visitor(url).sign_in()
    visitor.post_command("change_dqm_client", host=UNIT, playback=1, client=BEAM, state=0)
    visitor.get_command("get_dqm_clients", host=UNIT, playback=1)
    enter(page, url)
    last_hour = page.get_by_role("region", name="Last hour")
    expect(last_hour.get_by_text(f"beam switched off on dqmfu-c2b01-.., by {USER}")).to_be_visible()
    read = last_hour.get_by_text(f"{USER}: show Clients · dqmfu-c2b01-..")
    expect(read).to_be_hidden()
    last_hour.get_by_text("without a change").click()
    expect(read).to_be_visible()
    # It stays open when the list is updated.
    visitor.get_command("get_simulator_run_keys")
    expect(last_hour.get_by_text("show Simulator run keys")).to_be_visible()


@pytest.mark.long
def test_it_signs_out_here_and_everywhere(page: Page, url: str) -> None:
    elsewhere = Visitor(url).sign_in()
    sign_in(page, url)
    page.goto(f"{url}/cr/mutes/")
    page.get_by_role("button", name="Sign out", exact=True).click()
    expect(page).to_have_url(f"{url}/")
    assert elsewhere.is_signed_in()
    sign_in(page, url)
    page.goto(f"{url}/cr/mutes/")
    page.get_by_role("button", name="Sign out everywhere").click()
    expect(page).to_have_url(f"{url}/")
    assert not elsewhere.is_signed_in()


@pytest.mark.clock
@pytest.mark.own_page
def test_it_reports_an_unknown_outcome_if_the_mirror_does_not_respond(
    page: Page, settings: Settings, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed = ["net::ERR_", "htmx:afterRequest", "htmx:sendError"]
    with served(settings) as url:
        enter(page, url)
        press(item(page, UNIT), "Clients")
    output = press(item(page, UNIT), "Clients")
    expect(output).to_contain_text(
        "The mirror did not respond. Whether the command was sent is unknown: check the audit first."
    )
    pass_time(page, page.locator("#connection").is_visible)
    expect(page.locator("#connection")).to_contain_text("This browser can’t reach the mirror")


@pytest.mark.long
def test_it_reports_an_unknown_outcome_if_the_mirror_fails(
    page: Page, url: str, settings: Settings, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed = ["500"]
    enter(page, url)
    with control_room_database(settings).begin() as connection:
        connection.execute(sa.text("ALTER TABLE audit_log ADD CHECK (command = 'sign_in') NOT VALID"))
    output = press(item(page, UNIT), "Clients")
    expect(output).to_contain_text("The mirror failed to process this request.")
    expect(output).to_contain_text("Whether the command was sent is unknown: check the audit first.")


@pytest.mark.long
def test_it_shows_and_filters_the_audit(page: Page, url: str) -> None:
    Visitor(url).sign_in().get_command("get_cmssw_info")
    sign_in(page, url)
    page.goto(f"{url}/cr/mutes/")
    page.get_by_role("link", name="Audit").click()
    expect(page.get_by_role("row")).to_have_count(4)
    page.get_by_label("Command").select_option("get_cmssw_info")
    page.get_by_role("button", name="Filter").click()
    expect(page.get_by_role("row")).to_have_count(2)
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert "get_cmssw_info" in Path(download.value.path()).read_text()
