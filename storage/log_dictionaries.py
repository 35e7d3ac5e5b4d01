"""Dictionaries of a cluster's database for the compression of logs, trained at run time on redacted logs."""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

import sqlalchemy as sa
import zstandard
from sqlalchemy.dialects.postgresql import insert

import db
from dqm2.records import JobLog
from runtime import logging_setup
from storage import codecs
from storage.log_compression import (
    DamagedLog,
    ZstdDictionary,
    compress,
    decompress,
    required_version,
    train_dictionary,
)

log = logging.getLogger(__name__)

# Training uses the newest logs, about ten runs of them, and needs this many bytes in its half of them.
_TRAINING_LOGS = 300
_MIN_TRAINING_BYTES = 1_000_000
# A new dictionary is stored only if it makes logs at least 5 % smaller.
_MAX_SIZE_RATIO = 0.95
# Damaged logs that are remembered, so that each is reported once.
_MAX_REPORTED = 1000


class DictionaryStore:
    """The dictionaries of a cluster's database; those read once are cached, since they never change."""

    def __init__(self, database: sa.Engine) -> None:
        self._database = database
        self._cached: dict[int, ZstdDictionary] = {}

    def latest(self) -> ZstdDictionary | None:
        """The dictionary for new logs; `None` if none has been trained yet."""
        table = db.log_dictionaries
        statement = sa.select(table).order_by(table.c.version.desc()).limit(1)
        with self._database.connect() as connection:
            row = connection.execute(statement).one_or_none()
        return None if row is None else self._cache(row)

    def unpack(self, job: UUID, packed: bytes, redactions: int = 0) -> JobLog:
        """Unpack the stored log of a job. Raises DamagedLog, which is logged once."""
        try:
            return codecs.unpack_log(packed, redactions, self.for_log(packed))
        except DamagedLog as error:
            _report(job, str(error))
            raise

    def for_log(self, packed: bytes) -> ZstdDictionary | None:
        """The dictionary that a compressed log needs; `None` if it needs none. Raises DamagedLog."""
        version = required_version(packed)
        return None if version is None else self._cached.get(version) or self._read(version)

    def train(self) -> ZstdDictionary | None:
        """Train a dictionary on the newest logs and store it if it compresses them better than the last.

        Returns the dictionary for new logs, or `None` if nothing was stored, e.g. for lack of logs.
        """
        # Half of the logs are held back: any dictionary is good at what it was trained on.
        logs = self._newest_logs()
        training, held_back = logs[::2], logs[1::2]
        if len(logs) < _TRAINING_LOGS or sum(map(len, training)) < _MIN_TRAINING_BYTES:
            return None
        current = self.latest()
        version = 1 if current is None else current.version + 1
        try:
            trained = ZstdDictionary(version, train_dictionary(training, version), datetime.now(UTC))
        except zstandard.ZstdError as error:
            log.warning("log_dictionary_failed reason=%s", logging_setup.quote_value(error))
            return None
        ratio = _compressed_size(held_back, trained) / _compressed_size(held_back, current)
        log.info("log_dictionary_trained version=%d size_ratio=%.2f", version, ratio)
        return self._add(trained) if ratio < _MAX_SIZE_RATIO else None

    def _read(self, version: int) -> ZstdDictionary:
        table = db.log_dictionaries
        with self._database.connect() as connection:
            row = connection.execute(sa.select(table).where(table.c.version == version)).one_or_none()
        if row is None:
            raise DamagedLog(f"there is no dictionary {version}")
        return self._cache(row)

    def _newest_logs(self) -> list[bytes]:
        jobs = db.jobs.c
        newest = (
            sa.select(db.job_details.c.identity, db.job_details.c.log)
            .join(db.jobs)
            .where(jobs.exit_code.is_not(None))
            .order_by(jobs.run.desc())
            .limit(_TRAINING_LOGS)
        )
        with self._database.connect() as connection:
            rows = connection.execute(newest).all()
        return [log for row in rows if (log := self._decompressed(row)) is not None]

    def _decompressed(self, row: Any) -> bytes | None:
        try:
            return decompress(row.log, self.for_log(row.log))
        except DamagedLog as error:
            _report(row.identity, str(error))
            return None

    def _add(self, trained: ZstdDictionary) -> ZstdDictionary | None:
        row = {"version": trained.version, "content": trained.content, "trained_at": trained.trained_at}
        with self._database.begin() as connection:
            connection.execute(insert(db.log_dictionaries).on_conflict_do_nothing(), row)
        # If another grabber stored this version first, its dictionary is the one to use.
        return self.latest()

    def _cache(self, row: sa.Row[tuple[object, ...]]) -> ZstdDictionary:
        dictionary = ZstdDictionary(row.version, bytes(row.content), row.trained_at)
        self._cached[dictionary.version] = dictionary
        return dictionary


@lru_cache(_MAX_REPORTED)
def _report(job: UUID, reason: str) -> None:
    log.warning("log_damaged job=%s reason=%s", job, logging_setup.quote_value(reason))


def _compressed_size(logs: Sequence[bytes], dictionary: ZstdDictionary | None) -> int:
    return sum(len(compress(one, dictionary)) for one in logs)
