"""A mirrored cluster for tests of pages and API: sample records written by the grabber's own writer."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import count
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

import db
from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2.crash_reasons import analyze
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import (
    LUMISECTION_S,
    DeliveryRecord,
    DocumentVersion,
    EventSeries,
    InputStatus,
    InputStatuses,
    JobLog,
    JobRecord,
    MachineState,
    MemorySeries,
    Record,
    Stream,
)
from dqmsquare_cfg import Cluster, Settings
from storage.log_compression import ZstdDictionary
from storage.notifications import ChangeNotification
from storage.rows import Batch, Checkpoint, QuarantinedDocument, to_row
from storage.sync_status import ClusterLinks, LinkStatus
from storage.transition_watch import TransitionWatch
from storage.writer import MirrorWriter

# Clients of the online DQM, by the names that users know.
CLIENTS = (
    "beam",
    "beamhlt",
    "beampixel",
    "beamspotdip",
    "csc",
    "ctpps",
    "dt",
    "dt4ml",
    "ecal",
    "ecalcalib",
    "ecalgpu",
    "es",
    "fed",
    "gem",
    "hcal",
    "hcalcalib",
    "hcalgpu",
    "hcalreco",
    "hlt",
    "info",
    "l1tstage2",
    "l1tstage2emulator",
    "mutracking",
    "onlinebeammonitor",
    "pixel",
    "pixellumi",
    "rpc",
    "sistrip",
)
STREAMS = (
    "streamDQM",
    "streamDQMCalibration",
    "streamDQMEventDisplay",
    "streamDQMGPUvsCPU",
    "streamDQMHistograms",
    "streamDQMOnlineBeamspot",
)
_OPENED = "{at:%d-%b-%Y %H:%M:%S} CEST  Successfully opened file run{run}_ls{ls:04d}_streamDQM_[host].dat\n"
_WARNED = (
    "%MSG-w PSMonitorClient:  psChecker@endLumi  {at:%d-%b-%Y %H:%M:%S} CEST Run: {run} Lumi: {ls}\n"
    "no psColumnVSlumi ME is available in HLT/PSMonitoring\n%MSG\n"
)
_LOG_LINES = 200
_REPORT_INTERVAL_S = 30
_CRASH_INTERVAL = timedelta(minutes=8)


class MirroredCluster:
    """A cluster's database; machines are given by host name, and `watch` notes transitions.

    `on_watch_error` is called when it fails, `on_change` is called after each write.
    """

    def __init__(
        self,
        settings: Settings,
        cluster: Cluster = Cluster.PRODUCTION,
        on_change: Callable[[], None] = lambda: None,
        *,
        watch: TransitionWatch | None = None,
        on_watch_error: Callable[[], None] = lambda: None,
    ) -> None:
        self.cluster = cluster
        self._on_change = on_change
        self.builder_unit, *self.filter_units = settings.machines(cluster)
        self._database = db.engine(settings, cluster, "tests")
        self._revisions = count(1)
        self._writer = MirrorWriter(self._database, uuid4(), watch, on_watch_error)
        identities = Pseudonymizer(settings.pseudonym_secret)
        self._writer.take_over(identities.check_value())
        by_host = {host: identities.for_machine(host) for host in settings.machines(cluster)}
        known = self._writer.register_machines(
            {identity: default_label(host) for host, identity in by_host.items()}
        )
        self._machines = {host: known[identity] for host, identity in by_host.items()}

    def label(self, host: str) -> str:
        """The label of a machine."""
        return self._machines[host].label

    def write(
        self,
        host: str,
        *records: Record,
        clock_at: datetime | None = None,
        dictionary: ZstdDictionary | None = None,
        is_caught_up: bool = True,
    ) -> None:
        """Write documents of a machine; its clock is set to the newest of them unless given."""
        newer = [
            replace(record, document=replace(record.document, revision=next(self._revisions)))
            for record in records
        ]
        newest = max(record.document.updated_at for record in records)
        position = Checkpoint(0, newer[-1].document.revision, newer[-1].document.identity)
        rows = [to_row(record, dictionary) for record in newer]
        batch = Batch(self._machines[host].id, position, clock_at or newest, rows, is_caught_up=is_caught_up)
        self._writer.write_batch(batch)
        self._on_change()

    def quarantine(self, host: str, documents: Sequence[QuarantinedDocument]) -> None:
        """Quarantine documents of a machine."""
        position = Checkpoint(0, next(self._revisions), uuid4())
        machine = self._machines[host].id
        self._writer.write_batch(Batch(machine, position, None, (), documents, is_caught_up=True))
        self._on_change()

    def notify(self, run: int) -> None:
        """Notify of a change of a run to which nothing was written."""
        payload = ChangeNotification((), (run,)).serialize()
        with self._database.begin() as connection:
            connection.execute(sa.select(sa.func.pg_notify(db.CHANNEL, payload)))

    def set_heartbeat_age(self, age: timedelta) -> None:
        """Make the last heartbeat older, as after an outage of the grabber."""
        with self._database.begin() as connection:
            connection.execute(sa.update(db.heartbeat).values(heartbeat_at=datetime.now(UTC) - age))

    def beat(
        self,
        at: datetime | None = None,
        *,
        gateway: LinkStatus | None = None,
        status: LinkStatus | None = None,
        machines: Mapping[str, LinkStatus] | None = None,
        certificate_expires_at: datetime | None = None,
    ) -> None:
        """Write a heartbeat in which every link last succeeded at `at` (now), except those given."""
        worked = LinkStatus(last_success_at=at or datetime.now(UTC))
        given = machines or {}
        links = {machine.id: given.get(host, worked) for host, machine in self._machines.items()}
        links_status = ClusterLinks(
            gateway or worked, links, status or worked, tuple(links), certificate_expires_at
        )
        self._writer.write_heartbeat(links_status)
        self._on_change()

    def set_machine_state(self, host: str, at: datetime, *, down_reason: str | None = None) -> None:
        """Record that the gateway saw a machine up, or down for a reason."""
        machine = self._machines[host]
        seen = MachineState(is_up=down_reason is None, reason=down_reason)
        self._writer.write_machine_states({machine.id: seen}, at)
        self._on_change()


def write_jobs(settings: Settings, *jobs: JobRecord) -> None:
    """Write jobs of a filter unit of the production cluster, and a heartbeat."""
    cluster = MirroredCluster(settings)
    cluster.write(cluster.filter_units[0], *jobs)
    cluster.beat()


def beating_cluster(settings: Settings) -> MirroredCluster:
    """The production cluster, empty, with a current heartbeat."""
    cluster = MirroredCluster(settings)
    cluster.beat()
    return cluster


def crashed_job(
    run: int, crash: CrashLog = CRASH_LOGS[0], *, client: str = "csc", variation: int = 0, **fields: Any
) -> JobRecord:
    """A job that crashed, as the parser makes its record."""
    log = JobLog("began\n", crash.variation(variation))
    findings = analyze(log, crash.exit_code)
    found = {"exit_code": crash.exit_code, "log": log, "crash": findings.crash, "errors": findings.errors}
    return job(run, client, **{**found, **fields})


def ended_job(run: int, *lines: str, client: str = "csc", **fields: Any) -> JobRecord:
    """A job that finished, with lines at the end of its log."""
    tail = "\n".join(("began processing", *lines, "-- process exit: 0 --\n"))
    return job(run, client, **{"exit_code": 0, "log": JobLog(tail=tail), **fields})


def job(run: int, client: str, *, at: datetime | None = None, **fields: Any) -> JobRecord:
    """A healthy running job, two hours old, reported at `at` (now); `fields` replaces values."""
    updated_at = at or datetime.now(UTC)
    record = JobRecord(
        document=DocumentVersion(uuid4(), 0, updated_at),
        run=run,
        client=f"{client}_dqm_sourceclient-live",
        started_at=updated_at - timedelta(hours=2),
        exit_code=None,
        run_key="pp_run",
        cmssw_version="12_4_8_39145_39162",
        cmssw_run=run,
        lumisection=300,
        lumisection_at=updated_at,
        events_total=628_953,
        events_rate=57.5,
        fi_state=0,
        rss_kb=1_812_744,
        memory=MemorySeries(),
        events=EventSeries(),
        input_statuses=InputStatuses(),
        log=JobLog(),
    )
    return replace(record, **fields)


def with_series(record: JobRecord, seed: int = 0) -> JobRecord:
    """The job with the series, input statuses and log that it would have by now."""
    start_s, end_s = int(record.started_at.timestamp()), int(record.document.updated_at.timestamp())
    reports = range(start_s, end_s + 1, _REPORT_INTERVAL_S)
    sections = range(1, (record.lumisection or 0) + 1)
    rss_kb, fates, events = _random_columns(seed, len(reports), len(sections))
    return replace(
        record,
        memory=MemorySeries(reports, [kb + 800_000 for kb in rss_kb], rss_kb),
        events=EventSeries(
            sections,
            [start_s + int(ls * LUMISECTION_S) for ls in sections],
            events,
            [23_310] * len(sections),
        ),
        input_statuses=InputStatuses(sections, fates),
        log=log_of(record),
    )


# The run of most tests has the same columns in each.
@lru_cache(256)
def _random_columns(
    seed: int, reports: int, lumisections: int
) -> tuple[Sequence[int], Sequence[InputStatus], Sequence[int]]:
    """Resident memory (kB) by report; fate of the input, and number of events, by lumisection."""
    rng = random.Random(seed)
    rss_kb = tuple(
        300_000 + int(1_500_000 * (1 - math.exp(-report * _REPORT_INTERVAL_S / 900))) + rng.randrange(20_000)
        for report in range(reports)
    )
    fates = tuple(
        InputStatus.FAST_FORWARD if rng.random() < 0.001 else InputStatus.OK for _ in range(lumisections)
    )
    return rss_kb, fates, tuple(rng.randrange(1200, 1500) for _ in range(lumisections))


def log_of(record: JobRecord) -> JobLog:
    """A redacted log like CMSSW's, with a host replaced in most lines."""
    lines = [
        f"-- starting process: ['cmsRun', 'runNumber={record.run}', 'runkey={record.run_key}'] --\n",
        *_lumisection_lines(record.run, record.started_at, record.lumisection or 0),
    ]
    if record.exit_code is not None:
        lines.append(f"\n-- process exit: {record.exit_code} --\n")
    head, tail = lines[:_LOG_LINES], lines[-_LOG_LINES:]
    return JobLog("".join(head), "".join(tail), redactions=sum("[host]" in line for line in head + tail))


