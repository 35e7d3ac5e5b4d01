"""axe finds no serious or critical violation on any page, in either theme."""

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import TARGET_SIZE, severe_violations, violations_by_theme
from tests.browser.conftest import ConsoleErrors
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
# One client in each state, and two that are well: axe takes as long as a page has rows.
CLIENTS = ("beam", "beamhlt", "csc", "dt", "ecalgpu", "hcalreco")


@pytest.fixture
def job_id(mirrored: MirroredCluster) -> str:
    """The id of a crashed job, in a run with jobs in every state."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    jobs = write_run(mirrored, RUN, clients=CLIENTS)
    mirrored.set_machine_state(mirrored.filter_units[0], jobs[0].started_at)
    mirrored.set_machine_state(mirrored.filter_units[1], jobs[0].started_at, down_reason="connection refused")
    mirrored.beat()
    return str(next(record for record in jobs if record.exit_code == -11).document.identity)


def test_it_is_accessible(page: Page, url: str, job_id: str) -> None:
    found = {}
    for path in (
        "/",
        f"/?job={job_id}",
        "/?q=nothing",
        "/?run=7",
        f"/job/{job_id}",
        "/cluster/",
        "/timeline/",
        "/timeline/?from=1&to=2",
        "/statistics/",
    ):
        page.goto(f"{url}{path}")
        expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
        found[path] = violations_by_theme(page)
    assert not any(found.values()), found


def test_it_has_targets_large_enough_for_a_finger(page: Page, url: str, job_id: str) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    found = {}
    for path in ("/", f"/?job={job_id}", "/timeline/", "/cluster/", "/statistics/", "/cr/"):
        page.goto(f"{url}{path}")
        found[path] = severe_violations(page, TARGET_SIZE)
    assert not any(found.values()), found


def test_guides_and_error_page_are_accessible(page: Page, url: str, console_errors: ConsoleErrors) -> None:
    console_errors.allowed = ["404"]
    for path in ("/help/shifter", "/help/control-room", "/api/v1/", "/nowhere"):
        page.goto(f"{url}{path}")
        assert violations_by_theme(page) == {}, path


def test_it_is_accessible_before_anything_is_mirrored(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No run yet")
    assert violations_by_theme(page) == {}


def test_its_panels_are_accessible(page: Page, url: str, job_id: str) -> None:
    page.goto(f"{url}/?job={job_id}")
    for panel in ("alerts", "help"):
        page.click(f"[popovertarget={panel}]")
        expect(page.locator(f"#{panel}")).to_be_visible()
        assert violations_by_theme(page, within=f"#{panel}") == {}
