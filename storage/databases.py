"""Something done to both databases, one after the other, and what came of it said."""

import sys
from collections.abc import Callable, Iterable

import psycopg2.errors
import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings

# What is done to a cluster's database: what came of it in words, none if more is to come, and whether it was
# done.
Command = Callable[[Settings, Cluster, sa.Engine], tuple[str, bool]]

# What is no fault of the program: PostgreSQL is away or full, or doesn't let this role or anyone do it.
_OF_THE_PLACE = (
    psycopg2.OperationalError,
    psycopg2.errors.InsufficientPrivilege,
    psycopg2.errors.DependentObjectsStillExist,
)


def to_both(settings: Settings, do: Command) -> int:
    """Does it to both; exit status 1 where it could not be done."""
    return status(done_to(Cluster, settings, do))


def done_to(clusters: Iterable[Cluster], settings: Settings, do: Command) -> list[Cluster]:
    """Does it to the databases of clusters; those to which it could be done."""
    return [cluster for cluster in clusters if _told(settings, cluster, do)]


def status(done: Iterable[Cluster]) -> int:
    """The exit status of what should have been done to both."""
    return 0 if set(done) == set(Cluster) else 1


def reason(error: sa.exc.DBAPIError) -> str:
    """Why a database can't be worked with, in its own words."""
    said = str(error.orig).strip().partition("\n")[0]
    if not isinstance(error.orig, psycopg2.Error) or error.orig.pgcode is None:
        return f"can't be reached: {said}"
    detail = error.orig.diag.message_detail
    return f"PostgreSQL refuses: {said}" + (f": {detail}" if detail else "")


def _told(settings: Settings, cluster: Cluster, do: Command) -> bool:
    database = db.engine(settings, cluster, "db")
    try:
        outcome, is_done = do(settings, cluster, database)
    except sa.exc.DBAPIError as error:
        if not isinstance(error.orig, _OF_THE_PLACE):
            raise
        outcome, is_done = reason(error), False
    finally:
        database.dispose()
    if outcome:
        sys.stdout.write(f"{settings.database(cluster)}: {outcome}\n")
    return is_done
