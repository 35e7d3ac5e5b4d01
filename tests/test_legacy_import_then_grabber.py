"""After an import the grabber continues from the revisions of the earlier mirror."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

import db
from dqmsquare_cfg import Cluster, Settings
from simulator.documents import job_document
from simulator.simulator import Simulator
from tests.grabber_runner import FILTER_UNIT, mirror_once, mirrored_tables, rows
from tests.legacy_mirror import LegacyMirror, Row, job, run_adopt
from tools.demo.postgres import EmbeddedPostgres

RUNS = KEPT, ENDED_SINCE, HUNG_UP, NEW = 1, 2, 3, 4


@pytest.fixture
def legacy(postgres: EmbeddedPostgres, databases: Mapping[Cluster, str]) -> LegacyMirror:
    """An empty legacy database in place of the production cluster's."""
    return LegacyMirror(postgres, databases[Cluster.PRODUCTION])


def upload(simulator: Simulator, run: int, **values: Any) -> Row:
    """Upload a job to a filter unit; returns the row that the earlier mirror would have stored."""
    document = job_document(run=run, **values)
    revision = simulator.machine(FILTER_UNIT).upload(document)
    return job(
        revision,
        id=document["_id"],
        run=run,
        exit_code=document.get("exit_code", -1),
        timestamp=datetime.fromtimestamp(document["timestamp"], UTC),
    )


def requested_ids(simulator: Simulator) -> list[str]:
    """The ids of the requested documents."""
    return [
        document_id
        for request in simulator.requests
        if ("path", FILTER_UNIT) in request.query
        for message in request.messages
        for document_id in message.get("ids", ())
    ]


def exit_codes(settings: Settings) -> dict[int, int | None]:
    """The exit codes by run."""
    return {row["run"]: row["exit_code"] for row in rows(settings, db.jobs)}


def test_it_requests_only_new_and_unfinished_documents(
    legacy: LegacyMirror,
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
) -> None:
    kept = [upload(simulator, KEPT, exit_code=0), upload(simulator, ENDED_SINCE)]
    # -1 is the exit code after SIGHUP, and what the earlier mirror stored for a running job.
    kept += [upload(simulator, HUNG_UP, exit_code=-1), upload(simulator, RUNS[0], pid=2, exit_code=0)]
    legacy.write("runs", *kept)
    assert run_adopt(simulated_environment)[0] == 0
    assert exit_codes(simulated_settings) == {KEPT: 0, ENDED_SINCE: None, HUNG_UP: None}
    upload(simulator, ENDED_SINCE, exit_code=65)
    upload(simulator, NEW)
    assert mirror_once(simulated_settings)
    assert exit_codes(simulated_settings) == {KEPT: 0, ENDED_SINCE: 65, HUNG_UP: -1, NEW: None}
    wanted = [job_document(run=run)["_id"] for run in (ENDED_SINCE, HUNG_UP, NEW)]
    assert sorted(requested_ids(simulator)) == sorted(wanted)
    assert rows(simulated_settings, db.quarantined_documents) == []
    [machine] = [row for row in rows(simulated_settings, db.machines) if row["last_document"] is not None]
    assert machine["epoch"] == 0


def test_a_later_import_replaces_no_document_of_the_grabber(
    legacy: LegacyMirror,
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
) -> None:
    legacy.write("runs", upload(simulator, KEPT, exit_code=0), upload(simulator, ENDED_SINCE))
    assert run_adopt(simulated_environment)[0] == 0
    upload(simulator, ENDED_SINCE, exit_code=65)
    assert mirror_once(simulated_settings)
    before = mirrored_tables(simulated_settings)
    legacy.execute("UPDATE import_batches SET completed_at = NULL")
    assert run_adopt(simulated_environment)[0] == 0
    assert mirrored_tables(simulated_settings) == before


def test_it_starts_over_when_revisions_have_restarted(
    legacy: LegacyMirror,
    simulator: Simulator,
    simulated_environment: dict[str, str],
    simulated_settings: Settings,
) -> None:
    legacy.write("runs", *(upload(simulator, run) for run in (KEPT, ENDED_SINCE, HUNG_UP)))
    assert run_adopt(simulated_environment)[0] == 0
    simulator.machine(FILTER_UNIT).reset()
    for run, exit_code in ((NEW, 0), (ENDED_SINCE, 65)):
        upload(simulator, run, exit_code=exit_code)
    assert mirror_once(simulated_settings)
    assert exit_codes(simulated_settings) == {KEPT: None, ENDED_SINCE: 65, HUNG_UP: None, NEW: 0}
