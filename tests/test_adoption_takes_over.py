"""What is taken over of an earlier mirror's database, rule by rule: one database with a row for each."""

from datetime import timedelta
from typing import Any

import pytest

import db
from dqm2.pseudonyms import Pseudonymizer
from dqmsquare_cfg import Cluster, Settings
from legacy_import.lifecycle import begin
from storage import codecs
from storage.job_state import JobState
from storage.read_models import Job
from tests.canaries import KINDS
from tests.earlier_mirror import (
    AT,
    BUILDER_UNIT,
    FILTER_UNIT,
    RUN,
    UNKNOWN,
    EarlierMirror,
    graph,
    job,
    run_adopt,
)
from tests.mirroring import reader, rows
from tests.postgres_clients import dumped
from tools.demo.postgres import EmbeddedPostgres

CANARIES = [kind(number) for number, kind in enumerate(KINDS.values(), start=7000)]
NEWER = RUN + 1
LATER = AT + timedelta(hours=1)
# A lumisection that the database can't hold.
REFUSED = 1_000_000
NEWER_RUN: dict[str, Any] = {"run": NEWER, "timestamp": LATER}
# Each has something of its own; by number, which is its revision.
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
    10: job(10, cmssw_lumi=REFUSED),
    11: job(11, client="<b>beam</b>", runkey="runkey=<i>", fi_state="7", events_total=-1, vmrss=""),
    12: job(12, hostname=f"{FILTER_UNIT.upper()}.cms"),
    13: job(13, run=RUN - 100, timestamp=UNKNOWN),
    14: job(14, **NEWER_RUN, stdlog_start=repr([f"{canary.text}\n" for canary in CANARIES])),
    15: job(15, **NEWER_RUN, stdlog_end="".join(f"{canary.text}\\n" for canary in CANARIES)),
    16: job(16, host="dqmfu-c2b03-46-01", **NEWER_RUN),
    17: job(17, **NEWER_RUN, client_path="/of/no/release.py", runkey=None),
}
GRAPHS = [
    graph(rev=901),
    graph(NEWER, rev=902, timestamp=UNKNOWN, global_start=UNKNOWN, stream_data="{'streamDQM_sm': [}"),
]
POLLS = [
    (True, None),
    (True, None),
    (False, "no route to dqmfu-c7z10-01-77"),
    (False, "no route to dqmfu-c7z10-01-78"),
]


@pytest.fixture(scope="module")
def earlier(postgres: EmbeddedPostgres, shared_settings: Settings) -> EarlierMirror:
    """The earlier mirror's database, as it becomes this one's."""
    mirror = EarlierMirror(postgres, shared_settings.database(Cluster.PRODUCTION))
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
def taken_over(
    earlier: EarlierMirror, shared_environment: dict[str, str], shared_settings: Settings
) -> Settings:
    """The settings of the mirror whose production database was an earlier mirror's."""
    database = db.engine(shared_settings, Cluster.PRODUCTION, "tests")
    begin(database, Pseudonymizer(shared_settings.pseudonym_secret))
    database.dispose()
    earlier.execute(f"ALTER TABLE jobs ADD CHECK (lumisection < {REFUSED})")
    status, said = run_adopt(shared_environment)
    assert status == 0, said
    return shared_settings


def jobs(settings: Settings) -> dict[int, Job]:
    """The jobs by their number."""
    identities = Pseudonymizer(settings.pseudonym_secret)
    numbers = {
        identities.for_document(row["hostname"] or FILTER_UNIT, row["id"]): number
        for number, row in JOBS.items()
    }
    found = [reader(settings).run(run) for run in (RUN - 100, RUN, NEWER)]
    return {numbers[job.id]: job for run in found if run is not None for job in run.jobs}


def log_of(settings: Settings, number: int) -> tuple[str, str]:
    details = reader(settings).job_details(jobs(settings)[number].id)
    assert details is not None
    return details.log.head, details.log.tail


