"""Ten years of a cluster, filled into an empty database by COPY: runs, jobs, file delivery, ups and downs.

All follows from one seed. Logs, series and deliveries are packed once for a few hundred jobs and then dealt
out, since it is their number and their size that count.
"""

import io
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TypeVar
from uuid import UUID, uuid4

import sqlalchemy as sa

import db
from benchmarks import sample_jobs
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import LUMISECTION_S, Stream
from dqmsquare_cfg import Cluster, Settings
from simulator.clients import CLIENTS
from storage import codecs, log_compression
from storage.log_compression import ZstdDictionary
from storage.rows import downsample
from storage.sync_status import ClusterLinks, LinkStatus
from storage.writer import MirrorWriter

FIRST_RUN = 300_000
_YEARS = timedelta(days=3652)
# Of machines that were replaced since; what is mirrored now is what the settings say.
_FORMER = tuple(f"dqmfu-c2b0{rack}-4{unit}-01" for rack in (1, 2) for unit in (0, 1, 2, 3))
_RUN_KEYS = ("cosmic_run", "pp_run", "pp_run", "pp_run", "hi_run", "commissioning_run")
_STREAMS = ("streamDQM", "streamDQMCalibration", "streamDQMEventDisplay", "streamDQMHistograms")
_RESTARTS = (0, 0, 1, 2, 3, 6)
_DEALT = 200
_ROWS_A_COPY = 20_000
_NULL = r"\N"

T = TypeVar("T")
# What a row of COPY's text format is made of.
_Value = str | int | float | None


@dataclass(frozen=True, slots=True)
class Size:
    """How much is filled in. Of the newest `runs_with_details` runs logs and series are still kept."""

    runs: int = 60_000
    runs_with_details: int = 6_000
    states: int = 5_000_000


@dataclass(frozen=True, slots=True)
class Span:
    """What was filled in: runs and jobs, of which those of the newest run go on."""

    first_run: int
    last_run: int
    jobs: int


@dataclass(frozen=True, slots=True)
class _Run:
    number: int
    start: datetime
    end: datetime
    lumisections: int
    goes_on: bool


def fill(settings: Settings, size: Size, cluster: Cluster = Cluster.PRODUCTION) -> Span:
    """Fills a cluster's database, which has the newest schema and is empty."""
    engine = db.engine(settings, cluster, "benchmark")
    machines, former = _machines(engine, settings, cluster)
    runs = list(_runs(size.runs))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        # What refers to what is known to hold.
        connection.execute(sa.text("SET session_replication_role = replica"))
        connection.execute(sa.text("SET synchronous_commit = off"))
        connection.execute(sa.text("SET statement_timeout = 0"))
        _copy(connection, db.runs, map(_run_row, runs))
        _copy(connection, db.deliveries, _delivery_rows(runs, machines[0]))
        _copy(connection, db.playbacks, _playback_rows(runs, machines[0]))
        _copy(connection, db.quarantined_documents, _set_aside_rows(runs, machines[0]))
        jobs = _copy_jobs(connection, runs, size.runs_with_details, machines[1:])
        _copy(connection, db.machine_states, _state_rows(size.states, machines + former))
        connection.execute(sa.text("VACUUM ANALYZE"))
    engine.dispose()
    return Span(runs[0].number, runs[-1].number, jobs)


def _machines(engine: sa.Engine, settings: Settings, cluster: Cluster) -> tuple[list[int], list[int]]:
    """The numbers of the machines that are mirrored, and of those that were; all links work."""
    identities = Pseudonymizer(settings.pseudonym_secret)
    hosts = {host: identities.for_machine(host) for host in (*settings.machines(cluster), *_FORMER)}
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(identities.check_value())
    known = writer.register_machines({identity: default_label(host) for host, identity in hosts.items()})
    ids = [known[identity].id for identity in hosts.values()]
    mirrored = ids[: len(settings.machines(cluster))]
    now = datetime.now(UTC)
    worked = LinkStatus(last_success_at=now)
    writer.write_heartbeat(ClusterLinks(worked, dict.fromkeys(mirrored, worked), worked, tuple(mirrored)))
    with engine.begin() as connection:
        connection.execute(sa.update(db.machines).values(clock_at=now, newest_run=FIRST_RUN))
    return mirrored, ids[len(mirrored) :]


def _runs(count: int) -> Iterator[_Run]:
    dice = random.Random(1)
    now = datetime.now(UTC)
    apart = _YEARS / count
    for number in range(count):
        start = now - _YEARS + apart * number
        lumisections = min(dice.randrange(5, 400), int(apart.total_seconds() / LUMISECTION_S))
        goes_on = number == count - 1
        end = now if goes_on else start + timedelta(seconds=lumisections * LUMISECTION_S)
        yield _Run(FIRST_RUN + number, start, end, lumisections, goes_on)


def _run_row(run: _Run) -> tuple[_Value, ...]:
    version = f"14_0_{run.number % 97 // 10}_{39_000 + run.number // 1000}"
    return run.number, _RUN_KEYS[run.number % len(_RUN_KEYS)], version, run.end.isoformat()


