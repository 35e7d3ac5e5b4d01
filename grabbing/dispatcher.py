"""Dispatcher of one receiver's notifications: takes in transitions and delivers those that are due.

What was delivered is recorded after the delivery, so that a message is repeated if the grabber is killed in
between, and never lost.
"""

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

from config.receivers import Receiver
from dqmsquare_cfg import Cluster
from grabbing import metrics, notification_message
from grabbing.receiver_queue import ReceiverQueue
from grabbing.sender_process import SenderProcess
from runtime import logging_setup
from storage import receiver_store, transitions
from storage.mutes import Mute, read_mutes
from storage.receiver_store import StoredReceiver
from storage.transitions import RecordedTransition, Thing, TransitionKind

log = logging.getLogger(__name__)

_MUTES_S = 5.0
_BATCH = 500
# Pauses after a failure: the first, and the longest.
_RETRY_S = 30.0
_MAX_RETRY_S = 3600.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message on its way, and the transitions in it by thing."""

    process: SenderProcess
    happened: Mapping[Thing, Sequence[RecordedTransition]]


class Dispatcher:
    """Serves one receiver, as long as `connection` holds the notifier's lock.

    `stored` is the state to continue from, `queue` was made of it, and `delivery` is the message that is on
    its way. Methods raise SQLAlchemyError.
    """

    def __init__(
        self,
        connection: sa.Connection,
        cluster: Cluster,
        receiver: Receiver,
        stored: StoredReceiver,
        queue: ReceiverQueue,
        *,
        base_url: str,
        delivery: Delivery | None,
    ) -> None:
        self.delivery = delivery
        self._connection = connection
        self._cluster = cluster
        self._receiver = receiver
        self._queue = queue
        self._base_url = base_url
        self._last_queued = stored.last_queued
        self._sent = stored.sent
        self._dropped = stored.dropped
        self._failures = stored.failures
        self._failing_since = stored.failing_since
        self._retry_at_s = self._paused_until_s = self._check_mutes_at_s = time.monotonic()

    def serve(self) -> None:
        """Take in new transitions, record what was delivered, and deliver what is due."""
        if time.monotonic() < self._paused_until_s:
            return
        self._take_in()
        if self.delivery is not None and not self.delivery.process.is_done:
            return
        self.record_delivery()
        self._report_unmuted()
        if time.monotonic() >= self._retry_at_s:
            self._begin_delivery()

    def pause(self, seconds: float) -> None:
        """Pause deliveries to the receiver."""
        self._paused_until_s = time.monotonic() + seconds

    def record_delivery(self) -> None:
        """Wait for the end of the delivery under way, if there is one, and record its result."""
        if self.delivery is None:
            return
        reason = self.delivery.process.result()
        if reason is None:
            self._record_success(self.delivery)
        else:
            self._record_failure(reason)
        # Only now: without the record, the message is sent again.
        self.delivery = None

    def _take_in(self) -> None:
        while recorded := transitions.read_after(self._connection, self._last_queued, _BATCH):
            self._queue.take_in(recorded)
            self._last_queued = recorded[-1].id
            self._save()

    def _record_success(self, delivery: Delivery) -> None:
        now = datetime.now(UTC)
        self._queue.record_delivery(delivery.happened, now)
        self._failures, self._failing_since = 0, None
        self._sent += 1
        self._save(last_success_at=now, reason=None)
        metrics.notifications_sent.labels(self._cluster.value, self._receiver.name).inc()

    def _record_failure(self, reason: str) -> None:
        self._failures += 1
        self._failing_since = self._failing_since or datetime.now(UTC)
        pause_s = min(_RETRY_S * 2 ** min(self._failures - 1, 10), _MAX_RETRY_S)
        self._retry_at_s = time.monotonic() + pause_s
        self._save(reason=reason)
        metrics.notification_failures.labels(self._cluster.value, self._receiver.name).inc()
        log.warning(
            "notification_failed cluster=%s receiver=%s scheme=%s failures=%d retry_s=%.0f reason=%s",
            self._cluster,
            self._receiver.name,
            self._receiver.scheme,
            self._failures,
            pause_s,
            logging_setup.quote_value(reason),
        )

    def _report_unmuted(self) -> None:
        """Queue the problems whose mute has ended."""
        muted = self._queue.muted()
        if not muted or time.monotonic() < self._check_mutes_at_s:
            return
        self._check_mutes_at_s = time.monotonic() + _MUTES_S
        mutes = read_mutes(self._connection)
        now = datetime.now(UTC)
        for each in transitions.read_by_id(self._connection, muted.values()):
            if not _is_muted([each], mutes):
                self._queue.unmute(each.transition.thing, now)
                self._save()

    def _begin_delivery(self) -> None:
        now = datetime.now(UTC)
        self._drop_old(now)
        due = self._queue.due(now)
        if not due:
            return
        happened = self._select_unmuted(due)
        if not happened:
            return
        muted = [thing for thing, recorded in happened.items() if self._queue.was_muted(thing, recorded)]
        message = notification_message.compose(self._cluster, happened, muted=muted, base_url=self._base_url)
        process = SenderProcess(self._receiver, (message.title, message.body))
        self.delivery = Delivery(process, happened)

    def _select_unmuted(self, due: Mapping[Thing, Sequence[int]]) -> dict[Thing, list[RecordedTransition]]:
        """The due transitions by thing, of a muted thing the end of its problem at most.

        The others of a muted thing leave the queue, as do those that are no longer stored.
        """
        by_thing: dict[Thing, list[RecordedTransition]] = {thing: [] for thing in due}
        for each in transitions.read_by_id(self._connection, [id_ for ids in due.values() for id_ in ids]):
            by_thing[each.transition.thing].append(each)
        mutes = read_mutes(self._connection)
        happened: dict[Thing, list[RecordedTransition]] = {}
        for thing, recorded in by_thing.items():
            stored = {each.id for each in recorded}
            self._queue.discard(thing, set(due[thing]) - stored)
            if not _is_muted(recorded, mutes):
                happened[thing] = recorded
                continue
            self._queue.mute(thing, recorded)
            if not recorded[-1].transition.is_problem:
                happened[thing] = recorded[-1:]
        self._save()
        return {thing: recorded for thing, recorded in happened.items() if recorded}

    def _drop_old(self, now: datetime) -> None:
        dropped = self._queue.drop_old(now) if self._failures else 0
        if dropped:
            self._dropped += dropped
            self._save(dropped_at=now)
            metrics.notifications_dropped.labels(self._cluster.value, self._receiver.name).inc(dropped)
            log.error(
                'notifications_dropped cluster=%s receiver=%s things=%d reason="not delivered for a day"',
                self._cluster,
                self._receiver.name,
                dropped,
            )

    def _save(self, **values: object) -> None:
        stored = {
            "cursor": self._last_queued,
            "things": self._queue.to_json(),
            "failures": self._failures,
            "failing_since": self._failing_since,
            "sent": self._sent,
            "dropped": self._dropped,
            **values,
        }
        receiver_store.save(self._connection, self._receiver.name, stored)
        pending = metrics.notifications_pending.labels(self._cluster.value, self._receiver.name)
        pending.set(self._queue.pending)


def _is_muted(recorded: Sequence[RecordedTransition], mutes: Iterable[Mute]) -> bool:
    """Whether mutes cover all problems of a thing; its end alone is never muted."""
    problems = [each.transition for each in recorded if each.transition.is_problem]
    subjects = [mute.subject for mute in mutes]
    return bool(problems) and all(
        problem.thing.kind is TransitionKind.CLIENT
        and any(subject.covers(problem.thing.subject, problem.crash_group) for subject in subjects)
        for problem in problems
    )
