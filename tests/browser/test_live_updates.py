"""Live updates: what changes is shown, and scroll position, focus, selection and input stay."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from dqm2.records import JobRecord
from tests.browser.conftest import pause_time, update, wait_for_first_update
from tests.mirrored_cluster import MirroredCluster, delivery, job, write_run

RUN = 358_791
# Position and id of the focused element, and the selection.
READER_STATE = """() => {
  const { id } = document.activeElement;
  return [document.activeElement.getBoundingClientRect().top, id, String(getSelection()).trim()];
}"""


def row(client: str) -> str:
    return f"#client-{client}_dqm_sourceclient-live"


def ended(record: JobRecord, exit_code: int) -> JobRecord:
    return replace(
        record, exit_code=exit_code, document=replace(record.document, updated_at=datetime.now(UTC))
    )


def test_it_shows_a_job_crash(page: Page, url: str, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    beam = job(RUN, "beam")
    mirrored.write(unit, beam, job(RUN, "csc"))
    page.goto(url)
    expect(page.locator(row("beam"))).to_contain_text("running")
    expect(page.locator(".verdict")).to_contain_text("All OK")

    mirrored.write(unit, ended(beam, -11))

    expect(page.locator(row("beam"))).to_contain_text("crashed")
    expect(page.locator(row("beam"))).to_contain_text("-11 SIGSEGV")
    expect(page.locator(".verdict")).to_contain_text("1 problem")
    expect(page.locator("tbody").first).to_have_attribute("data-client", "beam")


def test_it_shows_a_client_that_starts_and_follows_the_runs_until_the_reader_selects_one(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    unit, number = mirrored.filter_units[0], page.locator(".run-number")
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No run yet")

    mirrored.write(unit, job(RUN, "beam"))

    expect(page.locator(row("beam"))).to_contain_text("running")
    expect(number).to_contain_text(str(RUN))

    mirrored.write(unit, job(RUN + 1, "beam"))

    expect(number).to_contain_text(str(RUN + 1))
    page.click("#previous-run")
    expect(number).to_contain_text(str(RUN))
    expect(page.locator("#follow")).to_have_attribute("aria-checked", "false")

    mirrored.write(unit, job(RUN + 2, "beam"))

    expect(page.locator("#follow")).to_contain_text(f"({RUN + 2})")
    expect(number).to_contain_text(str(RUN))
    page.click("#follow")
    expect(number).to_contain_text(str(RUN + 2))
    page.fill("#go-to-run", str(RUN))
    page.press("#go-to-run", "Enter")
    expect(number).to_contain_text(str(RUN))
    page.go_back()
    expect(number).to_contain_text(str(RUN + 2))


def test_it_keeps_order_and_filter(page: Page, url: str, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    beam = job(RUN, "beam", events_total=10)
    mirrored.write(unit, beam, job(RUN, "beampixel", events_total=30), job(RUN, "csc", events_total=20))
    page.goto(url)
    page.fill("#filter-text", "beam")
    page.click("#sort-events")
    expect(page.locator("[aria-sort=ascending]")).to_contain_text("Events")
    page.click("#sort-events")
    shown = page.locator("tbody:visible")
    expect(shown).to_have_count(2)
    expect(shown.first).to_have_attribute("data-client", "beampixel")

    mirrored.write(unit, replace(beam, events_total=40))

    expect(shown.first).to_have_attribute("data-client", "beam")
    expect(shown).to_have_count(2)
    assert "q=beam" in page.url
    assert "sort=-events" in page.url


def test_it_restores_the_view_from_the_url(page: Page, url: str, mirrored: MirroredCluster) -> None:
    silent = job(RUN, "csc", at=datetime.now(UTC) - timedelta(minutes=23))
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"), silent, clock_at=datetime.now(UTC))
    page.goto(url)
    page.click(".count.state-stuck")
    expect(page.locator("tbody:visible")).to_have_count(1)
    address = page.url
    page.goto(f"{url}/healthz")
    page.goto(address)
    expect(page.locator("tbody:visible")).to_have_count(1)
    page.click("#show-all")
    expect(page.locator("tbody:visible")).to_have_count(2)


@pytest.mark.clock
def test_it_keeps_scroll_position_focus_and_selection(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    jobs = write_run(mirrored, RUN)
    page.goto(url)
    wait_for_first_update(page)
    expect(page.locator("#graph-note")).not_to_be_empty()
    # The row of a client that crashes is moved after a moment.
    pause_time(page)
    expander = page.locator(f"{row('rpc')} .expander")
    expander.focus()
    page.evaluate("scrollTo(0, 300)")
    page.evaluate("getSelection().selectAllChildren(document.querySelector('.run-number a'))")
    before = page.evaluate(READER_STATE)

    crashed = next(record for record in jobs if record.client.startswith("sistrip"))
    mirrored.write(mirrored.filter_units[0], ended(crashed, 65))
    expect(page.locator(".count.state-crashed")).to_contain_text("2")

    assert page.evaluate(READER_STATE) == before
    assert before[1:] == [expander.get_attribute("id"), str(RUN)]
    assert page.evaluate("scrollY") > 0


def test_it_keeps_a_job_expanded(page: Page, url: str, mirrored: MirroredCluster) -> None:
    jobs = write_run(mirrored, RUN, clients=("beam", "ecalgpu", "sistrip"))
    page.goto(url)
    page.click(f"{row('ecalgpu')} .expander")
    expanded = page.locator(f"{row('ecalgpu')} .expanded")
    expect(expanded).to_contain_text("SIGSEGV: segmentation violation")
    expect(expanded).to_contain_text("-- process exit: -11 --")
    expect(expanded.locator(".other-jobs li")).to_have_count(2)
    expect(expanded.locator("canvas")).to_have_count(2)
    page.evaluate("document.querySelector('.expanded canvas').dataset.mine = 'yes'")

    other = next(record for record in jobs if record.client.startswith("sistrip"))
    mirrored.write(mirrored.filter_units[0], ended(other, 65))
    expect(page.locator(".count.state-crashed")).to_contain_text("2")

    expect(expanded.locator("canvas[data-mine]")).to_have_count(1)
    page.go_back()
    expect(expanded).to_have_count(0)


def test_it_updates_the_graphs_after_a_delivery(page: Page, url: str, mirrored: MirroredCluster) -> None:
    now = datetime.now(UTC)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page.goto(url)
    expect(page.locator("#graph-note")).to_contain_text("No file delivery data")

    first = delivery(RUN, now, 20)
    mirrored.write(mirrored.builder_unit, first)
    expect(page.locator("#graph-note")).to_contain_text("LS 1–20")
    expect(page.locator(".stream")).to_have_count(6)

    more = delivery(RUN, now, 40)
    mirrored.write(
        mirrored.builder_unit,
        replace(more, document=replace(more.document, identity=first.document.identity)),
    )
    expect(page.locator("#graph-note")).to_contain_text("LS 1–40")


def test_it_does_not_load_an_unchanged_fragment(page: Page, url: str, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    page.goto(url)
    with page.expect_response(lambda response: "/live/run" in response.url):
        update(page)
    with page.expect_response(lambda response: "/live/run" in response.url and response.status == 304):
        update(page)
