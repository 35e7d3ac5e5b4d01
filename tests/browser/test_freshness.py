"""The freshness bar, banners for outages, and recovery."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from dqmsquare_cfg import Settings
from server import create_app
from storage.sync_status import LinkStatus
from tests.browser.conftest import ConsoleErrors, pass_time, pause_time, update, wait_for_first_update
from tests.mirrored_cluster import MirroredCluster, job
from tests.served import free_port, server_thread
from tests.waiting import until
from tools.demo.postgres import EmbeddedPostgres

RUN = 358_791
LONG_AGO = timedelta(minutes=7)
# A time of yesterday has its date, and one in the hour that comes twice its zone.
LAST_KNOWN = re.compile(r"Unknown\s+last known at (\d\d \w{3} (\d{4} )?)?\d\d:\d\d:\d\d( CES?T)?: All OK")


def test_it_shows_the_age_of_the_data_of_each_machine_or_since_when_it_is_down(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    mirrored.beat(datetime.now(UTC) - timedelta(seconds=12))
    page.goto(url)
    links = page.locator(".machine-freshness")
    expect(links).to_have_count(3)
    unit = mirrored.filter_units[0]
    expect(links.first).to_contain_text(mirrored.label(unit))
    age = links.first.locator("dd")
    expect(age).to_have_text(re.compile(r"\d\d s ago"))
    expect(age).not_to_have_text(age.inner_text())
    expect(page.locator("[data-outage]")).to_have_count(0)

    def is_fresh() -> bool:
        # On a loaded machine a heartbeat may be old before it is shown.
        mirrored.beat()
        return age.inner_text() == "< 10 s ago"

    # Heartbeats come every 5 s, polls of the grabber every 2 s and of the page every 3 s.
    until(is_fresh)

    mirrored.set_machine_state(unit, datetime.now(UTC) - timedelta(hours=1), down_reason="connection refused")
    mirrored.beat()
    down = page.locator(".machine-freshness.is-down")
    expect(down).to_have_text(re.compile(rf"{re.escape(mirrored.label(unit))}\s+down 1 h \d min\s*$"))
    expect(down).to_have_attribute("title", re.compile("^connection refused; last mirrored "))
    expect(links).to_have_count(3)


@pytest.mark.own_page
def test_it_computes_ages_from_the_servers_clock(page: Page, url: str, mirrored: MirroredCluster) -> None:
    mirrored.beat(datetime.now(UTC) - timedelta(seconds=12))
    page.clock.set_fixed_time(datetime.now(UTC) + timedelta(days=3))
    page.goto(url)
    # Minutes on a loaded machine.
    expect(page.locator(".machine-freshness dd").first).to_have_text(re.compile(r"^([1-3] min )?\d+ s ago"))


@pytest.mark.long
def test_it_says_which_part_is_at_fault(page: Page, url: str, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[1]
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page.goto(url)
    wait_for_first_update(page)
    banner, verdict = page.locator("[data-outage]"), page.locator(".verdict")
    expect(banner).to_have_count(0)
    mirrored.set_heartbeat_age(LONG_AGO)
    update(page)
    expect(banner).to_contain_text("The grabber is not reporting, since")
    expect(banner).to_contain_text("The data shown are old")

    mirrored.beat()

    expect(banner).to_have_count(0)
    long_ago = datetime.now(UTC) - LONG_AGO
    broken = LinkStatus(long_ago, failing_since=long_ago, reason="a certificate has expired")
    mirrored.beat(gateway=broken, machines=dict.fromkeys(mirrored.filter_units, broken))
    expect(banner).to_have_count(1)
    expect(banner).to_contain_text("gateway can't be read, since")
    expect(banner).to_contain_text("a certificate has expired")

    mirrored.beat(machines={unit: replace(broken, reason="it did not answer in time")})

    expect(banner).to_contain_text(f"{mirrored.label(unit)} is not mirrored, since")
    expect(page.locator(".machine-freshness.is-stale")).to_have_count(1)
    expect(verdict).to_have_text(re.compile(r"Unknown\s+last known: All OK"), use_inner_text=True)

    # The jobs are up to date.
    mirrored.beat(status=replace(broken, reason="timed out"))

    expect(banner).to_contain_text("The status of the machines is unknown")
    expect(banner).not_to_contain_text("data shown are old")
    expect(verdict).to_contain_text("All OK", use_inner_text=True)
    expect(page.locator("#jobs")).to_have_css("filter", "none")


def test_it_says_that_nothing_was_mirrored_yet(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("[data-outage]")).to_contain_text("No grabber has mirrored this cluster yet")


def test_old_data_are_grey_and_their_verdict_is_unknown(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page.goto(url)
    verdict = page.locator(".verdict")
    expect(verdict).to_have_text(re.compile(r"All OK\s+1 client"), use_inner_text=True)
    expect(page.locator(".run-status .duration")).to_be_visible()
    mirrored.beat(datetime.now(UTC) - LONG_AGO)
    expect(verdict).to_have_text(LAST_KNOWN, use_inner_text=True)
    expect(page.locator(".run-status .duration")).to_be_hidden()
    expect(page.locator("#jobs")).to_have_css("filter", "grayscale(1)")
    mirrored.beat()
    expect(page.locator("#jobs")).to_have_css("filter", "none")
    expect(verdict).to_contain_text("All OK", use_inner_text=True)


def test_the_verdict_on_a_run_that_is_over_holds_in_an_outage(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    finished, open_ended = job(RUN - 1, "beam", exit_code=0), job(RUN - 2, "beam")
    mirrored.write(unit, finished, open_ended, job(RUN, "beam", exit_code=0))
    mirrored.beat(datetime.now(UTC) - LONG_AGO)
    page.goto(url)
    expect(page.locator("[data-outage]")).to_be_visible()
    verdict = page.locator(".verdict strong").filter(visible=True)
    expect(verdict).to_have_text("Unknown")
    for run, text in ((RUN - 1, "All finished"), (RUN - 2, "Unknown")):
        page.click("#previous-run")
        expect(page.locator(".run-number")).to_contain_text(str(run))
        expect(verdict).to_have_text(text)
    page.goto(f"{url}/job/{finished.document.identity}")
    expect(page.locator("[data-outage]")).to_be_visible()
    expect(page.locator("main")).to_have_css("background-image", "none")
    page.goto(f"{url}/job/{open_ended.document.identity}")
    expect(page.locator("main")).not_to_have_css("background-image", "none")


@pytest.mark.clock
@pytest.mark.own_page
def test_it_claims_nothing_while_the_server_is_unreachable_and_recovers(
    page: Page, settings: Settings, mirrored: MirroredCluster, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed += ["net::ERR_CONNECTION_REFUSED", "htmx:afterRequest", "htmx:sendError"]
    unit, beam = mirrored.filter_units[0], job(RUN, "beam")
    mirrored.write(unit, job(RUN - 1, "beam", exit_code=0), beam)
    mirrored.beat()
    verdict, connection = page.locator(".verdict"), page.locator("#connection")
    app, port = create_app(settings), int(free_port())
    with server_thread(app, port) as url:
        page.goto(url)
        wait_for_first_update(page)
        expect(verdict).to_contain_text("All OK", use_inner_text=True)
    pass_time(page, lambda: page.locator(".machine-freshness.is-stale").count() == 3)
    expect(connection).to_contain_text("This browser can’t reach the mirror, since")
    expect(verdict).to_have_text(LAST_KNOWN, use_inner_text=True)
    expect(page.locator("#jobs")).to_have_css("filter", "grayscale(1)")
    page.click("#previous-run")
    expect(connection).to_contain_text("Your last click takes effect when it responds again")
    expect(page.locator(".run-number")).to_contain_text(str(RUN))

    mirrored.write(unit, replace(beam, exit_code=84))
    with server_thread(app, port):
        update(page)
        expect(page.locator(".run-number")).to_contain_text(str(RUN - 1))
        expect(connection).to_be_hidden()
        expect(page.locator("tbody")).to_contain_text("finished")
        page.click("#follow")
        expect(page.locator("tbody")).to_contain_text("crashed")
        expect(page.locator("#jobs")).to_have_css("filter", "none")
        page.goto("about:blank")


@pytest.mark.clock
def test_it_recovers_from_an_outage_of_the_database(
    page: Page, url: str, mirrored: MirroredCluster, postgres: EmbeddedPostgres, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed.append("503")
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page.goto(url)
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    # One banner, although parts of the page fail as well.
    outage = page.locator("#connection:not([hidden]), [data-outage]")
    postgres.stop()
    try:
        pass_time(page, lambda: outage.count() == 1)
        expect(outage).to_contain_text("database")
        expect(page.locator("tbody")).to_contain_text("beam")
    finally:
        postgres.start()
    pass_time(page, lambda: outage.count() == 0)


def test_an_error_page_reloads_by_itself(
    page: Page, url: str, mirrored: MirroredCluster, postgres: EmbeddedPostgres, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed.append("503")
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    postgres.stop()
    try:
        page.goto(f"{url}/timeline/?from={RUN - 1}&to={RUN}")
        expect(page.locator("main")).to_contain_text("reloads by itself")
    finally:
        postgres.start()
    expect(page.locator("tbody th a")).to_have_text(str(RUN))


@pytest.mark.long
@pytest.mark.clock
def test_it_recovers_from_a_failure_of_a_part_that_loads_once(
    page: Page, url: str, mirrored: MirroredCluster, console_errors: ConsoleErrors
) -> None:
    console_errors.allowed += ["503", "htmx"]
    mirrored.beat()
    page.route("**/cr/receivers*", lambda route: route.fulfill(status=503, body="overloaded"))
    page.goto(f"{url}/cluster/")
    wait_for_first_update(page)
    pause_time(page)
    banner = page.locator("#connection")
    pass_time(page, banner.is_visible)
    page.unroute_all()
    pass_time(page, banner.is_hidden)
