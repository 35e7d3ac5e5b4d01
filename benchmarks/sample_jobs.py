"""Sample records of finished jobs: simulated ones, or those of documents in a file."""

import gzip
import json
import math
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dqm2.document_parser import DocumentParser
from dqm2.pseudonyms import Pseudonymizer
from dqm2.records import LUMISECTION_S, EventSeries, InputStatus, InputStatuses, JobRecord, MemorySeries
from dqm2.redaction.redactor import Redactor
from simulator.fake_secrets import FakeSecrets
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Machine

_HOST = "dqmfu-c2b03-45-01"
_SECRET = "a-pseudonym-secret-of-the-benchmarks"
_REPORT_INTERVAL_S = 30
_PAGE_KB = 4


def simulated(count: int) -> list[JobRecord]:
    """The records of `count` simulated jobs of consecutive runs."""
    machine = Machine(_HOST)
    upload_finished_jobs(machine, count, FakeSecrets(1))
    return list(_records(machine.documents().values()))


def from_file(path: Path) -> list[JobRecord]:
    """The records of the jobs in a gzip file with a JSON document per line; all count as finished."""
    with gzip.open(path, "rt") as lines:
        return list(_records(map(json.loads, lines)))


def with_noisy_series(record: JobRecord, lumisections: int, rng: random.Random) -> JobRecord:
    """The job with series of `lumisections` entries that are as noisy as those of real jobs."""
    start_s = int(record.started_at.timestamp())
    reports = range(max(1, int(lumisections * LUMISECTION_S / _REPORT_INTERVAL_S)))
    max_kb = rng.randrange(400_000, 3_000_000)
    rss_kb = [_rss_kb(max_kb, number, rng) for number in reports]
    sections = range(1, lumisections + 1)
    rate = rng.choice((0, 8, 150, 1300, 1300, 1300))
    return replace(
        record,
        memory=MemorySeries(
            [start_s + _REPORT_INTERVAL_S * number + rng.randrange(2) for number in reports],
            [max_kb + 800_000 + _PAGE_KB * 500 * (number // 20) for number in reports],
            rss_kb,
        ),
        events=EventSeries(
            sections,
            [start_s + int(section * LUMISECTION_S + rng.random()) for section in sections],
            [max(0, round(rng.gauss(rate, math.sqrt(rate)))) for _ in sections],
            [23_310 + rng.randrange(2) for _ in sections],
        ),
        input_statuses=InputStatuses(sections, [_input_status(rng) for _ in sections]),
    )


def _rss_kb(max_kb: int, number: int, rng: random.Random) -> int:
    filled = 1 - 0.6 * math.exp(-number / 30)
    return int(max_kb * filled * rng.gauss(1, 0.001)) // _PAGE_KB * _PAGE_KB


def _input_status(rng: random.Random) -> InputStatus:
    return InputStatus.TIMEOUT if rng.random() < 0.002 else InputStatus.OK


def _records(documents: Iterable[dict[str, Any]]) -> Iterable[JobRecord]:
    parser = DocumentParser(Redactor((_HOST,)))
    pseudonyms = Pseudonymizer(_SECRET)
    for document in documents:
        if document["type"] == "dqm-source-state":
            identity = pseudonyms.for_document(_HOST, document["_id"])
            record = parser.parse(document, identity, now=datetime.now(UTC)).record
            assert isinstance(record, JobRecord)
            yield replace(record, exit_code=record.exit_code or 0)