# Most jobs of a run have begun together, and reached one of few lumisections.
@lru_cache(16)
def _lumisection_lines(run: int, started_at: datetime, lumisections: int) -> Sequence[str]:
    """Lines of a log, one or more for each lumisection."""
    return [
        (_OPENED if ls % 20 else _WARNED).format(
            at=started_at + timedelta(seconds=ls * LUMISECTION_S), run=run, ls=ls
        )
        for ls in range(1, lumisections + 1)
    ]


def delivery(
    run: int, start: datetime, lumisections: int, streams: Sequence[str] = STREAMS
) -> DeliveryRecord:
    """File delivery of a run that started at `start`, with occasional delays."""
    return DeliveryRecord(
        document=DocumentVersion(uuid4(), 0, start + timedelta(seconds=(lumisections + 1) * LUMISECTION_S)),
        run=run,
        global_start=start,
        global_start_is_guess=False,
        lumisection_s=LUMISECTION_S,
        streams=tuple(
            _stream(name, start, lumisections, random.Random(number)) for number, name in enumerate(streams)
        ),
    )


def write_run(
    mirrored: MirroredCluster,
    run: int,
    *,
    lumisections: int = 300,
    clients: Sequence[str] = CLIENTS,
    is_ended: bool = False,
) -> list[JobRecord]:
    """Write a run on all filter units, ongoing or just ended; most jobs are healthy.

    `ecalgpu` crashed three times, `hcalreco` is silent, `beamhlt` finished and `dt` is behind.
    """
    now = datetime.now(UTC)
    start = now - timedelta(seconds=lumisections * LUMISECTION_S)
    rng = random.Random(run)
    jobs = [
        job(
            run,
            client,
            at=now - timedelta(seconds=rng.randrange(30)),
            started_at=start,
            exit_code=0 if is_ended else None,
            lumisection=lumisections - rng.randrange(3),
            events_total=lumisections * rng.randrange(1300, 1400),
            events_rate=rng.uniform(40, 70),
            rss_kb=rng.randrange(400_000, 3_000_000),
        )
        for client in clients
    ]
    jobs = [_in_typical_state(record, now) for record in jobs]
    crashed = next((record for record in jobs if record.client.startswith("ecalgpu")), None)
    if crashed:
        jobs += [_earlier_crash(crashed, start + number * _CRASH_INTERVAL) for number in range(2)]
    for number, unit in enumerate(mirrored.filter_units):
        on_it = jobs[number :: len(mirrored.filter_units)]
        mirrored.write(unit, *(with_series(record, seed) for seed, record in enumerate(on_it)), clock_at=now)
    mirrored.write(mirrored.builder_unit, delivery(run, start, lumisections), clock_at=now)
    return jobs


