"""Status of a link: transitions between success and failure, and its JSON form."""

from datetime import UTC, datetime, timedelta

from storage.sync_status import ClusterLinks, LinkStatus, from_json, to_json

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def test_it_keeps_the_time_of_the_first_failure_and_the_latest_reason() -> None:
    link = (
        LinkStatus(last_success_at=NOON)
        .failed(NOON + MINUTE, "timed out")
        .failed(NOON + 2 * MINUTE, "status 500")
    )
    assert (link.last_success_at, link.failing_since, link.reason) == (NOON, NOON + MINUTE, "status 500")


def test_it_forgets_failures_after_a_success() -> None:
    link = LinkStatus().failed(NOON, "timed out").succeeded(NOON + MINUTE)
    assert link == LinkStatus(last_success_at=NOON + MINUTE)
    assert link.failed(NOON + 2 * MINUTE, "timed out").failing_since == NOON + 2 * MINUTE


def test_a_success_before_the_clock_was_set_back_does_not_hide_a_failure() -> None:
    link = LinkStatus(last_success_at=NOON + timedelta(hours=1)).failed(NOON, "timed out")
    assert link.last_success_at == NOON
    assert link.failed(NOON + MINUTE, "timed out").last_success_at == NOON


def test_it_survives_the_conversion_to_json() -> None:
    links = ClusterLinks(
        gateway=LinkStatus(NOON),
        machines={
            1: LinkStatus(NOON, NOON + MINUTE, "timed out", documents_behind=7, missing="0 to 99"),
            2: LinkStatus(),
        },
        status=LinkStatus(failing_since=NOON, reason="timed out"),
        status_machines=(1, 2),
        certificate_expires_at=NOON + MINUTE,
    )
    assert from_json(to_json(links)) == links
