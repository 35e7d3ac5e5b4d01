"""Arbitrary documents: each is mirrored or quarantined, and the revision advances."""

import copy
import itertools
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import db
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import DocumentType
from dqmsquare_cfg import Settings
from simulator.documents import (
    diskspace_document,
    files_document,
    job_document,
    playback_document,
    stats_document,
)
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, mirror_once, rows

Document = dict[str, Any]
Path = tuple[str | int, ...]

VALID = (
    job_document(lumisections=3),
    files_document(lumisections=3),
    playback_document(),
    stats_document(),
    diskspace_document(),
)
# More than the grabber requests together.
BATCH = 50
_numbers = itertools.count()
# An example is a batch mirrored by a real grabber; all examples share one simulator.
_BATCH_SETTINGS = settings(
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)

any_value = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**63, -(2**63) - 1, 10**400, "1e999", "٣", "NaN", "-1", "0x10", ""])
    | st.floats()
    | st.text(st.characters(), max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def paths(value: Any, before: Path = ()) -> Iterator[Path]:
    """The paths of all values in a document, outer ones first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, below in inner:
        yield (*before, key)
        yield from paths(below, (*before, key))


def replace_value(document: Any, path: Path, value: Any) -> None:
    """Replace the value at a path, unless an earlier replacement removed the path."""
    *to, last = path
    for key in to:
        try:
            document = document[key]
        except (KeyError, IndexError, TypeError):
            return
    is_entry = isinstance(document, list) and isinstance(last, int) and last < len(document)
    if is_entry or isinstance(document, dict):
        document[last] = value


@st.composite
def documents(draw: st.DrawFn) -> Document:
    """A valid document with up to four values replaced, and with a unique id."""
    document = copy.deepcopy(draw(st.sampled_from(VALID)))
    any_path = st.sampled_from(list(paths(document)))
    for path, value in draw(st.lists(st.tuples(any_path, any_value), max_size=4)):
        replace_value(document, path, value)
    return {**document, "_id": f"{next(_numbers)} {draw(st.text(st.characters(), max_size=20))}"}


def check_all_stored(simulator: Simulator, mirror: Settings, uploaded: list[Document]) -> None:
    """Upload and mirror documents; each must be stored or quarantined."""
    machine = simulator.machine(FILTER_UNIT)
    for document in uploaded:
        machine.upload(document)
    assert mirror_once(mirror)
    (position,) = (row["revision"] for row in rows(mirror, db.machines) if row["revision"])
    assert position == machine.highest_revision
    kept = {row["identity"] for table in db.DOCUMENT_TABLES for row in rows(mirror, table)}
    identities = Pseudonymizer(mirror.pseudonym_secret)
    lost = [
        document
        for document in uploaded
        if has_mirrored_type(document) and identities.for_document(FILTER_UNIT, document["_id"]) not in kept
    ]
    assert lost == []


def has_mirrored_type(document: Document) -> bool:
    """Whether a document is to be mirrored; one of an invalid type may be."""
    kind = document.get("type")
    return kind is not None and (not isinstance(kind, str) or kind in set(DocumentType))


@settings(_BATCH_SETTINGS, max_examples=2)
@given(uploaded=st.lists(documents(), min_size=BATCH, max_size=BATCH))
def test_it_mirrors_or_quarantines_any_document(
    simulator: Simulator, simulated_settings: Settings, uploaded: list[Document]
) -> None:
    check_all_stored(simulator, simulated_settings, uploaded)


@pytest.mark.long
@pytest.mark.timeout(3600)
@settings(_BATCH_SETTINGS, max_examples=200)
@given(uploaded=st.lists(documents(), min_size=BATCH, max_size=BATCH))
def test_it_mirrors_or_quarantines_any_of_ten_thousand_documents(
    simulator: Simulator, simulated_settings: Settings, uploaded: list[Document]
) -> None:
    check_all_stored(simulator, simulated_settings, uploaded)
