"""The page of a job: accessibility in each state, print, forced colours, colours of the graphs."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from dqm2.records import JobLog, JobRecord
from tests.browser.accessibility import THEMES, violations_by_theme
from tests.browser.conftest import box_of
from tests.examples import long
from tests.mirrored_cluster import MirroredCluster, job, with_series

RUN = 358_791
PAPER: ViewportSize = {"width": 720, "height": 1000}
LOG = JobLog(
    "%MSG-w Pixel:  PixelDQM:pixel 15-Sep-2022 13:45:40 CEST\nhot module\n%MSG\n"
    "quiet\nterminate called without an active exception\nquiet\n"
)
# Pixels of a graph's canvas that have the exact colour of a custom property.
COUNT_PIXELS = """(figure, name) => {
  const sample = document.createElement("canvas").getContext("2d");
  sample.fillStyle = getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  sample.fillRect(0, 0, 1, 1);
  const [red, green, blue] = sample.getImageData(0, 0, 1, 1).data;
  const canvas = figure.querySelector("canvas");
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
  let count = 0;
  for (let n = 0; n < data.length; n += 4) {
    count += data[n] === red && data[n + 1] === green && data[n + 2] === blue && data[n + 3] === 255;
  }
  return count;
}"""


STATES: dict[str, int | None] = {"crashed": -11, "finished": 0, "running": None}


def job_in(state: str) -> JobRecord:
    """A job in a state; with `no log` a running one that has reported nothing yet."""
    if state not in STATES:
        return job(RUN, "ecal")
    return replace(with_series(job(RUN, "ecal", exit_code=STATES[state])), log=LOG)


@pytest.fixture
def previous(mirrored: MirroredCluster) -> JobRecord:
    """The client's job in the previous run, with another release."""
    ended_at = datetime.now(UTC) - timedelta(hours=3)
    ended = with_series(job(RUN - 1, "ecal", at=ended_at, exit_code=0, cmssw_version="12_4_7"), seed=1)
    mirrored.write(mirrored.filter_units[0], ended)
    return ended


@pytest.mark.usefixtures("previous")
@pytest.mark.parametrize(
    "state",
    [
        "crashed",
        long("finished"),
        long("running"),
        long("no log"),
    ],
)
def test_it_follows_the_rules_and_best_practices_of_accessibility(
    page: Page, url: str, mirrored: MirroredCluster, state: str
) -> None:
    record = job_in(state)
    mirrored.write(mirrored.filter_units[0], record)
    page.goto(f"{url}/job/{record.document.identity}#fatal")
    expect(page.locator(".job-graphs .plot canvas")).to_have_count(2)
    assert violations_by_theme(page) == {}


@pytest.mark.usefixtures("previous")
def test_its_graphs_and_marks_have_colours_of_the_theme_or_of_the_reader(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    crashed = job_in("crashed")
    mirrored.write(mirrored.filter_units[0], crashed)
    page.emulate_media(color_scheme="light")
    page.goto(f"{url}/job/{crashed.document.identity}")
    memory = page.locator("[data-graph=memory]")
    expect(memory.locator(".graph-previous")).to_be_visible()
    seen = set()
    for theme in THEMES:
        page.emulate_media(color_scheme=theme)
        expect(page.locator("html")).to_have_attribute("data-bs-theme", theme)
        for line in ("--line-1", "--line-previous"):
            assert memory.evaluate(COUNT_PIXELS, line) > 0, (theme, line)
            seen.add(memory.evaluate("(at, name) => getComputedStyle(at).getPropertyValue(name)", line))
    assert len(seen) == 4
    # Without colours of the page, errors and warnings differ in the style of their border.
    page.emulate_media(forced_colors="active")
    styles = {
        line: page.locator(f"{line} a").evaluate("at => getComputedStyle(at).borderLeftStyle")
        for line in ("#L1", "#L4", "#L5")
    }
    assert len(set(styles.values())) == 3, styles


def test_it_prints_the_whole_graphs_and_log(page: Page, url: str, mirrored: MirroredCluster) -> None:
    crashed = job_in("crashed")
    mirrored.write(mirrored.filter_units[0], crashed)
    page.emulate_media(color_scheme="dark")
    page.goto(f"{url}/job/{crashed.document.identity}")
    expect(page.locator(".job-graphs .plot canvas")).to_have_count(2)
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "light")
    page.emulate_media(media="print")
    page.set_viewport_size(PAPER)
    for canvas in page.locator(".job-graphs .plot canvas").all():
        box = box_of(canvas)
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 720
        assert box["height"] > 50
    assert page.evaluate("document.documentElement.scrollWidth") <= 720
    expect(page.locator("#L5")).to_be_visible()
    for control in ("#log-search", ".jump", ".job-links"):
        expect(page.locator(control).first).to_be_hidden()
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    expect(page.locator("html")).to_have_attribute("data-bs-theme", "dark")


@pytest.mark.long
def test_it_prints_all_columns_of_the_job_table(page: Page, url: str, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job_in("crashed"))
    page.set_viewport_size(PAPER)
    page.goto(url)
    row = page.locator("[data-client=ecal] .job")
    expect(row.get_by_text(mirrored.label(mirrored.filter_units[0]))).to_be_hidden()
    page.emulate_media(media="print")
    expect(row.get_by_text(mirrored.label(mirrored.filter_units[0]))).to_be_visible()
    expect(row.locator("td > time, td .wide-only time").first).to_be_visible()
    assert page.locator(".jobs-table").evaluate("at => at.scrollWidth") <= 720
