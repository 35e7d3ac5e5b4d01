"""Notifier of a cluster: delivers its transitions to the receivers of NOTIFY_URLS.

It runs on a thread of the leader with a database connection of its own, so that mirroring never waits for it.
That connection holds a lock, and all that is stored is written through it: of several notifiers one at a time
can be at work. Each receiver has a dispatcher.
"""

import logging
import threading

import sqlalchemy as sa

import db
from config.receivers import Receiver
from dqmsquare_cfg import Cluster, Settings
from grabbing import metrics
from grabbing.dispatcher import Delivery, Dispatcher
from grabbing.receiver_queue import ReceiverQueue, rules_for
from runtime import logging_setup
from storage import receiver_store
from storage.receiver_store import StoredReceiver

log = logging.getLogger(__name__)

_POLL_S = 1.0
_RECONNECT_S = 3.0
_ERROR_PAUSE_S = 30.0


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
        self._dispatchers: dict[str, Dispatcher] = {}
        # Messages on their way while the database is away.
        self._under_way: dict[str, Delivery] = {}
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
        for dispatcher in self._dispatchers.values():
            dispatcher.record_delivery()
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
        self._dispatchers = {
            receiver.name: self._dispatcher(connection, receiver, stored[receiver.name])
            for receiver in self._receivers
        }
        self._is_database_down = False
        return True

    def _dispatcher(
        self, connection: sa.Connection, receiver: Receiver, stored: StoredReceiver
    ) -> Dispatcher:
        queue = ReceiverQueue(self._cluster, rules_for(receiver.name, self._rules), stored.things)
        if queue.unknown:
            log.warning(
                'notifications_skipped cluster=%s receiver=%s things=%d reason="stored by another release"',
                self._cluster,
                receiver.name,
                len(queue.unknown),
            )
        return Dispatcher(
            connection,
            self._cluster,
            receiver,
            stored,
            queue,
            base_url=self._base_url,
            delivery=self._under_way.pop(receiver.name, None),
        )

    def _release(self) -> None:
        """Give the lock back; deliveries under way are recorded if this notifier gets it again."""
        self._under_way |= {
            name: dispatcher.delivery
            for name, dispatcher in self._dispatchers.items()
            if dispatcher.delivery is not None
        }
        self._dispatchers = {}
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
        for name, dispatcher in self._dispatchers.items():
            try:
                dispatcher.serve()
            except sa.exc.SQLAlchemyError:
                raise
            # As in `_run`; the other receivers are served meanwhile.
            except Exception:
                dispatcher.pause(_ERROR_PAUSE_S)
                metrics.notifier_errors.labels(self._cluster.value).inc()
                log.exception(
                    "notifier_failed cluster=%s receiver=%s pause_s=%.0f", self._cluster, name, _ERROR_PAUSE_S
                )
