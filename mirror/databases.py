"""Something done to both databases, one after the other, and what came of it said."""

import sys
from collections.abc import Callable

import sqlalchemy as sa

import db
from dqmsquare_cfg import Settings
from mirror.records import Cluster

# What is done to a cluster's database: what came of it in words, and whether it could be done.
Command = Callable[[Settings, Cluster, sa.Engine], tuple[str, bool]]


def to_both(settings: Settings, do: Command) -> int:
    """Does it to both; exit status 1 where it could not be done."""
    were_done = [_told(settings, cluster, do) for cluster in Cluster]
    return 0 if all(were_done) else 1


def reason(error: sa.exc.OperationalError) -> str:
    """Why a database can't be worked with, in its own words."""
    return str(error.orig).strip().partition("\n")[0]


def _told(settings: Settings, cluster: Cluster, do: Command) -> bool:
    database = db.engine(settings, cluster, "db")
    try:
        outcome, is_done = do(settings, cluster, database)
    except sa.exc.OperationalError as error:
        outcome, is_done = f"can't be reached: {reason(error)}", False
    finally:
        database.dispose()
    sys.stdout.write(f"{settings.database(cluster)}: {outcome}\n")
    return is_done
