"""Fields that may not leave P5 are dropped and counted, and never fail the document."""

import json
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dqm2.allowlist import FIELDS_BY_RECORD, CommonFields, fields_of
from dqm2.document_parser import InvalidDocument, ParsedDocument
from dqm2.records import DeliveryRecord, JobRecord, PlaybackRecord
from tests.examples import examples
from tests.sample_documents import ALL, DELIVERY, DISK, JOB, MEMORY, NOW, PLAYBACK, changed, parsed

FIELDS = [field for table in (CommonFields, *FIELDS_BY_RECORD.values()) for field in fields_of(table)]
PATHS = {field.path for field in FIELDS}
HOLDERS = {path.rpartition(".")[0] for path in PATHS} - {""}
FAR = NOW.timestamp() + 2 * 86400


def _has(document: dict[str, Any], path: str) -> bool:
    """Whether the document has an object at a path."""
    holder: Any = document
    for key in filter(None, path.split(".")):
        holder = holder.get(key)
        if not isinstance(holder, dict):
            return False
    return True


def _outcome(document: object) -> ParsedDocument | str:
    """Parsed fields, or the reason of the refusal."""
    try:
        return parsed(document)
    except InvalidDocument as refused:
        return str(refused)


VALUES_OF_ANOTHER_SHAPE: list[tuple[dict[str, Any], str, object]] = [
    *((JOB, "exit_code", value) for value in (True, "", "0x1", "1_0", "١", 1.5, 2**31, "9" * 5000)),
    *((JOB, "exit_code", value) for value in ([0], {"0": 0})),
    *((JOB, "run", value) for value in (-1, 2**31, "358788 ", "３５８７８８")),
    *((JOB, "events_total", value) for value in (2**63, -1, "1e400", "NaN", float("nan"), float("inf"))),
    *((JOB, "events_rate", value) for value in (-1, float("nan"), "Infinity", "fast")),
    *((JOB, "fi_state", value) for value in (3, "open", False)),
    *((JOB, "cmssw_lumi", value) for value in (-1, "97.5", 2**31)),
    *((JOB, "tag", value) for value in ("", "a b", "a" * 129, "fu-c2f11-11-01", "été", 7, "x\n")),
    *((JOB, "tag", value) for value in ("ghp_" + "a1" * 18, "AKIAIOSFODNN7EXAMPLE", "kvm-s3562-1-85")),
    *((JOB, "extra.ps_info.VmRSS", value) for value in ("362744 MB", "-1 kB", -1)),
    *((JOB, "extra.ps_info.VmRSS", value) for value in ("2147483648 kB", 2**31)),
    *((JOB, f"extra.{name}", "x") for name in ("mem_info", "lumi_stats", "lumi_seen")),
    *((JOB, f"extra.{name}", [1]) for name in ("mem_info", "lumi_stats", "lumi_seen")),
    *((JOB, f"extra.{name}", value) for name in ("stdlog_start", "stdlog_end") for value in (1, [1])),
    *((DELIVERY, "extra.global_start", value) for value in (0, FAR, "soon", True)),
    *((DELIVERY, "extra.global_start_source", value) for value in ("a guess of fu-c2f11-11-01", 1)),
    *((DELIVERY, "extra.lumi", value) for value in (0, -1, 1e9, "x")),
    *((DELIVERY, "extra.streams", value) for value in ("x", ["x"])),
    *((DELIVERY, "extra.streams", {name: {}}) for name in ("fu-c2f11-11-01", "a b_x")),
    (DELIVERY, "extra.streams.streamDQM_sm-c2a11-43-01", []),
    (DELIVERY, "extra.streams.streamDQM_sm-c2a11-43-01", {"lumis": [1]}),
    *((PLAYBACK, "state", value) for value in ("exploded", 1, "running\n")),
    *((PLAYBACK, "config.source", value) for value in ("fu-c2f11-11-01", "run12x", 5, "run9999999999")),
    *((PLAYBACK, "config.run_key", value) for value in ("P P", "10.1.2.3", "x" * 41, "pp_run\n")),
    *((MEMORY, "memory_total", value) for value in (-1, 2**63, "lots")),
    *((DISK, "disk_free", value) for value in (-2, "?", 1.5)),
]  # fmt: skip


def test_it_leaves_out_a_value_of_another_shape() -> None:
    not_left_out = []
    for document, path, value in VALUES_OF_ANOTHER_SHAPE:
        known = path if path in PATHS else path.rpartition(".")[0]
        dropped_fields = parsed(changed(document, path, value)).dropped_fields
        if dropped_fields != (known,):
            not_left_out.append((path, value, dropped_fields))
    assert not_left_out == []


