"""The processes that share the work: each takes what nobody has in hand until there is no more.

Making rows takes longer than reading and writing them, and Python does one thing at a time in a process. They
know of each other through the database alone, so that it does not matter which of them is killed. Their
standard input is a pipe that ends with who started them, and so do they, once their batch is done.

    python db.py adopt --share CLUSTER    is such a process
"""

import logging
import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import sqlalchemy as sa

import db
from dqmsquare_cfg import Cluster, Settings
from legacy_import.importer import Adopter
from storage import import_progress
from storage.import_progress import ImportProgress
from storage.log_dictionaries import DictionaryStore

log = logging.getLogger("adoption")

_TELL_EVERY_S = 5.0
# Nobody waits for an adoption: what needs the processors beside it goes before.
_GIVES_WAY = 10
_ROOT = Path(__file__).resolve().parent.parent
# What Python runs; the executable is not Python, but one program for all parts.
_PROGRAM = ("db",) if getattr(sys, "frozen", False) else ("-B", "db.py")


def take_newest(settings: Settings, database: sa.Engine) -> None:
    """Takes over the ups and downs of machines and the newest runs, and sees what logs have in common."""
    adopter = Adopter(database, settings)
    if adopter.take_over_some() and adopter.take_over_some():
        _train(DictionaryStore(database))


def take_over(settings: Settings, cluster: Cluster, database: sa.Engine, processes: int) -> None:
    """Takes over all that there is, with so many processes, and tells how far it is meanwhile."""
    dictionaries = DictionaryStore(database)
    progress = _Progress(database, settings.database(cluster))
    with _sharing(cluster, processes) as started:
        while running := [process for process in started if process.poll() is None]:
            _train(dictionaries)
            with suppress(subprocess.TimeoutExpired):
                running[0].wait(_TELL_EVERY_S)
            progress.tell()
    _analyze(database)


def _train(dictionaries: DictionaryStore) -> None:
    """Trains the first dictionary, as soon as there are logs enough; later ones are for the grabber."""
    if dictionaries.latest() is None:
        dictionaries.train()


def share(settings: Settings, cluster: Cluster) -> None:
    """Is one of the processes."""
    os.nice(_GIVES_WAY)
    adopter = Adopter(db.engine(settings, cluster, "adoption"), settings)
    while not _is_alone() and adopter.take_over_some():
        pass


def _is_alone() -> bool:
    """Whether who started this process is gone; nothing is ever written to the pipe."""
    readable, _, _ = select.select([sys.stdin], [], [], 0)
    return bool(readable)


@contextmanager
def _sharing(cluster: Cluster, processes: int) -> Iterator[Sequence["subprocess.Popen[bytes]"]]:
    started = [
        subprocess.Popen(  # noqa: S603 - an argument list of our own, no shell
            [sys.executable, *_PROGRAM, "adopt", "--share", cluster.value],
            cwd=None if getattr(sys, "frozen", False) else _ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            env=os.environ,
        )
        for _ in range(processes)
    ]
    try:
        yield started
    finally:
        for process in started:
            process.communicate()


class _Progress:
    """How far it is, how fast, and how long it will take."""

    def __init__(self, database: sa.Engine, name: str) -> None:
        self._database = database
        self._name = name
        self._began_s = time.monotonic()
        self._done_before = self._found().imported

    def tell(self) -> None:
        """Writes it to the log."""
        found = self._found()
        per_s = (found.imported - self._done_before) / (time.monotonic() - self._began_s)
        left_s = f"{(found.documents - found.imported) / per_s:.0f}" if per_s else "unknown"
        log.info(
            "taking over database=%s documents=%d of=%d per_s=%.0f left_s=%s",
            *(self._name, found.imported, found.documents, per_s, left_s),
        )

    def _found(self) -> ImportProgress:
        with self._database.connect() as connection:
            # None: somebody has dropped the earlier tables already.
            return import_progress.read(connection) or ImportProgress(0, 0, is_complete=True, skipped={})


def _analyze(database: sa.Engine) -> None:
    """Has PostgreSQL look at how full its tables are by now, rather than when it gets around to that."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        for table in (db.runs, *db.DOCUMENT_TABLES, db.job_details, db.machine_states):
            connection.execute(sa.text(f"ANALYZE {table.name}"))
