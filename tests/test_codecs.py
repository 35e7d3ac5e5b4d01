"""Packing of series and logs is lossless; the series of finished jobs are downsampled."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dqm2.records import EventSeries, InputStatus, InputStatuses, JobLog, JobRecord, MemorySeries, Stream
from dqmsquare_cfg import Settings
from storage import codecs
from storage.rows import MAX_POINTS, downsample
from tests.grabber_runner import reader
from tests.mirrored_cluster import MirroredCluster, job, log_of, with_series

# Values are at least -1, so that the difference of two is a 64-bit integer.
INT64 = st.integers(min_value=-1, max_value=2**63 - 2)
LUMISECTIONS_PER_DAY = 3700


def columns(count: int) -> st.SearchStrategy[list[list[int]]]:
    """Columns of equal length."""
    lengths = st.integers(min_value=0, max_value=40)
    return lengths.flatmap(
        lambda length: st.lists(
            st.lists(INT64, min_size=length, max_size=length), min_size=count, max_size=count
        )
    )


@given(columns(3))
def test_it_unpacks_memory(given: list[list[int]]) -> None:
    assert codecs.unpack_memory(codecs.pack_memory(MemorySeries(*given))) == MemorySeries(*given)


@given(columns(4))
def test_it_unpacks_events(given: list[list[int]]) -> None:
    assert codecs.unpack_events(codecs.pack_events(EventSeries(*given))) == EventSeries(*given)


@given(st.dictionaries(st.integers(0, 2**31 - 1), st.sampled_from(InputStatus)))
def test_it_unpacks_input_statuses(given: dict[int, InputStatus]) -> None:
    statuses = InputStatuses(list(given), list(given.values()))
    assert codecs.unpack_input_statuses(codecs.pack_input_statuses(statuses)) == statuses


@given(st.text(), st.text(), st.integers(0, 1000))
def test_it_unpacks_a_log(head: str, tail: str, redactions: int) -> None:
    # Redacted text contains no lone surrogates.
    texts = [part.encode(errors="replace").decode() for part in (head, tail)]
    log = JobLog(texts[0], texts[1], redactions)
    assert codecs.unpack_log(codecs.pack_log(log), redactions) == log


@given(st.lists(columns(6), max_size=3))
def test_it_unpacks_streams(given: list[list[list[int]]]) -> None:
    streams = [Stream(f"stream{number}", *of_stream) for number, of_stream in enumerate(given)]
    found = codecs.unpack_streams(codecs.pack_streams(streams))
    assert [_as_lists(stream) for stream in found] == [_as_lists(stream) for stream in streams]


def _as_lists(stream: Stream) -> list[Any]:
    times = (stream.mtimes_ms, stream.ctimes_ms)
    counts = (stream.events_accepted, stream.events_processed, stream.sizes_bytes)
    return [stream.name, *(list(column) for column in (stream.lumisections, *times, *counts))]


def test_it_downsamples_a_long_series_evenly_from_its_first_point_to_its_last() -> None:
    series = downsample(EventSeries(*[range(LUMISECTIONS_PER_DAY)] * 4))
    distances = [after - before for before, after in pairwise(series.lumisections)]
    assert len(series.lumisections) == MAX_POINTS
    assert (series.lumisections[0], series.lumisections[-1]) == (0, LUMISECTIONS_PER_DAY - 1)
    assert max(distances) - min(distances) <= 1
    assert series.at_s == series.events == series.duration_ms == series.lumisections


def test_it_keeps_all_points_of_a_short_series() -> None:
    for length in (0, 1, MAX_POINTS):
        series = MemorySeries(*[range(length)] * 3)
        assert downsample(series) is series


def long_job(exit_code: int | None) -> JobRecord:
    """A job that lasts a day."""
    now = datetime.now(UTC)
    started_at = now - timedelta(days=1)
    lumisections = LUMISECTIONS_PER_DAY
    record = job(
        358_791, "beam", at=now, started_at=started_at, exit_code=exit_code, lumisection=lumisections
    )
    return with_series(record)


def test_it_downsamples_the_series_of_a_finished_job_only(settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    running, finished = long_job(None), long_job(0)
    mirrored.write(mirrored.filter_units[0], running, finished)
    whole = reader(settings).jobs.details(running.document.identity)
    kept = reader(settings).jobs.details(finished.document.identity)
    assert whole is not None
    assert kept is not None
    assert len(whole.series.events.lumisections) == LUMISECTIONS_PER_DAY
    assert len(kept.series.events.lumisections) == len(kept.series.memory.at_s) == MAX_POINTS
    # Input statuses are kept for every lumisection.
    assert len(kept.series.input_statuses.lumisections) == LUMISECTIONS_PER_DAY
    assert kept.log == log_of(finished)
