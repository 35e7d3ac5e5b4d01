"""Outages of the data path: DQM²'s machines, their gateway, the grabber, the database, this server.

The failing part that is nearest to this server is reported alone: nothing is known of what lies behind it.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, auto

from storage.read_models import MachineStatus, SyncStatus
from storage.sync_status import LinkStatus

NO_GRABBER = "No grabber has mirrored this cluster yet"
CLOCK_AHEAD = "The grabber's clock is ahead of the server's"


class Part(Enum):
    """A part of the data path."""

    DATABASE = auto()
    GRABBER = auto()
    GATEWAY = auto()
    ALL_MACHINES = auto()
    MACHINE = auto()
    CLUSTER_STATUS = auto()


@dataclass(frozen=True, slots=True)
class Outage:
    """A part of the data path that fails; `since` is `None` if it never worked.

    `makes_jobs_stale`: the state of jobs is not up to date because of it. `machine` is the label of the
    machine that is not mirrored, `None` if another part fails.
    """

    part: Part
    message: str
    since: datetime | None
    reason: str | None = None
    makes_jobs_stale: bool = True
    machine: str | None = None


def find_outages(
    sync: SyncStatus | None,
    now: datetime,
    stale_after: timedelta,
    database_down_since: datetime | None = None,
) -> list[Outage]:
    """The parts of the data path that have not worked for `stale_after`; the nearest hides the others.

    Links are judged at the time of the heartbeat, which is all that the grabber has reported: if it dies,
    they are not at fault. A gateway that has just begun to fail is why its machines are out of date. A
    heartbeat from the future would be new for a long time after its grabber's end.
    """
    if database_down_since is not None:
        return [Outage(Part.DATABASE, "The mirror's database does not respond", database_down_since)]
    if sync is None:
        return [Outage(Part.GRABBER, NO_GRABBER, None)]
    if sync.heartbeat_at < now - stale_after:
        return [Outage(Part.GRABBER, "The grabber is not reporting", sync.heartbeat_at)]
    if sync.heartbeat_at > now + stale_after:
        return [Outage(Part.GRABBER, CLOCK_AHEAD, None, "the age of the data is not known")]
    oldest = sync.heartbeat_at - stale_after
    stale = [(machine, link) for machine, link in sync.machines if is_stale(link, oldest)]
    if is_stale(sync.gateway, oldest) or (stale and sync.gateway.failing_since is not None):
        return [_gateway_outage(sync.gateway)]
    if len(stale) == len(sync.machines) > 1:
        return [
            _outage(
                Part.ALL_MACHINES,
                "None of the machines is mirrored",
                min((link for _, link in stale), key=_last_seen),
            )
        ]
    return [
        *(
            replace(_outage(Part.MACHINE, f"{machine} is not mirrored", link), machine=machine)
            for machine, link in stale
        ),
        *_outages_of_status(sync.status, oldest),
    ]


def with_causes(outages: Iterable[Outage], down: Iterable[MachineStatus]) -> list[Outage]:
    """The outages, of which those of machines that DQM² reports as `down` say so, with its reason."""
    reasons = {status.machine: status.reason for status in down}
    return [
        replace(
            outage,
            message=f"{outage.machine} is down and not mirrored",
            reason=reasons[outage.machine] or outage.reason,
        )
        if outage.machine in reasons
        else outage
        for outage in outages
    ]


def find_catching_up(sync: SyncStatus | None, outages: Iterable[Outage]) -> Sequence[tuple[str, LinkStatus]]:
    """The machines, with their links, whose jobs are stale only because they are catching up.

    An outage of the machine, or one that makes the jobs of all machines stale, hides it.
    """
    failing = {outage.machine for outage in outages if outage.makes_jobs_stale}
    if sync is None or None in failing:
        return ()
    return [
        (machine, link) for machine, link in sync.machines if link.is_catching_up and machine not in failing
    ]


def is_stale(link: LinkStatus, oldest: datetime) -> bool:
    """Whether a link has not worked since `oldest`."""
    return link.last_success_at is None or link.last_success_at < oldest


def _outages_of_status(status: LinkStatus, oldest: datetime) -> Iterator[Outage]:
    # The cluster status is polled rarely, so its age alone is no sign of an outage.
    if status.failing_since is not None and is_stale(status, oldest):
        yield replace(
            _outage(Part.CLUSTER_STATUS, "The status of the machines is unknown", status),
            makes_jobs_stale=False,
        )


def _gateway_outage(gateway: LinkStatus) -> Outage:
    """The outage of the gateway, which may have responded with a refusal: the reason says so.

    If no request has failed, the grabber has just started, or waits for a response or for its database.
    """
    if gateway.failing_since is None:
        return _outage(Part.GATEWAY, "Nothing has been read from DQM²", gateway)
    return _outage(Part.GATEWAY, "The DQM² gateway can't be read", gateway)


def _outage(part: Part, message: str, link: LinkStatus) -> Outage:
    return Outage(part, message, link.last_success_at or link.failing_since, link.reason)


def _last_seen(link: LinkStatus) -> float:
    return 0.0 if link.last_success_at is None else link.last_success_at.timestamp()
