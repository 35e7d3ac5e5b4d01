"""Database with ten years of a cluster, filled by COPY: runs, jobs, file delivery, machine states.

The content is reproducible. Logs, series and deliveries are encoded once for a few hundred jobs and then
reused: only their number and size matter. About 6 % of the jobs crashed, in some 400 groups.
"""

import io
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import count, islice, product
from typing import TypeVar
from uuid import UUID, uuid4

import orjson
import sqlalchemy as sa

import db
from benchmarks import sample_jobs
from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2 import log_templates
from dqm2.crash_reasons import analyze
from dqm2.log_templates import Templates
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import LUMISECTION_S, CrashReason, JobLog, JobRecord, Stream
from dqmsquare_cfg import Cluster, Settings
from simulator.clients import CLIENTS
from storage import codecs, crash_group_writer, crash_groups, log_compression, log_findings
from storage.crash_groups import CrashGroup
from storage.log_compression import ZstdDictionary
from storage.rows import downsample
from storage.sync_status import ClusterLinks, LinkStatus
from storage.writer import MirrorWriter

FIRST_RUN = 300_000
_YEARS = timedelta(days=3652)
# Between changes of a machine's state, whatever the size: a page shows those of a day.
_STATE_INTERVAL = timedelta(minutes=12)
# Machines that were replaced since.
_FORMER_MACHINES = tuple(f"dqmfu-c2b0{rack}-4{unit}-01" for rack in (1, 2) for unit in (0, 1, 2, 3))
_RUN_KEYS = ("cosmic_run", "pp_run", "pp_run", "pp_run", "hi_run", "commissioning_run")
_STREAMS = ("streamDQM", "streamDQMCalibration", "streamDQMEventDisplay", "streamDQMHistograms")
_RESTARTS = (0, 0, 1, 2, 3, 6)
_ROWS_PER_COPY = 20_000
_NULL = r"\N"
# Of the logs of each kind of crash.
_VARIATIONS = 5
# Kinds of crashes that a client has.
_KINDS_PER_CLIENT = 13

T = TypeVar("T")
# A value in COPY's text format.
_Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Size:
    """Size of the database; only the newest `runs_with_details` runs have logs and series.

    `samples`: finished jobs that these are copied from.
    """

    runs: int = 60_000
    runs_with_details: int = 6_000
    states: int = 5_000_000
    samples: int = 200


@dataclass(frozen=True, slots=True)
class Span:
    """Runs and number of jobs of a filled database; the newest run is ongoing."""

    first_run: int
    last_run: int
    jobs: int


@dataclass(frozen=True, slots=True)
class _Details:
    """A row of job_details without its identity, the index of its log, and the words of the lines in it."""

    columns: tuple[_Value, ...]
    templates: Templates


@dataclass(frozen=True, slots=True)
class _Run:
    number: int
    start: datetime
    end: datetime
    lumisections: int
    is_ongoing: bool


def fill(settings: Settings, size: Size, cluster: Cluster = Cluster.PRODUCTION) -> Span:
    """Fill a cluster's database, which must be empty and have the current schema."""
    engine = db.engine(settings, cluster, "benchmark")
    machines, former = _machines(engine, settings, cluster)
    runs = list(_runs(size.runs))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # Without foreign key checks.
        connection.execute(sa.text("SET session_replication_role = replica"))
        connection.execute(sa.text("SET synchronous_commit = off"))
        connection.execute(sa.text("SET statement_timeout = 0"))
        _copy(connection, db.runs, map(_run_row, runs))
        _copy(connection, db.deliveries, _delivery_rows(runs, machines[0]))
        _copy(connection, db.playbacks, _playback_rows(runs, machines[0]))
        _copy(connection, db.quarantined_documents, _quarantined_rows(runs, machines[0]))
        jobs = _copy_jobs(connection, runs, size, machines[1:])
        crash_group_writer.write(connection, _groups())
        # As the triggers would have done.
        connection.execute(_count_crashes())
        connection.execute(_mark_client_runs())
        connection.execute(_list_releases())
        _copy(connection, db.machine_states, _state_rows(size.states, machines + former))
        _copy(connection, db.transitions, _transition_rows(runs))
        _copy(connection, db.mutes, _mute_rows(runs))
        _copy(connection, db.audit_log, _audit_rows(runs, cluster))
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()
    return Span(runs[0].number, runs[-1].number, jobs)


