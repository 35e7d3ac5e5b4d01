"""Alerts: one per new event, none for what happened before."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from storage.sync_status import LinkStatus
from tests.browser.conftest import pause_time, refresh, wait_for_first_update
from tests.mirrored_cluster import MirroredCluster, job
from tests.waiting import until

RUN = 358_791


@pytest.fixture
def toasts(page: Page, url: str, mirrored: MirroredCluster) -> Page:
    """The page of a run with a crashed and a stuck job."""
    now = datetime.now(UTC)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "beam"),
        job(RUN, "csc"),
        job(RUN, "ecalgpu", exit_code=-11),
        job(RUN, "hcalreco", at=now - timedelta(minutes=23)),
        clock_at=now,
    )
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("2 problems")
    wait_for_first_update(page)
    return page


def after_updates(page: Page) -> None:
    """Wait for updates of the list of incidents, which is part of the freshness bar.

    The first may have been requested before; the second is requested once the first is shown.
    """
    for _ in range(2):
        refresh(page, "freshness")


def test_it_raises_no_alert_for_earlier_problems_or_a_run_that_the_reader_opens(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    after_updates(toasts)
    expect(toasts.locator(".alert-toast")).to_have_count(0)
    expect(toasts).to_have_title(f"Run {RUN} · production · DQM² Mirror")
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "newcomer", at=an_hour_ago, exit_code=-6),
        clock_at=datetime.now(UTC),
    )
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed")
    after_updates(toasts)
    expect(toasts.locator(".alert-toast")).to_have_count(0)
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "crashed", exit_code=-6))
    toasts.click("#previous-run")
    expect(toasts.locator("[data-client=crashed]")).to_contain_text("crashed")
    after_updates(toasts)
    expect(toasts.locator(".alert-toast")).to_have_count(0)


def test_it_raises_one_alert_for_a_crash(toasts: Page, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    toast = toasts.locator(".alert-toast")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text(f"newcomer crashed in run {RUN}")
    expect(toasts).to_have_title(f"(1) Run {RUN} · production · DQM² Mirror")
    assert "problem.svg" in (toasts.locator("#favicon").get_attribute("href") or "")

    mirrored.write(mirrored.filter_units[0], job(RUN, "another"))
    expect(toasts.locator("[data-client=another]")).to_have_count(1)
    after_updates(toasts)
    expect(toast).to_have_count(1)

    toasts.reload()
    after_updates(toasts)
    expect(toast).to_have_count(1)

    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    expect(toast).to_have_count(0)
    expect(toasts.locator("#alert-count")).to_have_text("1")
    mirrored.write(mirrored.filter_units[0], job(RUN + 2, "newcomer", exit_code=-6))
    expect(toast).to_contain_text(f"newcomer crashed in run {RUN + 2}")
    toasts.click(".bell")
    expect(toasts.locator("#alert-list li", has_text="newcomer crashed")).to_have_count(2)
    expect(toast).to_have_count(0)


def test_it_raises_alerts_for_a_crash_that_was_restarted_a_job_that_gets_stuck_and_old_data(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    unit, now = mirrored.filter_units[0], datetime.now(UTC)
    mirrored.write(
        unit,
        job(RUN, "newcomer", at=now - timedelta(seconds=20), exit_code=-6),
        job(RUN, "newcomer", at=now, started_at=now - timedelta(seconds=10)),
    )
    expect(toasts.locator(".alert-toast")).to_contain_text(f"newcomer crashed in run {RUN}")
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed ×1, restarted")
    after_updates(toasts)
    alerts = toasts.locator("#alert-list li")
    expect(alerts).to_have_count(1)

    mirrored.write(unit, job(RUN, "silent", at=now - timedelta(minutes=14)), clock_at=now)
    expect(toasts.locator("[data-client=silent]")).to_contain_text("running")
    mirrored.write(unit, job(RUN, "another"), clock_at=now + timedelta(minutes=2))
    expect(alerts.filter(has_text=f"silent is stuck in run {RUN}")).to_have_count(1)

    long_ago = now - timedelta(minutes=5)
    mirrored.beat(gateway=LinkStatus(long_ago, failing_since=long_ago, reason="timed out"))
    expect(alerts.filter(has_text="The DQM² gateway can't be read")).to_have_count(1)
    expect(alerts).to_have_count(3)


@pytest.mark.clock
def test_a_machine_that_is_down_for_more_than_a_moment_and_not_mirrored_is_one_incident(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    unit = mirrored.filter_units[0]
    incident = toasts.locator(".incidents li", has_text=f"{mirrored.label(unit)} is down")
    toast = toasts.locator(".alert-toast")
    pause_time(toasts)

    def set_down(*, is_down: bool) -> None:
        reason = "connection refused" if is_down else None
        mirrored.set_machine_state(unit, datetime.now(UTC), down_reason=reason)
        mirrored.beat()
        expect(incident).to_have_count(int(is_down))
        after_updates(toasts)

    set_down(is_down=True)
    set_down(is_down=False)
    toasts.clock.fast_forward("01:00")
    after_updates(toasts)
    expect(toasts.locator("#alert-list li")).to_have_count(0)

    set_down(is_down=True)
    expect(toast).to_have_count(0)
    toasts.clock.run_for("00:11")
    expect(toast.filter(has_text=f"{mirrored.label(unit)} is down")).to_be_visible()
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    mirrored.beat(machines={unit: LinkStatus(long_ago, failing_since=long_ago, reason="timed out")})
    expect(toasts.locator("[data-outage]")).to_contain_text("is down and not mirrored")
    after_updates(toasts)
    expect(toasts.locator("#alert-count")).to_have_text("1")

    set_down(is_down=False)
    expect(toast).not_to_contain_text("over")
    toasts.clock.run_for("00:11")
    expect(toast.filter(has_text="over after")).to_be_visible()
    expect(toasts.locator("#alert-count")).to_have_text("1")
    toasts.clock.run_for("00:30")
    expect(toast).to_have_count(0)


@pytest.mark.long
@pytest.mark.clock
def test_a_toast_goes_by_itself_and_the_page_is_updated_as_soon_as_it_is_seen_again(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator(".alert-toast")).to_contain_text("newcomer crashed")
    toasts.clock.run_for("01:05")
    expect(toasts.locator(".alert-toast")).to_have_count(0)

    toasts.clock.pause_at(datetime.now(UTC) + timedelta(minutes=5))
    for event in ("new PageTransitionEvent('pageshow', {persisted: true})", "new Event('online')"):
        with toasts.expect_response(lambda response: "/live/run" in response.url):
            toasts.evaluate(f"dispatchEvent({event})")
    with toasts.expect_response(lambda response: "/live/freshness" in response.url):
        toasts.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_it_raises_alerts_once_the_mirror_has_caught_up(toasts: Page, mirrored: MirroredCluster) -> None:
    unit, now = mirrored.filter_units[0], datetime.now(UTC)
    mirrored.beat(machines={unit: replace(LinkStatus(now), documents_behind=5000)})
    expect(toasts.locator("[data-stale]")).to_contain_text("is catching up")
    of_the_past = job(RUN, "veteran", at=now - timedelta(hours=1), exit_code=-6)
    mirrored.write(unit, of_the_past, job(RUN, "newcomer", exit_code=-6), clock_at=now)
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed")
    expect(toasts.locator(".incidents li", has_text="newcomer")).to_have_count(1)
    after_updates(toasts)
    expect(toasts.locator("#alert-list li")).to_have_count(0)
    mirrored.beat()
    expect(toasts.locator("#alert-list li")).to_have_text([re.compile("newcomer crashed")])


def test_it_shows_one_toast_and_how_many_more_there_are(toasts: Page, mirrored: MirroredCluster) -> None:
    crashed = [job(RUN, f"newcomer{number}", exit_code=-6) for number in range(4)]
    mirrored.write(mirrored.filter_units[0], *crashed)
    toast = toasts.locator(".alert-toast")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text("and 3 more")
    expect(toasts.locator("#announcer")).to_have_text(re.compile("newcomer0.*; newcomer1"))
    toast.get_by_role("button", name="and 3 more").click()
    expect(toasts.locator("#alert-list li")).to_have_count(4)
    expect(toast).to_have_count(0)
    expect(toasts.locator("#alert-count")).to_be_hidden()
    toasts.click("#clear-alerts")
    expect(toasts.locator("#alert-list li")).to_have_count(0)
    expect(toasts.locator("#no-alerts")).to_be_visible()


@pytest.mark.long
def test_the_bell_counts_on_other_pages_as_well(toasts: Page, url: str, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    count = toasts.locator("#alert-count")
    expect(count).to_have_text("1")
    toasts.goto(f"{url}/timeline/")
    expect(count).to_have_text("1")
    mirrored.write(mirrored.filter_units[0], job(RUN, "another", exit_code=-6))
    expect(toasts.locator(".alert-toast")).to_contain_text("another crashed")
    # The timeline reloads itself to show another client.
    expect(toasts.locator(".client-head", has_text="another")).to_be_visible()
    toasts.goto(f"{url}/cr/login")
    expect(count).to_have_text("2")
    toasts.click(".bell")
    toasts.locator("#alert-list a", has_text="another crashed").click()
    expect(toasts.locator("h1")).to_contain_text("another")
    expect(count).to_be_hidden()


def test_it_summarizes_what_happened_while_it_slept(
    toasts: Page, url: str, mirrored: MirroredCluster
) -> None:
    after_updates(toasts)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    # An address of the same origin without scripts.
    toasts.goto(f"{url}/healthz")
    unit = mirrored.filter_units[0]
    for number, client in enumerate(("beam", "csc", "csc")):
        at = long_ago + timedelta(minutes=number)
        mirrored.write(unit, job(RUN + 1 + number, client, at=at, started_at=at, exit_code=-6))
    toasts.evaluate(
        """() => {
            const names = Object.keys(sessionStorage).filter((name) => name.includes(" incidents "));
            for (const name of names) {
                const state = JSON.parse(sessionStorage[name]);
                state.updatedAt -= 70 * 60 * 1000;
                sessionStorage[name] = JSON.stringify(state);
            }
        }"""
    )
    toasts.goto(url)
    expect(toasts.locator("#alert-list li")).to_have_count(1)
    alert = toasts.locator(".alert-toast")
    expect(alert).to_contain_text(re.compile(r"slept for 1 h 1\d min: .*4 crashes \(csc ×2, beam, ecalgpu\)"))
    expect(toasts).to_have_title(re.compile(r"^\(1\)"))


# As pages leave it that the reader has seen since this one.
BACK_FROM_OTHER_PAGES = """(crash) => {
    const state = JSON.parse(sessionStorage["dqm2-mirror incidents production"]);
    state.incidents[crash] = { kind: "crashed", text: "", beganAt: 0, seenAt: 0, isRaised: true };
    sessionStorage["dqm2-mirror incidents production"] = JSON.stringify(state);
    sessionStorage["dqm2-mirror toasts"] = "[]";
    dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true }));
}"""


@pytest.mark.clock
def test_it_raises_no_alert_again_that_another_page_of_the_tab_has_raised(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    pause_time(toasts)
    first, second = (job(RUN, client, exit_code=-6) for client in ("newcomer", "another"))
    mirrored.write(mirrored.filter_units[0], first)
    expect(toasts.locator(".alert-toast")).to_have_count(1)
    # Held until the route is removed.
    toasts.route("**/live/freshness*", lambda _route: None)
    with toasts.expect_request("**/live/freshness*"):
        mirrored.write(mirrored.filter_units[0], second)
    toasts.evaluate(BACK_FROM_OTHER_PAGES, f"crashed {second.document.identity}")
    assert toasts.locator(".alert-toast").count() == 0
    toasts.unroute_all()
    after_updates(toasts)
    expect(toasts.locator(".incidents")).to_contain_text("another crashed")
    assert toasts.locator(".alert-toast").count() == 0


# A browser notification, as on a laptop, or on Android, where the constructor always throws.
NOTIFICATION = """(isAndroid) => {
    window.notified = [];
    window.Notification = class extends EventTarget {
        static permission = "granted";
        constructor(text) {
            super();
            if (isAndroid) throw new TypeError("Illegal constructor. Use showNotification() instead.");
            window.notified.push(text);
        }
    };
    const { register } = ServiceWorkerContainer.prototype;
    ServiceWorkerContainer.prototype.register = async function (...parameters) {
        const registration = await register.apply(this, parameters);
        registration.showNotification = async (text) => window.notified.push(`worker: ${text}`);
        return registration;
    };
}"""


def test_it_shows_notifications_if_enabled_on_a_laptop_and_on_android(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    toasts.evaluate(NOTIFICATION, arg=False)
    toasts.click(".bell")
    toasts.check("[data-channel=notification]")
    toasts.check("[data-channel=sound]")
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator(".alert-toast")).to_be_visible()
    until(lambda: toasts.evaluate("window.notified") == [f"newcomer crashed in run {RUN}"])
    toasts.click("[data-test=notification]")
    until(lambda: len(toasts.evaluate("window.notified")) == 2)
    expect(toasts.locator("#notification-problem")).to_be_empty()

    toasts.reload()
    assert toasts.locator("[data-channel=notification]").is_checked()
    assert toasts.locator("[data-channel=sound]").is_checked()
    toasts.evaluate(NOTIFICATION, arg=True)
    wait_for_first_update(toasts)
    mirrored.write(mirrored.filter_units[0], job(RUN, "another", exit_code=-6))
    until(lambda: toasts.evaluate("window.notified") == [f"worker: another crashed in run {RUN}"])
    toasts.click(".bell")
    toasts.click("[data-test=notification]")
    until(lambda: len(toasts.evaluate("window.notified")) == 2)
    expect(toasts.locator("#notification-problem")).to_be_empty()


def test_a_way_to_alert_that_is_denied_or_fails_does_not_stop_the_others(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    toasts.evaluate("Notification.requestPermission = async () => 'denied'")
    toasts.click(".bell")
    toasts.locator("[data-channel=notification]").click()
    expect(toasts.locator("#notification-problem")).to_contain_text("does not allow notifications")
    assert not toasts.locator("[data-channel=notification]").is_checked()
    toasts.keyboard.press("Escape")
    expect(toasts.locator("#alert-panel")).to_be_hidden()
    toasts.evaluate("localStorage['dqm2-mirror notification'] = localStorage['dqm2-mirror sound'] = 'on'")
    toasts.evaluate("delete window.Notification; delete window.AudioContext")
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator(".alert-toast")).to_contain_text("newcomer crashed")
    toasts.click(".bell")
    expect(toasts.locator("#notification-problem")).to_contain_text("add the page to the home screen")
    expect(toasts.locator("#sound-problem")).to_have_text("This browser cannot play sounds.")


@pytest.mark.long
def test_it_asks_for_a_click_before_it_can_play_sounds(toasts: Page) -> None:
    toasts.evaluate("localStorage['dqm2-mirror sound'] = 'on'")
    toasts.reload()
    hint = toasts.locator("#sound-hint")
    expect(hint).to_have_text(re.compile("Click once to allow sound"))
    expect(toasts.locator("#sound-problem")).to_have_text("Click once to allow sound.")
    toasts.click("h1")
    expect(hint).to_be_hidden()
    expect(toasts.locator("#sound-problem")).to_be_empty()


DENY_STORAGE = """for (const area of ["localStorage", "sessionStorage"]) {
    Object.defineProperty(window, area, { get() { throw new DOMException("denied", "SecurityError"); } });
}"""


def test_it_alerts_and_takes_choices_where_the_browser_denies_storage(
    toasts: Page, mirrored: MirroredCluster
) -> None:
    with toasts.add_init_script(DENY_STORAGE):
        toasts.reload()
    after_updates(toasts)
    for client in ("newcomer", "another"):
        mirrored.write(mirrored.filter_units[0], job(RUN, client, exit_code=-6))
        expect(toasts.locator(".alert-toast")).to_contain_text(f"{client} crashed in run {RUN}")
    expect(toasts.locator("#alert-list li")).to_have_count(2)
    toasts.click("#theme-toggle")
    expect(toasts.locator("html[data-bs-theme=dark]")).to_have_count(1)
    toasts.click("#zone-toggle")
    expect(toasts.locator("html[data-zone=UTC]")).to_have_count(1)


@pytest.mark.long
def test_values_of_other_sites_of_the_host_do_no_harm(toasts: Page, mirrored: MirroredCluster) -> None:
    toasts.evaluate(
        """localStorage.theme = "dark";
        localStorage.zone = "UTC";
        localStorage["dqm2-mirror alerts"] = sessionStorage["dqm2-mirror toasts"] = "{}";"""
    )
    toasts.reload()
    after_updates(toasts)
    expect(toasts.locator("html[data-bs-theme=light][data-zone='Europe/Zurich']")).to_have_count(1)
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator(".alert-toast")).to_contain_text(f"newcomer crashed in run {RUN}")
