"""Calm: nothing on the live page moves that the reader did not cause, as measured by the browser itself."""

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from dqm2.records import JobRecord
from dqmsquare_cfg import EXPERIMENT_ZONE, Settings
from simulator.simulator import Simulator
from tests.browser.conftest import pause_time, refresh, wait_for_first_update
from tests.examples import long
from tests.grabber_runner import mirror_once
from tests.mirrored_cluster import MirroredCluster, beating_cluster, job, write_run
from tests.waiting import until

RUN = 358_791
# Of a report that the page shows.
MAX_AGE = timedelta(minutes=1)
# Simulated time between two updates, and their number: together longer than a run. On a busy machine, a pass
# of the grabber takes long if there are many clients.
STEP_S = 75.0
STEPS = 24
SIMULATED_CLIENTS = ("beam", "beamhlt", "csc", "dt", "ecal", "hcal", "rpc")
# Records shifts that no input preceded, with the elements that moved, and changes of the order of the rows.
WATCH = """() => {
    window.shifts = [];
    window.orders = [];
    const at = ({ x, y, width, height }) => `(${[x, y, width, height].join()})`;
    const describe = ({ node, previousRect, currentRect }) => {
        const element = node?.nodeType === 1 ? node : node?.parentElement;
        const tag = element?.cloneNode(false).outerHTML.slice(0, 100);
        return `${tag} ${node?.textContent.trim().slice(0, 40)} ${at(previousRect)} to ${at(currentRect)}`;
    };
    new PerformanceObserver((list) => {
        for (const entry of list.getEntries()) {
            if (!entry.hadRecentInput) window.shifts.push(entry.sources.map(describe).join(" | "));
        }
    }).observe({ type: "layout-shift" });
    document.addEventListener("fragment", () => {
        const order = [...document.querySelectorAll("tbody.client")].map(({ id }) => id).join();
        if (order !== window.orders.at(-1)) window.orders.push(order);
    });
}"""
# Two frames: the first shows a change, the second reports its shifts.
TWO_FRAMES = "async () => { for (let n = 0; n < 2; n++) await new Promise(requestAnimationFrame); }"


@pytest.fixture
def mirrored(settings: Settings) -> MirroredCluster:
    """The production cluster with a current heartbeat; tests themselves let the page request what is new."""
    return beating_cluster(settings)


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[Simulator]:
    """A simulator with some past runs, whose time begins early enough for all that tests let happen."""
    began_at = time.time() - 2 * STEPS * STEP_S
    folder = tmp_path / "simulator"
    with Simulator(
        folder, clients=SIMULATED_CLIENTS, history=2, run_length=(60, 60), now=began_at
    ) as running:
        yield running


def shifts(page: Page) -> list[str]:
    found: list[str] = page.evaluate("window.shifts.splice(0)")
    return found


def start_watching(page: Page, url: str) -> None:
    page.goto(url)
    wait_for_first_update(page)
    expect(page.locator("#graph-note")).not_to_be_empty()
    page.evaluate(WATCH)


def show_update(page: Page) -> None:
    refresh(page, "run", "freshness")
    page.evaluate(TWO_FRAMES)


@pytest.mark.parametrize(
    ("width", "updates"),
    [(1440, 5), *(long(width, 20) for width in (1700, 1440, 390))],
)
def test_nothing_moves_while_a_run_goes_on(
    page: Page, url: str, mirrored: MirroredCluster, width: int, updates: int
) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    jobs = write_run(mirrored, RUN, lumisections=90)
    start_watching(page, url)
    found: list[str] = []
    attempts = count()

    def are_of_one_day() -> bool:
        day = local_day(datetime.now(UTC) - MAX_AGE)
        if next(attempts):
            # The page may show reports of the day before.
            shifts_of_updates(page, mirrored, jobs, 1)
        found[:] = shifts_of_updates(page, mirrored, jobs, updates)
        return day == local_day(datetime.now(UTC))

    # A time that becomes one of yesterday gets its date, for which columns may get wider.
    until(are_of_one_day)
    assert not found, "\n".join(found[:30])
    assert page.evaluate("window.orders.length") == 1


