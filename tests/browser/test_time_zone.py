"""Times in the experiment's time zone or in UTC, with the date and the year where they are not today's."""

import re
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import LAPTOP, OpenPage
from tests.mirrored_cluster import MirroredCluster, job, with_series
from tests.waiting import until

RUN = 358_791
# In the hour that comes twice in the night of the change to winter time.
FIRST = datetime(2022, 10, 30, 0, 30, 5, tzinfo=UTC)
RECORD_DRAWN_TEXT = """
    window.drawn = [];
    const { fillText } = CanvasRenderingContext2D.prototype;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...place) {
        window.drawn.push(text);
        return fillText.call(this, text, ...place);
    };
"""
LAST_REPORT = ".jobs-table tbody td time"


@pytest.fixture
def old_run(mirrored: MirroredCluster) -> int:
    """A run that has ended in the night of the change, with a job in either hour."""
    ended = [
        job(RUN, client, at=at, exit_code=0)
        for client, at in (("beam", FIRST), ("csc", FIRST + timedelta(hours=1)))
    ]
    mirrored.write(mirrored.filter_units[0], *ended)
    mirrored.beat()
    return RUN


def test_it_shows_utc_on_every_page_once_the_reader_has_chosen_it(page: Page, url: str, old_run: int) -> None:
    page.goto(f"{url}/?run={old_run}&sort=client")
    expect(page.locator(LAST_REPORT)).to_have_text(["30 Oct 2022 02:30:05 CEST", "30 Oct 2022 02:30:05 CET"])
    toggle = page.locator("#zone-toggle")
    toggle.focus()
    page.keyboard.press("Space")
    in_utc = ["30 Oct 2022 00:30:05", "30 Oct 2022 01:30:05"]
    expect(page.locator(LAST_REPORT)).to_have_text(in_utc)
    expect(toggle).to_have_attribute("aria-checked", "true")
    expect(page.locator(".footer")).to_contain_text("Times are in UTC.", use_inner_text=True)
    page.reload()
    expect(page.locator(LAST_REPORT)).to_have_text(in_utc)
    expect(toggle).to_have_attribute("aria-checked", "true")
    page.goto(f"{url}/statistics/")
    stopped_at = page.locator("tbody time").nth(1)
    expect(stopped_at).to_have_text("30 Oct 2022 01:30:05 UTC")
    page.keyboard.press("u")
    expect(stopped_at).to_have_text("30 Oct 2022 02:30:05 CET")
    expect(toggle).to_have_attribute("aria-checked", "false")


@pytest.mark.long
def test_it_takes_the_readers_choice_on_the_page_that_a_reader_returns_from(
    page: Page, url: str, old_run: int
) -> None:
    page.goto(f"{url}/?run={old_run}&sort=client")
    expect(page.locator(LAST_REPORT).first).to_have_text("30 Oct 2022 02:30:05 CEST")
    page.evaluate(
        """() => {
            localStorage["dqm2-mirror zone"] = "UTC";
            dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
        }"""
    )
    expect(page.locator(LAST_REPORT).first).to_have_text("30 Oct 2022 00:30:05")
    expect(page.locator("#zone-toggle")).to_have_attribute("aria-checked", "true")


def test_it_keeps_utc_when_the_page_is_updated(page: Page, url: str, mirrored: MirroredCluster) -> None:
    reported_at = datetime.now(UTC) - timedelta(seconds=5)
    first = job(RUN, "beam", at=reported_at)
    mirrored.write(mirrored.filter_units[0], first)
    mirrored.beat()
    page.goto(f"{url}/")
    page.keyboard.press("u")
    mirrored.write(mirrored.filter_units[0], job(RUN, "csc", at=reported_at))
    shown = page.locator(LAST_REPORT)
    expect(shown).to_have_count(2)
    for time in shown.all():
        expect(time).to_have_text(re.compile(rf"{reported_at:%H:%M:%S}$"))


