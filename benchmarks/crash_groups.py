"""Quality of crash groups: precision and recall of pairs of crashes, on logs of known kinds.

Every kind is a crash of one client, in variations of run, event, address, process, release, line of source
code and cut of the log. Goal: at least 0.95 each.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import comb
from typing import Any

from benchmarks import cli
from benchmarks.crash_corpus import CRASH_LOGS, CrashLog
from dqm2.crash_reasons import analyze
from dqm2.crash_signatures import sign
from dqm2.records import CrashReason, JobLog

VARIATIONS = 5
_CLIENT = "csc"
# Of the variations, the one whose stack trace is cut off at its beginning.
_CUT_VARIATION = VARIATIONS - 1
_CUT_AT = "Thread 1 (Thread"


@dataclass(frozen=True, slots=True)
class Quality:
    """Precision: share of the pairs in one group that are of one kind. Recall: the other way round."""

    groups: int
    precision: float
    recall: float


def measure() -> Quality:
    """The quality of groups by signature."""
    found = [
        (kind.name, sign(_CLIENT, kind.exit_code, _reason(kind, number)).key)
        for kind in CRASH_LOGS
        for number in range(VARIATIONS)
    ]
    together = _pairs(Counter(found))
    groups = Counter(key for _, key in found)
    kinds = Counter(name for name, _ in found)
    return Quality(len(groups), together / _pairs(groups), together / _pairs(kinds))


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the quality."""
    cli.parser("crash_groups", __doc__).parse_args(arguments)
    quality = measure()
    row = {
        "kinds": len(CRASH_LOGS),
        "logs": len(CRASH_LOGS) * VARIATIONS,
        "groups": quality.groups,
        "precision": quality.precision,
        "recall": quality.recall,
    }
    cli.report("crash_groups", [row], notes=["Goal: precision and recall of pairs at least 0.95."])


def _reason(kind: CrashLog, number: int) -> CrashReason | None:
    text = kind.variation(number)
    cut = text.find(_CUT_AT) if number == _CUT_VARIATION else -1
    return analyze(JobLog("began\n", text[max(0, cut) :]), kind.exit_code).crash


def _pairs(counts: Mapping[Any, int]) -> int:
    return sum(comb(count, 2) for count in counts.values())


if __name__ == "__main__":
    main()