def _in_typical_state(record: JobRecord, now: datetime) -> JobRecord:
    lumisection = min(record.lumisection or 0, 200)
    match record.client.partition("_")[0]:
        case "ecalgpu":
            started_at = record.started_at + 2 * _CRASH_INTERVAL
            return replace(record, exit_code=-11, started_at=started_at, lumisection=lumisection)
        case "hcalreco":
            silent = replace(record.document, updated_at=now - timedelta(minutes=23))
            return replace(
                record,
                document=silent,
                exit_code=None,
                lumisection_at=silent.updated_at,
                lumisection=lumisection,
            )
        case "beamhlt":
            return replace(record, exit_code=0, events_total=0, events_rate=None, lumisection=2)
        case "dt":
            return replace(record, lumisection=(record.lumisection or 0) - 17)
    return record


def _earlier_crash(crashed: JobRecord, started_at: datetime) -> JobRecord:
    ended = DocumentVersion(uuid4(), 0, started_at + _CRASH_INTERVAL)
    return replace(crashed, document=ended, started_at=started_at, exit_code=139, lumisection=20)


def _stream(name: str, start: datetime, lumisections: int, rng: random.Random) -> Stream:
    sections = range(1, lumisections + 1)
    delay_s, ctimes_ms = 10.0, []
    for ls in sections:
        jump = 90 if rng.random() < 0.005 else 0
        delay_s = max(3.0, delay_s * 0.96 + rng.uniform(-1, 2) + jump)
        ctimes_ms.append(int((start.timestamp() + ls * LUMISECTION_S + delay_s) * 1000))
    accepted = [rng.randrange(1200, 1600) for _ in sections]
    return Stream(
        name=name,
        lumisections=sections,
        mtimes_ms=[ctime - 1500 for ctime in ctimes_ms],
        ctimes_ms=ctimes_ms,
        events_accepted=accepted,
        events_processed=[events * 40 for events in accepted],
        sizes_bytes=[events * 91_000 for events in accepted],
    )
