"""Database size of finished jobs by part, compared with the raw text and with `zstd -19` of it.

The logs are those of the given documents, or of simulated jobs. No log is compressed with a dictionary that
was trained on it: the logs are divided into six folds, each compressed with the dictionary of the other five.
Each job is stored several times with different series.
"""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain, islice
from uuid import uuid4

import orjson
import sqlalchemy as sa
import zstandard

import db
from benchmarks import cli, sample_jobs
from benchmarks.cli import Figure
from benchmarks.environment import benchmark_environment
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqm2.records import JobRecord
from dqmsquare_cfg import Cluster
from storage import codecs, log_compression
from storage.log_compression import ZstdDictionary
from storage.rows import MAX_POINTS, Batch, Checkpoint, downsample, to_row
from storage.writer import MirrorWriter

# Some ten days of a cluster. Indexes of fewer jobs are half empty, and each table has pages of its own.
_JOBS = 10_000
_SIMULATED_JOBS = 300
_FOLDS = 6
_JOBS_PER_RUN = 33
_RUN_INTERVAL = timedelta(minutes=47)
_BATCH = 200
# Of which the columns are measured.
_SAMPLE = 500
_FIRST_RUN = 358_000
# Lengths of runs; longer series are downsampled.
_LUMISECTIONS = (40, 120, 300, 800, 1500)
_LONG_RUN = 1500
_TABLES = (db.jobs, db.runs, db.job_details, db.log_index, db.log_templates)
_HOST = "dqmfu-c2b03-45-01"


def main(arguments: Sequence[str] | None = None) -> None:
    """Store the jobs and measure the tables."""
    parser = cli.parser("storage_size", __doc__)
    parser.add_argument("documents", nargs="?", type=cli.existing_file, metavar="DOCUMENTS.jsonl.gz")
    documents = parser.parse_args(arguments).documents
    records = sample_jobs.from_file(documents) if documents else sample_jobs.simulated(_SIMULATED_JOBS)
    rows = [
        _row("runs of many lengths", records, _LUMISECTIONS),
        _row(f"every series of {MAX_POINTS} points", records, [_LONG_RUN]),
    ]
    raw = _mean(len(codecs.log_text(record.log)) for record in records)
    zstd = zstandard.ZstdCompressor(level=19)
    alone = _mean(len(zstd.compress(codecs.log_text(record.log))) for record in records)
    together = len(zstd.compress(_all_logs(records))) / len(records)
    notes = [
        f"{len(records)} logs of {raw:,.0f} bytes; zstd -19: {alone:,.0f} each, {together:,.0f} all in one",
        "Goal: at most 3,000 bytes per job in tables, indexes and TOAST.",
    ]
    cli.report("storage_size", rows, notes=notes)


def _row(name: str, records: Sequence[JobRecord], lumisections: Sequence[int]) -> dict[str, Figure]:
    """Store the jobs in a database of their own; return bytes per job."""
    jobs = _jobs(records, lumisections, random.Random(1))
    sample = list(islice(jobs, _SAMPLE))
    with benchmark_environment() as environment:
        engine = db.engine(environment.settings(), Cluster.PRODUCTION, "benchmark")
        _write(engine, chain(sample, jobs))
        sizes = _sizes(engine, _JOBS)
        engine.dispose()
    documents = [orjson.dumps(_text(record)) for record, _ in sample]
    zstd = zstandard.ZstdCompressor(level=19)
    return {
        "jobs": name,
        "raw": _mean(map(len, documents)),
        "zstd -19": _mean(len(zstd.compress(document)) for document in documents),
        "log": _mean(len(codecs.pack_log(record.log, by)) for record, by in sample),
        "memory": _mean(len(codecs.pack_memory(downsample(record.memory))) for record, _ in sample),
        "events": _mean(len(codecs.pack_events(downsample(record.events))) for record, _ in sample),
        "input statuses": _mean(
            len(codecs.pack_input_statuses(record.input_statuses)) for record, _ in sample
        ),
        **sizes,
    }


def _jobs(
    records: Sequence[JobRecord], lumisections: Sequence[int], rng: random.Random
) -> Iterator[tuple[JobRecord, ZstdDictionary]]:
    """Jobs of consecutive runs, each with a dictionary that was not trained on its log."""
    shuffled = rng.sample(records, len(records))
    first_start = shuffled[0].started_at
    dictionaries = [_train_without(shuffled, fold) for fold in range(_FOLDS)]
    for number in range(_JOBS):
        at = number % len(shuffled)
        version = replace(shuffled[at].document, identity=uuid4(), revision=number + 1)
        run = number // _JOBS_PER_RUN
        start = first_start + _RUN_INTERVAL * run + timedelta(milliseconds=rng.randrange(60_000))
        record = replace(shuffled[at], document=version, run=_FIRST_RUN + run, started_at=start)
        yield (
            sample_jobs.with_noisy_series(record, rng.choice(lumisections), rng),
            dictionaries[at % _FOLDS],
        )


def _train_without(records: Sequence[JobRecord], fold: int) -> ZstdDictionary:
    logs = [codecs.log_text(record.log) for at, record in enumerate(records) if at % _FOLDS != fold]
    return ZstdDictionary(fold + 1, log_compression.train_dictionary(logs, fold + 1), datetime.now(UTC))


def _write(engine: sa.Engine, jobs: Iterator[tuple[JobRecord, ZstdDictionary]]) -> None:
    """Write the jobs as a grabber does."""
    pseudonyms = Pseudonymizer("a-secret-of-the-benchmarks")
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(pseudonyms.check_value())
    machine = writer.register_machines({pseudonyms.for_machine(_HOST): default_label(_HOST)})[
        pseudonyms.for_machine(_HOST)
    ]
    while batch := list(islice(jobs, _BATCH)):
        last = batch[-1][0].document
        checkpoint = Checkpoint(0, last.revision, last.identity)
        writer.write_batch(Batch(machine.id, checkpoint, last.updated_at, [to_row(*one) for one in batch]))


def _sizes(engine: sa.Engine, jobs: int) -> dict[str, Figure]:
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("VACUUM"))
        tables = {table: _size(connection, table.name) for table in _TABLES}
    return {
        "jobs and indexes": (tables[db.jobs] + tables[db.runs]) / jobs,
        "details, indexes, TOAST": tables[db.job_details] / jobs,
        "search index": (tables[db.log_index] + tables[db.log_templates]) / jobs,
        "total": sum(tables.values()) / jobs,
    }


def _size(connection: sa.Connection, table: str) -> int:
    size: int = connection.scalar(sa.select(sa.func.pg_total_relation_size(table))) or 0
    return size


def _text(record: JobRecord) -> dict[str, object]:
    """The stored part of a document in DQM²'s notation."""
    memory, events, statuses = record.memory, record.events, record.input_statuses
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
            f"lumi{ls:06d}": status
            for ls, status in zip(statuses.lumisections, statuses.statuses, strict=True)
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