def test_graphs_are_in_the_same_time_zone(page: Page, url: str, mirrored: MirroredCluster) -> None:
    record = with_series(job(RUN, "beam"))
    mirrored.write(mirrored.filter_units[0], record)
    mirrored.beat()
    page.goto(f"{url}/job/{record.document.identity}")
    graph, shown = page.locator("[data-graph=memory] .u-over"), page.locator("[data-graph=memory] output")
    page.keyboard.press("u")
    graph.hover(position={"x": 40, "y": 40})
    expect(shown).to_contain_text(re.compile(r"\d\d:\d\d UTC: "))
    page.keyboard.press("u")
    graph.hover(position={"x": 80, "y": 40})
    expect(shown).to_contain_text(re.compile(r"\d\d:\d\d CES?T: "))


@pytest.mark.long
def test_graphs_have_round_times_in_the_night_of_the_change_whatever_zone_the_computer_has(
    open_page: OpenPage, url: str, mirrored: MirroredCluster
) -> None:
    record = with_series(job(RUN, "beam", at=FIRST + timedelta(hours=2), exit_code=0))
    mirrored.write(mirrored.filter_units[0], record)
    # Its clock is half an hour off the experiment's.
    page = open_page(timezone_id="Asia/Kolkata", viewport=LAPTOP)
    page.add_init_script(RECORD_DRAWN_TEXT)
    page.goto(f"{url}/job/{record.document.identity}")
    expect(page.locator("[data-graph=memory] canvas")).to_be_visible()
    page.wait_for_function("window.drawn.some((text) => text.includes(':'))")
    drawn: list[str] = page.evaluate("window.drawn")
    times = [text for text in drawn if ":" in text]
    assert times[0] in {"02:40", "02:45"}
    assert "02:00" in times
    assert "03:00" in times
    assert {text[-2:] for text in times} <= {f"{minute:02}" for minute in range(0, 60, 5)}
    assert {"30 Oct 2022 CEST", "CET"} <= set(drawn)


@pytest.mark.long
def test_its_tooltip_has_both_zones_and_the_age_as_soon_as_the_page_knows_the_time(
    page: Page, url: str, old_run: int
) -> None:
    held: list[Route] = []
    page.route("**/live/**", lambda route: held.append(route))  # noqa: PLW0108 - Playwright sets attributes on the handler
    page.goto(f"{url}/?run={old_run}&sort=client")
    time = page.locator(LAST_REPORT).first
    time.hover()
    both = "30 Oct 2022 02:30:05 CEST · 30 Oct 2022 00:30:05 UTC"
    expect(time).to_have_attribute("title", re.compile(f"{both}$"))
    for route in held:
        route.continue_()
    expect(time).to_have_attribute("title", re.compile(f"{both} · .* ago$"))


def test_browser_and_server_format_times_alike(
    page: Page, open_page: OpenPage, url: str, mirrored: MirroredCluster
) -> None:
    """Without scripts the page shows the server's text; with scripts it is the same."""
    now = datetime.now(ZoneInfo("Europe/Zurich"))
    times = [
        now - timedelta(minutes=1),
        # Rounded up to milliseconds, it would be in the next second.
        (now - timedelta(days=2)).replace(microsecond=999_999),
        now.replace(year=now.year - 1, day=5, month=9),
    ]
    mirrored.write(
        mirrored.filter_units[0],
        *(job(RUN, f"client{number}", at=at, exit_code=0) for number, at in enumerate(times)),
    )
    mirrored.beat()
    without_scripts = open_page(java_script_enabled=False)

    def are_alike() -> bool:
        texts = []
        for each in (page, without_scripts):
            each.goto(f"{url}/?run={RUN}&sort=client")
            texts.append(each.locator(LAST_REPORT).all_text_contents())
        return len(texts[0]) == len(times) and texts[0] == texts[1]

    # Midnight may pass between the two.
    until(are_alike)
