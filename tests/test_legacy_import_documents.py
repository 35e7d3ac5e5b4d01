"""Imported documents, rule by rule: one legacy database with a row for each rule."""

from datetime import timedelta
from typing import Any

import pytest

import db
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings
from legacy_import.lifecycle import start
from storage import codecs, import_progress
from storage.job_state import JobState
from storage.read_models import Job
from tests.canaries import KINDS
from tests.grabber_runner import reader, rows
from tests.legacy_mirror import (
    AT,
    BUILDER_UNIT,
    FILTER_UNIT,
    RUN,
    UNKNOWN,
    LegacyMirror,
    graph,
    job,
    run_adopt,
    run_db,
)
from tests.postgres_clients import dumped
from tools.demo.postgres import EmbeddedPostgres

CANARIES = [kind(number) for number, kind in enumerate(KINDS.values(), start=7000)]
NEWER = RUN + 1
LATER = AT + timedelta(hours=1)
# A lumisection that the database rejects.
REJECTED = 1_000_000
NEWER_RUN: dict[str, Any] = {"run": NEWER, "timestamp": LATER}
# One special case each, by revision.
JOBS = {
    1: job(1),
    2: job(2, exit_code=-1),
    3: job(3, exit_code=None),
    4: job(4, exit_code=-9),
    5: job(5, run=None, id=f"dqm-stats-{FILTER_UNIT}"),
    6: job(6, stdlog_start="['cut in the mid\\ndle of dqmfu-c7z10-01-77\\nof it"),
    7: job(7, timestamp=UNKNOWN),
    8: job(8, hostname=""),
    9: job(9, hostname=None, id="dqm-source-state-of-nobody"),
    10: job(10, cmssw_lumi=REJECTED),
    11: job(11, client="<b>beam</b>", runkey="runkey=<i>", fi_state="7", events_total=-1, vmrss=""),
    12: job(12, hostname=f"{FILTER_UNIT.upper()}.cms"),
    13: job(13, run=RUN - 100, timestamp=UNKNOWN),
    14: job(14, **NEWER_RUN, stdlog_start=repr([f"{canary.text}\n" for canary in CANARIES])),
    15: job(15, **NEWER_RUN, stdlog_end="".join(f"{canary.text}\\n" for canary in CANARIES)),
    16: job(16, host="dqmfu-c2b03-46-01", **NEWER_RUN),
    17: job(17, **NEWER_RUN, client_path="/of/no/release.py", runkey=None),
    18: job(18, run=-1, id=f"dqm-stats-{BUILDER_UNIT}"),
    # As the earlier mirror stored a document that has none of these fields.
    19: job(
        19, client="", client_path="", runkey="", fi_state="", vmrss="", stdlog_start="", stdlog_end="None"
    )
    | dict.fromkeys(("exit_code", "events_total", "events_rate", "cmssw_run", "cmssw_lumi"), -1),
}
GRAPHS = [
    graph(rev=901),
    graph(NEWER, rev=902, timestamp=UNKNOWN, global_start=UNKNOWN, stream_data="{'streamDQM_sm': [}"),
    graph(RUN - 100, id=None, timestamp=UNKNOWN, global_start=UNKNOWN),
    graph(RUN + 100, rev=903, stream_data=""),
]
POLLS = [
    (True, None),
    (True, None),
    (False, "no route to dqmfu-c7z10-01-77"),
    (False, "no route to dqmfu-c7z10-01-78"),
]


@pytest.fixture(scope="module")
def legacy(postgres: EmbeddedPostgres, shared_settings: Settings) -> LegacyMirror:
    """The legacy database to be imported."""
    mirror = LegacyMirror(postgres, shared_settings.database(Cluster.PRODUCTION))
    mirror.write("runs", *JOBS.values())
    mirror.write("graphs", *GRAPHS)
    mirror.write("meta", {"name": "x", "data": FILTER_UNIT})
    mirror.write(
        "hostnames", {"name": FILTER_UNIT}, {"name": f"{FILTER_UNIT}.cms"}, {"name": "dqmfu-c2b09-45-01.cms"}
    )
    mirror.write(
        "hoststatuses",
        *(
            {
                "created_at": AT + timedelta(minutes=minute),
                "host_id": minute % 2 + 1,
                "is_up": up,
                "message": message,
            }
            for minute, (up, message) in enumerate([*POLLS, *POLLS])
        ),
    )
    mirror.execute(
        "INSERT INTO hoststatuses (created_at, host_id, is_up)"
        " VALUES ('4713-01-01 BC', 1, true), ('infinity', 1, false), ('294276-12-31', 1, true)"
    )
    return mirror


