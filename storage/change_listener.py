"""Cache invalidation: a listener that learns of database changes, and a tracker that knows what is current.

PostgreSQL's `NOTIFY` reports each committed batch: the runs that it changed and the machine's new checkpoint.
In addition the listener polls the checkpoints once a second. That detects heartbeats, a lost notification,
and a database that hangs.
"""

import logging
import select
import threading
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from typing import Any

import psycopg2
import sqlalchemy as sa

import db
from storage.notifications import ChangeNotification, MachineProgress

log = logging.getLogger(__name__)

_POLL_INTERVAL_S = 1.0
# Time limit of a poll, where limits are enforced: a hanging database is noticed within 2 s.
_POLL_OPTIONS: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT", "response_timeout_s": 0.9}
_RECONNECT_DELAY_S = 1.0
_APPLICATION_NAME = "dqmsquare-mirror listener"
# Runs tracked one by one; beyond that all of them count as changed, which costs reading them once more.
_MAX_RUNS = 10_000


class Topic(Enum):
    """Something that can change. The number of a run is a topic as well."""

    # The set of runs that have jobs.
    RUNS = auto()
    # Any mirrored document: the machines' clocks, by which jobs become stuck, advance with each batch.
    BATCHES = auto()
    # The grabber's heartbeat: the status of each link and of the cluster.
    LINKS = auto()


@dataclass(frozen=True, slots=True)
class RunsOutside:
    """Topics: all runs but those from `first` to `last`."""

    first: int
    last: int

    def __contains__(self, topic: Topic | int) -> bool:
        return isinstance(topic, int) and not self.first <= topic <= self.last


Topics = Collection[Topic | int] | RunsOutside


class ChangeTracker:
    """Versions of what is mirrored of a cluster.

    Each change increments `version`, and each topic has the version of its last change: a value read at some
    version is current as long as none of its topics has changed since. `is_listening` is `False` while
    changes can't be received; then nothing is known to be current. Readers take no lock: a change is complete
    when `version` is incremented.
    """

    def __init__(self) -> None:
        self.version = 0
        self.is_listening = False
        self._all_changed_at = 0
        self._changed_at: dict[Topic | int, int] = {}
        self._known_runs: set[int] = set()
        self._lock = threading.Lock()

    def is_current(self, topics: Topics, version: int) -> bool:
        """Whether none of the topics has changed since a version; a range of runs may be of any length."""
        if self._all_changed_at > version:
            return False
        changed_at = self._changed_at
        if isinstance(topics, RunsOutside) or (isinstance(topics, range) and len(topics) > len(changed_at)):
            # A copy, since other topics may be added meanwhile.
            return not any(
                at > version and isinstance(topic, int) and topic in topics
                for topic, at in list(changed_at.items())
            )
        return all(changed_at.get(topic, 0) <= version for topic in topics)

    def record_batch(self, runs: Collection[int] | None, other_runs: Collection[int] | None = ()) -> None:
        """Record that jobs of `runs`, and other documents of `other_runs`, were written.

        `None`: of too many runs to name.
        """
        if runs is None or other_runs is None:
            self.invalidate_all()
            return
        if len(self._changed_at) + len(runs) + len(other_runs) > _MAX_RUNS:
            self.invalidate_all()
            return
        with self._lock:
            version = self.version + 1
            topics: list[Topic | int] = [Topic.BATCHES, *runs, *other_runs]
            # A run without an earlier notification of a job may be new.
            if not self._known_runs.issuperset(runs):
                topics.append(Topic.RUNS)
                self._known_runs.update(runs)
            self._changed_at.update(dict.fromkeys(topics, version))
            self.version = version

    def record_heartbeat(self) -> None:
        """Record a new heartbeat."""
        with self._lock:
            self._changed_at[Topic.LINKS] = self.version + 1
            self.version += 1

    def invalidate_all(self) -> None:
        """Record that anything may have changed."""
        with self._lock:
            self._all_changed_at = self.version + 1
            self._changed_at.clear()
            self._known_runs.clear()
            self.version += 1


