"""The log of a job as its page shows it: marked lines, groups of errors, and the reason for a crash.

Errors that the client's last good run has logged as well are harmless: they are dimmed, and the steps from
one error to the next skip them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from flask import Flask

from dqm2.crash_reasons import find_reason
from dqm2.log_formats import MessageKind, Severity
from dqm2.log_messages import LogLine, LogMessage, error_groups, find_messages, log_lines
from dqm2.records import CrashReason, ErrorGroup, InputStatuses, JobLog
from storage.read_models import JobDetails

_LOG_TAIL_LINES = 12
# Category and module: errors that agree in them are the same problem.
_Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """A group of errors; `is_fatal`: the reason for the crash is one of them; `is_known`: it is harmless."""

    group: ErrorGroup
    is_fatal: bool
    is_known: bool


@dataclass(frozen=True, slots=True)
class JobLogView:
    """The lines of a log and what is marked in them; all numbers are line numbers.

    `starts`: the first line of each error and warning with its severity, `known`: all lines of harmless
    errors. `fatal_line`: where a reader looks first, `None` unless the job crashed and has a log. Without a
    log, `reason` and `groups` are those that were found in it.
    """

    lines: Sequence[LogLine]
    starts: Mapping[int, Severity]
    known: frozenset[int]
    groups: Sequence[ShownGroup]
    reason: CrashReason | None
    fatal_line: int | None

    def count(self, severity: Severity) -> int:
        """Number of messages of a severity, without harmless ones."""
        return sum(each == severity and line not in self.known for line, each in self.starts.items())

    def known_count(self, severity: Severity) -> int:
        """Number of harmless messages of a severity."""
        return sum(each == severity and line in self.known for line, each in self.starts.items())

    def first(self, severity: Severity) -> int | None:
        """The first message of a severity that is not harmless, or else the first of any."""
        lines = [line for line, each in self.starts.items() if each == severity]
        return min(lines, key=lambda line: (line in self.known, line), default=None)


def init_app(app: Flask) -> None:
    """Register the template filters."""
    app.jinja_env.filters.update(skipped_lumisections=skipped_lumisections, log_tail=log_tail)


def view(details: JobDetails, usual: Iterable[ErrorGroup]) -> JobLogView:
    """The log of a job; `usual` are the errors of the client's last good run."""
    messages = find_messages(details.log)
    exit_code = details.job.exit_code
    reason = _reason(details, messages)
    usual_keys = frozenset((group.category, group.module) for group in usual)
    known = [message for message in messages if _is_known(message, reason, usual_keys)]
    lines = log_lines(details.log, messages)
    errors = error_groups(messages) if details.has_log else details.errors
    return JobLogView(
        lines=lines,
        starts={each.line: each.severity for each in messages if each.kind is not MessageKind.EXIT},
        known=frozenset(line for each in known for line in range(each.line, each.last_line + 1)),
        groups=_shown_groups(errors, reason, usual_keys),
        reason=reason,
        fatal_line=_fatal_line(messages, lines, reason) if exit_code else None,
    )


def skipped_lumisections(inputs: InputStatuses) -> str:
    """The lumisections whose input was skipped, as ranges: `12, 40–52`."""
    by_lumisection = zip(inputs.lumisections, inputs.statuses, strict=True)
    numbers = [ls for ls, status in by_lumisection if status.is_skipped]
    # Consecutive numbers have the same difference from their index.
    groups = groupby(enumerate(numbers), key=lambda indexed: indexed[1] - indexed[0])
    ranges = [[ls for _, ls in group] for _, group in groups]
    return ", ".join(str(ls[0]) if len(ls) == 1 else f"{ls[0]}–{ls[-1]}" for ls in ranges)


def log_tail(log: JobLog) -> str:
    """The last lines of a log."""
    return "\n".join(log.tail.rstrip("\n").split("\n")[-_LOG_TAIL_LINES:])


def _reason(details: JobDetails, messages: Sequence[LogMessage]) -> CrashReason | None:
    """The reason for a crash by the rules of this program, or else the stored one."""
    exit_code = details.job.exit_code
    if not exit_code:
        return None
    return find_reason(messages, exit_code) if details.has_log else details.job.crash


def _shown_groups(
    groups: Iterable[ErrorGroup], reason: CrashReason | None, usual: frozenset[_Key]
) -> list[ShownGroup]:
    """The groups of errors: the fatal one first, harmless ones last."""
    shown = []
    for group in groups:
        is_fatal = reason is not None and group.line == reason.line
        is_known = not is_fatal and (group.category, group.module) in usual
        shown.append(ShownGroup(group, is_fatal, is_known))
    return sorted(shown, key=lambda each: (not each.is_fatal, each.is_known))


def _fatal_line(
    messages: Sequence[LogMessage], lines: Sequence[LogLine], reason: CrashReason | None
) -> int | None:
    """The line of the reason; without one the last error, or else the end of the log."""
    if reason is not None and reason.line is not None:
        return reason.line
    errors = [message.line for message in messages if message.severity is Severity.ERROR]
    return errors[-1] if errors else (lines[-1].number if lines else None)


def _is_known(message: LogMessage, reason: CrashReason | None, usual: frozenset[_Key]) -> bool:
    recognized = message.recognized
    is_fatal = reason is not None and reason.line == message.line
    return (
        message.severity is Severity.ERROR
        and (recognized.category, recognized.module) in usual
        and not is_fatal
    )
