"""Documents of DQM² become records: every type, numbers as numbers or as text, series in order."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from dqm2.document_parser import ParsedDocument
from dqm2.records import (
    LUMISECTION_S,
    CrashKind,
    CrashReason,
    DeliveryRecord,
    DiskRecord,
    DocumentVersion,
    EventSeries,
    InputStatus,
    InputStatuses,
    JobLog,
    JobRecord,
    MemoryRecord,
    MemorySeries,
    PlaybackRecord,
    Record,
    SimulatorState,
    Stream,
)
from tests.sample_documents import (
    DELIVERY,
    DISK,
    JOB,
    MACHINE,
    MEMORY,
    PATH,
    PLAYBACK,
    PSEUDONYMIZER,
    changed,
    parsed,
    without,
)


def _origin(document: dict[str, Any]) -> DocumentVersion:
    identity = PSEUDONYMIZER.for_document(MACHINE, document["_id"])
    return DocumentVersion(identity, document["_rev"], datetime.fromtimestamp(document["timestamp"], UTC))


def _job(document: dict[str, Any]) -> JobRecord:
    record = parsed(document).record
    assert isinstance(record, JobRecord)
    return record


def _delivery(document: dict[str, Any]) -> DeliveryRecord:
    record = parsed(document).record
    assert isinstance(record, DeliveryRecord)
    return record


def test_it_takes_a_job() -> None:
    record = JobRecord(
        document=_origin(JOB),
        run=358788,
        client="ecal_dqm_sourceclient-live",
        started_at=datetime.fromtimestamp(1663242282.5, UTC),
        exit_code=-9,
        run_key="cosmic_run",
        cmssw_version="12_4_8_39145_39162",
        cmssw_run=358788,
        lumisection=97,
        lumisection_at=datetime.fromtimestamp(1663242330.2, UTC),
        events_total=1165,
        events_rate=3.25,
        fi_state=1,
        rss_kb=362744,
        memory=MemorySeries(
            at_s=[1663242282, 1663242312], size_kb=[1088232, 1088232], rss_kb=[145096, 253920]
        ),
        events=EventSeries(
            lumisections=[1, 2], at_s=[1663242319, 1663242342], events=[24, 30], duration_ms=[23311, 23310]
        ),
        input_statuses=InputStatuses(lumisections=[1, 2], statuses=[InputStatus.TIMEOUT, InputStatus.OK]),
        log=JobLog(
            head="-- starting process: cmsRun\ncollector [host]:9090\n",
            tail="T---Report end!\n-- process exit: -9 --\n",
            redactions=1,
        ),
        crash=CrashReason(CrashKind.KILLED, "SIGKILL"),
    )
    assert parsed(JOB) == ParsedDocument(record, ())


def test_it_takes_a_delivery() -> None:
    stream = Stream(
        name="streamDQM",
        lumisections=[1, 2],
        mtimes_ms=[1663240052507, 1663240076133],
        ctimes_ms=[1663240052509, 1663240076135],
        events_accepted=[6, 11],
        events_processed=[9472, 9653],
        sizes_bytes=[1042242, 1617156],
    )
    start = datetime.fromtimestamp(1663240007.5, UTC)
    record = DeliveryRecord(_origin(DELIVERY), 358788, start, False, LUMISECTION_S, (stream,))  # noqa: FBT003
    assert parsed(DELIVERY) == ParsedDocument(record, ())


@pytest.mark.parametrize(
    ("document", "record"),
    [
        (
            PLAYBACK,
            PlaybackRecord(_origin(PLAYBACK), 500015, SimulatorState.RUNNING, 17, 1500, "pp_run", 256936),
        ),
        (MEMORY, MemoryRecord(_origin(MEMORY), 67562467328, 41231233024, 26331234304, 25714096 * 1024)),
        (DISK, DiskRecord(_origin(DISK), 257562467328, 91231233024, 166331234304, 8123)),
    ],
)
def test_it_takes_the_other_types(document: dict[str, Any], record: Record) -> None:
    assert parsed(document) == ParsedDocument(record, ())


@pytest.mark.parametrize("path", ["_rev", "run", "exit_code", "events_total", "fi_state", "timestamp"])
def test_it_takes_numbers_as_numbers_and_as_text(path: str) -> None:
    number = float(JOB[path]) if path == "timestamp" else int(JOB[path])
    for spelled in (number, float(number), str(number)):
        assert parsed(changed(JOB, path, spelled)) == parsed(JOB)


def test_it_leaves_unknown_what_a_starting_job_does_not_have() -> None:
    few = {key: JOB[key] for key in ("_id", "_rev", "type", "timestamp")}
    record = _job(few)
    assert parsed(few).dropped_fields == ()
    assert (record.run, record.client, record.started_at) == (0, "unknown", record.document.updated_at)
    assert {record.exit_code, record.lumisection, record.lumisection_at, record.rss_kb} == {None}
    assert (record.memory, record.events, record.log) == (MemorySeries(), EventSeries(), JobLog())


def test_it_takes_the_report_time_where_there_is_no_other() -> None:
    document = {**without(JOB, "timestamp"), "report_timestamp": 1663242342.452877}
    assert parsed(document).record == parsed(JOB).record


def test_it_starts_a_job_at_the_earliest_time_it_knows() -> None:
    document = changed(JOB, "extra.lumi_stats", {"1663242200.0": {"n": 1, "nevents": 0, "nmillis": 1}})
    assert _job(document).started_at == datetime.fromtimestamp(1663242200, UTC)


def test_it_reads_the_entries_of_series_in_any_order() -> None:
    extra = JOB["extra"]
    document = JOB
    for name in ("mem_info", "lumi_stats", "lumi_seen"):
        document = changed(document, f"extra.{name}", dict(sorted(extra[name].items())))
    assert list(document["extra"]["mem_info"]) != list(extra["mem_info"])
    assert parsed(document) == parsed(JOB)


def test_it_starts_no_job_after_its_own_report() -> None:
    late = {"1663242400.0": "272058 63480 30000 5 0 72548 0"}
    record = _job(without(changed(JOB, "extra.mem_info", late), "extra.lumi_stats"))
    assert record.started_at == record.document.updated_at


@pytest.mark.parametrize(
    ("path", "version"),
    [
        ("/x/CMSSW_14_1_0_pre3/src", "14_1_0_pre3"),
        ("/x/CMSSW_13_0_5_patch1_41234/src", "13_0_5_patch1_41234"),
        ("/x/playback_CMSSW_12_4_8_DEBUG/src", "12_4_8_DEBUG"),
        ("/x/CMSSW_12_4_8_39145_39162/src", "12_4_8_39145_39162"),
        ("/x/CMSSW_15_1_X_2026-05-01-2300/src", "15_1_X_2026-05-01-2300"),
        ("/x/CMSSW_14_0_9_patch2_MULTIARCHS/src", "14_0_9_patch2_MULTIARCHS"),
        ("/x/CMSSW_15_0_0_ROOT632_X/src", "15_0_0_ROOT632_X"),
        ("/x/CMSSW_16_0_0_cpu/src", "16_0_0_cpu"),
        ("/x/CMSSW_15_0_6_48001_test/src", "15_0_6_48001_test"),
        ("/x/ecal_cfg.py", None),
    ],
)
def test_it_finds_the_version_of_cmssw(path: str, version: str | None) -> None:
    assert _job(changed(JOB, "cmdline", ["cmsRun", path])).cmssw_version == version
    assert parsed(changed(JOB, "cmdline", ["cmsRun", path])).dropped_fields == ()


@pytest.mark.parametrize("key", ["cosmic_run", "PP_Run.v2", "pp-run", "Commissioning2026", "x" * 40])
def test_it_takes_a_run_key(key: str) -> None:
    document = parsed(changed(JOB, "cmdline", ["cmsRun", f"runkey={key}"]))
    assert isinstance(document.record, JobRecord)
    assert (document.record.run_key, document.dropped_fields) == (key, ())
    playback = parsed(changed(PLAYBACK, "config.run_key", key))
    assert isinstance(playback.record, PlaybackRecord)
    assert (playback.record.run_key, playback.dropped_fields) == (key, ())


def test_it_keeps_streams_in_the_order_of_the_document() -> None:
    lists = DELIVERY["extra"]["streams"]["streamDQM_sm-c2a11-43-01"]
    hosts = ("sm-c2a11-45-01", "sm-c2a11-43-01")
    streams = {f"{name}_{host}": lists for name in ("streamDQM", "streamB", "streamA") for host in hosts}
    names = [stream.name for stream in _delivery(changed(DELIVERY, "extra.streams", streams)).streams]
    assert names == ["streamDQM·2", "streamDQM", "streamB·2", "streamB", "streamA·2", "streamA"]


def test_it_numbers_a_second_stream_of_a_name() -> None:
    lists = DELIVERY["extra"]["streams"]["streamDQM_sm-c2a11-43-01"]
    streams = {
        "streamDQM_sm-c2a11-45-01": lists,
        "streamDQM_sm-c2a11-43-01": {**lists, "fsize": [1, 2]},
        "streamDQMCalibration_sm-c2a11-43-01": lists,
    }
    record = _delivery(changed(DELIVERY, "extra.streams", streams))
    assert [stream.name for stream in record.streams] == [
        "streamDQM·2",
        "streamDQM",
        "streamDQMCalibration",
    ]
    assert list(record.streams[1].sizes_bytes) == [2, 1]


def test_it_takes_unreadable_files_and_a_run_without_any() -> None:
    unread = changed(DELIVERY, "extra.streams.streamDQM_sm-c2a11-43-01.fsize", [-1, -1])
    assert list(_delivery(unread).streams[0].sizes_bytes) == [-1, -1]
    none = changed(changed(DELIVERY, "extra.streams", {}), "extra.global_start", None)
    assert (_delivery(none).streams, _delivery(none).global_start) == ((), None)
    assert parsed(none).dropped_fields == ()


@pytest.mark.parametrize(
    ("source", "is_guess"), [("first_lumi", True), ("global_file", False), (None, False), ("?", False)]
)
def test_it_calls_the_start_of_a_run_a_guess_if_dqm2_says_so(source: str | None, *, is_guess: bool) -> None:
    document = changed(DELIVERY, "extra.global_start_source", source)
    assert _delivery(document).global_start_is_guess is is_guess


def test_it_takes_a_disk_that_knows_little() -> None:
    document = changed(changed(DISK, "disk_free", -1), "extra.file_count", None)
    record = parsed(DISK).record
    assert isinstance(record, DiskRecord)
    assert parsed(document) == ParsedDocument(replace(record, free_bytes=None, files=None), ())


def test_it_takes_available_memory_in_the_kernels_words() -> None:
    assert parsed(changed(MEMORY, "extra.meminfo.MemAvailable", "25714096 kB")) == parsed(MEMORY)


def test_it_keeps_a_document_to_the_machine_that_sent_it() -> None:
    ours, renamed, theirs = (parsed(JOB, host).record for host in (MACHINE, f"{MACHINE.upper()}.cms", "bu-x"))
    assert ours.document == renamed.document != theirs.document
    assert parsed(changed(JOB, "hostname", "bu-x")) == parsed(JOB)


def test_it_takes_the_version_of_the_real_path() -> None:
    assert _job(JOB).cmssw_version == PATH.split("CMSSW_")[1].split("/")[0]
