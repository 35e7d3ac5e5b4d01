"""The clusters' databases: a connection pool each, readers, deadlines, fast refusal during an outage.

A database that did not answer is tried again by one request per second. All others are refused meanwhile, so
that they do not wait, and do not overload it when it recovers. Nothing needs a restart.

A worker process has one SQLAlchemy engine per cluster. It opens connections as they are needed, at most one
for each request that it processes at a time, and one more per cluster that listens for changes.
"""

import logging
import math
import select
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any, Literal, NoReturn

import psycopg2.errors
import sqlalchemy as sa
from flask import Flask, current_app
from psycopg2 import extensions

import db
from dqmsquare_cfg import Cluster, Settings
from runtime import logging_setup
from storage.change_listener import ChangeListener, ChangeTracker
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from storage.prepared_statements import PreparedStatements, is_prepared
from storage.reader import MirrorReader
from storage.schema import Schema, SchemaState
from storage.statement_timeout import longer_timeout
from web import limits
from web.cache import dependencies
from web.cache.cached_reader import CachedReader, ReadCache
from web.errors import DatabaseTooSlow, DatabaseUnavailable, DataUnreadable
from web.limits import RequestKind

log = logging.getLogger(__name__)

_EXTENSION = "mirror_databases"
# Commands wait for each other on one connection, that of their queue, and have two for their records.
_COMMAND_CONNECTIONS = 3
_RETRY_AFTER_S = 1.0
# Idle time after which a connection is checked before it is used.
_PING_AFTER_S = 1.0
# A page has to say within 2 s that the database is unavailable, and needs some of that for itself.
_RESPONSE_TIMEOUT_S = 1.5
# PostgreSQL cancels a statement so long before its response is given up: a slow one fails alone, and only a
# database that does not respond is taken for one that is down.
_CANCELLED_EARLIER_S = 0.2
# Execution option of a statement that may take longer (run ranges, waiting for a lock) or must be faster.
_TIMEOUT_OPTION = "response_timeout_s"
# Execution option of an engine whose errors become DatabaseUnavailable.
_TRANSLATE_OPTION = "raises_database_unavailable"
# Errors of one table or index; others can still be read.
_UNREADABLE = (
    psycopg2.errors.DataCorrupted,
    psycopg2.errors.IndexCorrupted,
    psycopg2.errors.InternalError_,
    psycopg2.errors.InsufficientPrivilege,
)
# Reasons for unreadable data that are remembered as logged.
_MAX_REPORTED = 100
_POLL_EVENTS = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


class _ResponseTimeout(psycopg2.OperationalError):
    """Raised when PostgreSQL does not respond in time; the connection is closed."""


class _DeadlineConnection(extensions.connection):
    """Connection with a time limit per response (s), and the monotonic time of its last response."""

    response_timeout_s: float = _RESPONSE_TIMEOUT_S
    responded_at_s: float = -math.inf

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.prepared = PreparedStatements()


