"""axe finds no violation of WCAG 2.2 AA or best practices on any page; most are `long`."""

from datetime import UTC, datetime, timedelta
from typing import Literal

import pytest
from playwright.sync_api import Page, expect

from tests.browser.accessibility import (
    TARGET_SIZE,
    Theme,
    in_each_theme,
    violating_elements,
    violations,
    violations_by_theme,
)
from tests.browser.conftest import PHONE, ConsoleErrors, update
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791
# One client in each state, with short logs: axe takes as long as a page has elements.
CLIENTS = ("beamhlt", "dt", "ecalgpu", "hcalreco")
LUMISECTIONS = 40


@pytest.fixture
def job_id(mirrored: MirroredCluster) -> str:
    """The id of a crashed job, in a run with jobs in every state."""
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "visualization", exit_code=0))
    jobs = write_run(mirrored, RUN, clients=CLIENTS, lumisections=LUMISECTIONS)
    mirrored.set_machine_state(mirrored.filter_units[0], jobs[0].started_at)
    mirrored.set_machine_state(mirrored.filter_units[1], jobs[0].started_at, down_reason="connection refused")
    mirrored.beat()
    return str(next(record for record in jobs if record.exit_code == -11).document.identity)


def test_it_is_accessible_with_targets_large_enough_for_a_finger(page: Page, url: str, job_id: str) -> None:
    page.goto(f"{url}/?job={job_id}")
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    assert violations_by_theme(page) == {}
    page.set_viewport_size(PHONE)
    assert violating_elements(page, TARGET_SIZE) == []


@pytest.mark.usefixtures("job_id")
def test_the_timeline_is_accessible(page: Page, url: str) -> None:
    page.goto(f"{url}/timeline/")
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    assert violations(page, "light", within="#main") == []


@pytest.mark.long
@in_each_theme
def test_its_panels_are_accessible(page: Page, url: str, theme: Theme) -> None:
    page.goto(f"{url}/cluster/")
    for panel in ("alert-panel", "help"):
        page.click(f"[popovertarget={panel}]")
        expect(page.locator(f"#{panel}")).to_be_visible()
        assert violations(page, theme, within=f"#{panel}") == [], panel


@pytest.mark.long
def test_it_is_accessible_before_anything_is_mirrored(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("No run yet")
    assert violations_by_theme(page) == {}


@pytest.mark.long
@pytest.mark.usefixtures("job_id")
def test_other_pages_have_targets_large_enough_for_a_finger(page: Page, url: str) -> None:
    page.set_viewport_size(PHONE)
    for path in (
        "/cluster/",
        "/timeline/",
        "/statistics/",
        "/crashes/",
        "/report/shift",
        "/report/efficiency",
    ):
        page.goto(f"{url}{path}")
        expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
        assert violating_elements(page, TARGET_SIZE) == [], path
    page.goto(f"{url}/cr/")
    assert violating_elements(page, TARGET_SIZE) == []


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("width", [1440, 720, 390])
@pytest.mark.parametrize("contrast", ["no-preference", "more"])
def test_it_is_accessible_in_every_state_theme_and_size(
    page: Page,
    url: str,
    job_id: str,
    mirrored: MirroredCluster,
    playback: MirroredCluster,
    console_errors: ConsoleErrors,
    width: int,
    contrast: Literal["more", "no-preference"],
) -> None:
    """A window of 1440 px at 200 % zoom is 720 CSS px wide."""
    console_errors.allowed = ["404", "500", "htmx"]
    unit = mirrored.filter_units[0]
    ended = job(RUN - 2, "beam", exit_code=0, at=datetime.now(UTC) - timedelta(days=1))
    mirrored.write(unit, ended, job(RUN + 1, "beam", at=datetime.now(UTC) - timedelta(hours=6)))
    playback.write(playback.filter_units[0], job(500_015, "pixel", started_at=datetime.now(UTC)))
    page.emulate_media(contrast=contrast)
    page.set_viewport_size({"width": width, "height": 900})
    found: dict[str, dict[str, list[str]]] = {}
    for path in (
        f"/?run={RUN}",
        f"/?run={RUN}&job={job_id}",
        f"/?run={RUN}&q=nothing",
        f"/?run={RUN - 2}",
        f"/?run={RUN + 1}",
        "/?run=7",
        "/?db=playback",
        "/?wall=1",
        f"/job/{job_id}",
        f"/job/{ended.document.identity}",
        "/crashes/",
        "/cluster/",
        "/timeline/",
        "/timeline/?from=1&to=2",
        "/statistics/",
        "/statistics/?from=1&to=2",
    ):
        page.goto(f"{url}{path}")
        expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
        found[path] = violations_by_theme(page, is_thorough=True)
    for path in ("/help/shifter", "/help/expert", "/help/control-room", "/api/v1/", "/cr/", "/nowhere"):
        page.goto(f"{url}{path}")
        found[path] = violations_by_theme(page, is_thorough=True)
    page.goto(url)
    page.route("**/live/**", lambda route: route.fulfill(status=500, body="broken"))
    update(page)
    expect(page.locator("#connection")).to_be_visible()
    found["without a connection"] = violations_by_theme(page, is_thorough=True)
    assert not any(found.values()), found
