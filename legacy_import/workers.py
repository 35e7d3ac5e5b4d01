"""Worker processes of an import, which share its batches through the database.

Converting rows takes more time than reading and writing them, and Python uses one core per process. Workers
communicate only through the database, so any of them can be killed at any time.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess

import sqlalchemy as sa

import db
from dqm2.redaction.redactor import get_redactor
from dqmsquare_cfg import Cluster, Settings
from legacy_import.importer import Importer
from runtime import logging_setup
from storage import import_progress
from storage.db_command_runner import error_reason
from storage.import_progress import ImportProgress
from storage.log_dictionaries import DictionaryStore

log = logging.getLogger("legacy_import")

_PROGRESS_INTERVAL_S = 5.0
# The import runs in the background: other processes have priority.
_NICENESS = 10


def configure_logging(settings: Settings) -> None:
    """Log as `adopt`."""
    redact = get_redactor(settings.known_hosts, settings.redaction_allowed_hosts)
    logging_setup.configure(settings, "adopt", debug=False, redact=redact)
    logging_setup.install_excepthooks()


def import_newest(settings: Settings, database: sa.Engine) -> None:
    """Import the machine states and the newest runs, and train the first log dictionary on them."""
    importer = Importer(database, settings)
    if importer.import_next_batch() and importer.import_next_batch():
        _train_first_dictionary(DictionaryStore(database))


def import_all(settings: Settings, cluster: Cluster, database: sa.Engine, processes: int) -> None:
    """Import all remaining batches with some worker processes, and log the progress."""
    dictionaries = DictionaryStore(database)
    progress = _ProgressLog(database, settings.database(cluster))
    with _workers(settings, cluster, processes) as workers:
        while running := [worker for worker in workers if worker.is_alive()]:
            _train_first_dictionary(dictionaries)
            running[0].join(_PROGRESS_INTERVAL_S)
            progress.log()
        _report_killed(workers, settings.database(cluster))
    _analyze(database)


@contextmanager
def _workers(settings: Settings, cluster: Cluster, number: int) -> Iterator[Sequence[SpawnProcess]]:
    """Running workers, terminated on exit; spawned, because a fork would share database connections."""
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(settings, cluster)) for _ in range(number)]
    try:
        for worker in workers:
            worker.start()
        yield workers
    finally:
        for worker in workers:
            if worker.pid is not None:
                worker.terminate()
                worker.join()


def _report_killed(workers: Iterable[SpawnProcess], database: str) -> None:
    """Log the workers that were killed, as the kernel does if a process takes too much memory."""
    for worker in workers:
        if worker.exitcode is not None and worker.exitcode < 0:
            reason = f"killed by signal {-worker.exitcode}"
            log.error(
                "import_worker_failed database=%s reason=%s", database, logging_setup.quote_value(reason)
            )


def _work(settings: Settings, cluster: Cluster) -> None:
    """Main function of a worker."""
    # Ctrl-C reaches the parent as well, which terminates the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    configure_logging(settings)
    os.nice(_NICENESS)
    # multiprocessing prints uncaught exceptions, which can contain raw data. Those of threads go to the log,
    # which is redacted.
    thread = threading.Thread(target=_import_batches, args=(settings, cluster))
    thread.start()
    thread.join()


def _import_batches(settings: Settings, cluster: Cluster) -> None:
    """Import batches until there are no more, or the parent process has ended."""
    parent = multiprocessing.parent_process()
    importer = Importer(db.engine(settings, cluster, "legacy_import"), settings)
    try:
        while parent is not None and parent.is_alive() and importer.import_next_batch():
            pass
    except sa.exc.OperationalError as error:
        reason = logging_setup.quote_value(error_reason(error))
        log.error("import_worker_failed database=%s reason=%s", settings.database(cluster), reason)


def _train_first_dictionary(dictionaries: DictionaryStore) -> None:
    """Train a log dictionary as soon as there are enough logs; later ones are up to the grabber."""
    if dictionaries.latest() is None:
        dictionaries.train()


class _ProgressLog:
    """Logs the progress of the import, its rate and the remaining time."""

    def __init__(self, database: sa.Engine, name: str) -> None:
        self._database = database
        self._name = name
        self._started_s = time.monotonic()
        self._imported_before = self._read().imported

    def log(self) -> None:
        progress = self._read()
        per_s = (progress.imported - self._imported_before) / (time.monotonic() - self._started_s)
        remaining_s = f"{(progress.documents - progress.imported) / per_s:.0f}" if per_s else "unknown"
        log.info(
            "import_progress database=%s documents=%d total=%d per_s=%.0f remaining_s=%s",
            *(self._name, progress.imported, progress.documents, per_s, remaining_s),
        )

    def _read(self) -> ImportProgress:
        with self._database.connect() as connection:
            # None: the legacy tables have been dropped in the meantime.
            return import_progress.read(connection) or ImportProgress(0, 0, is_complete=True)


def _analyze(database: sa.Engine) -> None:
    """Update the planner's statistics now; autovacuum would do it only later."""
    with database.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("SET statement_timeout = 0"))
        for table in (db.runs, *db.DOCUMENT_TABLES, db.job_details, db.machine_states):
            connection.execute(sa.text(f"ANALYZE {table.name}"))