@pytest.fixture(scope="module")
def imported(legacy: LegacyMirror, shared_environment: dict[str, str], shared_settings: Settings) -> Settings:
    """Settings of a mirror with an imported production database."""
    database = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    start(database, Pseudonymizer(shared_settings.pseudonym_secret))
    database.dispose()
    legacy.execute(f"ALTER TABLE jobs ADD CHECK (lumisection < {REJECTED})")
    status, output = run_adopt(shared_environment)
    assert status == 0, output
    return shared_settings


def jobs(settings: Settings) -> dict[int, Job]:
    """The jobs by number."""
    pseudonymizer = Pseudonymizer(settings.pseudonym_secret)
    numbers = {
        pseudonymizer.for_document(row["hostname"] or FILTER_UNIT, row["id"]): number
        for number, row in JOBS.items()
    }
    found = [reader(settings).runs.get(run) for run in (RUN - 100, RUN, NEWER)]
    return {numbers[job.id]: job for run in found if run is not None for job in run.jobs}


def log_of(settings: Settings, number: int) -> tuple[str, str]:
    details = reader(settings).jobs.details(jobs(settings)[number].id)
    assert details is not None
    return details.log.head, details.log.tail


def test_it_imports_the_fields_of_a_job(imported: Settings) -> None:
    found = jobs(imported)[1]
    assert (found.client, found.exit_code, found.updated_at) == (
        JOBS[1]["client"],
        0,
        AT + timedelta(seconds=1),
    )
    assert (found.events_total, found.events_rate, found.lumisection) == (1165, 3.25, 97)
    assert (found.cmssw_run, found.fi_state, found.rss_kb) == (RUN, 2, 362_744)
    assert log_of(imported, 1) == ("-- starting process --\nit's a log\n", "the end\n")
    run = reader(imported).runs.get(RUN)
    assert run is not None
    assert (run.run_key, run.cmssw_version) == ("pp_run", "12_4_8_39145")


def test_it_labels_machines_as_a_grabber_would(imported: Settings) -> None:
    labels = {number: found.machine for number, found in jobs(imported).items()}
    assert labels[1] == labels[12] == labels[8] == "dqmfu-c2b03-..·1"
    assert labels[16] == "dqmfu-c2b03-..·2"


def test_it_imports_a_running_job_as_lost(imported: Settings) -> None:
    found = jobs(imported)
    assert [found[number].exit_code for number in (2, 3, 4)] == [None, None, -9]
    # By the machine's clock, which has reached the next run.
    assert [found[number].state for number in (2, 3, 4)] == [JobState.LOST, JobState.LOST, JobState.CRASHED]


def test_it_ignores_rows_without_a_run(imported: Settings) -> None:
    assert 5 not in jobs(imported)


def test_it_imports_a_log_that_is_not_a_list_as_text(imported: Settings) -> None:
    assert log_of(imported, 6)[0] == "['cut in the mid\ndle of [host]\nof it"


def test_it_replaces_an_unknown_time_by_that_of_the_run(imported: Settings) -> None:
    newest = max(
        row["timestamp"] for row in JOBS.values() if row["run"] == RUN and row["timestamp"] != UNKNOWN
    )
    assert jobs(imported)[7].updated_at == newest
    assert 13 not in jobs(imported), "no time of its run is known either"


def test_it_counts_skipped_rows_by_reason_and_run(imported: Settings) -> None:
    progress = reader(imported).import_progress()
    assert progress is not None
    assert progress.is_complete
    database = db.engine(imported, Cluster.PRODUCTION, "tests")
    with database.connect() as connection:
        report = import_progress.read_skipped(connection)
    database.dispose()
    assert report.skipped.by_reason == {
        "without a host name": {JOBS[9]["run"]: 1},
        "no usable timestamp": {JOBS[13]["run"]: 1},
        "rejected by the database: CheckViolation": {JOBS[10]["run"]: 1},
        "without a run, such as dqm-stats: they hold nothing to import": {None: 2},
        "without an id": {JOBS[13]["run"]: 1},
        "machine states without a valid host, time or state": {None: 3},
    }
    assert {9, 10, 13}.isdisjoint(jobs(imported))
    assert report.lost_runs == [JOBS[13]["run"]]


