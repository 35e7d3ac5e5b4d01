"""Jobs that are over, as records: of documents in a file, or as the simulator makes them up."""

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
_SECRET = "a-secret-of-the-benchmarks"
_REPORT_S = 30
_PAGE_KB = 4


def simulated(count: int) -> list[JobRecord]:
    """So many jobs of the simulator, of runs that follow each other."""
    machine = Machine(_HOST)
    upload_finished_jobs(machine, count, FakeSecrets(1))
    return list(_records(machine.documents().values()))


def of_file(path: Path) -> list[JobRecord]:
    """The jobs among documents of DQM², a JSON text a line, taken for over."""
    with gzip.open(path, "rt") as lines:
        return list(_records(map(json.loads, lines)))


def lived_through(record: JobRecord, lumisections: int, dice: random.Random) -> JobRecord:
    """The job with the series of so many lumisections: noisy ones, as real jobs have them."""
    start_s = int(record.started_at.timestamp())
    reports = range(max(1, int(lumisections * LUMISECTION_S / _REPORT_S)))
    most_kb = dice.randrange(400_000, 3_000_000)
    rss_kb = [_resident(most_kb, number, dice) for number in reports]
    sections = range(1, lumisections + 1)
    rate = dice.choice((0, 8, 150, 1300, 1300, 1300))
    return replace(
        record,
        memory=MemorySeries(
            [start_s + _REPORT_S * number + dice.randrange(2) for number in reports],
            [most_kb + 800_000 + _PAGE_KB * 500 * (number // 20) for number in reports],
            rss_kb,
        ),
        events=EventSeries(
            sections,
            [start_s + int(section * LUMISECTION_S + dice.random()) for section in sections],
            [max(0, round(dice.gauss(rate, math.sqrt(rate)))) for _ in sections],
            [23_310 + dice.randrange(2) for _ in sections],
        ),
        input_statuses=InputStatuses(sections, [_fate(dice) for _ in sections]),
    )


def _resident(most_kb: int, number: int, dice: random.Random) -> int:
    filled = 1 - 0.6 * math.exp(-number / 30)
    return int(most_kb * filled * dice.gauss(1, 0.001)) // _PAGE_KB * _PAGE_KB


def _fate(dice: random.Random) -> InputStatus:
    return InputStatus.TIMEOUT if dice.random() < 0.002 else InputStatus.OK


def _records(documents: Iterable[dict[str, Any]]) -> Iterable[JobRecord]:
    parser = DocumentParser(Redactor((_HOST,)))
    pseudonymizer = Pseudonymizer(_SECRET)
    for document in documents:
        if document["type"] == "dqm-source-state":
            identity = pseudonymizer.for_document(_HOST, document["_id"])
            record = parser.parse(document, identity, now=datetime.now(UTC)).record
            assert isinstance(record, JobRecord)
            yield replace(record, exit_code=record.exit_code or 0)