def test_it_takes_over_what_a_job_says(taken_over: Settings) -> None:
    found = jobs(taken_over)[1]
    assert (found.client, found.exit_code, found.updated_at) == (
        JOBS[1]["client"],
        0,
        AT + timedelta(seconds=1),
    )
    assert (found.events_total, found.events_rate, found.lumisection) == (1165, 3.25, 97)
    assert (found.cmssw_run, found.fi_state, found.rss_kb) == (RUN, 2, 362_744)
    assert log_of(taken_over, 1) == ("-- starting process --\nit's a log\n", "the end\n")
    run = reader(taken_over).run(RUN)
    assert run is not None
    assert (run.run_key, run.cmssw_version) == ("pp_run", "12_4_8_39145")


def test_a_machine_has_the_label_that_a_grabber_would_give_it(taken_over: Settings) -> None:
    labels = {number: found.machine for number, found in jobs(taken_over).items()}
    assert labels[1] == labels[12] == labels[8] == "dqmfu-c2b03-..·1"
    assert labels[16] == "dqmfu-c2b03-..·2"


def test_a_job_that_ran_when_it_was_seen_last_is_lost(taken_over: Settings) -> None:
    found = jobs(taken_over)
    assert [found[number].exit_code for number in (2, 3, 4)] == [None, None, -9]
    # By the machine's clock, which has gone on to the run after it.
    assert [found[number].state for number in (2, 3, 4)] == [JobState.LOST, JobState.LOST, JobState.CRASHED]


def test_rows_of_no_run_are_left(taken_over: Settings) -> None:
    assert 5 not in jobs(taken_over)


def test_a_log_that_is_no_list_is_kept_as_text(taken_over: Settings) -> None:
    assert log_of(taken_over, 6)[0] == "['cut in the mid\ndle of [host]\nof it"


def test_a_time_that_is_not_known_is_that_of_the_run(taken_over: Settings) -> None:
    newest = max(
        row["timestamp"] for row in JOBS.values() if row["run"] == RUN and row["timestamp"] != UNKNOWN
    )
    assert jobs(taken_over)[7].updated_at == newest
    assert 13 not in jobs(taken_over), "nothing is known of its run either"


def test_what_can_not_be_taken_over_is_counted_by_its_reason(taken_over: Settings) -> None:
    adoption = reader(taken_over).import_progress()
    assert adoption is not None
    assert adoption.is_complete
    assert adoption.skipped == {
        "no machine is named": 1,
        "no usable timestamp": 1,
        "the database refuses it: CheckViolation": 1,
    }
    assert {9, 10, 13}.isdisjoint(jobs(taken_over))


def test_what_has_another_shape_is_left_out_of_a_job(taken_over: Settings) -> None:
    found = jobs(taken_over)[11]
    assert (found.client, found.fi_state, found.events_total, found.rss_kb) == ("unknown", None, None, None)


def test_it_takes_over_file_delivery(taken_over: Settings) -> None:
    found = reader(taken_over).delivery(RUN)
    assert found is not None
    assert (found.revision, found.updated_at, found.global_start) == (901, AT, AT - timedelta(hours=1))
    [stream] = found.streams
    assert (stream.name, list(stream.lumisections), list(stream.events_accepted)) == (
        "streamDQM",
        [1, 2],
        [6, 11],
    )
    assert list(stream.sizes_bytes) == [-1, 1_617_156]


def test_file_delivery_without_times_or_streams_is_taken_over_without_them(taken_over: Settings) -> None:
    found = reader(taken_over).delivery(NEWER)
    assert found is not None
    assert (found.global_start, found.streams) == (None, ())
    assert found.updated_at == LATER


def test_of_the_states_of_machines_it_keeps_the_changes(taken_over: Settings) -> None:
    states = [
        (row["since"], row["is_up"], row["reason"])
        for row in sorted(rows(taken_over, db.machine_states), key=lambda row: row["since"])
    ]
    assert states == [
        (AT, True, None),
        (AT + timedelta(minutes=2), False, "no route to [host]"),
        (AT + timedelta(minutes=4), True, None),
        (AT + timedelta(minutes=6), False, "no route to [host]"),
    ]


def test_nothing_sensitive_is_in_a_dump_without_the_earlier_tables(
    taken_over: Settings, postgres: EmbeddedPostgres
) -> None:
    dump = dumped(postgres, taken_over.database(Cluster.PRODUCTION), "--exclude-table=legacy_*")
    logs = [codecs.unpack_log(row["log"], 0) for row in rows(taken_over, db.job_details)]
    shown = (dump + repr(logs) + repr(rows(taken_over, db.quarantined_documents))).lower()
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
