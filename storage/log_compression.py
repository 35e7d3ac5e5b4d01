"""Compression of job logs with zstd dictionaries that are trained on the logs themselves.

A dictionary holds the text that logs have in common, so that each compressed log omits it. Dictionaries are
trained at run time on redacted logs and stored in the database by version. A version never changes, and each
compressed log names the version that it needs.
"""

import logging
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache

import sqlalchemy as sa
import zstandard
from sqlalchemy.dialects.postgresql import insert

import db

log = logging.getLogger(__name__)

# The ids below are reserved: "Dictionary_ID" in RFC 8878.
_FIRST_ID = 32768
# At half this size a log takes 9 % more; a third on top saves 1 %.
_DICTIONARY_BYTES = 225_280
# Parameters of zstd's COVER algorithm, k (segment) and d (dmer). Logs repeat whole paragraphs: the shorter
# segments that zstd picks by itself compress a third worse.
_SEGMENT_BYTES = 2000
_DMER_BYTES = 8
# A small log takes a quarter of a millisecond at this level; higher levels save 1 % at twice the time.
_LEVEL = 9
# Without a dictionary, level 9 saves a tenth over this one at six times its time.
_LEVEL_WITHOUT_DICTIONARY = 3
# Digested dictionaries kept per process; old versions are rarely read.
_MAX_DIGESTED = 4
# Training uses the newest logs, about ten runs of them, and needs this many bytes in its half of them.
_TRAINING_LOGS = 300
_MIN_TRAINING_BYTES = 1_000_000
# A new dictionary is stored only if it makes logs at least 5 % smaller.
_MAX_SIZE_RATIO = 0.95

_thread_local = threading.local()


@dataclass(frozen=True, slots=True)
class ZstdDictionary:
    """A trained dictionary; versions count from 1."""

    version: int
    content: bytes = field(repr=False)
    trained_at: datetime


def train_dictionary(logs: Sequence[bytes], version: int) -> bytes:
    """Content of a dictionary for these logs. Raises zstandard.ZstdError if there are too few of them."""
    trained = zstandard.train_dictionary(
        _DICTIONARY_BYTES, list(logs), k=_SEGMENT_BYTES, d=_DMER_BYTES, dict_id=_FIRST_ID + version
    )
    return trained.as_bytes()


def required_version(packed: bytes) -> int | None:
    """Version of the dictionary that a compressed log was made with; `None` if it was made without one."""
    dictionary_id = zstandard.get_frame_parameters(packed).dict_id
    return dictionary_id - _FIRST_ID if dictionary_id else None


def compress(raw: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """Compress a log, with a dictionary if there is one."""
    return _compressor(dictionary).compress(raw)


def decompress(packed: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """Inverse of `compress`; the dictionary must be of the version that `required_version` returns."""
    data = None if dictionary is None else _digested(dictionary)
    return zstandard.ZstdDecompressor(dict_data=data).decompress(packed)


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

    def for_log(self, packed: bytes) -> ZstdDictionary | None:
        """The dictionary that a compressed log needs; `None` if it needs none."""
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
            log.warning("log_dictionary_failed reason=%s", error)
            return None
        ratio = _compressed_size(held_back, trained) / _compressed_size(held_back, current)
        log.info("log_dictionary_trained version=%d size_ratio=%.2f", version, ratio)
        return self._add(trained) if ratio < _MAX_SIZE_RATIO else None

    def _read(self, version: int) -> ZstdDictionary:
        table = db.log_dictionaries
        with self._database.connect() as connection:
            return self._cache(connection.execute(sa.select(table).where(table.c.version == version)).one())

    def _newest_logs(self) -> list[bytes]:
        jobs = db.jobs.c
        newest = (
            sa.select(db.job_details.c.log)
            .join(db.jobs)
            .where(jobs.exit_code.is_not(None))
            .order_by(jobs.run.desc())
            .limit(_TRAINING_LOGS)
        )
        with self._database.connect() as connection:
            packed = connection.scalars(newest).all()
        return [decompress(one, self.for_log(one)) for one in packed]

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


def _compressor(dictionary: ZstdDictionary | None) -> zstandard.ZstdCompressor:
    # A compressor is not thread-safe, and creating one takes longer than compressing a log.
    cached: tuple[ZstdDictionary | None, zstandard.ZstdCompressor] | None
    cached = getattr(_thread_local, "compressor", None)
    if cached is None or cached[0] != dictionary:
        cached = _thread_local.compressor = (dictionary, _new_compressor(dictionary))
    return cached[1]


def _new_compressor(dictionary: ZstdDictionary | None) -> zstandard.ZstdCompressor:
    if dictionary is None:
        return zstandard.ZstdCompressor(level=_LEVEL_WITHOUT_DICTIONARY, write_checksum=False)
    data = _digested(dictionary)
    data.precompute_compress(level=_LEVEL)
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=data, write_checksum=False)


@lru_cache(maxsize=_MAX_DIGESTED)
def _digested(dictionary: ZstdDictionary) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary.content)


def _compressed_size(logs: Sequence[bytes], dictionary: ZstdDictionary | None) -> int:
    return sum(len(compress(one, dictionary)) for one in logs)
