"""The databases as the Control Room writes to them, mostly the playback cluster's.

While that is away, nothing is sent.
"""

from typing import NoReturn

import psycopg2.errors
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from web import deadlines
from web.away import DatabaseAway

# All that is asked here is answered in a moment, so a few serve everybody.
_CONNECTIONS = 4
# What tells that a record is not written: nearly always, that its database is away.
NOT_WRITTEN = (DatabaseAway, sa.exc.SQLAlchemyError)
# That the server does not know a table or a column, because it is not migrated yet.
_UNMIGRATED = (psycopg2.errors.UndefinedTable, psycopg2.errors.UndefinedColumn)


def for_records(settings: Settings, cluster: Cluster = Cluster.PLAYBACK) -> sa.Engine:
    """Connections for what the Control Room writes; they raise DatabaseAway where it can't be had."""
    engine = db.engine(settings, cluster, "control-room", pool_size=_CONNECTIONS)
    deadlines.limit(engine)
    sa.event.listen(engine, "handle_error", _notice)
    return engine


def for_line(settings: Settings) -> sa.Engine:
    """The connection on which this process waits for its turns; one that hangs is noticed like any other."""
    engine = db.engine(settings, Cluster.PLAYBACK, "control-line", pool_size=1)
    deadlines.limit(engine)
    return engine


def _notice(context: sa.engine.ExceptionContext) -> None:
    error = context.original_exception
    if deadlines.is_replaced(context):
        return
    if isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError):
        _refuse("can't be reached", error)
    if isinstance(error, _UNMIGRATED):
        _refuse("is not migrated yet", error)


def _refuse(reason: str, error: BaseException) -> NoReturn:
    sentence = f"The database that the Control Room keeps its records in {reason}; so it does nothing."
    raise DatabaseAway(sentence) from error
