"""Links from the live page: to the machines, the statistics of a run, earlier runs of a client."""

from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from tests.mirrored_cluster import MirroredCluster, write_run

RUN = 358_791


@pytest.fixture
def run(mirrored: MirroredCluster) -> None:
    """A run with problems; all machines are up."""
    write_run(mirrored, RUN, clients=("beam", "ecalgpu"), lumisections=40)
    for host in (mirrored.builder_unit, *mirrored.filter_units):
        mirrored.set_machine_state(host, datetime.now(UTC) - timedelta(hours=3))
    mirrored.beat()


@pytest.fixture
def live(page: Page, url: str, run: None) -> Page:
    """The live page of the run."""
    del run
    page.goto(url)
    return page


def test_it_shows_a_machine_go_down(live: Page, mirrored: MirroredCluster) -> None:
    live.get_by_role("link", name="Cluster").click()
    unit = mirrored.filter_units[0]
    machine = live.locator(f"[data-machine='{mirrored.label(unit)}']")
    expect(machine.locator(".machine-state")).to_contain_text("up since")
    mirrored.set_machine_state(unit, datetime.now(UTC), down_reason="connection refused")
    mirrored.beat()
    expect(machine.locator(".machine-state")).to_contain_text("down since")
    expect(machine.locator(".machine-state")).to_contain_text("connection refused")
    in_bar = live.locator(".machine-freshness.is-down")
    expect(in_bar).to_contain_text(mirrored.label(unit))
    expect(in_bar).to_contain_text("down")
    expect(live.locator(".incidents [data-kind=down]")).to_contain_text(f"{mirrored.label(unit)} is down")
    expect(machine.get_by_role("img", name="Availability in the last 24 h")).to_be_visible()


def test_it_expands_a_job_by_a_click_anywhere_on_its_row_which_links_to_earlier_runs(
    live: Page, mirrored: MirroredCluster
) -> None:
    write_run(mirrored, RUN - 1, clients=("beam", "ecalgpu"), lumisections=40, is_ended=True)
    row = live.locator("[data-client=ecalgpu]")
    row.locator(".job > .numeric").first.click()
    expect(row.locator(".expanded")).to_contain_text("SIGSEGV")
    row.locator(".expanded .log-tail").click()
    expect(row.locator(".expanded")).to_be_visible()
    row.locator(".job > .numeric").first.click()
    expect(row.locator(".expanded")).to_have_count(0)
    row.locator(".expander").click()
    row.get_by_role("link", name="Earlier runs of this client").click()
    expect(live.locator(".client-head")).to_have_text(["ecalgpu"])
    expect(live.locator("#timeline-table .cell.state-crashed")).to_have_count(2)


@pytest.mark.long
def test_it_links_to_the_statistics_of_the_run(live: Page) -> None:
    live.get_by_role("link", name="statistics", exact=True).click()
    row = live.locator(".statistics-table tbody tr")
    expect(row).to_have_count(1)
    expect(row.get_by_role("rowheader")).to_have_text(str(RUN))
    with live.expect_download() as download:
        live.get_by_role("link", name="Download all as CSV").click()
    assert download.value.path().read_text().splitlines()[1].startswith(str(RUN))
