"""Cost of grouping crashes for a grabber: CPU time per document, of it and PostgreSQL, with and without.

Documents are parsed and written in batches as a grabber does, in rounds of which the cheapest counts. Goal:
grouping takes at most 5 % of the time.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from time import process_time
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import db
from benchmarks import cli, proc_usage
from benchmarks.cli import Figure
from benchmarks.crash_corpus import CRASH_LOGS
from benchmarks.environment import BenchmarkEnvironment, benchmark_environment
from dqm2.pseudonyms import Pseudonymizer, default_label
from dqmsquare_cfg import Cluster
from grabbing.document_pipeline import DocumentProcessor
from simulator.fake_secrets import FakeSecrets
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Machine
from storage.rows import Batch, Checkpoint
from storage.writer import MirrorWriter

_HOST = "dqmfu-c2b03-45-01"
_BATCH = 200
_ROUNDS = 5
# Every such job crashed.
_SHARES = {"5 % of the jobs crashed": 20, "all jobs crashed": 1}

_Document = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure with few crashes and with many."""
    parser = cli.parser("crash_grouping", __doc__)
    parser.add_argument("--documents", type=cli.positive_int, default=1000, help="documents of each round")
    count = parser.parse_args(arguments).documents
    with benchmark_environment() as environment:
        rows = [_row(environment, name, list(_documents(count, every))) for name, every in _SHARES.items()]
    cli.report(
        "crash_grouping",
        rows,
        notes=["CPU time in ms per document. Goal with 5 % crashes: at most 1.05 times that without groups."],
    )


def _row(environment: BenchmarkEnvironment, name: str, documents: Sequence[_Document]) -> dict[str, Figure]:
    # In turns, so that both have the same share of what else the machine does.
    rounds = [
        (
            _cpu_ms(environment, documents, has_groups=True),
            _cpu_ms(environment, documents, has_groups=False),
        )
        for _ in range(_ROUNDS)
    ]
    grouped, ungrouped = (min(times) for times in zip(*rounds, strict=True))
    return {
        "": name,
        "documents": len(documents),
        "with groups": grouped,
        "without": ungrouped,
        "×": grouped / ungrouped,
    }


def _cpu_ms(environment: BenchmarkEnvironment, documents: Sequence[_Document], *, has_groups: bool) -> float:
    """CPU time per document of parsing the documents and writing them into an empty database."""
    environment.recreate_databases()
    pseudonyms = Pseudonymizer("a-secret-of-the-benchmarks")
    processor = DocumentProcessor((_HOST,), ())
    engine = db.engine(environment.settings(), Cluster.PRODUCTION, "benchmark")
    writer = MirrorWriter(engine, uuid4())
    writer.take_over(pseudonyms.check_value())
    identity = pseudonyms.for_machine(_HOST)
    machine = writer.register_machines({identity: default_label(_HOST)})[identity]
    without = patch("storage.crash_groups.group_of", return_value=None)
    postgres = environment.postgres.process.pid
    started_s = process_time() + proc_usage.cpu_s(postgres)
    with nullcontext() if has_groups else without:
        for start in range(0, len(documents), _BATCH):
            now = datetime.now(UTC)
            rows = [
                processor.row(pseudonyms.for_document(_HOST, document["_id"]), document, None, now=now)[0]
                for document in documents[start : start + _BATCH]
            ]
            last = rows[-1].document
            writer.write_batch(Batch(machine.id, Checkpoint(0, last.revision, last.identity), now, rows))
    used_s = process_time() + proc_usage.cpu_s(postgres) - started_s
    engine.dispose()
    return 1000 * used_s / len(documents)


def _documents(count: int, every: int) -> Iterator[_Document]:
    """Documents of jobs that ended, of which one in `every` crashed."""
    machine = Machine(_HOST)
    upload_finished_jobs(machine, count, FakeSecrets(1))
    jobs = (one for one in machine.documents().values() if one["type"] == "dqm-source-state")
    for number, job in enumerate(jobs):
        if number % every:
            yield {**job, "exit_code": 0}
            continue
        crash = CRASH_LOGS[number // every % len(CRASH_LOGS)]
        tail = [*job["extra"]["stdlog_end"], *crash.variation(number).splitlines(keepends=True)]
        yield {**job, "exit_code": crash.exit_code, "extra": {**job["extra"], "stdlog_end": tail}}


if __name__ == "__main__":
    main()
