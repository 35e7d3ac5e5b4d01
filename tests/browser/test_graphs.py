"""The graphs of file delivery: zoom, values at the cursor, hidden streams, file timestamp, size."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, Response, expect

from dqm2.records import LUMISECTION_S
from tests.mirrored_cluster import MirroredCluster, delivery, job, write_run

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
    return page


def cursor_at(page: Page, graph: str, fraction: float) -> str:
    """Move the cursor to a fraction of a graph's width; returns the lumisection that is shown."""
    box = page.locator(f"#{graph} .u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + fraction * box["width"], box["y"] + box["height"] / 2)
    return page.locator("#cursor-ls").inner_text()


def drag(page: Page, graph: str, start: float, end: float) -> None:
    cursor_at(page, graph, start)
    page.mouse.down()
    cursor_at(page, graph, (start + end) / 2)
    cursor_at(page, graph, end)
    page.mouse.up()


def lumisection(label: str) -> int:
    return int(label.removeprefix("LS "))


def test_it_shows_the_values_at_the_cursor(graphs: Page) -> None:
    for graph in ("delay-graph", "events-graph"):
        assert 45 <= lumisection(cursor_at(graphs, graph, 0.5)) <= 55
        delay, events = graphs.locator(".stream").first.locator("output").all_inner_texts()
        assert delay.endswith(" s")
        assert int(events) > 1000


@pytest.mark.parametrize("graph", ["delay-graph", pytest.param("events-graph", marks=pytest.mark.long)])
def test_it_zooms_both_graphs(graphs: Page, graph: str) -> None:
    drag(graphs, graph, 0.2, 0.4)
    for each in ("delay-graph", "events-graph"):
        assert 15 <= lumisection(cursor_at(graphs, each, 0.02)) <= 25
        assert 35 <= lumisection(cursor_at(graphs, each, 0.98)) <= 45
    box = graphs.locator(f"#{graph} .u-over").bounding_box()
    assert box
    graphs.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 20)
    for each in ("delay-graph", "events-graph"):
        assert lumisection(cursor_at(graphs, each, 0.98)) > 90


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


def test_it_computes_delays_from_the_selected_timestamp(graphs: Page) -> None:
    cursor_at(graphs, "delay-graph", 0.5)
    output = graphs.locator(".stream output").first
    by_mtime = output.inner_text()
    graphs.click("[data-time=ctime]")
    expect(graphs.locator("[data-time=ctime]")).to_have_attribute("aria-pressed", "true")
    cursor_at(graphs, "delay-graph", 0.5)
    expect(output).not_to_have_text(by_mtime)
    later_s = float(output.inner_text().removesuffix(" s")) - float(by_mtime.removesuffix(" s"))
    assert later_s == pytest.approx(1.5, abs=0.11)
    assert "time=ctime" in graphs.url


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
    expect(page.locator(".graphs canvas")).to_have_count(2)
    # The first response of each URL; on a slow machine the run is polled before the graphs are drawn.
    loaded = {response.url: response for response in reversed(responses) if "/live/run" not in response.url}
    sizes = {url: response.request.sizes()["responseBodySize"] for url, response in loaded.items()}
    assert sum(sizes.values()) < FIRST_LOAD_BYTES, sizes
