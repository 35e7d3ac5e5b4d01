"""Series and logs come out of the database as they were put in; those of jobs that are over, thinned."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from dqm2.records import EventSeries, InputStatus, InputStatuses, JobLog, JobRecord, MemorySeries, Stream
from dqmsquare_cfg import Settings
from storage import codecs
from storage.rows import MAX_POINTS, downsample
from tests.mirrored import MirroredCluster, job, log_of, with_history
from tests.mirroring import reader

# What may be -1 is no more than this; the two side by side are beyond what a difference can be.
INT8 = st.integers(min_value=-1, max_value=2**63 - 2)
LUMISECTIONS_OF_A_DAY = 3700


def columns(count: int) -> st.SearchStrategy[list[list[int]]]:
    """Columns of one length each."""
    lengths = st.integers(min_value=0, max_value=40)
    return lengths.flatmap(
        lambda length: st.lists(
            st.lists(INT8, min_size=length, max_size=length), min_size=count, max_size=count
        )
    )


@given(columns(3))
def test_it_gives_back_memory(given: list[list[int]]) -> None:
    assert codecs.unpack_memory(codecs.pack_memory(MemorySeries(*given))) == MemorySeries(*given)


@given(columns(4))
def test_it_gives_back_events(given: list[list[int]]) -> None:
    assert codecs.unpack_events(codecs.pack_events(EventSeries(*given))) == EventSeries(*given)


@given(st.dictionaries(st.integers(0, 2**31 - 1), st.sampled_from(InputStatus)))
def test_it_gives_back_fates(given: dict[int, InputStatus]) -> None:
    fates = InputStatuses(list(given), list(given.values()))
    assert codecs.unpack_input_statuses(codecs.pack_input_statuses(fates)) == fates


@given(st.text(), st.text(), st.integers(0, 1000))
def test_it_gives_back_a_log(head: str, tail: str, replaced: int) -> None:
    # A log is redacted text, in which there are no lone surrogates.
    texts = [part.encode(errors="replace").decode() for part in (head, tail)]
    log = JobLog(texts[0], texts[1], replaced)
    assert codecs.unpack_log(codecs.pack_log(log), replaced) == log


@given(st.lists(columns(6), max_size=3))
def test_it_gives_back_streams(given: list[list[list[int]]]) -> None:
    streams = [Stream(f"stream{number}", *of_stream) for number, of_stream in enumerate(given)]
    found = codecs.unpack_streams(codecs.pack_streams(streams))
    assert [_as_lists(stream) for stream in found] == [_as_lists(stream) for stream in streams]


def _as_lists(stream: Stream) -> list[Any]:
    times = (stream.mtimes_ms, stream.ctimes_ms)
    counts = (stream.events_accepted, stream.events_processed, stream.sizes_bytes)
    return [stream.name, *(list(column) for column in (stream.lumisections, *times, *counts))]


def test_it_thins_a_long_series_evenly_from_its_first_point_to_its_last() -> None:
    series = downsample(EventSeries(*[range(LUMISECTIONS_OF_A_DAY)] * 4))
    apart = [after - before for before, after in pairwise(series.lumisections)]
    assert len(series.lumisections) == MAX_POINTS
    assert (series.lumisections[0], series.lumisections[-1]) == (0, LUMISECTIONS_OF_A_DAY - 1)
    assert max(apart) - min(apart) <= 1
    assert series.at_s == series.events == series.duration_ms == series.lumisections


def test_it_leaves_a_short_series_whole() -> None:
    for length in (0, 1, MAX_POINTS):
        series = MemorySeries(*[range(length)] * 3)
        assert downsample(series) is series


def long_job(exit_code: int | None) -> JobRecord:
    """A job of a day."""
    now = datetime.now(UTC)
    started_at = now - timedelta(days=1)
    lumisections = LUMISECTIONS_OF_A_DAY
    record = job(
        358_791, "beam", at=now, started_at=started_at, exit_code=exit_code, lumisection=lumisections
    )
    return with_history(record)


def test_it_thins_the_series_of_a_job_that_is_over_and_no_other(settings: Settings) -> None:
    mirrored = MirroredCluster(settings)
    running, over = long_job(None), long_job(0)
    mirrored.write(mirrored.filter_units[0], running, over)
    whole = reader(settings).job_details(running.document.identity)
    kept = reader(settings).job_details(over.document.identity)
    assert whole is not None
    assert kept is not None
    assert len(whole.events.lumisections) == LUMISECTIONS_OF_A_DAY
    assert len(kept.events.lumisections) == len(kept.memory.at_s) == MAX_POINTS
    # What of it was monitored stays known by lumisection.
    assert len(kept.input_statuses.lumisections) == LUMISECTIONS_OF_A_DAY
    assert kept.log == log_of(over)