class ClusterDatabase:
    """A cluster's database: its engines and readers, and whether it is available.

    `engine` raises SQLAlchemy's errors; `transactions` is the same pool and raises DatabaseUnavailable where
    the database can't be used.
    """

    def __init__(self, settings: Settings, cluster: Cluster) -> None:
        self.cluster = cluster
        pool_size = _pool_size(settings)
        # Most are single statements, without the round trips of a transaction.
        pool = db.engine(
            settings,
            cluster,
            "server",
            pool_size=pool_size,
            isolation_level="AUTOCOMMIT",
            statement_timeout_s=_RESPONSE_TIMEOUT_S - _CANCELLED_EARLIER_S,
        )
        _execute_in_time(pool)
        _ping_idle_connections(pool)
        sa.event.listen(pool, "handle_error", self._translate)
        self.engine = pool.execution_options(isolation_level="READ COMMITTED")
        self.transactions = self.engine.execution_options(**{_TRANSLATE_OPTION: True})
        self._reads = pool.execution_options(**{_TRANSLATE_OPTION: True})
        self._rules = StateRules.for_cluster(settings, cluster)
        self._dictionaries = DictionaryStore(self._reads)
        self._uncached = MirrorReader(self._reads, self._rules, self._dictionaries)
        self._cached: MirrorReader | None = None
        self._stale_ok: MirrorReader | None = None
        self._on_schema_too_new: Callable[[str], None] | None = None
        self._checking = threading.Lock()
        self._is_available = False
        self._refusal: str | None = None
        self._refused_at = 0.0
        self._unavailable_since: datetime | None = None

    def on_schema_too_new(self, callback: Callable[[str], None]) -> None:
        """Call `callback` with a sentence if the schema turns out to be newer than this program can read."""
        self._on_schema_too_new = callback

    def start_listening(self) -> None:
        """Listen for changes from now on, so that reads can be cached until they change."""
        cache = ReadCache(ChangeTracker())
        ChangeListener(self.engine, cache.changes).start()
        reader = partial(
            CachedReader, self._reads, self._rules, self._dictionaries, cache, self.require_available
        )
        self._cached, self._stale_ok = reader(stale_ok=False), reader(stale_ok=True)

    @property
    def unavailable_since(self) -> datetime | None:
        """Start of the current outage, if there is one."""
        return self._unavailable_since

    def uncached_reader(self) -> MirrorReader:
        """Reader of the database itself. Raises DatabaseUnavailable, without waiting during an outage."""
        self.require_available()
        return self._uncached

    def cached_reader(self) -> MirrorReader:
        """Reader that serves unchanged data from memory. It, or its reads, raise DatabaseUnavailable."""
        return self._cached or self.uncached_reader()

    def stale_ok_reader(self) -> MirrorReader:
        """Cached reader that serves the last known data during an outage. Raises like `cached_reader`."""
        return self._stale_ok or self.uncached_reader()

    def require_available(self) -> None:
        """Raise DatabaseUnavailable if the database is known to be unavailable, or turns out to be."""
        if not self._is_available:
            self.check_schema()

    def check_schema(self) -> None:
        """Look up the schema, at most once per second during an outage. Raises DatabaseUnavailable."""
        # The first request to notice the outage makes the others wait, once; after that they are refused.
        refusal = self._refusal
        if not self._checking.acquire(blocking=refusal is None):
            raise DatabaseUnavailable(refusal)
        try:
            if self._refusal is not None and time.monotonic() - self._refused_at < _RETRY_AFTER_S:
                raise DatabaseUnavailable(self._refusal)
            self._accept_or_refuse(self._uncached.schema())
        finally:
            self._checking.release()

    def _accept_or_refuse(self, schema: Schema) -> None:
        if schema.state is SchemaState.READY:
            if self._refusal is not None:
                log.info("database_recovered cluster=%s", self.cluster)
            self._is_available, self._refusal, self._unavailable_since = True, None, None
            return
        sentence = f"The database of the {self.cluster} cluster has {schema}."
        if schema.state is SchemaState.TOO_NEW and self._on_schema_too_new is not None:
            self._on_schema_too_new(sentence)
        self._refuse(sentence, str(schema))

    def _translate(self, context: sa.engine.ExceptionContext) -> None:
        """Raise DatabaseUnavailable in place of a driver error that says that the database can't be used."""
        error = context.original_exception
        if not _is_final(context) or not isinstance(error, psycopg2.Error):
            return
        if isinstance(error, psycopg2.errors.QueryCanceled):
            log.warning("query_too_slow cluster=%s", self.cluster)
            raise DatabaseTooSlow(self.cluster) from error
        if isinstance(error, _UNREADABLE):
            _report_unreadable(self.cluster, db.error_message(error))
            raise DataUnreadable(self.cluster) from error
        if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
            self._refuse(
                f"The database of the {self.cluster} cluster can't be reached.", db.error_message(error)
            )
        if isinstance(error, psycopg2.errors.UndefinedTable | psycopg2.errors.UndefinedColumn):
            # The schema is not what it was; the next request looks it up.
            self._refuse(
                f"The database of the {self.cluster} cluster is being changed.", db.error_message(error)
            )

    def _refuse(self, sentence: str, reason: str) -> NoReturn:
        if sentence != self._refusal:
            quoted = logging_setup.quote_value(reason)
            log.warning("database_unavailable cluster=%s reason=%s", self.cluster, quoted)
        self._is_available, self._refusal, self._refused_at = False, sentence, time.monotonic()
        self._unavailable_since = self._unavailable_since or datetime.now(UTC)
        raise DatabaseUnavailable(sentence)


def init_app(app: Flask, settings: Settings) -> None:
    """Give an application its databases; nothing connects before the first read."""
    app.extensions[_EXTENSION] = {cluster: ClusterDatabase(settings, cluster) for cluster in Cluster}


def of_app(app: Flask) -> Mapping[Cluster, ClusterDatabase]:
    """Databases of an application."""
    databases: Mapping[Cluster, ClusterDatabase] = app.extensions[_EXTENSION]
    return databases


def stale_ok_reader(cluster: Cluster) -> MirrorReader:
    """Reader for pages, which say so if their data is old. It, or its reads, raise DatabaseUnavailable."""
    return of_app(current_app)[cluster].stale_ok_reader()