def _count_crashes() -> sa.Insert:
    jobs, runs = db.jobs.c, db.runs.c
    counted = (jobs.run, jobs.crash_group, sa.func.count(), runs.run_key, runs.cmssw_version)
    of_crashes = sa.select(*counted).join_from(db.jobs, db.runs, runs.run == jobs.run)
    by_run = of_crashes.where(jobs.crash_group.is_not(None)).group_by(jobs.run, jobs.crash_group, runs.run)
    return sa.insert(db.crash_group_runs).from_select(list(db.crash_group_runs.c), by_run)


def _mark_client_runs() -> sa.Insert:
    jobs = db.jobs.c
    block, bit = jobs.run // db.RUNS_PER_BLOCK, jobs.run % db.RUNS_PER_BLOCK
    none = sa.cast(0, db.client_runs.c.runs.type)
    runs = sa.func.bit_or(sa.func.set_bit(none, bit, 1))
    marked = sa.select(jobs.client, block, runs).group_by(jobs.client, block)
    return sa.insert(db.client_runs).from_select(list(db.client_runs.c), marked)


def _list_releases() -> sa.Insert:
    listed = sa.select(db.runs.c.cmssw_version).distinct()
    return sa.insert(db.releases).from_select(list(db.releases.c), listed)


def _machines(engine: sa.Engine, settings: Settings, cluster: Cluster) -> tuple[list[int], list[int]]:
    """The ids of the mirrored machines and of the former ones; all links work."""
    pseudonyms = Pseudonymizer(settings.pseudonym_secret)
    hosts = {host: pseudonyms.for_machine(host) for host in (*settings.machines(cluster), *_FORMER_MACHINES)}
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(pseudonyms.check_value())
    known = writer.register_machines({identity: default_label(host) for host, identity in hosts.items()})
    ids = [known[identity].id for identity in hosts.values()]
    mirrored = ids[: len(settings.machines(cluster))]
    now = datetime.now(UTC)
    link = LinkStatus(last_success_at=now)
    writer.write_heartbeat(ClusterLinks(link, dict.fromkeys(mirrored, link), link, tuple(mirrored)))
    with engine.begin() as connection:
        connection.execute(sa.update(db.machines).values(clock_at=now, newest_run=FIRST_RUN))
    return mirrored, ids[len(mirrored) :]


def _runs(count: int) -> Iterator[_Run]:
    rng = random.Random(1)
    now = datetime.now(UTC)
    interval = _YEARS / count
    for number in range(count):
        start = now - _YEARS + interval * number
        lumisections = min(rng.randrange(5, 400), int(interval.total_seconds() / LUMISECTION_S))
        is_ongoing = number == count - 1
        end = now if is_ongoing else start + timedelta(seconds=lumisections * LUMISECTION_S)
        yield _Run(FIRST_RUN + number, start, end, lumisections, is_ongoing)


def _run_row(run: _Run) -> tuple[_Value, ...]:
    version = f"14_0_{run.number % 97 // 10}_{39_000 + run.number // 1000}"
    return run.number, _RUN_KEYS[run.number % len(_RUN_KEYS)], version, run.end.isoformat()


