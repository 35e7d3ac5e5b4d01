"""The timeline: states, more rows on scrolling, details of a cell, filter, CSV."""

import csv
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import wait_for_first_update
from tests.mirrored_cluster import MirroredCluster, job

RUN = 358_791
RUNS = 60
CLIENTS = ("beam", "csc", "dt")


def write_runs(mirrored: MirroredCluster, numbers: range) -> None:
    """Write runs of three clients; a job of every tenth run crashed and was restarted."""
    jobs = []
    for number in numbers:
        at = datetime.now(UTC) - (RUN - number) * timedelta(hours=1)
        jobs += [job(number, client, at=at, exit_code=0, events_total=12_345) for client in CLIENTS]
        if number % 10 == 0:
            jobs.append(job(number, "csc", at=at - timedelta(minutes=9), exit_code=-9, lumisection=0))
    mirrored.write(mirrored.filter_units[0], *jobs)


@pytest.fixture(autouse=True)
def runs(mirrored: MirroredCluster) -> None:
    """60 runs, more than the timeline shows at first."""
    write_runs(mirrored, range(RUN - RUNS + 1, RUN + 1))


def cell(run: int, client: str) -> str:
    """Selector of a client's cell. Its column is behind those of run and release."""
    return f"tr:has(th a:text-is('{run}')) td:nth-child({CLIENTS.index(client) + 3}) .cell"


def open_timeline(page: Page, url: str) -> None:
    """Open the timeline, and wait until no cell moves away from the pointer."""
    page.goto(f"{url}/timeline/")
    wait_for_first_update(page)


def test_the_details_of_a_cell_are_up_to_date_and_lead_to_the_run_that_its_job_read(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    running = job(RUN + 1, "beam", events_total=41, cmssw_run=RUN - 2)
    mirrored.write(mirrored.filter_units[0], running)
    open_timeline(page, url)
    details = page.locator("#cell-details")
    page.locator(cell(RUN + 1, "beam")).hover()
    expect(details).to_contain_text("41 events")
    page.locator("h1").hover()
    expect(details).to_be_hidden()
    mirrored.write(mirrored.filter_units[0], replace(running, events_total=42))
    page.locator(cell(RUN + 1, "beam")).hover()
    expect(details).to_contain_text("42 events")
    expect(details.locator("a")).to_have_text(str(RUN - 2))
    details.locator("a").click()
    expect(page).to_have_url(f"{url}/?db=production&run={RUN - 2}")


def test_it_shows_the_worst_state_of_each_client_and_its_jobs_on_hover_and_on_focus(
    page: Page, url: str
) -> None:
    open_timeline(page, url)
    crashed, finished = page.locator(cell(358_790, "csc")), page.locator(cell(358_790, "beam"))
    expect(crashed).to_have_accessible_name("crashed 1/1")
    expect(finished).to_have_accessible_name("finished 12k")
    expect(finished).to_have_text("12k")
    expect(page.locator("tbody th").first).to_contain_text(str(RUN))
    details = page.locator("#cell-details")
    page.hover(cell(358_790, "csc"))
    expect(details).to_contain_text("-9 SIGKILL")
    expect(details.locator("li")).to_have_count(2)
    page.mouse.move(0, 0)
    expect(details).to_be_hidden()

    page.focus(cell(358_791, "beam"))
    expect(details).to_contain_text("beam, run 358791")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowDown")
    expect(details).to_contain_text("csc, run 358790")
    page.keyboard.press("Escape")
    expect(details).to_be_hidden()


def test_it_loads_more_rows_on_scrolling_and_keeps_them_when_a_run_begins(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    write_runs(mirrored, range(RUN - 199, RUN - RUNS + 1))
    page.goto(f"{url}/timeline/")
    expect(page.locator("#rows-shown")).to_have_text("40")
    page.locator(".load-more").scroll_into_view_if_needed()
    expect(page.locator("#rows-shown")).to_have_text("190")
    page.locator(".load-more").scroll_into_view_if_needed()
    expect(page.locator("#rows-shown")).to_have_text("200")
    expect(page.locator(".load-more")).to_have_count(0)
    numbers = page.locator("tbody th a").all_inner_texts()
    assert numbers == [str(number) for number in range(RUN, RUN - 200, -1)]
    head = page.locator("thead th").first
    expect(head).to_be_in_viewport()
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    expect(page.locator("tbody th a").first).to_have_text(str(RUN + 1))
    expect(page.locator("#rows-shown")).to_have_text("201")
    expect(page.locator("#run-count")).to_have_text("201")


def test_it_leads_to_the_log_of_a_job_that_crashed_or_to_the_client_in_its_run(page: Page, url: str) -> None:
    page.goto(f"{url}/timeline/")
    page.click(cell(358_790, "csc"))
    expect(page.locator("h1")).to_contain_text("csc")
    expect(page.locator("#job")).to_have_attribute("data-state", "crashed")
    assert page.url.endswith("#fatal")
    page.goto(f"{url}/timeline/")
    page.focus(cell(358_791, "beam"))
    page.keyboard.press("Enter")
    expect(page.locator(".run-number")).to_contain_text("358791")
    expect(page.locator("tbody:visible")).to_have_count(1)
    expect(page.locator("tbody:visible")).to_have_attribute("data-client", "beam")


@pytest.mark.long
def test_it_filters_runs(page: Page, url: str) -> None:
    page.goto(f"{url}/timeline/?from={RUN - 50}&run_key=hi_run")
    expect(page.locator(".empty-state")).to_contain_text("No run")
    page.fill("[name=run_key]", "")
    page.check("[name=bad_only]")
    page.get_by_role("button", name="Show").click()
    expect(page.locator("tbody tr")).to_have_count(5)
    assert "bad_only=1" in page.url


@pytest.mark.long
def test_it_downloads_the_jobs_as_csv(page: Page, url: str) -> None:
    page.goto(f"{url}/timeline/?from={RUN - 1}&to={RUN}")
    with page.expect_download() as download:
        page.click("text=Download all as CSV")
    with download.value.path().open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["run"], line["client"], line["state"], line["exit_code"]) for line in lines] == [
        ("358791", "beam", "finished", "0"),
        ("358791", "csc", "finished", "0"),
        ("358791", "dt", "finished", "0"),
        ("358790", "beam", "finished", "0"),
        ("358790", "csc", "crashed", "-9"),
        ("358790", "csc", "finished", "0"),
        ("358790", "dt", "finished", "0"),
    ]


@pytest.mark.long
def test_details_that_arrive_after_escape_stay_hidden(page: Page, url: str) -> None:
    open_timeline(page, url)
    # Held until the route is removed.
    page.route("**/timeline/cell*", lambda _route: None)
    with page.expect_request("**/timeline/cell*"):
        page.focus(cell(358_791, "beam"))
    page.keyboard.press("Escape")
    with page.expect_response("**/timeline/cell*") as late:
        page.unroute_all()
    late.value.finished()
    page.evaluate("new Promise((resolve) => setTimeout(resolve))")
    expect(page.locator("#cell-details")).to_be_hidden()
    assert page.locator("#cell-details").inner_html() == ""
