"""The dictionary that logs are compressed by: what they have in common, so that it is not kept in each.

It is trained at run time on logs that have been redacted, kept in the database by version, and never changed:
a compressed log names the version that it needs.
"""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache

import zstandard

# The ids below are reserved: "Dictionary_ID" in RFC 8878.
_FIRST_ID = 32768
# Half of it costs a log 9 % more, a third more gains 1 %.
_BYTES = 225_280
# zstd's cover algorithm picks segments of so many bytes by how much of them recurs in pieces of so many. Logs
# recur by paragraphs: shorter segments, which zstd chooses by itself, compress a third worse.
_SEGMENT_BYTES = 2000
_PIECE_BYTES = 8
# A small log costs a quarter of a millisecond at this level; the next ones gain 1 % at twice the time.
_LEVEL = 9
# As long as there is no dictionary, that level gains a tenth at six times the time of this one.
_LEVEL_ALONE = 3
# What the process keeps ready of dictionaries; a job's log rarely needs an old one.
_MOST_READY = 4

_own = threading.local()


@dataclass(frozen=True, slots=True)
class ZstdDictionary:
    """A trained dictionary; versions count from 1."""

    version: int
    content: bytes = field(repr=False)
    trained_at: datetime


def train(logs: Sequence[bytes], version: int) -> bytes:
    """What a dictionary of these logs holds. Raises zstandard.ZstdError if there are too few of them."""
    trained = zstandard.train_dictionary(
        _BYTES, list(logs), k=_SEGMENT_BYTES, d=_PIECE_BYTES, dict_id=_FIRST_ID + version
    )
    return trained.as_bytes()


def required_version(packed: bytes) -> int | None:
    """The version of the dictionary that a compressed value was made with; `None` if it needs none."""
    dictionary_id = zstandard.get_frame_parameters(packed).dict_id
    return dictionary_id - _FIRST_ID if dictionary_id else None


def compress(raw: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """The log compressed, by a dictionary if there is one yet."""
    return _compressor(dictionary).compress(raw)


def decompress(packed: bytes, dictionary: ZstdDictionary | None) -> bytes:
    """What `compress` was given; the dictionary is the one that `version_needed` names."""
    data = None if dictionary is None else _ready(dictionary)
    return zstandard.ZstdDecompressor(dict_data=data).decompress(packed)


def _compressor(dictionary: ZstdDictionary | None) -> zstandard.ZstdCompressor:
    # A compressor serves one thread at a time, and making one costs more than a log.
    made: tuple[ZstdDictionary | None, zstandard.ZstdCompressor] | None = getattr(_own, "made", None)
    if made is None or made[0] != dictionary:
        made = _own.made = (dictionary, _made(dictionary))
    return made[1]


def _made(dictionary: ZstdDictionary | None) -> zstandard.ZstdCompressor:
    if dictionary is None:
        return zstandard.ZstdCompressor(level=_LEVEL_ALONE, write_checksum=False)
    data = _ready(dictionary)
    data.precompute_compress(level=_LEVEL)
    return zstandard.ZstdCompressor(level=_LEVEL, dict_data=data, write_checksum=False)


@lru_cache(maxsize=_MOST_READY)
def _ready(dictionary: ZstdDictionary) -> zstandard.ZstdCompressionDict:
    return zstandard.ZstdCompressionDict(dictionary.content)
