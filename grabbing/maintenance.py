"""Maintenance of a cluster's database: log dictionaries, analysis of stored data, deletion of old data.

It also reminds the operator, once a day, of an earlier mirror's tables that are still in the database.
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
# Until there are enough logs for the first dictionary.
_FIRST_TRAIN_INTERVAL_S = 10.0


class Maintenance:
    """Runs what is due, in small steps. Logs and series are kept for `retention`, forever if it is `None`."""

    def __init__(
        self, database: sa.Engine, processor: DocumentProcessor, retention: timedelta | None
    ) -> None:
        self._database = database
        self._processor = processor
        self._dictionaries = DictionaryStore(database)
        self._train_at_s = self._remind_at_s = 0.0
        self._sweeps = [
            _Sweep(partial(analyze_outdated, database), _log_analyzed),
            _Sweep(partial(summarize_outdated, database), _log_summarized),
            _Sweep(partial(transitions.delete_old, database), _log_deleted, interval_s=_DAY_S),
        ]
        if retention is not None:
            self._sweeps.append(
                _Sweep(
                    partial(prune, database, retention), partial(_log_pruned, retention), interval_s=_DAY_S
                )
            )

    def start(self) -> None:
        """Start over with the newest dictionary of the database."""
        dictionary = self._processor.dictionary = self._dictionaries.latest()
        for sweep in self._sweeps:
            sweep.reset()
        age_s = _age_s(dictionary)
        self._train_at_s = time.monotonic() + (0.0 if age_s is None else _TRAIN_INTERVAL_S - age_s)

    def run_due(self, *, is_idle: bool) -> None:
        """Run a step of what is due; work on old documents waits until the grabber is idle.

        Raises SQLAlchemyError; `start` has to be called again then.
        """
        if time.monotonic() >= self._train_at_s:
            self._train()
        if time.monotonic() >= self._remind_at_s:
            self._remind()
        if is_idle:
            for sweep in self._sweeps:
                sweep.run_step()

    def _train(self) -> None:
        self._processor.dictionary = self._dictionaries.train() or self._processor.dictionary
        # A catch-up and its training leave 3 MB of freed memory between objects that are still in use.
        malloc.return_freed_memory()
        is_trained = self._processor.dictionary is not None
        self._train_at_s = time.monotonic() + (_TRAIN_INTERVAL_S if is_trained else _FIRST_TRAIN_INTERVAL_S)

    def _remind(self) -> None:
        self._remind_at_s = time.monotonic() + _DAY_S
        with self._database.connect() as connection:
            progress = import_progress.read(connection)
        if progress is not None:
            log.warning("%s", progress)


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
