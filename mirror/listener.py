"""Hears from PostgreSQL what changed, on a connection and a thread of its own (`mirror/changes.py`).

The grabber's notifications say which runs a batch was of. Behind them the listener looks once a second how
far the mirror is: that tells of heartbeats, of a notification that was lost, and of a database that hangs.
"""

import logging
import select
import threading
import time
from collections.abc import Mapping
from datetime import datetime
from typing import Any

import psycopg2
import sqlalchemy as sa

import db
from mirror.changes import Changes

log = logging.getLogger(__name__)

_LOOK_EVERY_S = 1.0
# How long a look may take, where that is limited (`web/deadlines.py`): a hanging database shows within 2 s.
_LOOK: Mapping[str, Any] = {"isolation_level": "AUTOCOMMIT", "answer_within_s": 0.9}
_AGAIN_PAUSE_S = 1.0

# How far each machine is mirrored: its number, epoch and revision.
_Positions = frozenset[tuple[Any, ...]]


class Listener:
    """Tells the changes of a cluster's database until the process ends, over a connection of `database`."""

    def __init__(self, database: sa.Engine, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._positions: _Positions | None = None
        self._beat_at: datetime | None = None
        self._was_told = False

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
            self._changes.is_heard = False
            self._changes.everything()
            pause.wait(_AGAIN_PAUSE_S)

    def _listen(self) -> None:
        """Listens until the database can't be had. Raises what that raises."""
        with self._database.connect().execution_options(**_LOOK) as connection:
            connection.execute(sa.text(f"LISTEN {db.CHANNEL}"))
            self._positions, self._beat_at = _look(connection)
            # Whatever changed before is not told.
            self._changes.everything()
            self._changes.is_heard = True
            heard: Any = connection.connection.driver_connection
            look_at_s = time.monotonic() + _LOOK_EVERY_S
            while True:
                readable, _, _ = select.select([heard], (), (), max(0.0, look_at_s - time.monotonic()))
                if readable:
                    self._take(heard)
                if time.monotonic() >= look_at_s:
                    found = _look(connection)
                    self._take(heard)
                    self._compare(*found)
                    look_at_s = time.monotonic() + _LOOK_EVERY_S

    def _take(self, heard: Any) -> None:
        """Takes the notifications that have come in."""
        heard.poll()
        while heard.notifies:
            self._changes.batch(heard.notifies.pop(0).payload)
            self._was_told = True

    def _compare(self, positions: _Positions, beat_at: datetime | None) -> None:
        """Compares how far the mirror is with how far it was at the last look."""
        if positions != self._positions and not self._was_told:
            self._changes.everything()
        if beat_at != self._beat_at:
            self._changes.links()
        self._positions, self._beat_at, self._was_told = positions, beat_at, False


def _look(connection: sa.Connection) -> tuple[_Positions, datetime | None]:
    machines = db.machines.c
    positions = connection.execute(sa.select(machines.id, machines.epoch, machines.revision)).all()
    beat_at: datetime | None = connection.scalar(sa.select(db.heartbeat.c.beat_at))
    return frozenset(map(tuple, positions)), beat_at
