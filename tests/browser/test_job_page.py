"""The page of a job: log with numbered lines, search and steps to errors; graphs; updates."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from playwright.sync_api import Page, Route, expect

from dqm2.records import JobLog, JobRecord
from tests.browser.conftest import box_of, refresh, wait_for_first_update, wait_for_scripts
from tests.mirrored_cluster import MirroredCluster, job, with_series
from tests.waiting import until

RUN = 358_791
NEXT_ERROR = "[data-jump=error] [data-jump-by='1']"
PREVIOUS_ERROR = "[data-jump=error] [data-jump-by='-1']"
HEAD = "".join(f"line {number}\n" for number in range(1, 101))
TAIL = (
    "%MSG-w Pixel:  PixelDQM 15-Sep-2022 13:45:40 CEST Run: 358791\nhot module\n%MSG\n"
    + "".join(f"quiet {number}\n" for number in range(60))
    + "----- Begin Fatal Exception 15-Sep-2022 13:45:45 CEST-----\n"
    + "An exception of category 'FileReadError' occurred\n"
    + "----- End Fatal Exception -----\n"
)


@pytest.fixture
def crashed(mirrored: MirroredCluster) -> JobRecord:
    """A job that crashed, with series and a log."""
    crashed = replace(with_series(job(RUN, "beam", exit_code=84)), log=JobLog(HEAD, TAIL, redactions=3))
    mirrored.write(mirrored.filter_units[0], crashed)
    return crashed


def in_view(page: Page, line: str) -> None:
    expect(page.locator(line)).to_be_in_viewport()


@pytest.mark.long
def test_it_is_two_clicks_from_the_live_page_to_the_log_and_the_graphs(
    page: Page, url: str, crashed: JobRecord
) -> None:
    page.goto(url)
    page.click(f"#client-{crashed.client} .log")
    expect(page.locator("#L1")).to_contain_text("line 1")
    in_view(page, "#log-lines .error:has-text('Begin Fatal')")
    expect(page.locator("#log-lines")).to_contain_text("the middle of the log is not kept")
    expect(page.locator("#log")).to_contain_text("3 items redacted")
    expect(page.locator("h1")).to_contain_text("crashed")
    expect(page.locator("#job")).to_contain_text("CMSSW error 8020")
    expect(page.locator(".job-graphs canvas")).to_have_count(2)
    page.locator(".job-graphs .u-over").first.hover()
    expect(page.locator(".job-graphs output").first).to_contain_text("GiB")


@pytest.mark.long
def test_the_log_does_not_move_when_the_graphs_are_drawn(page: Page, url: str, crashed: JobRecord) -> None:
    held: list[Route] = []
    page.route("**/series*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright sets attributes on the handler
    with page.expect_request("**/series*"):
        page.goto(f"{url}/job/{crashed.document.identity}", wait_until="commit")
    expect(page.locator("#L1")).to_be_visible()
    wait_for_scripts(page)
    wait_for_first_update(page)
    undrawn = page.locator("#log").bounding_box()
    held.pop().continue_()
    expect(page.locator(".job-graphs canvas")).to_have_count(2)
    assert page.locator("#log").bounding_box() == undrawn


@pytest.mark.long
def test_it_draws_graphs_once_if_the_job_reports_while_they_load(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    running = with_series(job(RUN, "beam"))
    mirrored.write(mirrored.filter_units[0], running)
    held: list[Route] = []
    page.route("**/series*", lambda route: held.append(route))  # noqa: PLW0108 - Playwright sets attributes on the handler
    with page.expect_request("**/series*"):
        page.goto(f"{url}/job/{running.document.identity}", wait_until="commit")
    newer = replace(running.document, updated_at=datetime.now(UTC))
    mirrored.write(mirrored.filter_units[0], replace(running, document=newer))
    # Playwright handles requests while the page is used.
    until(lambda: page.evaluate("true") and len(held) == 2)
    for route in held:
        with page.expect_response("**/series*"):
            route.continue_()
    with page.expect_response("**/fragment*"):
        expect(page.locator(".job-graphs canvas")).to_have_count(2)
    expect(page.locator(".job-graphs canvas")).to_have_count(2)


def test_it_steps_to_errors_and_warnings_and_searches_and_downloads_the_log(
    page: Page, url: str, crashed: JobRecord
) -> None:
    page.set_viewport_size({"width": 700, "height": 700})
    page.goto(f"{url}/job/{crashed.document.identity}")
    wait_for_first_update(page)
    page.click(NEXT_ERROR)
    in_view(page, "#log-lines .error:has-text('Begin Fatal')")
    # The toolbar stays below a header of several lines.
    header, toolbar = (box_of(page.locator(place)) for place in (".page-header", ".log .toolbar"))
    assert toolbar["y"] >= header["y"] + header["height"]
    page.click("[data-jump=warning] [data-jump-by='1']")
    in_view(page, "#log-lines .warning:has-text('Pixel:')")
    assert page.url.endswith("#L104")
    page.fill("#log-query", "QUIET 5")
    expect(page.locator("#log-matches")).to_have_text("11 found")
    page.press("#log-query", "Enter")
    page.press("#log-query", "Enter")
    expect(page.locator("#log-matches")).to_have_text("2 of 11")
    in_view(page, "code:text-is('quiet 50')")
    page.press("#log-query", "Shift+Enter")
    expect(page.locator("#log-matches")).to_have_text("1 of 11")
    with page.expect_download() as download:
        page.click("text=Download as text")
    assert download.value.suggested_filename == f"run{RUN}_beam.log"
    text = download.value.path().read_text()
    assert text.startswith("line 1\n")
    assert text.endswith("----- End Fatal Exception -----\n")


def test_it_updates_while_the_job_runs(page: Page, url: str, mirrored: MirroredCluster) -> None:
    running = replace(job(RUN, "beam"), log=JobLog("begun\n", "begun\n"))
    mirrored.write(mirrored.filter_units[0], running)
    page.goto(f"{url}/job/{running.document.identity}")
    page.fill("#log-query", "beg")
    expect(page.locator("#log-matches")).to_have_text("1 found")

    newer = replace(running.document, updated_at=datetime.now(UTC))
    mirrored.write(
        mirrored.filter_units[0], replace(running, document=newer, exit_code=1, log=JobLog("begun\nbegan\n"))
    )

    expect(page.locator("h1")).to_contain_text("crashed")
    expect(page.locator("#L2")).to_contain_text("began")
    expect(page.locator("#log-matches")).to_have_text("2 found")
    expect(page.locator("#log-query")).to_be_focused()


def test_it_counts_the_errors_that_it_steps_to_and_finds_text_of_any_letters(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    message = "%MSG-e Ecal:  EcalDQM:ecal 15-Sep-2022 13:45:40 CEST\nlost\n%MSG\n"
    log = JobLog(
        f"{message}quiet\n" * 2
        + "terminate called without an active exception\nİİİ TODAY\n-- process exit: -6 --\n"
    )
    crashed = replace(job(RUN, "beam", exit_code=-6), log=log)
    mirrored.write(mirrored.filter_units[0], crashed)
    page.goto(f"{url}/job/{crashed.document.identity}")
    errors = page.locator("[data-jump=error]")
    expect(errors).to_contain_text("3 errors")
    page.click(NEXT_ERROR)
    expect(errors).to_contain_text("1 of 3 errors")
    page.keyboard.press("e")
    expect(errors).to_contain_text("2 of 3 errors")
    page.keyboard.press("Shift+E")
    page.click(PREVIOUS_ERROR)
    expect(errors).to_contain_text("3 of 3 errors")
    assert page.url.endswith("#L9")
    # The lower case of İ is longer.
    page.fill("#log-query", "today")
    page.press("#log-query", "Enter")
    expect(page.locator("#log-matches")).to_have_text("1 of 1")
    found = "[...CSS.highlights.get('found-current')].map((at) => [at.startOffset, at.endOffset])"
    assert page.evaluate(found) == [[4, 9]]


def test_it_searches_without_highlights(page: Page, url: str, crashed: JobRecord) -> None:
    with page.add_init_script("delete CSS.highlights; delete window.Highlight"):
        page.goto(f"{url}/job/{crashed.document.identity}")
    page.fill("#log-query", "QUIET 5")
    expect(page.locator("#log-matches")).to_have_text("11 found")
    page.press("#log-query", "Enter")
    page.press("#log-query", "Enter")
    expect(page.locator("#log-matches")).to_have_text("2 of 11")
    in_view(page, "code:text-is('quiet 50')")

    def is_boxed() -> bool:
        places = (".found-box", "code:text-is('quiet 50')")
        box, line = (page.locator(place).bounding_box() for place in places)
        return bool(
            box
            and line
            and box["x"] == line["x"]
            and box["y"] == pytest.approx(line["y"], abs=3)
            and box["width"] == pytest.approx(line["width"] - 16, rel=0.2)
        )

    # The first update of the page draws another box.
    until(is_boxed)
    page.keyboard.type("1")
    expect(page.locator("#log-matches")).to_have_text("1 found")


@pytest.mark.long
def test_it_leaves_the_link_to_a_line_in_the_address_bar_without_a_clipboard(
    page: Page, url: str, crashed: JobRecord
) -> None:
    page.goto(f"{url}/job/{crashed.document.identity}")
    page.evaluate("() => { Object.defineProperty(navigator, 'clipboard', { value: undefined }); }")
    page.click("#L90 a")
    expect(page.locator("#line-link")).to_have_text("The address bar has the link to line 90")
    assert page.url.endswith("#L90")


@pytest.mark.long
def test_it_speaks_the_number_of_matches_once(page: Page, url: str, mirrored: MirroredCluster) -> None:
    running = replace(job(RUN, "beam"), log=JobLog(HEAD, TAIL, redactions=0))
    mirrored.write(mirrored.filter_units[0], running)
    page.goto(f"{url}/job/{running.document.identity}")
    wait_for_first_update(page)
    page.fill("#log-query", "hot module")
    expect(page.locator("#log-matches")).to_have_text("1 found")
    page.evaluate(
        """() => {
            window.spoken = 0;
            const output = document.getElementById("log-matches");
            new MutationObserver(() => { window.spoken += 1; }).observe(output, { childList: true });
        }"""
    )
    newer = replace(running.document, updated_at=datetime.now(UTC))
    mirrored.write(mirrored.filter_units[0], replace(running, document=newer, lumisection=4711))
    expect(page.locator("#job")).to_contain_text("4\u202f711")
    mirrored.beat()
    refresh(page, "freshness", "job")
    assert page.evaluate("spoken") == 0
