"""The clusters' databases as requests see them: readers, and a refusal at once while one is away.

A database that did not answer is asked again by one request a second; the others are refused meanwhile, so
that they neither wait nor wake it up all at once. Nothing needs a restart when it comes back.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import NoReturn

import psycopg2.errors
import sqlalchemy as sa
from flask import Flask, current_app

import db
from dqmsquare_cfg import Cluster, Settings
from runtime import logging_setup
from storage.change_listener import ChangeListener
from storage.change_tracker import ChangeTracker
from storage.reader import MirrorReader
from web import deadlines
from web.away import DatabaseAway
from web.cache.cached_reader import KeptReader, Memory

log = logging.getLogger(__name__)

_EXTENSION = "mirror_clusters"
_ASK_AGAIN_S = 1.0

# What a schema that is newer than this program does to it: a server ends, an application in a test does not.
OnTooNew = Callable[[str], None]


class ClusterDatabase:
    """A cluster's database: its reader, and what is known of whether it answers."""

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.cluster = cluster
        self._engine = db.engine(
            settings, cluster, "server", pool_size=settings.server_threads, is_autocommit=True
        )
        deadlines.limit(self._engine)
        sa.event.listen(self._engine, "handle_error", self._notice)
        self._stuck_after = timedelta(seconds=settings.stuck_after_s)
        self._reader = MirrorReader(self._engine, self._stuck_after)
        self._current: MirrorReader | None = None
        self._last_known: MirrorReader | None = None
        self._on_too_new: OnTooNew | None = None
        self._asking = threading.Lock()
        self._is_ready = False
        self._refusal: str | None = None
        self._refused_at = 0.0
        self._away_since: datetime | None = None

    def on_too_new(self, end: OnTooNew) -> None:
        """What to do, with a sentence, once the schema is found to be newer than this program can read."""
        self._on_too_new = end

    def listen(self, settings: Settings) -> None:
        """Hears of changes from now on, so that what was read is kept for as long as it holds."""
        engine = db.engine(settings, self.cluster, "listener", pool_size=1)
        deadlines.limit(engine)
        memory = Memory(ChangeTracker())
        ChangeListener(engine, memory.changes).start()
        reader = partial(KeptReader, self._engine, self._stuck_after, memory, self.refuse_away)
        self._current, self._last_known = reader(gives_old=False), reader(gives_old=True)

    @property
    def away_since(self) -> datetime | None:
        """Since when the database has been away, if it is."""
        return self._away_since

    def reader(self) -> MirrorReader:
        """The database itself. Raises DatabaseAway, at once where that is known."""
        self.refuse_away()
        return self._reader

    def current(self) -> MirrorReader:
        """What the database holds, from memory where that is the same. It, or its questions, as `reader`."""
        return self._current or self.reader()

    def last_known(self) -> MirrorReader:
        """What the database holds or, while it is away, held when it was last asked. Raises as `current`."""
        return self._last_known or self.reader()

    def refuse_away(self) -> None:
        """Raises DatabaseAway, at once where that is known."""
        if not self._is_ready:
            self.check()

    def check(self) -> None:
        """Asks the database for its schema, once a second at most while it is away. Raises DatabaseAway."""
        # The first to find it away makes the others wait, once; after that they are refused.
        if not self._asking.acquire(blocking=self._refusal is None):
            raise DatabaseAway(self._refusal)
        try:
            if self._refusal is not None and time.monotonic() - self._refused_at < _ASK_AGAIN_S:
                raise DatabaseAway(self._refusal)
            self._judge(self._reader.schema())
        finally:
            self._asking.release()

    def _judge(self, schema: db.Schema) -> None:
        if schema.state is db.SchemaState.READY:
            if self._refusal is not None:
                log.info("database back cluster=%s", self.cluster)
            self._is_ready, self._refusal, self._away_since = True, None, None
            return
        sentence = f"The database of the {self.cluster} cluster has {schema}."
        if schema.state is db.SchemaState.TOO_NEW and self._on_too_new is not None:
            self._on_too_new(sentence)
        self._refuse(sentence, str(schema))

    def _notice(self, context: sa.engine.ExceptionContext) -> None:
        """Turns what the driver raises into DatabaseAway where it says that the database is not to be had."""
        error = context.original_exception
        if deadlines.is_replaced(context) or not isinstance(error, psycopg2.Error):
            return
        if isinstance(error, psycopg2.errors.QueryCanceled):
            raise DatabaseAway(f"The database of the {self.cluster} cluster took too long.") from error
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            self._refuse(f"The database of the {self.cluster} cluster can't be reached.", str(error))
        if isinstance(error, psycopg2.errors.UndefinedTable | psycopg2.errors.UndefinedColumn):
            # Its schema is not what it was. The next request asks which it is.
            self._refuse(f"The database of the {self.cluster} cluster is being changed.", str(error))

    def _refuse(self, sentence: str, reason: str) -> NoReturn:
        if sentence != self._refusal:
            log.warning(
                "database away cluster=%s reason=%s", self.cluster, logging_setup.quote_value(reason.strip())
            )
        self._is_ready, self._refusal, self._refused_at = False, sentence, time.monotonic()
        self._away_since = self._away_since or datetime.now(UTC)
        raise DatabaseAway(sentence)


def init_app(app: Flask, settings: Settings) -> None:
    """Gives an application its databases; nothing is connected until the first question."""
    app.extensions[_EXTENSION] = {cluster: ClusterDatabase(settings, cluster) for cluster in Cluster}


def databases(app: Flask) -> Mapping[Cluster, ClusterDatabase]:
    """The databases of an application."""
    found: Mapping[Cluster, ClusterDatabase] = app.extensions[_EXTENSION]
    return found


def reader(cluster: Cluster) -> MirrorReader:
    """What is shown on pages, which say so if it is old. It, or its questions, raise DatabaseAway."""
    return databases(current_app)[cluster].last_known()


def current_reader(cluster: Cluster) -> MirrorReader:
    """What scripts are told, which is never old. It, or its questions, raise DatabaseAway."""
    return databases(current_app)[cluster].current()


def database_reader(cluster: Cluster) -> MirrorReader:
    """What the database holds at this moment, for who has just written to it. Raises DatabaseAway."""
    return databases(current_app)[cluster].reader()


def away_since(cluster: Cluster) -> datetime | None:
    """Since when a cluster's database has been away, so that its pages show what is old."""
    return databases(current_app)[cluster].away_since
