"""Notifier of a cluster: delivers its transitions to the receivers of NOTIFY_URLS.

It runs on a thread of the leader with a database connection of its own, so that mirroring never waits for it.
That connection holds a lock, and all that is stored is written through it: of several notifiers one at a time
can be at work. What was delivered is recorded after the delivery, so that a message is repeated if the
notifier is killed in between, and never lost.
"""

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import sqlalchemy as sa

import db
from config.receivers import Receiver
from dqmsquare_cfg import Cluster, Settings
from grabbing import metrics, notification_message
from grabbing.receiver_queue import ReceiverQueue, rules_for
from grabbing.sender_process import SenderProcess
from runtime import logging_setup
from storage import receiver_store, transitions
from storage.mutes import Mute, read_mutes
from storage.receiver_store import StoredReceiver
from storage.transitions import RecordedTransition, Thing, TransitionKind

log = logging.getLogger(__name__)

_POLL_S = 1.0
_RECONNECT_S = 3.0
_MUTES_S = 5.0
_BATCH = 500
# Pauses after a failure: the first, and the longest.
_RETRY_S = 30.0
_MAX_RETRY_S = 3600.0
_ERROR_PAUSE_S = 30.0


@dataclass(slots=True)
class _Delivery:
    """A message on its way, and the transitions in it by thing."""

    process: SenderProcess
    happened: Mapping[Thing, Sequence[RecordedTransition]]


@dataclass(slots=True)
class _State:
    """State of a receiver; `last_queued` is the id of the last transition that is in its queue."""

    receiver: Receiver
    queue: ReceiverQueue
    last_queued: int
    failures: int
    failing_since: datetime | None
    sent: int
    dropped: int
    retry_at_s: float = 0.0
    paused_until_s: float = 0.0
    checked_mutes_at_s: float = 0.0
    delivery: _Delivery | None = None


