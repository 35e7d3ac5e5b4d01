"""Hears from PostgreSQL what changed, on a connection and a thread of its own (`storage/change_tracker.py`).

The grabber's notifications say how far a machine is mirrored and which runs changed with that. Behind them
the listener looks once a second how far the mirror is: that tells of heartbeats, of a notification that was
lost, and of a database that hangs.
"""

import logging
import select
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import psycopg2
import sqlalchemy as sa

import db
from storage.change_tracker import ChangeTracker
from storage.notifications import ChangeNotification, MachineProgress

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# How long a look may take, where that is limited (`web/databases.py`): a hanging database shows within 2 s.
_LOOK: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT", "response_timeout_s": 0.9}
_AGAIN_PAUSE_S = 1.0
# The connection's name in PostgreSQL.
_NAME = "dqmsquare-mirror listener"


@dataclass(frozen=True, slots=True)
class _State:
    """How far the mirror is: each machine by its number, the mutes that go on, the grabber's heartbeat."""

    positions: Mapping[int, MachineProgress]
    mutes: Mapping[int, datetime]
    beat_at: datetime | None


class ChangeListener:
    """Tells the changes of a cluster's database until the process ends, over a connection of `database`."""

    def __init__(self, database: sa.Engine, changes: ChangeTracker) -> None:
        self._database = database
        self._changes = changes
        # As far as is known from notifications and looks.
        self._known = _State({}, {}, None)

    def start(self) -> None:
        """Begins to listen."""
        threading.Thread(target=self._run, name="listener", daemon=True).start()

    def _run(self) -> None:
        pause = threading.Event()
        while True:
            try:
                self._listen()
            except (sa.exc.SQLAlchemyError, psycopg2.Error) as error:
                log.debug("not listening reason=%s", type(error).__name__)
            finally:
                # Whatever it was: nobody hears of changes, so that nothing holds.
                self._changes.is_listening = False
                self._changes.invalidate_all()
            pause.wait(_AGAIN_PAUSE_S)

    def _listen(self) -> None:
        """Listens until the database can't be had. Raises what that raises."""
        with self._database.connect().execution_options(**_LOOK) as connection:
            # Not the pool's any more: nobody else is to get a connection that listens.
            connection.detach()
            connection.execute(sa.select(sa.func.set_config("application_name", _NAME, False)))  # noqa: FBT003
            connection.execute(sa.text(f"LISTEN {db.CHANNEL}"))
            self._known = _look(connection)
            # Whatever changed before is not told.
            self._changes.invalidate_all()
            self._changes.is_listening = True
            heard: Any = connection.connection.dbapi_connection
            readable = select.poll()
            readable.register(heard, select.POLLIN)
            look_at_s = time.monotonic() + _LOOK_EVERY_S
            while True:
                if readable.poll(max(0.0, look_at_s - time.monotonic()) * 1000):
                    self._take(heard)
                if time.monotonic() >= look_at_s:
                    found = _look(connection)
                    # What it has found was told before, or just now.
                    self._take(heard)
                    self._compare(found)
                    look_at_s = time.monotonic() + _LOOK_EVERY_S

    def _take(self, heard: Any) -> None:
        """Takes the notifications that have come in."""
        heard.poll()
        while heard.notifies:
            news = ChangeNotification.parse(heard.notifies.pop(0).payload)
            if news is None:
                self._changes.invalidate_all()
                continue
            self._changes.record_batch(news.runs)
            if news.progress is not None:
                positions = {**self._known.positions, news.progress.machine_id: news.progress}
                self._known = replace(self._known, positions=positions)

    def _compare(self, found: _State) -> None:
        """Compares how far the mirror is with how far it was told to be."""
        if (found.positions, found.mutes) != (self._known.positions, self._known.mutes):
            self._changes.invalidate_all()
        if found.beat_at != self._known.beat_at:
            self._changes.record_heartbeat()
        self._known = found


def _look(connection: sa.Connection) -> _State:
    machines, mutes = db.machines.c, db.mutes.c
    positions = connection.execute(sa.select(machines.id, machines.epoch, machines.revision))
    go_on = connection.execute(sa.select(mutes.id, mutes.ends_at).where(mutes.ends_at > sa.func.now()))
    return _State(
        positions={row.id: MachineProgress(row.id, row.epoch, row.revision) for row in positions},
        mutes={row.id: row.ends_at for row in go_on},
        beat_at=connection.scalar(sa.select(db.heartbeat.c.beat_at)),
    )
