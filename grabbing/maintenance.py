"""Maintenance of a cluster's database: log dictionaries, analysis of stored data, deletion of old data.

It also reminds the operator, once a day, of an earlier mirror's tables that are still in the database. An
error of a task is logged and postpones it, and does not stop the mirroring.
"""

import logging
import math
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial

import sqlalchemy as sa

from grabbing.document_pipeline import DocumentProcessor
from runtime import malloc
from storage import import_progress, transitions
from storage.delivery_backfill import summarize_outdated
from storage.log_backfill import analyze_outdated
from storage.log_compression import ZstdDictionary
from storage.log_dictionaries import DictionaryStore
from storage.log_findings import FINDINGS_VERSION
from storage.retention import prune

log = logging.getLogger(__name__)

_DAY_S = 86_400.0
# Logs change with the releases of CMSSW.
_TRAIN_INTERVAL_S = 7 * _DAY_S
# Until there are enough logs for the first dictionary. Logs that no dictionary makes smaller are trained on
# again and again, which is to take a hundredth of the time.
_FIRST_TRAIN_INTERVAL_S = 10.0
_PAUSE_PER_TRAINING = 100.0
_ERROR_PAUSE_S = 3600.0


class Maintenance:
    """Runs what is due, in small steps. Logs and series are kept for `retention`, forever if it is `None`."""

    def __init__(
        self, database: sa.Engine, processor: DocumentProcessor, retention: timedelta | None
    ) -> None:
        self._database = database
        self._processor = processor
        self._dictionaries = DictionaryStore(database)
        self._train_at_s = self._remind_at_s = time.monotonic()
        self._sweeps = {
            "analyze_logs": _Sweep(partial(analyze_outdated, database), _log_analyzed),
            "summarize_deliveries": _Sweep(partial(summarize_outdated, database), _log_summarized),
            "delete_transitions": _Sweep(
                partial(transitions.delete_old, database), _log_deleted, interval_s=_DAY_S
            ),
        }
        if retention is not None:
            self._sweeps["prune_logs"] = _Sweep(
                partial(prune, database, retention), partial(_log_pruned, retention), interval_s=_DAY_S
            )

    def start(self) -> None:
        """Start over with the newest dictionary of the database."""
        dictionary = self._processor.dictionary = self._dictionaries.latest()
        for sweep in self._sweeps.values():
            sweep.reset()
        age_s = _age_s(dictionary)
        self._train_at_s = time.monotonic() + (0.0 if age_s is None else _TRAIN_INTERVAL_S - age_s)

    def run_due(self, *, is_idle: bool) -> None:
        """Run a step of what is due; work on old documents waits until the grabber is idle.

        Raises DBAPIError if the database is unavailable; `start` has to be called again then.
        """
        if time.monotonic() >= self._train_at_s:
            self._train_at_s = time.monotonic() + _ERROR_PAUSE_S
            _attempt("train_dictionary", self._train)
        if time.monotonic() >= self._remind_at_s:
            self._remind_at_s = time.monotonic() + _ERROR_PAUSE_S
            _attempt("remind", self._remind)
        if is_idle:
            for name, sweep in self._sweeps.items():
                if not _attempt(name, sweep.run_step):
                    sweep.postpone(_ERROR_PAUSE_S)

    def _train(self) -> None:
        began_s = time.monotonic()
        self._processor.dictionary = self._dictionaries.train() or self._processor.dictionary
        # A catch-up and its training leave 3 MB of freed memory between objects that are still in use.
        malloc.return_freed_memory()
        is_trained = self._processor.dictionary is not None
        now_s = time.monotonic()
        pause_s = max(_FIRST_TRAIN_INTERVAL_S, _PAUSE_PER_TRAINING * (now_s - began_s))
        self._train_at_s = now_s + (_TRAIN_INTERVAL_S if is_trained else pause_s)

    def _remind(self) -> None:
        with self._database.connect() as connection:
            progress = import_progress.read(connection)
        if progress is not None:
            log.warning("%s", progress)
        self._remind_at_s = time.monotonic() + _DAY_S


class _Sweep:
    """Repeated pass over stored data, in steps.

    `begin` returns an iterator that runs a step and yields the number of rows that it changed. `report` logs
    their sum at the end of a pass. The next one begins `interval_s` after the last.
    """

    def __init__(
        self,
        begin: Callable[[], Iterator[int]],
        report: Callable[[int], None],
        *,
        interval_s: float = math.inf,
    ) -> None:
        self._begin = begin
        self._report = report
        self._interval_s = interval_s
        self.reset()

    def reset(self) -> None:
        """Abandon the present pass; another one is due at once."""
        self._steps: Iterator[int] | None = None
        self._count = 0
        self._due_at_s = -math.inf

    def postpone(self, pause_s: float) -> None:
        """Abandon the present pass; another one is due after a pause."""
        self.reset()
        self._due_at_s = time.monotonic() + pause_s

    def run_step(self) -> None:
        """Run the next step of the present pass, or the first one of a pass that is due."""
        if self._steps is None:
            if time.monotonic() < self._due_at_s:
                return
            self._due_at_s = time.monotonic() + self._interval_s
            self._steps, self._count = self._begin(), 0
        changed = next(self._steps, None)
        if changed is None:
            self._steps = None
            self._report(self._count)
        else:
            self._count += changed


def _attempt(name: str, step: Callable[[], None]) -> bool:
    """Run a step; returns whether it succeeded. Raises DBAPIError if the database is unavailable."""
    try:
        step()
    # Any error, such as that of a rule at one log.
    except Exception as error:
        if _is_database_down(error):
            raise
        log.exception("maintenance_failed task=%s pause_s=%.0f", name, _ERROR_PAUSE_S)
        return False
    return True


def _is_database_down(error: Exception) -> bool:
    """Whether an error is not PostgreSQL's response to a statement, such as that it took too long."""
    if not isinstance(error, sa.exc.DBAPIError):
        return False
    return error.connection_invalidated or getattr(error.orig, "pgcode", None) is None


def _log_analyzed(jobs: int) -> None:
    if jobs:
        log.info("job_logs_analyzed jobs=%d rules=%d", jobs, FINDINGS_VERSION)


def _log_summarized(deliveries: int) -> None:
    if deliveries:
        log.info("delivery_statistics_stored deliveries=%d", deliveries)


def _log_deleted(number: int) -> None:
    if number:
        days = transitions.RETENTION.days
        log.info("transitions_deleted transitions=%d older_than_days=%d", number, days)


def _log_pruned(retention: timedelta, jobs: int) -> None:
    log.info("job_logs_pruned jobs=%d older_than_days=%d", jobs, retention.days)


def _age_s(dictionary: ZstdDictionary | None) -> float | None:
    if dictionary is None:
        return None
    return (datetime.now(UTC) - dictionary.trained_at).total_seconds()
