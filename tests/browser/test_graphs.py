"""The graphs of file delivery: zoom, values at the cursor, hidden streams, file timestamp, size."""

import re
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Response, expect

from dqm2.records import LUMISECTION_S
from tests.browser.conftest import box_of, wait_for_first_update
from tests.examples import long
from tests.mirrored_cluster import MirroredCluster, delivery, job, with_series, write_run
from tests.waiting import until

RUN = 358_791
LUMISECTIONS = 100
FIRST_LOAD_BYTES = 150_000


@pytest.fixture
def graphs(page: Page, url: str, mirrored: MirroredCluster) -> Page:
    """The page of a run with 100 lumisections, with its graphs."""
    start = datetime.now(UTC) - timedelta(seconds=LUMISECTIONS * LUMISECTION_S)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, LUMISECTIONS))
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.goto(url)
    expect(page.locator(".graphs canvas")).to_have_count(2)
    # The graphs are below the header.
    wait_for_first_update(page)
    return page


def move_cursor(page: Page, graph: str, fraction: float) -> None:
    """Move the cursor to a fraction of a graph's width."""
    box = box_of(page.locator(f"#{graph} .u-over"))
    page.mouse.move(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)


def expect_cursor_at(page: Page, graph: str, fraction: float, lumisections: range) -> None:
    """Move the cursor to a fraction of a graph's width, where one of these lumisections is shown."""
    move_cursor(page, graph, fraction)
    label = page.locator("#cursor-ls")
    until(lambda: label.inner_text() in {f"LS {ls}" for ls in lumisections})


def drag(page: Page, graph: str, start: float, end: float) -> None:
    move_cursor(page, graph, start)
    page.mouse.down()
    move_cursor(page, graph, (start + end) / 2)
    move_cursor(page, graph, end)
    page.mouse.up()


def test_it_shows_the_values_at_the_cursor_by_the_selected_timestamp(graphs: Page) -> None:
    output = graphs.locator(".stream output").first
    for graph in ("events-graph", "delay-graph"):
        expect_cursor_at(graphs, graph, 0.5, range(45, 56))
        delay, events = graphs.locator(".stream").first.locator("output").all_inner_texts()
        assert delay.endswith(" s")
        assert int(events) > 1000
    by_mtime = output.inner_text()
    graphs.click("[data-time=ctime]")
    expect(graphs.locator("[data-time=ctime]")).to_have_attribute("aria-pressed", "true")
    move_cursor(graphs, "delay-graph", 0.5)
    expect(output).to_have_text(re.compile(rf"^(?!{re.escape(by_mtime)}$).* s$"))
    later_s = float(output.inner_text().removesuffix(" s")) - float(by_mtime.removesuffix(" s"))
    assert later_s == pytest.approx(1.5, abs=0.11)
    assert "time=ctime" in graphs.url


@pytest.mark.parametrize("graph", ["delay-graph", long("events-graph")])
def test_it_zooms_both_graphs(graphs: Page, graph: str) -> None:
    drag(graphs, graph, 0.2, 0.4)
    for each in ("delay-graph", "events-graph"):
        expect_cursor_at(graphs, each, 0.02, range(15, 26))
        expect_cursor_at(graphs, each, 0.98, range(35, 46))
    box = box_of(graphs.locator(f"#{graph} .u-over"))
    graphs.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 20)
    for each in ("delay-graph", "events-graph"):
        expect_cursor_at(graphs, each, 0.98, range(91, LUMISECTIONS + 1))


def test_it_keeps_hidden_streams_in_the_url(graphs: Page) -> None:
    graphs.click("text=streamDQMCalibration")
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_text("streamDQMCalibration")
    graphs.reload()
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_text("streamDQMCalibration")
    graphs.click("#sort-client")
    expect(graphs.locator("[aria-sort]")).to_contain_text("Client")
    assert "hide=streamDQMCalibration" in graphs.url
    graphs.click("text=streamDQMCalibration")
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_count(0)


# Observers report once a frame.
AFTER_TWO_FRAMES = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
DRAWN_FOR_PAPER = (
    "dispatchEvent(new Event('beforeprint')), document.querySelectorAll('.graphs canvas').length"
)


@pytest.mark.long
def test_it_draws_graphs_that_come_near_or_are_printed_and_nothing_moves(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    write_run(mirrored, RUN)
    drawn, note = page.locator(".graphs canvas"), page.locator("#graph-note")

    def expect_none() -> None:
        expect(note).to_contain_text("LS 1–")
        page.evaluate(AFTER_TWO_FRAMES)
        expect(drawn).to_have_count(0)

    page.goto(url)
    wait_for_first_update(page)
    expect_none()
    height = page.evaluate("document.documentElement.scrollHeight")
    page.click("text=streamDQMCalibration")
    expect(page.locator(".stream[aria-pressed=false]")).to_have_text("streamDQMCalibration")
    expect(drawn).to_have_count(2)
    assert page.evaluate("document.documentElement.scrollHeight") == height
    page.goto(url)
    expect_none()
    assert page.evaluate(DRAWN_FOR_PAPER) == 2


def test_it_downsamples_a_long_run_until_the_reader_looks_closer(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1500 * LUMISECTION_S)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, 1500))
    with page.expect_response(lambda response: "/live/delivery" in response.url) as coarse:
        page.goto(url)
    expect(page.locator(".graphs canvas")).to_have_count(2)
    note = page.locator("#graph-note").inner_text()
    assert note.startswith("LS 1–1500: ")
    with page.expect_response(lambda response: "/live/delivery" in response.url) as whole:
        page.hover("#delay-graph")
    assert len(coarse.value.json()["lumisections"]) == 500
    assert whole.value.json()["lumisections"] == list(range(1, 1501))
    worst = [max(stream["delay_s"]) for stream in whole.value.json()["streams"]]
    assert [max(stream["delay_s"]) for stream in coarse.value.json()["streams"]] == worst
    expect(page.locator("#graph-note")).to_have_text(note)


