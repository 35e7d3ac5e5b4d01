"""The wall view: both clusters on a large screen, which nobody operates."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import violations_by_theme
from tests.browser.conftest import ConsoleErrors, pass_time, update, wait_for_scripts
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
UPDATES = 200_000
# Updates after which the browser is given a moment of its own, to collect what is left of them.
UPDATES_AT_ONCE = 2000
# A clock as fast as the page can follow. Playwright's waits after each timer: the test would take an hour.
DRIVEN_CLOCK = """
    let at = Date.now(), newest = 0;
    const timers = new Map();
    const start = (run, ms = 0, every = null, args = []) => {
        timers.set(++newest, { at: at + ms, run: () => run(...args), every });
        return newest;
    };
    Date.now = () => at;
    window.setTimeout = (run, ms, ...args) => start(run, ms, null, args);
    window.setInterval = (run, ms, ...args) => start(run, ms, ms, args);
    window.clearTimeout = window.clearInterval = (id) => timers.delete(id);
    window.runTimersUntil = async (isDone) => {
        while (!isDone()) {
            let [next, timer] = [null, { at: Infinity }];
            for (const [id, other] of timers) if (other.at < timer.at) [next, timer] = [id, other];
            at = Math.max(at, timer.at);
            if (timer.every === null) timers.delete(next);
            else timer.at = at + timer.every;
            timer.run();
            await null; // for observers of mutations
        }
    };
"""
RUN_UPDATES = """async (updates) => {
    const last = window.answered + updates;
    await window.runTimersUntil(() => window.answered >= last);
    return window.answered;
}"""
# A response for each request, from memory: two versions of each part, one after the other.
ANSWER_FROM_MEMORY = """(parts) => {
    window.answered = 0;
    const { send, open } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.open = function (method, url, ...rest) {
        this.answers = parts[new URL(url, location).pathname + new URL(url, location).search];
        return open.call(this, method, url, ...rest);
    };
    XMLHttpRequest.prototype.send = function () {
        const text = this.answers[window.answered++ % 2];
        const headers = {
            "server-time": String(Date.now()), "content-type": "text/html", etag: `"${window.answered}"`,
        };
        const properties = {
            readyState: 4, status: 200, response: text, responseText: text, responseURL: location.href,
        };
        for (const [name, value] of Object.entries(properties)) Object.defineProperty(this, name, { value });
        this.getResponseHeader = (name) => headers[name.toLowerCase()] ?? null;
        const lines = Object.entries(headers).map((pair) => pair.join(": "));
        this.getAllResponseHeaders = () => lines.join("\\r\\n");
        this.onload?.();
    };
}"""


@pytest.fixture
def wall(page: Page, url: str, mirrored: MirroredCluster, playback: MirroredCluster) -> Page:
    """The wall view of a run with problems and a healthy one."""
    write_run(mirrored, RUN, clients=("beam", "beamhlt", "csc", "dt", "ecalgpu", "hcalreco"))
    playback.write(playback.filter_units[0], job(500_015, "pixel"))
    page.set_viewport_size({"width": 1920, "height": 1080})
    page.goto(f"{url}/?wall=1")
    expect(page.locator("#wall-playback")).to_contain_text("All OK")
    return page


def test_it_shows_both_clusters_without_a_pointer_and_is_left_and_entered_by_a_key(wall: Page) -> None:
    production, playback = wall.locator("#wall-production"), wall.locator("#wall-playback")
    expect(production).to_contain_text("2 problems")
    expect(production.locator(".wall-problems")).to_contain_text("ecalgpu")
    expect(production.locator(".machine-freshness dd").first).to_contain_text("ago")
    boxes = [at.bounding_box() for at in (production, playback)]
    assert boxes[0] is not None
    assert boxes[1] is not None
    assert boxes[0]["y"] == boxes[1]["y"]
    height, within = wall.evaluate("[document.documentElement.scrollHeight, innerHeight]")
    assert height <= within
    expect(wall.locator("#wall")).to_have_css("cursor", "none")
    expect(wall.locator(".header-nav")).to_be_hidden()
    wall.keyboard.press("w")
    expect(wall.locator("#jobs")).to_be_visible()
    wait_for_scripts(wall)
    wall.keyboard.press("w")
    expect(wall.locator("#wall-production")).to_contain_text("2 problems")


@pytest.mark.long
def test_it_is_accessible_in_both_themes(wall: Page) -> None:
    expect(wall.locator("#wall-production .wall-problems")).to_contain_text("ecalgpu")
    assert violations_by_theme(wall, is_thorough=True) == {}


@pytest.mark.clock
def test_it_claims_nothing_while_the_server_fails(wall: Page, console_errors: ConsoleErrors) -> None:
    console_errors.allowed = ["500", "htmx"]
    connection = wall.locator("#connection")
    wall.route("**/live/**", lambda route: route.fulfill(status=500, body="broken"))
    pass_time(wall, connection.is_visible)
    expect(connection).to_contain_text("The mirror responds with an error (500)")
    for cluster in ("production", "playback"):
        expect(wall.locator(f"#wall-{cluster} .wall-stale")).to_be_visible()
        expect(wall.locator(f"#wall-{cluster} .wall-current")).to_be_hidden()
    wall.unroute("**/live/**")
    update(wall)
    expect(connection).to_be_hidden()
    expect(wall.locator("#wall-production .wall-current")).to_be_visible()


@pytest.mark.own_page
@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.usefixtures("wall")
def test_its_memory_is_flat_over_many_updates(page: Page, mirrored: MirroredCluster) -> None:
    parts = page.locator("[hx-get]")
    paths = parts.evaluate_all("parts => parts.map((part) => part.getAttribute('hx-get'))")
    fetch_all = "(paths) => Promise.all(paths.map(async (path) => (await fetch(path)).text()))"
    before = page.evaluate(fetch_all, paths)
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    mirrored.beat()
    after = page.evaluate(fetch_all, paths)
    page.add_init_script(DRIVEN_CLOCK)
    page.reload()
    expect(page.locator("#wall-production")).to_contain_text("3 problems")
    page.evaluate(
        ANSWER_FROM_MEMORY, {path: list(both) for path, *both in zip(paths, before, after, strict=True)}
    )
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable")

    def usage() -> tuple[float, float]:
        session.send("HeapProfiler.collectGarbage")
        metrics = {
            metric["name"]: metric["value"] for metric in session.send("Performance.getMetrics")["metrics"]
        }
        return metrics["JSHeapUsedSize"], metrics["Nodes"]

    def run_until(updates: int) -> None:
        while page.evaluate(RUN_UPDATES, UPDATES_AT_ONCE) < updates:
            pass

    run_until(UPDATES // 20)
    heap_bytes, nodes = usage()
    run_until(UPDATES)
    final_heap_bytes, final_nodes = usage()
    expect(page.locator("#wall-production")).to_contain_text("problems")
    assert final_nodes < nodes + 100
    assert final_heap_bytes < heap_bytes + 1_000_000