def shifts_of_updates(
    page: Page, mirrored: MirroredCluster, jobs: list[JobRecord], updates: int
) -> list[str]:
    """Everything that moves while jobs report and the page is updated."""
    rng = random.Random(RUN)
    now = datetime.now(UTC)
    found = []
    for number in range(updates):
        changed = [later(record, number, now, rng) for record in jobs if record.exit_code is None]
        mirrored.write(mirrored.filter_units[0], *changed, clock_at=now)
        # Ages of all widths, however few the updates are.
        mirrored.beat(datetime.now(UTC) - timedelta(seconds=20 * number // updates))
        show_update(page)
        found += [f"update {number}: {shift}" for shift in shifts(page)]
    return found


def local_day(at: datetime) -> date:
    return at.astimezone(EXPERIMENT_ZONE).date()


@pytest.mark.long
def test_nothing_moves_through_runs_of_the_simulator_but_rows_with_problems(
    page: Page, url: str, simulator: Simulator, simulated_settings: Settings
) -> None:
    world = simulator.world
    world.start_run("production")
    world.advance(STEP_S)
    mirror_once(simulated_settings)
    start_watching(page, url)
    problems, found = problems_shown(page), []
    for number in range(STEPS):
        if number == STEPS // 3:
            world.crash("production", "csc")
        if number == STEPS // 2:
            world.start_run("production")
        world.advance(STEP_S)
        mirror_once(simulated_settings)
        show_update(page)
        moved, before = shifts(page), problems
        problems = problems_shown(page)
        if problems == before:
            found += [f"update {number}: {shift}" for shift in moved]
    assert not found, "\n".join(found[:30])


def problems_shown(page: Page) -> list[list[str]]:
    """Client and state of each row with a problem or a restart."""
    rows = page.locator("tbody.client:is([data-state=crashed], [data-state=stuck], :has(.note-warning))")
    shown: list[list[str]] = rows.evaluate_all(
        "all => all.map((row) => [row.dataset.client, row.dataset.state])"
    )
    return shown


def later(record: JobRecord, number: int, now: datetime, rng: random.Random) -> JobRecord:
    """A job some lumisections later: its numbers get longer, it falls behind, skips some and catches up."""
    if record.client.startswith("hcalreco"):
        return record
    at = now - rng.random() * MAX_AGE
    return replace(
        record,
        document=replace(record.document, updated_at=at),
        lumisection=90 + number * 20 - (rng.randrange(3, 30) if rng.random() < 0.1 else 0),
        lumisection_at=at,
        events_total=10 ** rng.randrange(1, 9),
        events_rate=10 ** rng.uniform(-1, 3),
        rss_kb=rng.randrange(90_000, 12_000_000),
    )


@pytest.mark.clock
def test_a_row_moves_for_its_state_only_and_after_a_moment(
    page: Page, url: str, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    beam, csc = job(RUN, "beam"), job(RUN, "csc")
    mirrored.write(unit, beam, csc)
    start_watching(page, url)
    pause_time(page)
    names = page.locator("tbody.client")
    mirrored.write(unit, replace(csc, exit_code=-11))
    refresh(page, "run")
    expect(page.locator("[data-client=csc]")).to_contain_text("crashed")
    expect(names.first).to_have_attribute("data-client", "beam")
    page.locator("[data-client=csc] .expander").focus()
    page.locator("[data-client=beam] td").first.select_text()
    selected = page.evaluate("String(getSelection())")
    page.clock.fast_forward(4000)
    expect(names.first).to_have_attribute("data-client", "csc")
    expect(page.locator("[data-client=csc] .expander")).to_be_focused()
    assert page.evaluate("String(getSelection())") == selected != ""


def test_a_row_glides_to_its_new_place(page: Page, url: str, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    beam, csc = job(RUN, "beam"), job(RUN, "csc")
    mirrored.write(unit, beam, csc)
    start_watching(page, url)
    mirrored.write(unit, replace(csc, exit_code=-11))
    expect(page.locator("tbody.client").first).to_have_attribute("data-client", "csc")
    page.evaluate(TWO_FRAMES)
    assert [shift for shift in shifts(page) if "client-" in shift] == []
