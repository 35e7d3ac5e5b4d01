"""Maintenance of a cluster's database: log dictionaries, old logs, deliveries and transitions, a reminder.

The reminder, once a day, is about tables of an earlier mirror that are still there.
"""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from grabbing.document_pipeline import DocumentProcessor
from runtime import malloc
from storage import import_progress, transitions
from storage.delivery_backfill import summarize_outdated
from storage.log_backfill import analyze_outdated
from storage.log_compression import DictionaryStore, ZstdDictionary
from storage.log_findings import FINDINGS_VERSION
from storage.retention import prune

log = logging.getLogger(__name__)

_DAY_S = 86_400.0
# Logs change with the releases of CMSSW.
_TRAIN_INTERVAL_S = 7 * _DAY_S
# Until there are enough logs for the first dictionary.
_FIRST_TRAIN_INTERVAL_S = 10.0
_PRUNE_INTERVAL_S = _DAY_S
_DELETE_INTERVAL_S = _DAY_S
_REMIND_INTERVAL_S = _DAY_S


class Maintenance:
    """Runs what is due, in small steps. Logs and series are kept for `retention`, forever if it is `None`."""

    def __init__(
        self, database: sa.Engine, processor: DocumentProcessor, retention: timedelta | None
    ) -> None:
        self._database = database
        self._processor = processor
        self._retention = retention
        self._dictionaries = DictionaryStore(database)
        self._train_at_s = self._prune_at_s = self._remind_at_s = 0.0
        self._pruning: Iterator[int] | None = None
        self._pruned = 0
        self._delete_at_s = 0.0
        self._deletion: Iterator[int] | None = None
        self._deleted = 0
        self._analysis: Iterator[int] | None = None
        self._analyzed = 0
        self._summaries: Iterator[int] | None = None
        self._summarized = 0

    def start(self) -> None:
        """Start over with the newest dictionary of the database."""
        dictionary = self._processor.dictionary = self._dictionaries.latest()
        self._pruning, self._prune_at_s = None, 0.0
        self._deletion, self._delete_at_s = None, 0.0
        self._analysis, self._analyzed = analyze_outdated(self._database), 0
        self._summaries, self._summarized = summarize_outdated(self._database), 0
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
            self._analyze_step()
            self._summarize_step()
            self._delete_transitions_step()
            if self._retention is not None:
                self._prune_step(self._retention)

    def _train(self) -> None:
        self._processor.dictionary = self._dictionaries.train() or self._processor.dictionary
        # Of a catch-up and its training, 3 MB would stay between objects that are still used.
        malloc.return_freed_memory()
        is_trained = self._processor.dictionary is not None
        self._train_at_s = time.monotonic() + (_TRAIN_INTERVAL_S if is_trained else _FIRST_TRAIN_INTERVAL_S)

    def _remind(self) -> None:
        self._remind_at_s = time.monotonic() + _REMIND_INTERVAL_S
        with self._database.connect() as connection:
            progress = import_progress.read(connection)
        if progress is not None:
            log.warning("%s", progress)

    def _analyze_step(self) -> None:
        """Analyze a batch of the logs that were stored by older rules."""
        analyzed = None if self._analysis is None else next(self._analysis, None)
        if analyzed is not None:
            self._analyzed += analyzed
            return
        if self._analyzed:
            log.info("job_logs_analyzed jobs=%d rules=%d", self._analyzed, FINDINGS_VERSION)
        self._analysis, self._analyzed = None, 0

    def _summarize_step(self) -> None:
        """Compute the statistics of a batch of the deliveries that were stored without."""
        summarized = None if self._summaries is None else next(self._summaries, None)
        if summarized is not None:
            self._summarized += summarized
            return
        if self._summarized:
            log.info("delivery_statistics_stored deliveries=%d", self._summarized)
        self._summaries, self._summarized = None, 0

    def _delete_transitions_step(self) -> None:
        """Delete a batch of old transitions."""
        if self._deletion is None:
            if time.monotonic() < self._delete_at_s:
                return
            self._delete_at_s = time.monotonic() + _DELETE_INTERVAL_S
            self._deletion, self._deleted = transitions.delete_old(self._database), 0
        deleted = next(self._deletion, None)
        if deleted is not None:
            self._deleted += deleted
            return
        if self._deleted:
            days = transitions.RETENTION.days
            log.info("transitions_deleted transitions=%d older_than_days=%d", self._deleted, days)
        self._deletion = None

    def _prune_step(self, retention: timedelta) -> None:
        if self._pruning is None:
            if time.monotonic() < self._prune_at_s:
                return
            self._prune_at_s = time.monotonic() + _PRUNE_INTERVAL_S
            self._pruning, self._pruned = prune(self._database, retention), 0
        pruned = next(self._pruning, None)
        if pruned is not None:
            self._pruned += pruned
            return
        self._pruning = None
        log.info("job_logs_pruned jobs=%d older_than_days=%d", self._pruned, retention.days)


def _age_s(dictionary: ZstdDictionary | None) -> float | None:
    if dictionary is None:
        return None
    return (datetime.now(UTC) - dictionary.trained_at).total_seconds()
