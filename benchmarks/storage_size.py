"""How much room a job that is over takes, part by part, beside the raw text and beside `zstd -19` of it.

The logs are those of the documents given, a JSON text a line, or else of jobs that the simulator makes up. No
log is packed by a dictionary that has seen it: they are parted into six, and each part is packed by what was
trained on the others. Each job is kept several times, with other series each time.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import orjson
import sqlalchemy as sa
import zstandard

import db
from benchmarks import cli, sample_jobs
from benchmarks.environment import settings_of, stage
from benchmarks.results import Figure, tell
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster
from storage import codecs, log_compression
from storage.log_compression import ZstdDictionary
from storage.rows import MAX_POINTS, Batch, Checkpoint, downsample, to_row
from storage.writer import MirrorWriter

_JOBS = 3000
_SIMULATED = 300
_PARTS = 6
_JOBS_A_RUN = 33
_AT_ONCE = 200
_FIRST_RUN = 358_000
# Of runs of many lengths; beyond 240 points a series is thinned.
_LUMISECTIONS = (40, 120, 300, 800, 1500)
_LONG = 1500
_HOST = "dqmfu-c2b03-45-01"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and tells."""
    parser = cli.parser("storage_size", __doc__)
    parser.add_argument("documents", nargs="?", type=cli.documents, metavar="DOCUMENTS.jsonl.gz")
    documents = parser.parse_args(arguments).documents
    records = sample_jobs.of_file(documents) if documents else sample_jobs.simulated(_SIMULATED)
    rows = [
        _row("runs of many lengths", records, _LUMISECTIONS),
        _row(f"every series of {MAX_POINTS} points", records, [_LONG]),
    ]
    raw = _mean(len(codecs.log_text(record.log)) for record in records)
    zstd = zstandard.ZstdCompressor(level=19)
    alone = _mean(len(zstd.compress(codecs.log_text(record.log))) for record in records)
    together = len(zstd.compress(_all_logs(records))) / len(records)
    notes = [
        f"{len(records)} logs of {raw:,.0f} bytes; zstd -19: {alone:,.0f}, all as one {together:,.0f} each",
        "goal: a job in tables, indexes and TOAST at most 3,000 bytes",
    ]
    tell("storage", rows, notes=notes)


def _row(name: str, records: Sequence[JobRecord], lumisections: Sequence[int]) -> dict[str, Figure]:
    """What so many jobs take in a database of their own, in bytes a job."""
    dice = random.Random(1)
    kept = list(_kept(records, lumisections, dice))
    with stage() as made:
        engine = db.engine(settings_of(made.environment()), Cluster.PRODUCTION, "benchmark")
        _write(engine, kept)
        sizes = _sizes(engine, len(kept))
        engine.dispose()
    documents = [orjson.dumps(_text(record)) for record, _ in kept[:500]]
    zstd = zstandard.ZstdCompressor(level=19)
    return {
        "jobs": name,
        "raw": _mean(map(len, documents)),
        "zstd -19": _mean(len(zstd.compress(document)) for document in documents),
        "log": _mean(len(codecs.pack_log(record.log, by)) for record, by in kept[:500]),
        "memory": _mean(len(codecs.pack_memory(downsample(record.memory))) for record, _ in kept[:500]),
        "events": _mean(len(codecs.pack_events(downsample(record.events))) for record, _ in kept[:500]),
        "fates": _mean(len(codecs.pack_input_statuses(record.input_statuses)) for record, _ in kept[:500]),
        **sizes,
    }


def _kept(
    records: Sequence[JobRecord], lumisections: Sequence[int], dice: random.Random
) -> Iterator[tuple[JobRecord, ZstdDictionary]]:
    """Jobs of runs that follow each other, each with a dictionary that has not seen its log."""
    shuffled = dice.sample(records, len(records))
    dictionaries = [_trained(shuffled, part) for part in range(_PARTS)]
    for number in range(_JOBS):
        at = number % len(shuffled)
        origin = replace(shuffled[at].document, identity=uuid4(), revision=number + 1)
        record = replace(shuffled[at], document=origin, run=_FIRST_RUN + number // _JOBS_A_RUN)
        yield (
            sample_jobs.lived_through(record, dice.choice(lumisections), dice),
            dictionaries[at % _PARTS],
        )


def _trained(records: Sequence[JobRecord], but: int) -> ZstdDictionary:
    logs = [codecs.log_text(record.log) for at, record in enumerate(records) if at % _PARTS != but]
    return ZstdDictionary(but + 1, log_compression.train_dictionary(logs, but + 1), datetime.now(UTC))


def _write(engine: sa.Engine, kept: Sequence[tuple[JobRecord, ZstdDictionary]]) -> None:
    """Writes them through the grabber's own door."""
    identities = Pseudonymizer("a-secret-of-the-benchmarks")
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(identities.check_value())
    machine = writer.register_machines({identities.for_machine(_HOST): default_label(_HOST)})[
        identities.for_machine(_HOST)
    ]
    for start in range(0, len(kept), _AT_ONCE):
        part = kept[start : start + _AT_ONCE]
        last = part[-1][0].document
        position = Checkpoint(0, last.revision, last.identity)
        writer.write_batch(Batch(machine.id, position, last.updated_at, [to_row(*one) for one in part]))


def _sizes(engine: sa.Engine, jobs: int) -> dict[str, Figure]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM"))
        tables = {table: _size(connection, table.name) for table in (db.jobs, db.job_details, db.runs)}
    return {
        "jobs, their indexes": (tables[db.jobs] + tables[db.runs]) / jobs,
        "details, their indexes and TOAST": tables[db.job_details] / jobs,
        "a job": sum(tables.values()) / jobs,
    }


def _size(connection: sa.Connection, table: str) -> int:
    size: int = connection.scalar(sa.select(sa.func.pg_total_relation_size(table))) or 0
    return size


def _text(record: JobRecord) -> dict[str, object]:
    """What of a document is kept of it, as DQM² writes it."""
    memory, events, fates = record.memory, record.events, record.input_statuses
    return {
        "mem_info": {
            str(at): f"{size // 4} {rss // 4} 30000 5 0 72548 0"
            for at, size, rss in zip(memory.at_s, memory.size_kb, memory.rss_kb, strict=True)
        },
        "lumi_stats": {
            str(at): {"n": str(ls), "nevents": str(number), "nmillis": str(ms)}
            for ls, at, number, ms in zip(
                events.lumisections, events.at_s, events.events, events.duration_ms, strict=True
            )
        },
        "lumi_seen": {
            f"lumi{ls:06d}": fate for ls, fate in zip(fates.lumisections, fates.statuses, strict=True)
        },
        "stdlog_start": record.log.head,
        "stdlog_end": record.log.tail,
    }


def _all_logs(records: Iterable[JobRecord]) -> bytes:
    return b"".join(codecs.log_text(record.log) for record in records)


def _mean(numbers: Iterable[int]) -> float:
    found = list(numbers)
    return sum(found) / len(found)


if __name__ == "__main__":
    main()
