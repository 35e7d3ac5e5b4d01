"""A mirrored cluster with something of every resource of `/api/v1/`, at times relative to `now`."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from uuid import UUID

import sqlalchemy as sa

import db
from dqm2 import crash_reasons
from dqm2.records import (
    LUMISECTION_S,
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
    Record,
    Stream,
)
from dqmsquare_cfg import Settings
from storage import transitions
from storage.crash_groups import CrashGroup, group_of
from storage.sync_status import LinkStatus
from storage.transitions import Thing, Transition, TransitionKind
from tests.mirrored_cluster import MirroredCluster, job

RUN, PREVIOUS_RUN = 391_814, 391_810
CRASHED_JOB = UUID("5a1c6ed6-0e3c-4f67-9d3f-0d2b56b6a1ce")
RUNNING_JOB = UUID("2f8a3f4e-90a2-4b5c-8f0e-7f3d5c1b6a90")
EARLIER_JOB = UUID("c0b7f6f0-11d4-4d61-8f55-5f6b1c9a7e21")
DELIVERY = UUID("7b4f2d0a-6c39-4e0f-8a57-d1f3f0a6b2c4")
MEMORY = UUID("0f6f3ac8-93b0-4c86-9f0e-3c1d2b7a5e61")
DISK = UUID("9d2c7e15-5b8e-4a41-b8f4-6e0d9c3f7a28")
_LOG_HEAD = """-- starting process: ['cmsRun', 'runNumber=391814', 'runkey=pp_run'] --
%MSG-i DAQSource: (NoModuleName) 20-Nov-2026 11:30:02 CET pre-events
Opened run391814_ls0001_streamDQM_[host].dat
%MSG
"""
_LOG_TAIL = """----- Begin Fatal Exception 20-Nov-2026 11:38:01 CET-----------------------
An exception of category 'ProductNotFound' occurred while
   [0] Processing  Event run: 391814 lumi: 2 event: 1845 stream: 0
   [1] Running path 'ecalMonitorPath'
   [2] Calling method for module EcalDQMonitorTask/'ecalGpuTask'
