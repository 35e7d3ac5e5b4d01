"""The cached reader keeps a value only while it is known to be unchanged."""

from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

import db
from dqmsquare_cfg import Settings
from storage.change_listener import ChangeTracker
from tests.mirrored_cluster import MirroredCluster, job
from tests.waiting import until
from web.cache.cached_reader import CachedReader, ReadCache

RUN = 358_791


@pytest.fixture
def database(settings: Settings, mirrored: MirroredCluster) -> sa.Engine:
    mirrored.write(mirrored.filter_units[0], job(RUN, "beam"))
    return db.engine(settings, mirrored.cluster, "tests")


def remembering(database: sa.Engine, changes: ChangeTracker) -> CachedReader:
    return CachedReader(database, timedelta(minutes=15), ReadCache(changes), lambda: None, stale_ok=False)


def test_it_looks_itself_while_changes_can_not_be_heard(
    database: sa.Engine, mirrored: MirroredCluster
) -> None:
    reader = remembering(database, ChangeTracker())
    assert reader.run_span().highest == RUN
    mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
    until(lambda: reader.run_span().highest == RUN + 1)


def test_it_reads_again_what_changed_while_it_was_read(
    database: sa.Engine, mirrored: MirroredCluster
) -> None:
    changes = ChangeTracker()
    changes.is_listening = True
    reader = remembering(database, changes)

    def change(*_: Any) -> None:
        mirrored.write(mirrored.filter_units[0], job(RUN + 1, "beam"))
        changes.record_batch([RUN + 1])

    sa.event.listen(database, "after_cursor_execute", change, once=True)
    assert reader.run_span().highest == RUN
    assert reader.run_span().highest == RUN + 1
