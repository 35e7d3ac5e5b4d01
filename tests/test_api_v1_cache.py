"""Responses of `/api/v1/` are kept until what they were made from changes."""

from datetime import UTC, datetime

import pytest
from flask import Flask
from flask.testing import FlaskClient

import db
from dqmsquare_cfg import Settings
from storage.change_listener import ChangeTracker
from storage.job_state import StateRules
from storage.log_dictionaries import DictionaryStore
from tests.api_v1_data import RUN, paths, write_sample
from web import databases, limits
from web.api_v1.operations import operations
from web.cache import dependencies
from web.cache.cached_reader import CachedReader, ReadCache
from web.limits import RequestKind


@pytest.fixture
def changes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> ChangeTracker:
    """The changes of the sample, as a server that listens learns of them."""
    cluster = write_sample(settings, datetime.now(UTC)).cluster
    tracker = ChangeTracker()
    tracker.is_listening = True
    database = db.engine(settings, cluster, "tests")
    reader = CachedReader(
        database,
        StateRules.for_cluster(settings, cluster),
        DictionaryStore(database),
        ReadCache(tracker),
        lambda: None,
        stale_ok=False,
    )
    monkeypatch.setattr(databases, "cached_reader", lambda _cluster: reader)
    return tracker


def test_a_response_is_valid_until_a_change(app: Flask, client: FlaskClient, changes: ChangeTracker) -> None:
    collected = {}
    for operation_id in operations():
        with dependencies.collected() as collected[operation_id]:
            assert client.get(f"/api/v1{paths()[operation_id]}").status_code == 200
        assert dependencies.is_cached_view(app.view_functions[f"api_v1.{operation_id}"], {})
        assert collected[operation_id].is_complete
    assert [operation_id for operation_id, found in collected.items() if not found.are_valid()] == []
    # A run that is not known yet, and a heartbeat.
    changes.record_batch([RUN, RUN + 1])
    changes.record_heartbeat()
    assert [operation_id for operation_id, found in collected.items() if found.are_valid()] == []


def test_a_search_for_a_state_waits_with_ranges_of_runs(app: Flask) -> None:
    view = app.view_functions["api_v1.runs"]
    assert limits.kind_of(view, {"state": "ended"}) is RequestKind.RUN_RANGE
    assert limits.kind_of(view, {"client": "beam"}) is RequestKind.PAGE