Exception Message:
Principal::getByToken: Found zero products matching all criteria
Looking for type: EcalUncalibratedRecHitCollection
----- End Fatal Exception -------------------------------------------------
-- process exit: 65 --
"""


def write_sample(settings: Settings, now: datetime) -> MirroredCluster:
    """Mirror two runs: one that has ended, and one that is ongoing, with a crash and a file delivery."""
    mirrored = MirroredCluster(settings)
    unit, other = mirrored.filter_units[:2]
    start = now - timedelta(minutes=30)
    mirrored.write(unit, _earlier(start - timedelta(hours=1)), _crashed(start))
    mirrored.write(other, _running(start, now), clock_at=now)
    mirrored.write(mirrored.builder_unit, _delivery(start))
    mirrored.write(unit, *_machine_reports(now), clock_at=now)
    for host in (mirrored.builder_unit, unit, other):
        mirrored.set_machine_state(host, now - timedelta(days=3))
    mirrored.set_machine_state(other, now - timedelta(hours=5), down_reason="Connection timed out")
    mirrored.set_machine_state(other, now - timedelta(hours=4))
    mirrored.beat(now, machines={other: LinkStatus(last_success_at=now, documents_behind=3)})
    with db.engine(settings, mirrored.cluster, "tests").begin() as connection:
        transitions.write(connection, _transitions(start))
        connection.execute(sa.update(db.transitions).values(noted_at=now))
        connection.execute(sa.update(db.heartbeat).values(heartbeat_at=now))
    return mirrored


def paths() -> Mapping[str, str]:
    """A path of each operation below the root of the API, by the id of the operation."""
    cluster = "/clusters/production"
    return {
        "clusters": "/clusters",
        "freshness": f"{cluster}/freshness",
        "runs": f"{cluster}/runs?limit=1",
        "run": f"{cluster}/runs/{RUN}",
        "jobs": f"{cluster}/runs/{RUN}/jobs?state=crashed",
        "delivery": f"{cluster}/runs/{RUN}/delivery",
        "job": f"{cluster}/jobs/{CRASHED_JOB}",
        "log": f"{cluster}/jobs/{CRASHED_JOB}/log",
        "machines": f"{cluster}/machines",
        "transitions": f"{cluster}/transitions?cursor=1&limit=1",
        "crash_groups": f"{cluster}/crash-groups?client=ecalgpu",
        "crash_group": f"{cluster}/crash-groups/{signature()}",
    }


def signature() -> str:
    """The signature of the group of the crash."""
    return _group(_crashed(datetime.now(UTC))).signature


def _group(crashed: JobRecord) -> CrashGroup:
    group = group_of(crashed.client, crashed.exit_code, crashed.crash)
    assert group is not None
    return group


def _earlier(at: datetime) -> JobRecord:
    return job(
        PREVIOUS_RUN, "beam", at=at, exit_code=0, document=DocumentVersion(EARLIER_JOB, 0, at), lumisection=57
    )


def _running(start: datetime, now: datetime) -> JobRecord:
    return job(RUN, "beam", document=DocumentVersion(RUNNING_JOB, 0, now), started_at=start, lumisection=74)


def _crashed(start: datetime) -> JobRecord:
    """A job that ended eight minutes after `start`."""
    log = JobLog(_LOG_HEAD, _LOG_TAIL, redactions=1)
    found = crash_reasons.analyze(log, 65)
    start_s = int(start.timestamp())
    return job(
        RUN,
        "ecalgpu",
        document=DocumentVersion(CRASHED_JOB, 0, start + timedelta(minutes=8)),
        started_at=start,
        exit_code=65,
        lumisection=2,
        lumisection_at=None,
        events_total=2603,
        events_rate=5.5,
        memory=MemorySeries(
            [start_s, start_s + 30, start_s + 60],
            [911_360, 1_402_880, 1_510_400],
            [301_056, 702_464, 811_008],
        ),
        events=EventSeries([1, 2], [start_s + 24, start_s + 48], [1301, 1302], [23_310, 23_180]),
        input_statuses=InputStatuses([1, 2], [InputStatus.OK, InputStatus.OPEN]),
        log=log,
        crash=found.crash,
        errors=found.errors,
    )


def _transitions(start: datetime) -> list[Transition]:
    """The start of a client and its crash."""
    crashed = _crashed(start)
    client, group = Thing(TransitionKind.CLIENT, crashed.client), _group(crashed)
    return [
        Transition(client, "running", is_problem=False, occurred_at=start, run=RUN, job=CRASHED_JOB),
        Transition(
            client,
            "crashed",
            is_problem=True,
            occurred_at=crashed.document.updated_at,
            previous_state="running",
            run=RUN,
            job=CRASHED_JOB,
            machine="dqmfu-c2b03-..",
            crash_group=group.signature,
            is_new_group=True,
            detail=group.title,
        ),
    ]


def _delivery(start: datetime) -> DeliveryRecord:
    closed_ms = [round((start.timestamp() + (ls + 0.2) * LUMISECTION_S) * 1000) for ls in (1, 2, 3)]
    return DeliveryRecord(
        document=DocumentVersion(DELIVERY, 0, start + timedelta(minutes=2)),
        run=RUN,
        global_start=start,
        global_start_is_guess=False,
        lumisection_s=LUMISECTION_S,
        streams=(
            Stream(
                "streamDQM",
                [1, 2, 3],
                closed_ms,
                [ms + 1500 for ms in closed_ms],
                [1301, 1302, -1],
                [52_040, 52_080, -1],
                [118_391_000, 118_482_000, -1],
            ),
        ),
    )


def _machine_reports(now: datetime) -> tuple[Record, Record]:
    gigabyte = 10**9
    return (
        MemoryRecord(
            DocumentVersion(MEMORY, 0, now), 135 * gigabyte, 130 * gigabyte, 5 * gigabyte, 98 * gigabyte
        ),
        DiskRecord(DocumentVersion(DISK, 0, now), 480 * gigabyte, 120 * gigabyte, 360 * gigabyte, 18_211),
    )