def _delivery_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    dice = random.Random(2)
    dealt = [_hex(codecs.pack_streams(_streams(lumisections, dice))) for lumisections in range(5, 400, 25)]
    for run in runs:
        at, start = run.end.isoformat(), run.start.isoformat()
        streams = dealt[run.lumisections * len(dealt) // 400]
        yield _identity(dice), machine, 0, run.number, at, run.number, start, "f", LUMISECTION_S, streams


def _playback_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    dice = random.Random(5)
    for run in runs:
        state = "running" if run.goes_on else "eor"
        at, last = run.end.isoformat(), run.lumisections
        yield _identity(dice), machine, 0, run.number, at, run.number, state, last, last, "pp_run", 358_788


def _set_aside_rows(runs: Iterable[_Run], machine: int) -> Iterator[tuple[_Value, ...]]:
    dice = random.Random(6)
    for run in runs:
        at, reason = run.end.isoformat(), "no good answer"
        yield _identity(dice), machine, 0, run.number, at, "dqm-source-state", reason


def _streams(lumisections: int, dice: random.Random) -> list[Stream]:
    sections = range(1, lumisections + 1)
    return [
        Stream(
            name,
            sections,
            mtimes_ms=[int(ls * LUMISECTION_S * 1000) + dice.randrange(9000) for ls in sections],
            ctimes_ms=[int(ls * LUMISECTION_S * 1000) + dice.randrange(9000) for ls in sections],
            events_accepted=[dice.randrange(1000, 1600) for _ in sections],
            events_processed=[dice.randrange(40_000, 64_000) for _ in sections],
            sizes_bytes=[dice.randrange(90_000_000, 120_000_000) for _ in sections],
        )
        for name in _STREAMS
    ]


def _copy_jobs(connection: sa.Connection, runs: list[_Run], with_details: int, units: list[int]) -> int:
    """The jobs of all runs, and the details of those of the newest runs; how many jobs there are."""
    dice = random.Random(3)
    details = _details(connection)
    first_kept = runs[max(0, len(runs) - with_details)].number
    count = 0
    for some in _parts(runs, _ROWS_A_COPY // len(CLIENTS)):
        jobs = [row for run in some for row in _job_rows(run, units, dice)]
        kept = (row[0] for row in jobs if int(row[5] or 0) >= first_kept)
        _copy(connection, db.jobs, jobs)
        _copy(connection, db.job_details, ((identity, *dice.choice(details)) for identity in kept))
        count += len(jobs)
    return count


def _job_rows(run: _Run, units: list[int], dice: random.Random) -> Iterator[tuple[_Value, ...]]:
    restarted = [dice.choice(CLIENTS) for _ in range(dice.choice(_RESTARTS))]
    for number, client in enumerate((*CLIENTS, *restarted)):
        crashed = number >= len(CLIENTS) or dice.random() < 0.01
        exit_code = None if run.goes_on and not crashed else dice.choice((-11, 65, 139)) if crashed else 0
        lumisection = dice.randrange(run.lumisections + 1) if crashed else run.lumisections
        at = (run.end - timedelta(seconds=dice.randrange(30))).isoformat()
        yield (
            *(_identity(dice), units[number % len(units)], 0, run.number * 50 + number, at),
            *(run.number, client.tag, run.start.isoformat(), exit_code, run.number, lumisection, at, 0),
            *(int(lumisection * client.events_per_s * LUMISECTION_S), client.events_per_s, 0),
            client.rss_kb,
        )


def _details(connection: sa.Connection) -> list[tuple[_Value, ...]]:
    """The columns of job_details behind the identity, ready to be dealt out."""
    dice = random.Random(4)
    records = sample_jobs.simulated(_DEALT)
    logs = [codecs.log_text(record.log) for record in records]
    trained = ZstdDictionary(1, log_compression.train_dictionary(logs[::2], 1), datetime.now(UTC))
    row = (trained.version, _hex(trained.content), trained.trained_at.isoformat())
    _copy(connection, db.log_dictionaries, [row])
    found: list[tuple[_Value, ...]] = []
    for record in records:
        job = sample_jobs.lived_through(record, dice.randrange(5, 400), dice)
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
        found.append((*map(_hex, packed), job.log.redactions))
    return found


def _state_rows(count: int, machines: list[int]) -> Iterator[tuple[_Value, ...]]:
    start = datetime.now(UTC) - _YEARS
    apart = _YEARS * len(machines) / max(count, 1)
    for change in range(count // len(machines)):
        at = (start + apart * change).isoformat()
        is_up = change % 2 == 0
        for machine in machines:
            yield machine, at, "t" if is_up else "f", None if is_up else "timed out"


def _copy(connection: sa.Connection, table: sa.Table, rows: Iterable[tuple[_Value, ...]]) -> None:
    """Fills rows of all of a table's columns into it."""
    statement = f"COPY {table.name} ({', '.join(column.name for column in table.c)}) FROM STDIN"
    cursor = connection.connection.cursor()
    for some in _parts(rows, _ROWS_A_COPY):
        cursor.copy_expert(statement, io.StringIO("".join(map(_line, some))))
    cursor.close()


def _line(row: tuple[_Value, ...]) -> str:
    return "\t".join([_NULL if value is None else str(value) for value in row]) + "\n"


def _parts(rows: Iterable[T], most: int) -> Iterator[list[T]]:
    left = iter(rows)
    while part := list(islice(left, most)):
        yield part


def _hex(packed: bytes) -> str:
    return rf"\\x{packed.hex()}"


def _identity(dice: random.Random) -> str:
    return str(UUID(int=dice.getrandbits(128)))