@pytest.mark.long
@pytest.mark.own_page
def test_its_first_load_is_small(page: Page, url: str, mirrored: MirroredCluster) -> None:
    write_run(mirrored, RUN)
    start = datetime.now(UTC) - timedelta(seconds=3000 * LUMISECTION_S)
    streams = [f"streamDQM{number}" for number in range(20)]
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, 3000, streams))
    responses: list[Response] = []

    def record(response: Response) -> None:
        responses.append(response)

    page.on("response", record)
    page.goto(url)
    page.locator("#graphs").scroll_into_view_if_needed()
    expect(page.locator(".graphs canvas")).to_have_count(2)
    # The first response of each URL; on a slow machine the run is polled before the graphs are drawn.
    loaded = {response.url: response for response in reversed(responses) if "/live/run" not in response.url}
    sizes = {url: response.request.sizes()["responseBodySize"] for url, response in loaded.items()}
    assert sum(sizes.values()) < FIRST_LOAD_BYTES, sizes


# A body that is read only when the test lets it; the responses before and after it are not held.
HOLD_NEXT_BODY = """() => {
    const { json } = Response.prototype;
    Response.prototype.json = function () {
        Response.prototype.json = json;
        return new Promise((resolve) => { window.release = () => json.call(this).then(resolve); });
    };
}"""


@pytest.mark.long
def test_it_shows_the_run_that_the_reader_has_opened_whatever_arrives_last(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    start = datetime.now(UTC) - timedelta(seconds=LUMISECTIONS * LUMISECTION_S)
    for run, lumisections in ((RUN - 1, 20), (RUN, LUMISECTIONS)):
        mirrored.write(mirrored.filter_units[0], job(run, "beam"))
        mirrored.write(mirrored.builder_unit, delivery(run, start, lumisections))
    page.goto(url)
    note = page.locator("#graph-note")
    expect(note).to_contain_text(f"LS 1–{LUMISECTIONS}: ")
    page.evaluate(HOLD_NEXT_BODY)
    page.click("#previous-run")
    until(lambda: page.evaluate("'release' in window"))
    page.click("#next-run")
    expect(page.locator(".run-number")).to_contain_text(str(RUN))
    expect(note).to_contain_text(f"LS 1–{LUMISECTIONS}: ")
    page.evaluate("release().then(() => 0)")
    page.evaluate("0")
    assert f"LS 1–{LUMISECTIONS}: " in note.inner_text()


# A request that is never answered, and its time limit, which passes when the test says so.
HANG_NEXT_REQUEST = """() => {
    const { fetch } = window;
    const { timeout } = AbortSignal;
    const controller = new AbortController();
    AbortSignal.timeout = () => controller.signal;
    window.fetch = (_url, { signal } = {}) => {
        window.fetch = fetch;
        AbortSignal.timeout = timeout;
        window.passTimeLimit = () => controller.abort();
        return new Promise((_, reject) => signal?.addEventListener("abort", reject));
    };
}"""


@pytest.mark.long
def test_it_requests_a_delivery_again_that_does_not_arrive(graphs: Page, mirrored: MirroredCluster) -> None:
    graphs.evaluate(HANG_NEXT_REQUEST)
    start = datetime.now(UTC) - timedelta(seconds=2 * LUMISECTIONS * LUMISECTION_S)
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, 2 * LUMISECTIONS))
    until(lambda: graphs.evaluate("'passTimeLimit' in window"))
    graphs.evaluate("passTimeLimit()")
    mirrored.beat()
    expect(graphs.locator("#graph-note")).to_contain_text(f"LS 1–{2 * LUMISECTIONS}: ")


COUNT_LISTENERS = """
    window.listening = 0;
    for (const [name, change] of [["addEventListener", 1], ["removeEventListener", -1]]) {
        const original = window[name];
        window[name] = (type, ...rest) => {
            if (type === "theme") window.listening += change;
            return original.call(window, type, ...rest);
        };
    }
"""


@pytest.mark.long
def test_it_forgets_the_graphs_of_a_job_that_is_collapsed(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.filter_units[0], with_series(job(RUN, "beam")))
    with page.add_init_script(COUNT_LISTENERS):
        page.goto(url)
    before = page.evaluate("listening")
    page.click(".expander")
    expect(page.locator(".job-graphs canvas")).to_have_count(2)
    assert page.evaluate("listening") == before + 2
    page.click(".expander")
    expect(page.locator(".job-graphs")).to_have_count(0)
    until(lambda: page.evaluate("listening") == before)
