"""Binary formats of series and logs in the database: packed columns of integers and compressed text.

A packed series is one zstd frame. Each column of integers is delta-encoded, the differences are
zigzag-encoded (small magnitudes of either sign become small numbers), and the resulting 64-bit integers are
stored as byte planes: all lowest bytes, then all second-lowest, and so on. A steady series is then mostly
zeros, which compress to almost nothing. Logs are compressed with a dictionary (`storage/log_compression.py`).
"""

import threading
from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate, pairwise
from operator import sub
from typing import overload

import orjson
import zstandard

from dqm2.records import EventSeries, InputStatus, InputStatuses, JobLog, MemorySeries, Stream
from storage import log_compression
from storage.log_compression import DamagedLog, ZstdDictionary

_LEVEL = 6
_INTEGER_BYTES = 8
_STATUSES = dict(enumerate(InputStatus))
_CODES = {status: code for code, status in _STATUSES.items()}

_Columns = Sequence[Sequence[int]]
_thread_local = threading.local()


class DamagedSeries(Exception):
    """Raised for a stored series that can't be read; the message says why."""


def pack_memory(series: MemorySeries) -> bytes:
    """Pack the memory of a job over time."""
    return _pack_columns((series.at_s, series.size_kb, series.rss_kb))


def unpack_memory(packed: bytes) -> MemorySeries:
    """Inverse of `pack_memory`. Raises DamagedSeries."""
    return MemorySeries(*_unpack_columns(packed, 3))


def pack_events(series: EventSeries) -> bytes:
    """Pack the events of a job by lumisection."""
    return _pack_columns((series.lumisections, series.at_s, series.events, series.duration_ms))


def unpack_events(packed: bytes) -> EventSeries:
    """Inverse of `pack_events`. Raises DamagedSeries."""
    return EventSeries(*_unpack_columns(packed, 4))


def pack_input_statuses(statuses: InputStatuses) -> bytes:
    """Pack the input status of each lumisection of a job."""
    return _pack_columns((statuses.lumisections, [_CODES[status] for status in statuses.statuses]))


def unpack_input_statuses(packed: bytes) -> InputStatuses:
    """Inverse of `pack_input_statuses`. Raises DamagedSeries."""
    lumisections, codes = _unpack_columns(packed, 2)
    try:
        return InputStatuses(lumisections, [_STATUSES[code] for code in codes])
    except KeyError as error:
        raise DamagedSeries(f"there is no input status {error}") from error


def pack_log(log: JobLog, dictionary: ZstdDictionary | None = None) -> bytes:
    """Pack head and tail of a job's log into one frame, in which text that both contain is stored once."""
    return log_compression.compress(log_text(log), dictionary)


def log_text(log: JobLog) -> bytes:
    """The uncompressed content of a packed log, which dictionaries are trained on."""
    head = log.head.encode()
    return len(head).to_bytes(4, "little") + head + log.tail.encode()


def unpack_log(packed: bytes, redactions: int, dictionary: ZstdDictionary | None = None) -> JobLog:
    """Inverse of `pack_log` with the same dictionary; the number of redactions is stored separately.

    Raises DamagedLog.
    """
    raw = log_compression.decompress(packed, dictionary)
    end = 4 + int.from_bytes(raw[:4], "little")
    if end > len(raw):
        raise DamagedLog("its head is incomplete")
    try:
        return JobLog(head=raw[4:end].decode(), tail=raw[end:].decode(), redactions=redactions)
    except UnicodeDecodeError as error:
        raise DamagedLog(error) from error


def pack_streams(streams: Sequence[Stream]) -> bytes:
    """Pack the streams of a run's file delivery: their names and lengths, then all of their columns."""
    names = orjson.dumps([[stream.name, len(stream.lumisections)] for stream in streams])
    columns = b"".join(_encode_column(column) for stream in streams for column in _stream_columns(stream))
    return _compress(len(names).to_bytes(4, "little") + names + columns)


def unpack_streams(packed: bytes) -> tuple[Stream, ...]:
    """Inverse of `pack_streams`; a column is decoded when it is first used. Raises DamagedSeries."""
    raw = _decompress(packed)
    start = 4 + int.from_bytes(raw[:4], "little")
    try:
        lengths: list[tuple[str, int]] = orjson.loads(raw[4:start])
    except orjson.JSONDecodeError as error:
        raise DamagedSeries(error) from error
    if start + sum(6 * length * _INTEGER_BYTES for _, length in lengths) != len(raw):
        raise DamagedSeries("its columns are incomplete")
    streams = []
    for name, length in lengths:
        size = length * _INTEGER_BYTES
        ends = range(start, start + 6 * size + 1, size) if size else [start] * 7
        columns = [_LazyColumn(raw[a:b]) for a, b in pairwise(ends)]
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
    return _compress(b"".join(map(_encode_column, columns)))


def _unpack_columns(packed: bytes, count: int) -> list[list[int]]:
    raw = _decompress(packed)
    if len(raw) % (count * _INTEGER_BYTES):
        raise DamagedSeries("its columns are incomplete")
    size = len(raw) // count
    return [_decode_column(raw[at * size : (at + 1) * size]).tolist() for at in range(count)]


def _encode_column(column: Sequence[int]) -> bytes:
    if not column:
        return b""
    differences = (column[0], *map(sub, column[1:], column))
    # Zigzag, i.e. (number << 1) ^ (number >> 63), which takes longer.
    raw = array("Q", [2 * number if number >= 0 else -2 * number - 1 for number in differences]).tobytes()
    return b"".join(raw[plane::_INTEGER_BYTES] for plane in range(_INTEGER_BYTES))


def _decode_column(raw: bytes) -> "array[int]":
    length = len(raw) // _INTEGER_BYTES
    interleaved = bytearray(len(raw))
    for plane in range(_INTEGER_BYTES):
        interleaved[plane::_INTEGER_BYTES] = raw[plane * length : (plane + 1) * length]
    numbers = array("Q")
    numbers.frombytes(interleaved)
    try:
        # A list comprehension is a third faster than a generator.
        return array("q", accumulate([(number >> 1) ^ -(number & 1) for number in numbers]))
    except OverflowError as error:
        raise DamagedSeries("it has a number of more than 64 bits") from error


class _LazyColumn(Sequence[int]):
    """Column of integers that is decoded at its first use: no page needs all columns of a delivery."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw

    @cached_property
    def _numbers(self) -> "array[int]":
        return _decode_column(self._raw)

    def __len__(self) -> int:
        return len(self._raw) // _INTEGER_BYTES

    def __iter__(self) -> Iterator[int]:
        return iter(self._numbers)

    @overload
    def __getitem__(self, at: int) -> int: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[int]: ...
    def __getitem__(self, at: int | slice) -> int | Sequence[int]:
        return self._numbers[at]


def _compress(raw: bytes) -> bytes:
    # A compressor is not thread-safe, and creating one takes longer than compressing a small frame.
    compressor: zstandard.ZstdCompressor | None = getattr(_thread_local, "compressor", None)
    if compressor is None:
        compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=False)
        _thread_local.compressor = compressor
    return compressor.compress(raw)


def _decompress(packed: bytes) -> bytes:
    try:
        return zstandard.ZstdDecompressor().decompress(packed)
    # zstd reserves as much memory as the frame says that it needs.
    except (zstandard.ZstdError, MemoryError) as error:
        raise DamagedSeries(str(error) or "it would be larger than the memory") from error