@dataclass(frozen=True, slots=True)
class _State:
    """Polled state: each machine's checkpoint, the mutes in force, the time of the last heartbeat."""

    checkpoints: Mapping[int, MachineProgress]
    mutes: Mapping[int, datetime]
    heartbeat_at: datetime | None


class ChangeListener:
    """Records the changes of a cluster's database until the process ends, on a thread and a connection."""

    def __init__(self, database: sa.Engine, changes: ChangeTracker) -> None:
        self._database = database
        self._changes = changes
        # As known from notifications and polls.
        self._known = _State({}, {}, None)

    def start(self) -> None:
        """Start listening."""
        threading.Thread(target=self._run, name="listener", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self._listen()
            except (sa.exc.SQLAlchemyError, psycopg2.Error) as error:
                log.debug("listen_lost reason=%s", type(error).__name__)
            # An error in the program must not end all caching until the server is started again.
            except Exception:
                log.exception("listener_failed")
            finally:
                # Whatever the error: changes go unnoticed now, so nothing is known to be current.
                self._changes.is_listening = False
                self._changes.invalidate_all()
            pause.wait(_RECONNECT_DELAY_S)

    def _listen(self) -> None:
        """Listen until the connection fails. Raises SQLAlchemy's and psycopg2's errors."""
        with self._database.connect().execution_options(**_POLL_OPTIONS) as connection:
            # Detached from the pool, so that no other code gets a connection that listens.
            connection.detach()
            rename = sa.func.set_config("application_name", _APPLICATION_NAME, False)  # noqa: FBT003
            connection.execute(sa.select(rename))
            connection.execute(sa.text(f"LISTEN {db.CHANNEL}"))
            self._known = _poll(connection)
            # Changes before LISTEN were not received.
            self._changes.invalidate_all()
            self._changes.is_listening = True
            listening: Any = connection.connection.dbapi_connection
            readable = select.poll()
            readable.register(listening, select.POLLIN)
            next_poll_s = time.monotonic() + _POLL_INTERVAL_S
            while True:
                if readable.poll(max(0.0, next_poll_s - time.monotonic()) * 1000):
                    self._receive(listening)
                if time.monotonic() >= next_poll_s:
                    found = _poll(connection)
                    # The notifications of everything found have arrived by now.
                    self._receive(listening)
                    self._compare(found)
                    next_poll_s = time.monotonic() + _POLL_INTERVAL_S

    def _receive(self, listening: Any) -> None:
        """Process the notifications that have arrived."""
        listening.poll()
        while listening.notifies:
            notification = ChangeNotification.parse(listening.notifies.pop(0).payload)
            if notification is None:
                self._changes.invalidate_all()
                continue
            self._changes.record_batch(notification.runs, notification.other_runs)
            if (progress := notification.progress) is not None:
                checkpoints = {**self._known.checkpoints, progress.machine_id: progress}
                self._known = replace(self._known, checkpoints=checkpoints)

    def _compare(self, found: _State) -> None:
        """Compare polled state with what notifications have reported."""
        if (found.checkpoints, found.mutes) != (self._known.checkpoints, self._known.mutes):
            self._changes.invalidate_all()
        if found.heartbeat_at != self._known.heartbeat_at:
            self._changes.record_heartbeat()
        self._known = found


def _poll(connection: sa.Connection) -> _State:
    machines, mutes = db.machines.c, db.mutes.c
    checkpoints = connection.execute(sa.select(machines.id, machines.epoch, machines.revision))
    in_force = connection.execute(sa.select(mutes.id, mutes.ends_at).where(mutes.ends_at > sa.func.now()))
    return _State(
        checkpoints={row.id: MachineProgress(row.id, row.epoch, row.revision) for row in checkpoints},
        mutes={row.id: row.ends_at for row in in_force},
        heartbeat_at=connection.scalar(sa.select(db.heartbeat.c.heartbeat_at)),
    )
