"""How long a request waits for PostgreSQL: one that hangs is to be told like one that is down.

libpq waits for ever for a server that is reached but does not answer, and the server's own time-outs are of
no use then. psycopg2 has one hook for its waiting, for the whole process; it serves the connections that
were made here and leaves any other as it is.
"""

import select
import time
from typing import Any

import psycopg2
import sqlalchemy as sa
from psycopg2 import extensions

# A page says within 2 s that the database is away, and needs some of that for itself.
_ANSWER_S = 1.5
# The execution option by which a statement asks for more (wide ranges, turns) or less.
_OPTION = "answer_within_s"
_EVENTS = {extensions.POLL_READ: select.POLLIN, extensions.POLL_WRITE: select.POLLOUT}


class _TimedOut(psycopg2.OperationalError):
    """PostgreSQL did not answer in time; the connection is closed."""


class _TimedConnection(extensions.connection):
    """A connection that gives each answer so long."""

    answer_within_s: float = _ANSWER_S


def limit(engine: sa.Engine) -> None:
    """Gives each answer on an engine's connections so long, once `enforce` was called."""

    def make_timed(_dialect: Any, _record: Any, _args: Any, parameters: dict[str, Any]) -> None:
        parameters["connection_factory"] = _TimedConnection

    def set_limit(
        _connection: Any, cursor: Any, _statement: Any, _parameters: Any, context: Any, _many: Any
    ) -> None:
        cursor.connection.answer_within_s = context.execution_options.get(_OPTION, _ANSWER_S)

    def reset_limit(connection: Any, _record: Any) -> None:
        if connection is not None:
            connection.answer_within_s = _ANSWER_S

    sa.event.listen(engine, "do_connect", make_timed)
    sa.event.listen(engine, "before_cursor_execute", set_limit)
    sa.event.listen(engine, "checkin", reset_limit)


def enforce() -> None:
    """Makes this process wait no longer than that."""
    extensions.set_wait_callback(_wait)


def is_replaced(context: sa.engine.ExceptionContext) -> bool:
    """Whether an error is that of a kept connection which was cut, so that a new one takes its place.

    One that hangs is given up: it would only be followed by another.
    """
    return context.is_pre_ping and not isinstance(context.original_exception, _TimedOut)


def _wait(connection: extensions.connection) -> None:
    within_s = connection.answer_within_s if isinstance(connection, _TimedConnection) else None
    ends_at = None if within_s is None else time.monotonic() + within_s
    while (state := connection.poll()) != extensions.POLL_OK:
        left_s = None if ends_at is None else max(0, ends_at - time.monotonic())
        ready = select.poll()
        ready.register(connection, _EVENTS[state])
        if not ready.poll(None if left_s is None else left_s * 1000):
            raise _TimedOut(f"no answer within {within_s} s")