@pytest.mark.usefixtures("imported")
@pytest.mark.parametrize("command", [["adopt"], ["status"]])
def test_it_ends_by_reporting_what_was_not_taken_over(
    shared_environment: dict[str, str], command: list[str]
) -> None:
    status, output = run_db(shared_environment, *command)
    assert status == 0, output
    lost = JOBS[13]["run"]
    assert "\n  rows not taken over: 9\n" in output
    assert "\n    1, no usable timestamp, of 1 run\n" in output
    assert "\n    2, without a run, such as dqm-stats: they hold nothing to import\n" in output
    assert "\n  runs gone with them: 1 (--verbose lists them)\n" in output
    _, output = run_db(shared_environment, *command, "--verbose")
    assert f"\n    1, no usable timestamp, of run {lost}\n" in output
    assert f"\n  runs gone with them: 1 ({lost})\n" in output


def test_it_counts_fields_that_it_leaves_out(imported: Settings) -> None:
    counted = {field.name: field.documents for field in reader(imported).cluster.dropped_fields()}
    assert counted == dict.fromkeys(counted, 1)
    assert {"tag", "cmdline (run key)", "fi_state", "extra.streams"} == set(counted)


def test_it_takes_missing_fields_as_missing(imported: Settings) -> None:
    found = jobs(imported)[19]
    values = (found.exit_code, found.events_total, found.events_rate, found.lumisection, found.cmssw_run)
    assert values == (None,) * 5
    assert (found.client, found.fi_state, found.rss_kb) == ("unknown", None, None)
    assert log_of(imported, 19) == ("", "")
    delivery = reader(imported).deliveries.get(RUN + 100)
    assert delivery is not None
    assert delivery.streams == ()
    assert reader(imported).runs.get(0) is None


def test_it_drops_invalid_fields_of_a_job(imported: Settings) -> None:
    found = jobs(imported)[11]
    assert (found.client, found.fi_state, found.events_total, found.rss_kb) == ("unknown", None, None, None)


def test_it_imports_file_delivery(imported: Settings) -> None:
    found = reader(imported).deliveries.get(RUN)
    assert found is not None
    assert (found.revision, found.updated_at, found.global_start) == (901, AT, AT - timedelta(hours=1))
    [stream] = found.streams
    assert (stream.name, list(stream.lumisections), list(stream.events_accepted)) == (
        "streamDQM",
        [1, 2],
        [6, 11],
    )
    assert list(stream.sizes_bytes) == [-1, 1_617_156]


def test_it_imports_file_delivery_without_times_or_streams(imported: Settings) -> None:
    found = reader(imported).deliveries.get(NEWER)
    assert found is not None
    assert (found.global_start, found.streams) == (None, ())
    assert found.updated_at == LATER


def test_it_imports_changes_of_machine_states(imported: Settings) -> None:
    states = [
        (row["since"], row["is_up"], row["reason"])
        for row in sorted(rows(imported, db.machine_states), key=lambda row: row["since"])
    ]
    assert states == [
        (AT, True, None),
        (AT + timedelta(minutes=2), False, "no route to [host]"),
        (AT + timedelta(minutes=4), True, None),
        (AT + timedelta(minutes=6), False, "no route to [host]"),
    ]


def test_a_dump_without_the_legacy_tables_contains_nothing_sensitive(
    imported: Settings, postgres: EmbeddedPostgres
) -> None:
    dump = dumped(postgres, imported.database(Cluster.PRODUCTION), "--exclude-table=legacy_*")
    logs = [codecs.unpack_log(row["log"], 0) for row in rows(imported, db.job_details)]
    shown = (dump + repr(logs) + repr(rows(imported, db.quarantined_documents))).lower()
    assert "[host]" in shown
    needles = [canary.needle for canary in CANARIES]
    hosts = [
        FILTER_UNIT,
        BUILDER_UNIT,
        "dqmfu-c2b03-46-01",
        "dqmfu-c2b09-45-01",
        "sm-c2a11-43-01",
        "hostdqmfu",
    ]
    assert [needle for needle in (*needles, *hosts) if needle.lower() in shown] == []
