"""Outages: the failing part that is nearest to the server is reported alone."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from storage.outages import find_outages, with_causes
from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import LinkStatus

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
STALE_AFTER = timedelta(seconds=30)
WORKING = LinkStatus(NOW - timedelta(seconds=2))
LONG_AGO = NOW - timedelta(minutes=5)
FAILING = LinkStatus(LONG_AGO, failing_since=LONG_AGO + timedelta(seconds=2), reason="timed out")


def messages(**given: object) -> list[str]:
    machines = given.pop("machines", {"fu..01": WORKING, "fu..02": WORKING})
    assert isinstance(machines, dict)
    known = {"heartbeat_at": NOW, "gateway": WORKING, "status": WORKING, **given}
    status = SyncStatus(**known, machines=tuple(machines.items()))  # type: ignore[arg-type]
    return [outage.message for outage in find_outages(status, NOW, STALE_AFTER)]


def test_it_finds_no_outage_while_everything_works() -> None:
    assert messages() == []


def test_it_reports_only_the_grabber_if_that_does_not_report() -> None:
    assert messages(heartbeat_at=LONG_AGO, gateway=FAILING, machines={"fu..01": FAILING}) == [
        "The grabber is not reporting"
    ]


def test_it_reports_only_the_gateway_if_that_fails() -> None:
    assert messages(gateway=FAILING, machines={"fu..01": FAILING}) == ["The DQM² gateway can't be read"]


def test_it_reports_each_failing_machine() -> None:
    machines = {"fu..01": FAILING, "fu..02": WORKING, "fu..03": LinkStatus()}
    assert messages(machines=machines) == ["fu..01 is not mirrored", "fu..03 is not mirrored"]


def test_it_blames_the_grabber_for_links_that_grow_old_with_its_heartbeat() -> None:
    heartbeat_at = NOW - timedelta(seconds=29)
    last_seen = LinkStatus(heartbeat_at - timedelta(seconds=3))
    assert messages(heartbeat_at=heartbeat_at, gateway=last_seen, machines={"fu..01": last_seen}) == []
    heartbeat_at = NOW - timedelta(seconds=31)
    assert messages(heartbeat_at=heartbeat_at, gateway=last_seen) == ["The grabber is not reporting"]


def test_it_does_not_take_a_heartbeat_from_the_future_for_a_sign_of_life() -> None:
    fresh = LinkStatus(NOW + timedelta(seconds=29))
    a_little_ahead = {
        "heartbeat_at": NOW + timedelta(seconds=29),
        "gateway": fresh,
        "machines": {"fu": fresh},
    }
    assert messages(**a_little_ahead) == []
    ahead = NOW + timedelta(seconds=31)
    assert messages(heartbeat_at=ahead) == ["The grabber's clock is ahead of the server's"]


@pytest.mark.parametrize("reason", ["no response: timed out", "refused with status 403"])
def test_it_says_that_the_gateway_can_not_be_read_and_why(reason: str) -> None:
    failing = replace(FAILING, reason=reason)
    (outage,) = find_outages(SyncStatus(NOW, failing, WORKING, ()), NOW, STALE_AFTER)
    assert (outage.message, outage.reason) == ("The DQM² gateway can't be read", reason)


@pytest.mark.parametrize("gateway", [LinkStatus(LONG_AGO), LinkStatus()])
def test_it_blames_no_gateway_that_no_request_has_failed_at(gateway: LinkStatus) -> None:
    """The first heartbeat of a grabber has the links as the one before left them."""
    unread = {"fu..01": LinkStatus(gateway.last_success_at)}
    assert messages(gateway=gateway, machines=unread) == ["Nothing has been read from DQM²"]


def test_it_blames_a_gateway_that_has_just_failed_for_its_machines() -> None:
    now_failing = LinkStatus(
        NOW - timedelta(seconds=25), failing_since=NOW - timedelta(seconds=20), reason="timed out"
    )
    machines = {"fu..01": FAILING, "fu..02": now_failing}
    assert messages(gateway=now_failing, machines=machines) == ["The DQM² gateway can't be read"]


def test_it_reports_once_that_no_machine_is_mirrored() -> None:
    machines = {"fu..01": FAILING, "fu..02": FAILING}
    assert messages(machines=machines) == ["None of the machines is mirrored"]


def test_it_tolerates_a_short_failure() -> None:
    failing = LinkStatus(
        NOW - timedelta(seconds=10), failing_since=NOW - timedelta(seconds=5), reason="timed out"
    )
    assert messages(machines={"fu..01": failing}) == []


def test_it_reports_the_cluster_status_only_if_polling_it_fails() -> None:
    assert messages(status=LinkStatus(LONG_AGO)) == []
    assert messages(status=FAILING) == ["The status of the machines is unknown"]


def test_it_reports_since_when_and_why() -> None:
    (outage,) = find_outages(SyncStatus(NOW, FAILING, WORKING, ()), NOW, STALE_AFTER)
    assert (outage.since, outage.reason) == (LONG_AGO, "timed out")


def test_it_names_the_cause_if_a_machine_is_down() -> None:
    machines = (("fu..01", FAILING), ("fu..02", FAILING), ("fu..03", WORKING))
    outages = find_outages(SyncStatus(NOW, WORKING, WORKING, machines), NOW, STALE_AFTER)
    down = MachineStatus("fu..02", is_up=False, reason="refused", since=NOW, checked_at=NOW, is_current=True)
    assert [(each.message, each.reason) for each in with_causes(outages, [down])] == [
        ("fu..01 is not mirrored", "timed out"),
        ("fu..02 is down and not mirrored", "refused"),
    ]


def test_it_reports_that_there_was_never_a_grabber() -> None:
    (outage,) = find_outages(None, NOW, STALE_AFTER)
    assert outage.since is None
