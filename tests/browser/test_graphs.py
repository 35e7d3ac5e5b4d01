"""The graphs of file delivery: zoom, values under the cursor, streams switched off, by which time."""

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
    """The page of a run of 100 lumisections, its graphs drawn."""
    start = datetime.now(UTC) - timedelta(seconds=LUMISECTIONS * LUMISECTION_S)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, LUMISECTIONS))
    page.set_viewport_size({"width": 1600, "height": 1000})
    page.goto(url)
    expect(page.locator(".graphs canvas")).to_have_count(2)
    return page


def cursor_at(page: Page, graph: str, share: float) -> str:
    """Puts the cursor at a share of a graph's width; the lumisection that is told there."""
    box = page.locator(f"#{graph} .u-over").bounding_box()
    assert box
    page.mouse.move(box["x"] + share * box["width"], box["y"] + box["height"] / 2)
    return page.locator("#cursor-ls").inner_text()


def drag(page: Page, graph: str, start: float, end: float) -> None:
    cursor_at(page, graph, start)
    page.mouse.down()
    cursor_at(page, graph, (start + end) / 2)
    cursor_at(page, graph, end)
    page.mouse.up()


def lumisection(told: str) -> int:
    return int(told.removeprefix("LS "))


def test_it_tells_the_values_of_both_graphs_under_the_cursor(graphs: Page) -> None:
    for graph in ("delay-graph", "events-graph"):
        assert 45 <= lumisection(cursor_at(graphs, graph, 0.5)) <= 55
        delay, events = graphs.locator(".stream").first.locator("output").all_inner_texts()
        assert delay.endswith(" s")
        assert int(events) > 1000


@pytest.mark.parametrize("graph", ["delay-graph", "events-graph"])
def test_it_zooms_both_graphs_and_goes_back(graphs: Page, graph: str) -> None:
    drag(graphs, graph, 0.2, 0.4)
    for each in ("delay-graph", "events-graph"):
        assert 15 <= lumisection(cursor_at(graphs, each, 0.02)) <= 25
        assert 35 <= lumisection(cursor_at(graphs, each, 0.98)) <= 45
    box = graphs.locator(f"#{graph} .u-over").bounding_box()
    assert box
    graphs.mouse.dblclick(box["x"] + box["width"] / 2, box["y"] + 20)
    for each in ("delay-graph", "events-graph"):
        assert lumisection(cursor_at(graphs, each, 0.98)) > 90


def test_it_remembers_in_the_address_which_streams_are_off(graphs: Page) -> None:
    graphs.click("text=streamDQMCalibration")
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_text("streamDQMCalibration")
    graphs.reload()
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_text("streamDQMCalibration")
    graphs.click("#sort-client")
    expect(graphs.locator("[aria-sort]")).to_contain_text("Client")
    assert "hide=streamDQMCalibration" in graphs.url
    graphs.click("text=streamDQMCalibration")
    expect(graphs.locator(".stream[aria-pressed=false]")).to_have_count(0)


def test_it_measures_by_the_time_that_is_asked_for(graphs: Page) -> None:
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


def test_it_draws_a_long_run_coarsely_until_somebody_looks_closer(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    start = datetime.now(UTC) - timedelta(seconds=1500 * LUMISECTION_S)
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, 1500))
    with page.expect_response(lambda answer: "/live/delivery" in answer.url) as coarse:
        page.goto(url)
    expect(page.locator(".graphs canvas")).to_have_count(2)
    told = page.locator("#graph-note").inner_text()
    assert told.startswith("LS 1–1500: ")
    with page.expect_response(lambda answer: "/live/delivery" in answer.url) as whole:
        page.hover("#delay-graph")
    assert len(coarse.value.json()["lumisections"]) == 500
    assert whole.value.json()["lumisections"] == list(range(1, 1501))
    worst = [max(stream["delay_s"]) for stream in whole.value.json()["streams"]]
    assert [max(stream["delay_s"]) for stream in coarse.value.json()["streams"]] == worst
    expect(page.locator("#graph-note")).to_have_text(told)


def test_its_first_load_is_small(page: Page, url: str, mirrored: MirroredCluster) -> None:
    write_run(mirrored, RUN)
    start = datetime.now(UTC) - timedelta(seconds=3000 * LUMISECTION_S)
    streams = [f"streamDQM{number}" for number in range(20)]
    mirrored.write(mirrored.builder_unit, delivery(RUN, start, 3000, streams))
    answers: list[Response] = []

    def note(answer: Response) -> None:
        answers.append(answer)

    page.on("response", note)
    page.goto(url)
    expect(page.locator(".graphs canvas")).to_have_count(2)
    # Of a URL the first response; a slow machine has polled the run before the graphs are drawn.
    loaded = {answer.url: answer for answer in reversed(answers) if "/live/run" not in answer.url}
    sizes = {url: answer.request.sizes()["responseBodySize"] for url, answer in loaded.items()}
    assert sum(sizes.values()) < FIRST_LOAD_BYTES, sizes