class Notifier:
    """Delivers the notifications of a cluster while its grabber is the leader."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self._cluster = cluster
        self._receivers = settings.notify_urls
        self._rules = settings.notify_rules
        self._base_url = settings.public_url
        self._database = db.engine(settings, cluster, "notifier", pool_size=1, isolation_level="AUTOCOMMIT")
        self._is_leader = threading.Event()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._connection: sa.Connection | None = None
        self._states: dict[str, _State] = {}
        # Messages on their way while the database is away.
        self._under_way: dict[str, _Delivery] = {}
        self._is_database_down = False
        metrics.start_at_zero(cluster.value, [receiver.name for receiver in self._receivers])

    def set_leader(self, is_leader: bool) -> None:  # noqa: FBT001 - the one value to set
        """Start or stop delivering. Without receivers, those of earlier settings are deleted.

        Raises SQLAlchemyError.
        """
        if not self._receivers:
            if is_leader:
                with self._database.connect() as connection:
                    receiver_store.register(connection, {})
                self._database.dispose()
            return
        if not is_leader:
            self._is_leader.clear()
            return
        self._is_leader.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
            self._thread.start()

    def stop(self, timeout_s: float) -> None:
        """Finish the deliveries under way, as far as the time allows, and stop."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        while not self._stop.is_set():
            pause_s = _POLL_S
            try:
                if self._is_leader.is_set() and self._acquire_lock():
                    self._step()
                elif not self._is_leader.is_set():
                    self._finish()
            except sa.exc.SQLAlchemyError as error:
                self._on_database_failure(error)
                pause_s = _RECONNECT_S
            # An error in the program must not end all notifications until the grabber is started again.
            except Exception:
                metrics.notifier_errors.labels(self._cluster.value).inc()
                log.exception("notifier_failed cluster=%s pause_s=%.0f", self._cluster, _ERROR_PAUSE_S)
                self._release()
                pause_s = _ERROR_PAUSE_S
            self._stop.wait(pause_s)
        try:
            self._finish()
        except sa.exc.SQLAlchemyError as error:
            self._on_database_failure(error)

    def _finish(self) -> None:
        """Record the deliveries under way, before another notifier continues."""
        for state in self._states.values():
            if state.delivery is not None:
                self._record(state, state.delivery)
        self._release()

    def _acquire_lock(self) -> bool:
        if self._connection is not None:
            return True
        connection = self._database.connect()
        if not receiver_store.acquire_lock(connection):
            connection.close()
            return False
        self._connection = connection
        stored = receiver_store.register(
            connection, {receiver.name: receiver.scheme for receiver in self._receivers}
        )
        self._states = {
            receiver.name: self._state(receiver, stored[receiver.name]) for receiver in self._receivers
        }
        self._is_database_down = False
        return True

    def _state(self, receiver: Receiver, stored: StoredReceiver) -> _State:
        queue = ReceiverQueue(self._cluster, rules_for(receiver.name, self._rules), stored.things)
        if queue.unknown:
            log.warning(
                'notifications_skipped cluster=%s receiver=%s things=%d reason="stored by another release"',
                self._cluster,
                receiver.name,
                len(queue.unknown),
            )
        return _State(
            receiver=receiver,
            queue=queue,
            last_queued=stored.last_queued,
            failures=stored.failures,
            failing_since=stored.failing_since,
            sent=stored.sent,
            dropped=stored.dropped,
            delivery=self._under_way.pop(receiver.name, None),
        )

    def _release(self) -> None:
        """Give the lock back; deliveries under way are recorded if this notifier gets it again."""
        self._under_way |= {
            name: state.delivery for name, state in self._states.items() if state.delivery is not None
        }
        self._states = {}
        if self._connection is not None:
            self._connection.invalidate()
            self._connection.close()
            self._connection = None
        self._database.dispose()

    def _on_database_failure(self, error: sa.exc.SQLAlchemyError) -> None:
        if not self._is_database_down:
            log.warning(
                "notifier_waiting cluster=%s reason=%s",
                self._cluster,
                logging_setup.quote_value(type(error).__name__),
            )
        self._is_database_down = True
        self._release()

    def _step(self) -> None:
        """Serve each receiver; an error in the program delays only the one that it concerns."""
        connection = self._held_connection()
        for state in self._states.values():
            if time.monotonic() < state.paused_until_s:
                continue
            try:
                self._serve(connection, state)
            except sa.exc.SQLAlchemyError:
                raise
            # As in `_run`; the other receivers are served meanwhile.
            except Exception:
                state.paused_until_s = time.monotonic() + _ERROR_PAUSE_S
                metrics.notifier_errors.labels(self._cluster.value).inc()
                log.exception(
                    "notifier_failed cluster=%s receiver=%s pause_s=%.0f",
                    self._cluster,
                    state.receiver.name,
                    _ERROR_PAUSE_S,
                )

    def _serve(self, connection: sa.Connection, state: _State) -> None:
        """Take in new transitions, record what was delivered, and deliver what is due."""
        self._take_in(connection, state)
        if state.delivery is not None:
            if not state.delivery.process.is_done:
                return
            self._record(state, state.delivery)
        self._report_unmuted(connection, state)
        if time.monotonic() >= state.retry_at_s:
            self._begin_delivery(connection, state)

    def _held_connection(self) -> sa.Connection:
        if self._connection is None:
            raise sa.exc.InvalidRequestError("the notifier holds no lock")
        return self._connection

    def _take_in(self, connection: sa.Connection, state: _State) -> None:
        while recorded := transitions.read_after(connection, state.last_queued, _BATCH):
            state.queue.take_in(recorded)
            state.last_queued = recorded[-1].id
            self._save(state)

    def _report_unmuted(self, connection: sa.Connection, state: _State) -> None:
        muted = state.queue.muted()
        if not muted or time.monotonic() - state.checked_mutes_at_s < _MUTES_S:
            return
        state.checked_mutes_at_s = time.monotonic()
        mutes = read_mutes(connection)
        now = datetime.now(UTC)
        for each in transitions.read_by_id(connection, muted.values()):
            if not _is_muted([each], mutes):
                state.queue.unmute(each.transition.thing, now)
                self._save(state)

    def _begin_delivery(self, connection: sa.Connection, state: _State) -> None:
        now = datetime.now(UTC)
        self._drop_old(state, now)
        due = state.queue.due(now)
        if not due:
            return
        happened, muted = self._happened(connection, state, due)
        if not happened:
            return
        message = notification_message.compose(self._cluster, happened, muted=muted, base_url=self._base_url)
        process = SenderProcess(state.receiver, (message.title, message.body))
        state.delivery = _Delivery(process, happened)

    def _happened(
        self, connection: sa.Connection, state: _State, due: Mapping[Thing, Sequence[int]]
    ) -> tuple[dict[Thing, list[RecordedTransition]], list[Thing]]:
        """The transitions that are due and not muted, by thing, and the things that were muted until now."""
        found = transitions.read_by_id(connection, [id_ for ids in due.values() for id_ in ids])
        by_thing: dict[Thing, list[RecordedTransition]] = {thing: [] for thing in due}
        for each in found:
            by_thing[each.transition.thing].append(each)
        mutes = read_mutes(connection)
        happened: dict[Thing, list[RecordedTransition]] = {}
        for thing, recorded in by_thing.items():
            stored = {each.id for each in recorded}
            state.queue.discard(thing, set(due[thing]) - stored)
            if not _is_muted(recorded, mutes):
                happened[thing] = recorded
                continue
            state.queue.mute(thing, recorded)
            if not recorded[-1].transition.is_problem:
                happened[thing] = recorded[-1:]
        self._save(state)
        happened = {thing: recorded for thing, recorded in happened.items() if recorded}
        return happened, [
            thing for thing, recorded in happened.items() if state.queue.was_muted(thing, recorded)
        ]

    def _record(self, state: _State, delivery: _Delivery) -> None:
        """Record the result of a delivery."""
        reason = delivery.process.result()
        now = datetime.now(UTC)
        if reason is None:
            state.queue.record_delivery(delivery.happened, now)
            state.failures, state.failing_since, state.retry_at_s = 0, None, 0.0
            state.sent += 1
            self._save(state, last_success_at=now, reason=None)
            metrics.notifications_sent.labels(self._cluster.value, state.receiver.name).inc()
        else:
            state.failures += 1
            state.failing_since = state.failing_since or now
            pause_s = min(_RETRY_S * 2 ** min(state.failures - 1, 10), _MAX_RETRY_S)
            state.retry_at_s = time.monotonic() + pause_s
            self._save(state, reason=reason)
            metrics.notification_failures.labels(self._cluster.value, state.receiver.name).inc()
            log.warning(
                "notification_failed cluster=%s receiver=%s scheme=%s failures=%d retry_s=%.0f reason=%s",
                self._cluster,
                state.receiver.name,
                state.receiver.scheme,
                state.failures,
                pause_s,
                logging_setup.quote_value(reason),
            )
        # Only now: without the record, the message is sent again.
        state.delivery = None

    def _drop_old(self, state: _State, now: datetime) -> None:
        dropped = state.queue.drop_old(now) if state.failures else 0
        if dropped:
            state.dropped += dropped
            self._save(state, dropped_at=now)
            metrics.notifications_dropped.labels(self._cluster.value, state.receiver.name).inc(dropped)
            log.error(
                'notifications_dropped cluster=%s receiver=%s things=%d reason="not delivered for a day"',
                self._cluster,
                state.receiver.name,
                dropped,
            )

    def _save(self, state: _State, **values: object) -> None:
        stored = {
            "cursor": state.last_queued,
            "things": state.queue.to_json(),
            "failures": state.failures,
            "failing_since": state.failing_since,
            "sent": state.sent,
            "dropped": state.dropped,
            **values,
        }
        receiver_store.save(self._held_connection(), state.receiver.name, stored)
        pending = metrics.notifications_pending.labels(self._cluster.value, state.receiver.name)
        pending.set(state.queue.pending)


def _is_muted(recorded: Sequence[RecordedTransition], mutes: Iterable[Mute]) -> bool:
    """Whether mutes cover all problems of a thing; its end alone is never muted."""
    problems = [each.transition for each in recorded if each.transition.is_problem]
    subjects = [mute.subject for mute in mutes]
    return bool(problems) and all(
        problem.thing.kind is TransitionKind.CLIENT
        and any(subject.covers(problem.thing.subject, problem.crash_group) for subject in subjects)
        for problem in problems
    )