@pytest.mark.parametrize(
    ("arguments", "parts"),
    [
        ("cmsRun", ("run key", "CMSSW version")),
        ({"x": 1}, ("run key", "CMSSW version")),
        *(([f"runkey={key}"], ("run key",)) for key in ("Cosmic Run", "", "été", "fu-c2f11-11-01", "x" * 41)),
        *(
            ([f"/CMSSW_{version}/x"], ("CMSSW version",))
            for version in (
                *("", "12", "BASE", "X_12_4", "12_4_8_١", "12.4.8", "12_4_8 x", "1" * 161),
                *("12_4_8_fu-c2f11-11-01", "12_4_8_lxplus801", "12_AKIAIOSFODNN7EXAMPLE"),
            )
        ),
    ],
)
def test_it_leaves_out_run_key_and_version_of_another_shape_apart(
    arguments: object, parts: tuple[str, ...]
) -> None:
    dropped = parsed(changed(JOB, "cmdline", arguments)).dropped_fields
    assert dropped == tuple(f"cmdline ({part})" for part in parts)


@pytest.mark.parametrize("holder", sorted(HOLDERS))
def test_it_leaves_out_what_is_no_object(holder: str) -> None:
    documents = [document for document in ALL if _has(document, holder)]
    no_objects: list[object] = ["text", 1, [], [{}], True]
    for value in no_objects:
        dropped_fields = [parsed(changed(document, holder, value)).dropped_fields for document in documents]
        assert (holder,) in dropped_fields, value
        assert set(dropped_fields) <= {(holder,), ()}, value


def test_it_leaves_out_single_entries_of_a_series() -> None:
    mem_info = {**JOB["extra"]["mem_info"], "1": "1 2 3 4 5 6 7", "1663242313": "1 2", "fu-c2f11": None}
    taken = parsed(changed(JOB, "extra.mem_info", mem_info))
    assert (taken.record, taken.dropped_fields) == (parsed(JOB).record, ("extra.mem_info",))

    stats = {**JOB["extra"]["lumi_stats"], "1663242000": {"n": 9, "nevents": -1, "nmillis": 1}, "x": {}}
    taken = parsed(changed(JOB, "extra.lumi_stats", stats))
    assert (taken.record, taken.dropped_fields) == (parsed(JOB).record, ("extra.lumi_stats",))

    seen = {**JOB["extra"]["lumi_seen"], "lumi000003": "moved to fu-c2f11-11-01", "lumi٤": "close: ok"}
    taken = parsed(changed(JOB, "extra.lumi_seen", seen))
    assert (taken.record, taken.dropped_fields) == (parsed(JOB).record, ("extra.lumi_seen",))


def test_it_leaves_out_single_files_and_streams_that_do_not_align() -> None:
    stream = "extra.streams.streamDQM_sm-c2a11-43-01"
    one = parsed(changed(DELIVERY, f"{stream}.mtimes", ["never", 1663240052.5067])).record
    assert isinstance(one, DeliveryRecord)
    assert list(one.streams[0].lumisections) == [1]

    readable = parsed(changed(DELIVERY, f"{stream}.fsize", [2**63 - 1, -1])).record
    assert isinstance(readable, DeliveryRecord)
    assert list(readable.streams[0].sizes_bytes) == [-1]

    none = parsed(changed(DELIVERY, f"{stream}.mtimes", [1663240052.5067]))
    assert isinstance(none.record, DeliveryRecord)
    assert (none.record.streams, none.dropped_fields) == ((), ("extra.streams",))


def test_a_rate_nearer_to_0_than_the_database_can_tell_is_0() -> None:
    for rate in (1e-60, "1e-60", 5e-324):
        record = parsed(changed(JOB, "events_rate", rate)).record
        assert isinstance(record, JobRecord)
        assert record.events_rate == 0


def test_it_leaves_out_series_longer_than_any_run() -> None:
    seen = {f"lumi{number:06d}": "close: ok" for number in range(100_001)}
    assert parsed(changed(JOB, "extra.lumi_seen", seen)).dropped_fields == ("extra.lumi_seen",)


@pytest.mark.parametrize("key", ["1663242282.5x", "0", str(FAR), "nan", "١٦٦٣٢٤٢٢٨٢"])
def test_it_leaves_out_times_that_can_not_be(key: str) -> None:
    taken = parsed(changed(JOB, "extra.mem_info", {key: "1 2 3 4 5 6 7"}))
    assert isinstance(taken.record, JobRecord)
    assert (list(taken.record.memory.at_s), taken.dropped_fields) == ([], ("extra.mem_info",))


