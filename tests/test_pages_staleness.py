"""Which link is broken: the nearest one that is silent, for what lies behind it can't be told."""

from datetime import UTC, datetime, timedelta

from storage.read_models import SyncStatus
from storage.sync_status import LinkStatus
from web.pages.staleness import broken_links

NOW = datetime(2026, 11, 20, 12, tzinfo=UTC)
WARN_AFTER = timedelta(seconds=30)
WORKS = LinkStatus(NOW - timedelta(seconds=2))
LONG_AGO = NOW - timedelta(minutes=5)
FAILS = LinkStatus(LONG_AGO, failing_since=LONG_AGO + timedelta(seconds=2), reason="timed out")


def sentences(**given: object) -> list[str]:
    machines = given.pop("machines", {"fu..01": WORKS, "fu..02": WORKS})
    assert isinstance(machines, dict)
    known = {"heartbeat_at": NOW, "gateway": WORKS, "status": WORKS, **given}
    freshness = SyncStatus(**known, machines=tuple(machines.items()))  # type: ignore[arg-type]
    return [link.sentence for link in broken_links(freshness, NOW, WARN_AFTER)]


def test_it_finds_nothing_where_all_works() -> None:
    assert sentences() == []


def test_it_names_the_grabber_alone_when_it_is_silent() -> None:
    assert sentences(heartbeat_at=LONG_AGO, gateway=FAILS, machines={"fu..01": FAILS}) == [
        "The grabber is silent"
    ]


def test_it_names_the_gateway_alone_when_it_fails() -> None:
    assert sentences(gateway=FAILS, machines={"fu..01": FAILS}) == ["DQM²'s gateway does not answer"]


def test_it_names_each_machine_that_fails() -> None:
    machines = {"fu..01": FAILS, "fu..02": WORKS, "fu..03": LinkStatus()}
    assert sentences(machines=machines) == ["fu..01 is not mirrored", "fu..03 is not mirrored"]


def test_it_bears_with_a_failure_that_is_short() -> None:
    fails = LinkStatus(
        NOW - timedelta(seconds=10), failing_since=NOW - timedelta(seconds=5), reason="timed out"
    )
    assert sentences(machines={"fu..01": fails}) == []


def test_it_minds_the_slow_schedule_of_the_clusters_status() -> None:
    assert sentences(status=LinkStatus(LONG_AGO)) == []
    assert sentences(status=FAILS) == ["Which machines are up is not known"]


def test_it_tells_since_when_and_why() -> None:
    freshness = SyncStatus(NOW, FAILS, WORKS, ())
    (link,) = broken_links(freshness, NOW, WARN_AFTER)
    assert (link.since, link.reason) == (LONG_AGO, "timed out")


def test_it_says_that_there_was_never_a_grabber() -> None:
    (link,) = broken_links(None, NOW, WARN_AFTER)
    assert link.since is None
