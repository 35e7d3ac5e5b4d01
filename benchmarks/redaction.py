"""Redaction: throughput on job logs, on known worst cases and on random periodic texts.

The logs are those of the given documents (JSON, one per line) or of simulated jobs. Times are CPU times of
one core, the best of several rounds; the ratio is the time per byte relative to the logs.
"""

import gzip
import json
import random
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

# 1 MB of each.
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
    "joined host names": "abc.cms",
    "names of tokens": "Token: ",
    "users at names": "a@",
    "options of commands": "curl -",
    "escapes": "%2D",
    "combining marks": "e\u0301",
    "look-alikes": "\uff11",
}


# Parts of periodic units: random characters that rules look for, and beginnings of what they replace.
_CHARACTERS = "a1:.@=-/\"'\\ %&[(p\n"
_BEGINNINGS = (
    *("password", "token", "Token: ", "user=", "-u a:b", "CN=", "://", "fu-c2f11-11-01", ".cms", "@lxplus1"),
    *(
        "10.0.0.1",
        "2001:db8::1",
        "1:2:3:4:5:6:7:8",
        "/home/",
        "Bearer ",
        "eyJhbGciOiJIUzI1NiJ9",
        "%3D",
        "\\u002d",
    ),
    *("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----", "[secret]", "cookie: ", "sqlplus u/p@db"),
)
_MAX_UNIT = 300
_PERIODIC_BYTES = 1 << 16


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and report."""
    parser = cli.parser("redaction", __doc__)
    parser.add_argument("documents", nargs="?", type=cli.existing_file, metavar="DOCUMENTS.jsonl.gz")
    parser.add_argument("--units", type=cli.positive_int, default=300, help="random periodic texts")
    options = parser.parse_args(arguments)
    documents = _documents_of(options.documents) if options.documents else _simulated_documents()
    logs = list(_logs(documents))
    redactor = Redactor((_SIMULATED_HOST,))
    baseline = _row(redactor, f"{len(logs)} heads and tails of logs", logs)
    rows = [baseline, *(_worst_row(redactor, kind) for kind in _WORST), _slowest(redactor, options.units)]
    cli.report("redaction", [_with_ratio(row, baseline) for row in rows])


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


def _worst_row(redactor: Redactor, kind: str) -> dict[str, Figure]:
    unit = _WORST[kind]
    return _row(redactor, f"1 MB of {kind}", [_repeated(unit, _MEGABYTE)])


def _slowest(redactor: Redactor, units: int) -> dict[str, Figure]:
    """The slowest of random periodic texts, measured again on 1 MB."""
    dice = random.Random(1)
    candidates = [_unit(dice) for _ in range(units)]
    slowest = max(candidates, key=lambda unit: _round(redactor, [_repeated(unit, _PERIODIC_BYTES)])[1])
    name = f"1 MB of the slowest of {units} units: {slowest[:40]!r}"
    return _row(redactor, name, [_repeated(slowest, _MEGABYTE)])


def _unit(dice: random.Random) -> str:
    parts = [dice.choice(_BEGINNINGS) if dice.random() < 0.5 else dice.choice(_CHARACTERS) for _ in range(60)]
    return "".join(parts[: dice.randint(1, len(parts))])[: dice.randint(1, _MAX_UNIT)]


def _repeated(unit: str, size: int) -> str:
    return unit * (size // len(unit.encode()))


def _row(redactor: Redactor, name: str, texts: Sequence[str]) -> dict[str, Figure]:
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    redactions, seconds = min((_round(redactor, texts) for _ in range(_ROUNDS)), key=lambda row: row[1])
    return {
        "input": name,
        "MB": megabytes,
        "redactions": redactions,
        "seconds": seconds,
        "MB/s": megabytes / seconds,
    }


def _with_ratio(row: dict[str, Figure], baseline: dict[str, Figure]) -> dict[str, Figure]:
    return {**row, "ratio": float(baseline["MB/s"] or 0) / float(row["MB/s"] or 0)}


def _round(redactor: Redactor, texts: Sequence[str]) -> tuple[int, float]:
    """Redactions and CPU seconds of one round."""
    started_s = time.process_time()
    redactions = sum(redactor.redact(text).redactions for text in texts)
    return redactions, time.process_time() - started_s


if __name__ == "__main__":
    main()