def cached_reader(cluster: Cluster) -> MirrorReader:
    """Reader for scripts, never stale. It, or its reads, raise DatabaseUnavailable."""
    return of_app(current_app)[cluster].cached_reader()


def uncached_reader(cluster: Cluster) -> MirrorReader:
    """Reader that bypasses the cache, as after a write. It, or its reads, raise DatabaseUnavailable."""
    return of_app(current_app)[cluster].uncached_reader()


def require_available(cluster: Cluster) -> None:
    """Raise DatabaseUnavailable during an outage."""
    of_app(current_app)[cluster].require_available()


def unavailable_since(cluster: Cluster) -> datetime | None:
    """Start of the current outage of a cluster's database, if there is one."""
    return of_app(current_app)[cluster].unavailable_since


def enforce_response_timeouts() -> None:
    """Make the response time limits of this process effective.

    libpq waits forever for a server that is reached but does not respond, and PostgreSQL's own timeouts don't
    help then. psycopg2 has one hook for waiting, for the whole process; connections that were not made here
    wait as before.
    """
    extensions.set_wait_callback(_wait)


@lru_cache(_MAX_REPORTED)
def _report_unreadable(cluster: Cluster, reason: str) -> None:
    """Log once for what reason data can't be read: each page that needs them finds it again."""
    log.error("data_unreadable cluster=%s reason=%s", cluster, logging_setup.quote_value(reason))


def _pool_size(settings: Settings) -> int:
    connections = {**limits.slots(settings), RequestKind.COMMAND: _COMMAND_CONNECTIONS}
    return sum(connections.values())


def _execute_in_time(engine: sa.Engine) -> None:
    """Execute statements with a time limit, and those that every page executes as prepared ones."""

    def use_deadline_connection(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        parameters["connection_factory"] = _DeadlineConnection

    def execute(cursor: Any, statement: str, parameters: Any, context: Any) -> Literal[True]:
        connection = cursor.connection
        timeout_s = context.execution_options.get(_TIMEOUT_OPTION, _RESPONSE_TIMEOUT_S)
        connection.response_timeout_s = timeout_s
        dependencies.note_statement()
        if is_prepared(context):
            connection.prepared.execute(cursor, statement, parameters)
        elif timeout_s > _RESPONSE_TIMEOUT_S:
            with longer_timeout(connection, timeout_s - _CANCELLED_EARLIER_S):
                cursor.execute(statement, parameters)
        else:
            cursor.execute(statement, parameters)
        connection.responded_at_s = time.monotonic()
        return True

    sa.event.listen(engine, "do_connect", use_deadline_connection)
    # Those before and after each statement would take a fifth of SQLAlchemy's time for it.
    sa.event.listen(engine, "do_execute", execute)


def _ping_idle_connections(engine: sa.Engine) -> None:
    """Limit the pings of the pool to connections that have been idle or were closed by PostgreSQL.

    A page takes up to ten connections from the pool, one after the other.
    """
    ping = engine.dialect.do_ping

    def ping_if_needed(connection: Any) -> bool:
        is_recent = time.monotonic() - connection.responded_at_s < _PING_AFTER_S
        if is_recent and not _is_readable(connection):
            return True
        connection.response_timeout_s = _RESPONSE_TIMEOUT_S
        return ping(connection)

    engine.dialect.do_ping = ping_if_needed  # type: ignore[assignment, method-assign]


def _is_readable(connection: extensions.connection) -> bool:
    """Whether something arrived that no statement waits for, such as the end of the connection."""
    ready = select.poll()
    ready.register(connection, select.POLLIN)
    return bool(ready.poll(0))


def _is_final(context: sa.engine.ExceptionContext) -> bool:
    """Whether an error is to be translated.

    A pooled connection that was cut is replaced by a new one. One that hangs is given up at once: a new one
    would hang as well.
    """
    if context.is_pre_ping:
        return isinstance(context.original_exception, _ResponseTimeout)
    return context.engine is not None and _TRANSLATE_OPTION in context.engine.get_execution_options()


def _wait(connection: extensions.connection) -> None:
    timeout_s = connection.response_timeout_s if isinstance(connection, _DeadlineConnection) else None
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    while (state := connection.poll()) != extensions.POLL_OK:
        remaining_s = None if ends_at is None else max(0, ends_at - time.monotonic())
        ready = select.poll()
        ready.register(connection, _POLL_EVENTS[state])
        if not ready.poll(None if remaining_s is None else remaining_s * 1000):
            raise _ResponseTimeout(f"no response within {timeout_s} s")
