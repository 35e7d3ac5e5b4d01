"""Findings in the log of a job, in the database: the reason for a crash, its group, and the errors.

They are stored with the job when its document is written, in compact JSON that outlives the log.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from dqm2.crash_reasons import RULES_VERSION
from dqm2.crash_signatures import SIGNATURE_VERSION
from dqm2.log_templates import TEMPLATES_VERSION
from dqm2.records import CrashReason, ErrorGroup, StackFrame
from storage.crash_groups import CrashGroup, parse_kind

# Version of all rules that the columns and the index of logs follow from; it grows with each of its parts.
FINDINGS_VERSION = RULES_VERSION + SIGNATURE_VERSION + TEMPLATES_VERSION

_CRASH_FIELDS = ("category", "message", "module_type", "module_label", "line")


def columns(
    crash: CrashReason | None, errors: Sequence[ErrorGroup], group: CrashGroup | None
) -> Mapping[str, Any]:
    """The columns of a job's row for what was found in its log."""
    return {
        "log_rules": FINDINGS_VERSION,
        "crash": None if crash is None else _to_json(crash),
        "log_errors": [[error.category, error.module, error.count, error.line] for error in errors] or None,
        "crash_group": None if group is None else group.signature,
    }


def read_crash(stored: Mapping[str, Any] | None) -> CrashReason | None:
    """Inverse of `columns` for a crash; a kind that this program does not know is `unknown`."""
    if stored is None:
        return None
    return CrashReason(
        kind=parse_kind(stored["kind"]),
        frames=tuple(StackFrame(*frame) for frame in stored.get("frames", ())),
        **{field: stored[field] for field in _CRASH_FIELDS if field in stored},
    )


def read_errors(stored: Sequence[Sequence[Any]] | None) -> tuple[ErrorGroup, ...]:
    """Inverse of `columns` for errors."""
    return tuple(ErrorGroup(*group) for group in stored or ())


def _to_json(crash: CrashReason) -> dict[str, Any]:
    found: dict[str, Any] = {"kind": crash.kind.value}
    found |= {field: value for field in _CRASH_FIELDS if (value := getattr(crash, field))}
    if crash.frames:
        found["frames"] = [[frame.function, frame.library] for frame in crash.frames]
    return found