def _delivery_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(2)
    samples = [_delivery_sample(_streams(lumisections, rng)) for lumisections in range(5, 400, 25)]
    for run in runs:
        at, start = run.end.isoformat(), run.start.isoformat()
        streams, last, events, size = samples[run.lumisections * len(samples) // 400]
        version = _identity(rng), machine, 0, run.number, at
        statistics = 4.5, 2.6, last, events, size, run.number
        yield *version, run.number, start, "f", LUMISECTION_S, streams, *statistics


def _delivery_sample(streams: list[Stream]) -> tuple[str, int, int, int]:
    """Packed streams, their last lumisection, events and bytes."""
    events = sum(sum(stream.events_accepted) for stream in streams)
    size = sum(sum(stream.sizes_bytes) for stream in streams)
    return _hex(codecs.pack_streams(streams)), len(streams[0].lumisections), events, size


def _playback_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(5)
    for run in runs:
        state = "running" if run.is_ongoing else "eor"
        at, last = run.end.isoformat(), run.lumisections
        yield _identity(rng), machine, 0, run.number, at, run.number, state, last, last, "pp_run", 358_788


def _quarantined_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    rng = random.Random(6)
    for run in runs:
        at, reason = run.end.isoformat(), "no valid response"
        yield _identity(rng), machine, 0, run.number, at, "dqm-source-state", reason


def _streams(lumisections: int, rng: random.Random) -> list[Stream]:
    sections = range(1, lumisections + 1)
    return [
        Stream(
            name,
            sections,
            mtimes_ms=[int(ls * LUMISECTION_S * 1000) + rng.randrange(9000) for ls in sections],
            ctimes_ms=[int(ls * LUMISECTION_S * 1000) + rng.randrange(9000) for ls in sections],
            events_accepted=[rng.randrange(1000, 1600) for _ in sections],
            events_processed=[rng.randrange(40_000, 64_000) for _ in sections],
            sizes_bytes=[rng.randrange(90_000_000, 120_000_000) for _ in sections],
        )
        for name in _STREAMS
    ]


def _copy_jobs(connection: sa.Connection, runs: list[_Run], size: Size, units: list[int]) -> int:
    """Copy the jobs of all runs and the details of the newest; return the number of jobs."""
    rng = random.Random(3)
    good, failed = _details(connection, size.samples)
    first_with_details = runs[max(0, len(runs) - size.runs_with_details)].number
    count = 0
    for batch in _batches(runs, _ROWS_PER_COPY // len(CLIENTS)):
        jobs = [row for run in batch for row in _job_rows(run, units, rng)]
        detailed = [
            (row[0], row[5], rng.choice(failed if row[8] else good))
            for row in jobs
            if int(row[5] or 0) >= first_with_details
        ]
        _copy(connection, db.jobs, jobs)
        _copy(connection, db.job_details, ((identity, *found.columns) for identity, _, found in detailed))
        indexed = ((identity, run, _array(found.templates)) for identity, run, found in detailed)
        _copy(connection, db.log_index, indexed)
        count += len(jobs)
    return count


def _job_rows(run: _Run, units: list[int], rng: random.Random) -> Iterator[tuple[_Value, ...]]:
    restarted = [rng.choice(CLIENTS) for _ in range(rng.choice(_RESTARTS))]
    for number, client in enumerate((*CLIENTS, *restarted)):
        crashed = number >= len(CLIENTS) or rng.random() < 0.01
        exit_code = None if run.is_ongoing and not crashed else rng.choice((-11, 65, 139)) if crashed else 0
        lumisection = rng.randrange(run.lumisections + 1) if crashed else run.lumisections
        at = (run.end - timedelta(seconds=rng.randrange(30))).isoformat()
        yield (
            *(_identity(rng), units[number % len(units)], 0, run.number * 50 + number, at),
            *(run.number, client.tag, run.start.isoformat(), exit_code, run.number, lumisection, at, 0),
            *(int(lumisection * client.events_per_s * LUMISECTION_S), client.events_per_s, 0),
            *(client.rss_kb, *_findings(client.tag, exit_code, rng)),
        )


def _findings(client: str, exit_code: int | None, rng: random.Random) -> tuple[_Value, ...]:
    """The columns for what is found in the log of a job of a client (tag)."""
    if not exit_code:
        return log_findings.FINDINGS_VERSION, None, None, None
    crash, variation = rng.choice(_crashes_of(client)), rng.randrange(_VARIATIONS)
    columns = log_findings.columns(_reason(crash, variation), (), _group(client, crash, variation))
    return columns["log_rules"], _json(columns["crash"]), None, columns["crash_group"]


@cache
def _crashes_of(client: str) -> list[CrashLog]:
    return random.Random(client).sample(CRASH_LOGS, _KINDS_PER_CLIENT)


@cache
def _reason(crash: CrashLog, variation: int) -> CrashReason | None:
    return analyze(JobLog(tail=crash.variation(variation)), crash.exit_code).crash


@cache
def _group(client: str, crash: CrashLog, variation: int) -> CrashGroup | None:
    return crash_groups.group_of(client, crash.exit_code, _reason(crash, variation))


def _groups() -> Iterator[CrashGroup]:
    """The groups that the crashes of all clients may have."""
    for client, variation in product(CLIENTS, range(_VARIATIONS)):
        for crash in _crashes_of(client.tag):
            group = _group(client.tag, crash, variation)
            if group is not None:
                yield group


def _json(value: object) -> str | None:
    """A value of a JSON column in COPY's text format."""
    return None if value is None else orjson.dumps(value).decode().replace("\\", "\\\\")


def _details(connection: sa.Connection, samples: int) -> tuple[list[_Details], list[_Details]]:
    """The details of jobs that finished, and of jobs that crashed."""
    rng = random.Random(4)
    records = sample_jobs.simulated(samples)
    logs = [codecs.log_text(record.log) for record in records]
    trained = ZstdDictionary(1, log_compression.train_dictionary(logs[::2], 1), datetime.now(UTC))
    row = (trained.version, _hex(trained.content), trained.trained_at.isoformat())
    _copy(connection, db.log_dictionaries, [row])
    crashes = product(CRASH_LOGS, range(_VARIATIONS))
    failed = [_crashed(rng.choice(records), crash, variation) for crash, variation in crashes]
    found: list[_Details] = []
    for record in (*records, *failed):
        job = sample_jobs.with_noisy_series(record, rng.randrange(5, 400), rng)
        memory, events = (
            codecs.pack_memory(downsample(job.memory)),
            codecs.pack_events(downsample(job.events)),
        )
        packed = (
            memory,
            events,
            codecs.pack_input_statuses(job.input_statuses),
            codecs.pack_log(job.log, trained),
        )
        templates = log_templates.templates(job.log, job.errors, job.crash)
        found.append(_Details((*map(_hex, packed), job.log.redactions), templates))
    words = {number: words for details in found for number, words in details.templates.items()}
    _copy(connection, db.log_templates, ((number, _array(words[number])) for number in words))
    return found[:samples], found[samples:]


def _crashed(record: JobRecord, crash: CrashLog, variation: int) -> JobRecord:
    """The job with the end of a crash's log."""
    log = replace(record.log, tail=f"{record.log.tail}{crash.variation(variation)}")
    findings = analyze(log, crash.exit_code)
    return replace(record, log=log, exit_code=crash.exit_code, crash=findings.crash, errors=findings.errors)


def _array(values: Iterable[int | str]) -> str:
    """A value of a column of arrays in COPY's text format; texts have letters only."""
    return "{" + ",".join(f'"{value}"' for value in values) + "}"


def _state_rows(count: int, machines: list[int]) -> Iterator[tuple[_Value, ...]]:
    now = datetime.now(UTC)
    for change in range(count // len(machines)):
        at = (now - _STATE_INTERVAL * change).isoformat()
        is_up = change % 2 == 0
        for machine in machines:
            yield machine, at, "t" if is_up else "f", None if is_up else "timed out"


def _transition_rows(runs: Iterable[_Run]) -> Iterator[tuple[_Value, ...]]:
    """Each client of a run begins and ends; the mirror is stale for a moment."""
    numbers = count(1)
    for run in runs:
        start, end = run.start.isoformat(), run.end.isoformat()
        for at, state, before in ((start, "running", None), (end, "finished", "running")):
            for client in CLIENTS:
                known = (at, at, "client", client.tag, state, before, "f", "f", run.number)
                yield next(numbers), *known, None, None, None, None, None
        for at, state, is_problem in ((start, "stale", "t"), (end, "current", "f")):
            yield next(numbers), at, at, "mirror", "", state, None, is_problem, "f", *[None] * 6


def _mute_rows(runs: Iterable[_Run]) -> Iterator[tuple[_Value, ...]]:
    for number, run in enumerate(runs, start=1):
        yield number, CLIENTS[0].tag, None, "known", "expert", run.start.isoformat(), run.end.isoformat()


def _audit_rows(runs: Iterable[_Run], cluster: Cluster) -> Iterator[tuple[_Value, ...]]:
    for number, run in enumerate(runs, start=1):
        at = run.start.isoformat()
        action = ("expert", None, "restart_hltd", "t", cluster.value, "fu..01", "{}", None, None)
        yield number, at, *action, at, at, "ok", "done", None, None, 1


def _copy(connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[_Value, ...]]) -> None:
    """Copy rows with all columns into a table."""
    statement = f"COPY {table.name} ({', '.join(column.name for column in table.c)}) FROM STDIN"
    cursor = connection.connection.cursor()
    for batch in _batches(rows, _ROWS_PER_COPY):
        cursor.copy_expert(statement, io.StringIO("".join(map(_line, batch))))
    cursor.close()


def _line(row: tuple[_Value, ...]) -> str:
    return "\t".join([_NULL if value is None else str(value) for value in row]) + "\n"


def _batches(rows: Iterable[T], size: int) -> Iterator[list[T]]:
    remaining = iter(rows)
    while batch := list(islice(remaining, size)):
        yield batch


def _hex(packed: bytes) -> str:
    return rf"\\x{packed.hex()}"


def _identity(rng: random.Random) -> str:
    return str(UUID(int=rng.getrandbits(128)))
