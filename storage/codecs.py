"""How series and logs are kept in the database: packed columns of integers and compressed text.

A packed value is one zstd frame. Columns of integers are differences of neighbours, small ones of either sign
as small numbers (zigzag), as 64-bit integers whose bytes of equal weight stand together: a steady series is
then mostly zeros, which cost next to nothing. Logs are compressed by a dictionary
(`storage/log_compression.py`).
"""

import threading
from array import array
from collections.abc import Sequence
from itertools import accumulate, pairwise
from operator import sub

import orjson
import zstandard

from dqm2.records import EventSeries, InputStatus, InputStatuses, JobLog, MemorySeries, Stream
from storage import log_compression as dictionaries
from storage.log_compression import ZstdDictionary

_LEVEL = 6
_WIDTH = 8
_FATES = tuple(InputStatus)
_CODES = {fate: code for code, fate in enumerate(_FATES)}

_Columns = Sequence[Sequence[int]]
_compressors = threading.local()


def pack_memory(series: MemorySeries) -> bytes:
    """Memory of a job over time."""
    return _pack_columns((series.at_s, series.size_kb, series.rss_kb))


def unpack_memory(packed: bytes) -> MemorySeries:
    """What `pack_memory` packed."""
    return MemorySeries(*_unpack_columns(packed, 3))


def pack_events(series: EventSeries) -> bytes:
    """Events of a job by lumisection."""
    return _pack_columns((series.lumisections, series.at_s, series.events, series.duration_ms))


def unpack_events(packed: bytes) -> EventSeries:
    """What `pack_events` packed."""
    return EventSeries(*_unpack_columns(packed, 4))


def pack_input_statuses(fates: InputStatuses) -> bytes:
    """The fates of the input of a job's lumisections."""
    return _pack_columns((fates.lumisections, [_CODES[fate] for fate in fates.statuses]))


def unpack_input_statuses(packed: bytes) -> InputStatuses:
    """What `pack_fates` packed."""
    lumisections, codes = _unpack_columns(packed, 2)
    return InputStatuses(lumisections, [_FATES[code] for code in codes])


def pack_log(log: JobLog, dictionary: ZstdDictionary | None = None) -> bytes:
    """Head and tail of a job's log, in one frame: where they overlap, the second costs next to nothing."""
    return dictionaries.compress(log_text(log), dictionary)


def unpack_log(packed: bytes, replaced: int, dictionary: ZstdDictionary | None = None) -> JobLog:
    """What `pack_log` packed by this dictionary; the count of replaced parts is kept beside it."""
    raw = dictionaries.decompress(packed, dictionary)
    end = 4 + int.from_bytes(raw[:4], "little")
    return JobLog(head=raw[4:end].decode(), tail=raw[end:].decode(), redactions=replaced)


def log_text(log: JobLog) -> bytes:
    """A log as one text, which is what dictionaries are trained on."""
    head = log.head.encode()
    return len(head).to_bytes(4, "little") + head + log.tail.encode()


def pack_streams(streams: Sequence[Stream]) -> bytes:
    """The streams of a run's file delivery: their names and lengths, then all of their columns."""
    names = orjson.dumps([[stream.name, len(stream.lumisections)] for stream in streams])
    columns = b"".join(_shuffled(column) for stream in streams for column in _stream_columns(stream))
    return _compress(len(names).to_bytes(4, "little") + names + columns)


def unpack_streams(packed: bytes) -> tuple[Stream, ...]:
    """What `pack_streams` packed."""
    raw = _decompress(packed)
    start = 4 + int.from_bytes(raw[:4], "little")
    streams = []
    for name, length in orjson.loads(raw[4:start]):
        size = length * _WIDTH
        ends = range(start, start + 6 * size + 1, size) if size else [start] * 7
        columns = [_unshuffled(raw[a:b]) for a, b in pairwise(ends)]
        streams.append(Stream(name, *columns))
        start += 6 * size
    return tuple(streams)


def _stream_columns(stream: Stream) -> _Columns:
    return (
        stream.lumisections,
        stream.mtimes_ms,
        stream.ctimes_ms,
        stream.events_accepted,
        stream.events_processed,
        stream.sizes_bytes,
    )


def _pack_columns(columns: _Columns) -> bytes:
    return _compress(b"".join(map(_shuffled, columns)))


def _unpack_columns(packed: bytes, count: int) -> list[list[int]]:
    raw = _decompress(packed)
    size = len(raw) // count
    return [_unshuffled(raw[at * size : (at + 1) * size]).tolist() for at in range(count)]


def _shuffled(column: Sequence[int]) -> bytes:
    if not column:
        return b""
    differences = (column[0], *map(sub, column[1:], column))
    raw = array("Q", [(number << 1) ^ (number >> 63) for number in differences]).tobytes()
    return b"".join(raw[weight::_WIDTH] for weight in range(_WIDTH))


def _unshuffled(raw: bytes) -> "array[int]":
    length = len(raw) // _WIDTH
    together = bytearray(len(raw))
    for weight in range(_WIDTH):
        together[weight::_WIDTH] = raw[weight * length : (weight + 1) * length]
    numbers = array("Q")
    numbers.frombytes(together)
    return array("q", accumulate((number >> 1) ^ -(number & 1) for number in numbers))


def _compress(raw: bytes) -> bytes:
    # A compressor serves one thread at a time, and making one costs more than a small frame.
    compressor: zstandard.ZstdCompressor | None = getattr(_compressors, "compressor", None)
    if compressor is None:
        compressor = _compressors.compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
    return compressor.compress(raw)


def _decompress(packed: bytes) -> bytes:
    return zstandard.ZstdDecompressor().decompress(packed)
