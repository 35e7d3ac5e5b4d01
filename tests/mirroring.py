"""A grabber under test, in this process or as one of its own, and what it has written."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import sqlalchemy as sa

import db
from dqmsquare_cfg import Settings
from grabber import Grabber
from mirror.line import Stop
from mirror.reader import MirrorReader
from mirror.records import Cluster

ROOT = Path(__file__).resolve().parent.parent
CLUSTER = Cluster.PRODUCTION
BUILDER_UNIT, FILTER_UNIT, OTHER_FILTER_UNIT = "dqmrubu-c2a06-01-01", "dqmfu-c2b03-45-01", "dqmfu-c2b04-45-01"


def mirror_once(settings: Settings, cluster: Cluster = CLUSTER) -> bool:
    """One pass over a cluster's machines; whether all were mirrored."""
    return Grabber(settings, cluster, Stop()).once()


def reader(settings: Settings, cluster: Cluster = CLUSTER) -> MirrorReader:
    """What pages would read."""
    database = db.engine(settings, cluster, "tests")
    return MirrorReader(database, timedelta(seconds=settings.stuck_after_s))


def rows(settings: Settings, table: sa.Table, cluster: Cluster = CLUSTER) -> list[dict[str, Any]]:
    """All rows of a table, in the order of its first column."""
    database = db.engine(settings, cluster, "tests")
    with database.connect() as connection:
        found = connection.execute(sa.select(table).order_by(table.c[0])).mappings().all()
    database.dispose()
    return [dict(row) for row in found]


def mirrored(settings: Settings, cluster: Cluster = CLUSTER) -> dict[str, list[dict[str, Any]]]:
    """Every mirrored document, by table."""
    tables = (*db.DOCUMENT_TABLES, db.job_details, db.runs)
    return {table.name: rows(settings, table, cluster) for table in tables}


def until(holds: Callable[[], object], *, within_s: float = 30.0) -> None:
    """Waits until a condition holds. Raises AssertionError if it doesn't in time."""
    ends = time.monotonic() + within_s
    pause = threading.Event()
    while not holds():
        if time.monotonic() > ends:
            raise AssertionError(f"did not come to hold within {within_s:.0f} s")
        pause.wait(0.05)


@contextmanager
def grabbing(settings: Settings, cluster: Cluster = CLUSTER) -> Iterator[Grabber]:
    """A grabber at work on a thread of this process."""
    stop = Stop()
    grabber = Grabber(settings, cluster, stop)
    thread = threading.Thread(target=grabber.run)
    thread.start()
    try:
        yield grabber
    finally:
        stop.set()
        thread.join(timeout=10)
        assert not thread.is_alive()


@contextmanager
def grabber_process(environment: Mapping[str, str], *arguments: str) -> Iterator["subprocess.Popen[str]"]:
    """A grabber as the process that it is in production; killed at the end if it still runs."""
    process = subprocess.Popen(
        [sys.executable, "grabber.py", *arguments],
        cwd=ROOT,
        env=dict(environment),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
