"""Compression of job logs with zstd dictionaries that are trained on the logs themselves.

A dictionary holds the text that logs have in common, so that each compressed log omits it. A version never
changes, and each compressed log names the version that it needs. Parser processes need what is here, so it
has no SQL; `storage/log_dictionaries.py` trains and stores dictionaries.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import zstandard

from dqm2.series_parsers import MAX_LOG_CHARACTERS

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
# Head and tail of a log, of up to four bytes a character, and the length of the head.
_MAX_RAW_BYTES = 2 * 4 * MAX_LOG_CHARACTERS + 4

_thread_local = threading.local()


class DamagedLog(Exception):
    """Raised for a stored log that can't be read; the message says why."""


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
    """Version of the dictionary that a compressed log was made with; `None` if it was made without one.

    Raises DamagedLog.
    """
    dictionary_id = _frame_parameters(packed).dict_id
    return dictionary_id - _FIRST_ID if dictionary_id else None


def compress(raw: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """Compress a log, with a dictionary if there is one."""
    return _compressor(dictionary).compress(raw)


def decompress(packed: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """Inverse of `compress`; the dictionary must be of the version that `required_version` returns.

    Raises DamagedLog.
    """
    # zstd reserves as much memory as the frame says that it needs.
    if _frame_parameters(packed).content_size > _MAX_RAW_BYTES:
        raise DamagedLog("it would be larger than a log can be")
    data = None if dictionary is None else _digested(dictionary)
    try:
        return zstandard.ZstdDecompressor(dict_data=data).decompress(packed)
    except zstandard.ZstdError as error:
        raise DamagedLog(error) from error


def _frame_parameters(packed: bytes) -> zstandard.FrameParameters:
    try:
        return zstandard.get_frame_parameters(packed)
    except zstandard.ZstdError as error:
        raise DamagedLog(error) from error


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
