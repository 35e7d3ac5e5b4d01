"""Alerts: one per new event, none for what happened before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from playwright.sync_api import Page, expect

from storage.sync_status import LinkStatus
from tests.mirrored_cluster import MirroredCluster, job, write_run

RUN = 358_791


@pytest.fixture
def toasts(page: Page, url: str, mirrored: MirroredCluster) -> Page:
    """The page of a run with a crashed and a stuck job."""
    write_run(mirrored, RUN)
    page.goto(url)
    expect(page.locator(".verdict")).to_contain_text("2 problems")
    expect(page.locator(".machine-freshness dd").first).to_contain_text("ago")
    return page


def after_three_polls(page: Page) -> None:
    for _ in range(3):
        with page.expect_response(lambda response: "/live/run" in response.url):
            pass


def test_it_raises_no_alert_for_earlier_problems(toasts: Page) -> None:
    after_three_polls(toasts)
    expect(toasts.locator("#toasts li")).to_have_count(0)
    expect(toasts).to_have_title(f"Run {RUN} · production · DQM² Mirror")


def test_it_raises_one_alert_for_a_crash(toasts: Page, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    toast = toasts.locator("#toasts li")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text(f"newcomer crashed in run {RUN}")
    expect(toasts).to_have_title(f"(1) Run {RUN} · production · DQM² Mirror")
    assert "problem.svg" in (toasts.locator("#favicon").get_attribute("href") or "")

    mirrored.write(mirrored.filter_units[0], job(RUN, "another"))
    expect(toasts.locator("[data-client=another]")).to_have_count(1)
    after_three_polls(toasts)
    expect(toast).to_have_count(1)

    toasts.reload()
    after_three_polls(toasts)
    expect(toast).to_have_count(0)
    toasts.click("[popovertarget=alerts]")
    expect(toasts.locator("#alert-list li")).to_contain_text(["newcomer crashed"])


def test_it_raises_an_alert_for_a_crash_that_was_restarted(toasts: Page, mirrored: MirroredCluster) -> None:
    now = datetime.now(UTC)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "newcomer", at=now - timedelta(seconds=20), exit_code=-6),
        job(RUN, "newcomer", at=now, started_at=now - timedelta(seconds=10)),
    )
    expect(toasts.locator("#toasts li")).to_contain_text(f"newcomer crashed in run {RUN}")
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed ×1, restarted")
    after_three_polls(toasts)
    expect(toasts.locator("#toasts li")).to_have_count(1)


def test_it_raises_no_alert_for_an_old_crash(toasts: Page, mirrored: MirroredCluster) -> None:
    an_hour_ago = datetime.now(UTC) - timedelta(hours=1)
    mirrored.write(
        mirrored.filter_units[0],
        job(RUN, "newcomer", at=an_hour_ago, exit_code=-6),
        clock_at=datetime.now(UTC),
    )
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed")
    after_three_polls(toasts)
    expect(toasts.locator("#toasts li")).to_have_count(0)


def test_it_raises_no_alert_for_a_run_that_the_reader_opens(toasts: Page, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN - 1, "crashed", exit_code=-6))
    toasts.click("#previous-run")
    expect(toasts.locator("[data-client=crashed]")).to_contain_text("crashed")
    after_three_polls(toasts)
    expect(toasts.locator("#toasts li")).to_have_count(0)


def test_it_raises_an_alert_for_a_crash_in_a_new_run(toasts: Page, mirrored: MirroredCluster) -> None:
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "newcomer", exit_code=-6))
    expect(toasts.locator("#toasts li")).to_contain_text(f"newcomer crashed in run {RUN + 1}")


def test_it_raises_an_alert_for_a_job_that_gets_stuck(toasts: Page, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    silent = job(RUN, "silent", at=datetime.now(UTC) - timedelta(minutes=14))
    mirrored.write(unit, silent, clock_at=datetime.now(UTC))
    expect(toasts.locator("[data-client=silent]")).to_contain_text("running")
    mirrored.write(unit, job(RUN, "another"), clock_at=datetime.now(UTC) + timedelta(minutes=2))
    expect(toasts.locator("#toasts")).to_contain_text(f"silent is stuck in run {RUN}")


def test_it_raises_an_alert_each_time_a_machine_goes_down(toasts: Page, mirrored: MirroredCluster) -> None:
    unit, now = mirrored.filter_units[0], datetime.now(UTC)
    down = f"{mirrored.label(unit)} is down"
    mirrored.beat()
    mirrored.set_machine_state(unit, now, down_reason="connection refused")
    toast = toasts.locator("#toasts li")
    expect(toast).to_have_count(1)
    expect(toast).to_contain_text(down)
    mirrored.set_machine_state(unit, now + timedelta(seconds=1))
    expect(toasts.locator("[data-down]")).to_have_count(0)
    mirrored.set_machine_state(unit, now + timedelta(seconds=2), down_reason="connection refused")
    expect(toast).to_have_count(2)


def test_it_raises_an_alert_when_data_become_old(toasts: Page, mirrored: MirroredCluster) -> None:
    long_ago = datetime.now(UTC) - timedelta(minutes=5)
    mirrored.beat(gateway=LinkStatus(long_ago, failing_since=long_ago, reason="timed out"))
    expect(toasts.locator("#toasts li")).to_contain_text("The DQM² gateway does not respond")


def test_it_raises_no_alert_while_the_mirror_catches_up(toasts: Page, mirrored: MirroredCluster) -> None:
    unit = mirrored.filter_units[0]
    mirrored.beat(machines={unit: replace(LinkStatus(datetime.now(UTC)), documents_behind=5000)})
    expect(toasts.locator("[data-catching-up]")).to_be_visible()
    mirrored.write(unit, job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator("[data-client=newcomer]")).to_contain_text("crashed")
    mirrored.beat()
    expect(toasts.locator("[data-catching-up]")).to_have_count(0)
    after_three_polls(toasts)
    expect(toasts.locator("#toasts li")).to_have_count(0)


def test_it_shows_notifications_if_enabled(toasts: Page, mirrored: MirroredCluster) -> None:
    toasts.context.grant_permissions(["notifications"])
    toasts.evaluate(
        """() => {
            window.notified = [];
            window.Notification = class extends EventTarget {
                static permission = "granted";
                static requestPermission = async () => "granted";
                constructor(text) { super(); window.notified.push(text); }
            };
        }"""
    )
    toasts.click("[popovertarget=alerts]")
    toasts.check("[data-channel=notification]")
    toasts.check("[data-channel=sound]")
    mirrored.write(mirrored.filter_units[0], job(RUN, "newcomer", exit_code=-6))
    expect(toasts.locator("#toasts li")).to_have_count(1)
    assert toasts.evaluate("window.notified") == [f"newcomer crashed in run {RUN}"]
    toasts.reload()
    assert toasts.locator("[data-channel=notification]").is_checked()
    assert toasts.locator("[data-channel=sound]").is_checked()


def test_it_says_that_the_browser_denies_notifications(toasts: Page) -> None:
    toasts.evaluate("Notification.requestPermission = async () => 'denied'")
    toasts.click("[popovertarget=alerts]")
    toasts.locator("[data-channel=notification]").click()
    expect(toasts.locator("#alert-permission")).to_contain_text("does not allow notifications")
    assert not toasts.locator("[data-channel=notification]").is_checked()
