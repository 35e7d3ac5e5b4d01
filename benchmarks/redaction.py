"""Speed of redaction on job logs and on worst-case inputs.

The logs are those of the documents given, a JSON text a line, or else of jobs that the simulator makes up.
Time is the process's own, on one core; of several rounds the best.
"""

import gzip
import json
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import cli
from benchmarks.cli import Figure
from dqm2.redaction.redactor import Redactor
from simulator.fake_secrets import FakeSecrets
from simulator.job_reports import upload_finished_jobs
from simulator.machines import Machine

_MEGABYTE = 1 << 20
_ROUNDS = 5
_SIMULATED_JOBS = 60
_SIMULATED_HOST = "dqmfu-c2b03-45-01"

# A megabyte of each; the goal is half a second.
_WORST = {
    "digits": "1",
    "dots": ".",
    "colons": ":",
    "hyphens": "-",
    "at signs": "@",
    "base64": "QUJD",
    "unterminated key block": "-----BEGIN PRIVATE KEY-----\n",
    "unterminated quotes": 'x = "',
    "unterminated passwords": 'password="',
    "nested braces": '{"a":',
    "nested passwords": "password={",
    "dotted digits": "1.",
    "hex groups": "a1:",
    "host names": "fu-c2f11-11-01 ",
    "mail addresses": "a@b.c ",
    "escapes": "%2D",
    "look-alikes": "\uff11",
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measures and tells."""
    parser = cli.parser("redaction", __doc__)
    parser.add_argument("documents", nargs="?", type=cli.existing_file, metavar="DOCUMENTS.jsonl.gz")
    given = parser.parse_args(arguments).documents
    documents = _documents_of(given) if given else _simulated_documents()
    logs = list(_logs(documents))
    redactor = Redactor((_SIMULATED_HOST,))
    cli.report("redaction", [_logs_row(redactor, logs), *(_worst_row(redactor, kind) for kind in _WORST)])


def _documents_of(path: Path) -> Iterable[dict[str, Any]]:
    with gzip.open(path, "rt") as lines:
        return [json.loads(line) for line in lines]


def _simulated_documents() -> Iterable[dict[str, Any]]:
    machine = Machine(_SIMULATED_HOST)
    upload_finished_jobs(machine, _SIMULATED_JOBS, FakeSecrets(1))
    return machine.documents().values()


def _logs(documents: Iterable[dict[str, Any]]) -> Iterable[str]:
    for document in documents:
        if document["type"] == "dqm-source-state":
            yield from ("".join(document["extra"].get(part, ())) for part in ("stdlog_start", "stdlog_end"))


def _logs_row(redactor: Redactor, logs: Sequence[str]) -> dict[str, Figure]:
    return _row(redactor, f"{len(logs)} heads and tails of logs", logs)


def _worst_row(redactor: Redactor, kind: str) -> dict[str, Figure]:
    unit = _WORST[kind]
    return _row(redactor, f"1 MB of {kind}", [unit * (_MEGABYTE // len(unit.encode()))])


def _row(redactor: Redactor, name: str, texts: Sequence[str]) -> dict[str, Figure]:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    replaced, seconds = min((_round(redactor, texts) for _ in range(_ROUNDS)), key=lambda figures: figures[1])
    return {
        "input": name,
        "MB": megabytes,
        "replaced": replaced,
        "seconds": seconds,
        "MB/s": megabytes / seconds,
    }


def _round(redactor: Redactor, texts: Sequence[str]) -> tuple[int, float]:
    began_s = time.process_time()
    replaced = sum(redactor.redact(text).redactions for text in texts)
    return replaced, time.process_time() - began_s


if __name__ == "__main__":
    main()
