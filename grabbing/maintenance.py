"""What a grabber does for its database besides mirroring: it trains dictionaries and takes away old logs.

It also reminds of what an earlier mirror left there, as long as that is there.
"""

import logging
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa

from runtime import malloc
from storage import import_progress
from storage.log_compression import DictionaryStore, ZstdDictionary
from storage.retention import prune

log = logging.getLogger(__name__)

_DAY_S = 86_400.0
# Logs change with the releases of CMSSW.
_TRAIN_EVERY_S = 7 * _DAY_S
# The first dictionary is trained as soon as there are logs enough.
_TRAIN_AGAIN_S = 10.0
_PRUNE_EVERY_S = _DAY_S
_REMIND_EVERY_S = _DAY_S


class Upkeep:
    """Keeps a cluster's database small; `keep` is how long logs and series stay, `None` for good."""

    def __init__(self, database: sa.Engine, keep: timedelta | None) -> None:
        self._database = database
        self._keep = keep
        self._dictionaries = DictionaryStore(database)
        self._dictionary: ZstdDictionary | None = None
        self._train_at_s = self._prune_at_s = self._remind_at_s = 0.0
        self._pruning: Iterator[int] | None = None
        self._pruned = 0

    def begin(self) -> None:
        """Begins with the newest dictionary of the database; what is due is due at once."""
        self._dictionary = self._dictionaries.latest()
        self._pruning, self._prune_at_s = None, 0.0
        age_s = _age_s(self._dictionary)
        self._train_at_s = time.monotonic() + (0.0 if age_s is None else _TRAIN_EVERY_S - age_s)

    def dictionary(self) -> ZstdDictionary | None:
        """The dictionary that logs are to be written by; `None` as long as there is none."""
        return self._dictionary

    def turn(self, *, is_idle: bool) -> None:
        """Does a little of what is due; what can wait, only if the grabber has nothing else to do.

        Raises SQLAlchemy's errors, after which it is to begin again.
        """
        if time.monotonic() >= self._train_at_s:
            self._train()
        if time.monotonic() >= self._remind_at_s:
            self._remind()
        if is_idle and self._keep is not None:
            self._prune_some(self._keep)

    def _train(self) -> None:
        self._dictionary = self._dictionaries.train() or self._dictionary
        # It has read hundreds of logs.
        malloc.give_back()
        pause_s = _TRAIN_AGAIN_S if self._dictionary is None else _TRAIN_EVERY_S
        self._train_at_s = time.monotonic() + pause_s

    def _remind(self) -> None:
        self._remind_at_s = time.monotonic() + _REMIND_EVERY_S
        with self._database.connect() as connection:
            adoption = import_progress.read(connection)
        if adoption is not None:
            log.warning("%s", adoption)

    def _prune_some(self, keep: timedelta) -> None:
        if self._pruning is None:
            if time.monotonic() < self._prune_at_s:
                return
            self._prune_at_s = time.monotonic() + _PRUNE_EVERY_S
            self._pruning, self._pruned = prune(self._database, keep), 0
        pruned = next(self._pruning, None)
        if pruned is not None:
            self._pruned += pruned
            return
        self._pruning = None
        log.info("pruned logs and series of jobs=%d older_than_days=%d", self._pruned, keep.days)


def _age_s(dictionary: ZstdDictionary | None) -> float | None:
    if dictionary is None:
        return None
    return (datetime.now(UTC) - dictionary.trained_at).total_seconds()