@pytest.mark.parametrize(
    ("document", "reason"),
    [
        (None, "no object"),
        ([JOB], "no object"),
        (changed(JOB, "_id", ""), "no usable _id"),
        (changed(JOB, "_id", ["fu-c2f11-11-01"]), "no usable _id"),
        (changed(JOB, "_rev", None), "no usable _rev"),
        (changed(JOB, "_rev", "dqmpro"), "no usable _rev"),
        (changed(JOB, "type", "dqm-release"), "no usable type"),
        (changed(JOB, "type", {}), "no usable type"),
        (changed(JOB, "timestamp", FAR), "no usable timestamp"),
        (changed(JOB, "timestamp", "fu-c2f11-11-01"), "no usable timestamp"),
        (changed(DELIVERY, "run", None), "no usable run"),
        (changed(PLAYBACK, "run", "x"), "no usable run"),
    ],
)
def test_it_refuses_what_can_not_be_identified_and_quotes_nothing(document: object, reason: str) -> None:
    with pytest.raises(InvalidDocument) as refused:
        parsed(document)
    assert str(refused.value) == reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=examples(300))
@given(document=st.sampled_from(ALL), path=st.sampled_from(sorted(PATHS | HOLDERS)), value=JSON)
@example(document=JOB, path="cmdline", value=False)
def test_it_accepts_or_rejects_anything_in_a_field(
    document: dict[str, Any], path: str, value: object
) -> None:
    if _has(document, path.rpartition(".")[0]):
        outcome = _outcome(changed(document, path, value))
        reported = (
            {outcome.removeprefix("no usable ")} if isinstance(outcome, str) else set(outcome.dropped_fields)
        )
        assert reported <= {field.name for field in FIELDS} | PATHS | HOLDERS


@settings(max_examples=examples(100))
@given(document=st.sampled_from(ALL), added=st.dictionaries(st.text(), JSON, max_size=4))
def test_it_takes_a_document_with_fields_unheard_of_like_one_without(
    document: dict[str, Any], added: dict[str, Any]
) -> None:
    inner = {**added, **document.get("extra", {})}
    more = {**added, **document, **({"extra": inner} if "extra" in document else {})}
    tops = {path.partition(".")[0] for path in PATHS}
    if not tops & (added.keys() - document.keys()):
        assert parsed(more) == parsed(document)


CANARY = "canary-fu-c7z77-77-77.cms"
PLANT: dict[str, Callable[[Any], Any]] = {
    "in place of it": lambda _: CANARY,
    "as a key": lambda value: {**(value if isinstance(value, dict) else {}), CANARY: value},
    "as a key that means something": lambda value: {CANARY: value, "n": CANARY, "runkey": CANARY},
    "in a list": lambda value: [CANARY, value],
    "deep inside": lambda value: {"extra": [{"lumi000001": {CANARY: [CANARY, value]}}]},
    "as an argument": lambda _: [f"runkey={CANARY}", f"/{CANARY}/CMSSW_{CANARY}/x"],
}


def _places(value: object, path: str = "") -> list[str]:
    inner = value.items() if isinstance(value, dict) else ()
    steps = [(f"{path}.{key}" if path else key, held) for key, held in inner if "." not in key]
    return [place for step, held in steps for place in (step, *_places(held, step))]


@pytest.mark.parametrize("document", ALL, ids=lambda document: str(document["type"]))
def test_it_lets_no_canary_through_wherever_it_is(document: dict[str, Any]) -> None:
    for place, how in product(_places(document), PLANT):
        value: Any = document
        for key in place.split("."):
            value = value[key]
        outcome = repr(_outcome(changed(document, place, PLANT[how](value))))
        assert "canary" not in outcome, (place, how)
        assert "c7z77" not in outcome, (place, how)


def test_it_drops_a_stream_that_is_named_like_a_machine() -> None:
    [stream] = DELIVERY["extra"]["streams"].values()
    delivery = parsed(
        changed(DELIVERY, "extra.streams", {"dqmfu-c7z77-01-77_x": stream, "streamDQM_x": stream})
    )
    assert isinstance(delivery.record, DeliveryRecord)
    assert [stream.name for stream in delivery.record.streams] == ["streamDQM"]
    assert delivery.dropped_fields == ("extra.streams",)


def test_it_lets_nothing_else_through_than_the_record_of_a_playback() -> None:
    taken = parsed(changed(PLAYBACK, "config.source", "/fff/canary@fu-c2f11-11-01/run256936/"))
    assert isinstance(taken.record, PlaybackRecord)
    assert taken.record.source_run == 256936
    assert json.dumps(taken.dropped_fields) == "[]"
