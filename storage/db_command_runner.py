"""Runner of database commands (`db_commands.py`): on both clusters in turn, with a report of the outcome."""

import sys
from collections.abc import Callable, Iterable

import psycopg2.errors
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings

# Runs on one database; returns a message, empty if there is nothing to report, and whether it succeeded.
Command = Callable[[Settings, Cluster, sa.Engine], tuple[str, bool]]

# Errors that are reported without a traceback: PostgreSQL is unreachable, full or refuses the operation.
_EXPECTED_ERRORS = (
    psycopg2.OperationalError,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.DependentObjectsStillExist,
    psycopg2.errors.InvalidSchemaName,
    psycopg2.errors.ReadOnlySqlTransaction,
)


def run_on_both(settings: Settings, command: Command) -> int:
    """Run a command on both databases; the exit status is 1 if it fails on either."""
    return exit_status(run_on(Cluster, settings, command))


def run_on(clusters: Iterable[Cluster], settings: Settings, command: Command) -> list[Cluster]:
    """Run a command on the databases of some clusters; returns the clusters on which it succeeded."""
    return [cluster for cluster in clusters if _run(settings, cluster, command)]


def exit_status(succeeded: Iterable[Cluster]) -> int:
    """Exit status of a command: 0 if it succeeded on both databases."""
    return 0 if set(succeeded) == set(Cluster) else 1


def error_reason(error: sa.exc.DBAPIError) -> str:
    """The reason of a database error in PostgreSQL's words, on one line."""
    message = db.error_message(error.orig)
    if not isinstance(error.orig, psycopg2.Error) or error.orig.pgcode is None:
        return f"can't be reached: {message}"
    detail = error.orig.diag.message_detail
    return f"PostgreSQL refuses: {message}" + (f": {detail}" if detail else "")


def _run(settings: Settings, cluster: Cluster, command: Command) -> bool:
    database = db.engine(settings, cluster, "db")
    try:
        message, is_successful = command(settings, cluster, database)
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, _EXPECTED_ERRORS):
            raise
        message, is_successful = error_reason(error), False
    finally:
        database.dispose()
    if message:
        sys.stdout.write(f"{settings.database(cluster)}: {message}\n")
    return is_successful
