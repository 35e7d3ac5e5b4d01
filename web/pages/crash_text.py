"""Reason for a crash in one line, for lists and for the e-log.

The reason is that of the log. The exit code explains a crash only if the log has no reason, so that the two
never contradict each other.
"""

from dqm2 import exit_codes
from dqm2.records import CrashKind, CrashReason
from storage.read_models import Job

KINDS = {
    CrashKind.EXCEPTION: "Exception",
    CrashKind.SIGNAL: "Signal",
    CrashKind.ASSERTION: "Failed assertion",
    CrashKind.CUDA: "GPU error",
    CrashKind.TIMEOUT: "Time-out",
    CrashKind.KILLED: "Killed",
    CrashKind.OUT_OF_MEMORY: "Out of memory",
    CrashKind.DATABASE: "Database error",
    CrashKind.CONFIGURATION: "Configuration error",
    CrashKind.NO_INPUT: "Input could not be read",
    CrashKind.UNKNOWN: "Error",
}
# Kinds whose message says by itself what happened.
_SELF_EXPLANATORY = (CrashKind.SIGNAL, CrashKind.ASSERTION, CrashKind.KILLED)


def kind(reason: CrashReason) -> str:
    """Kind of a crash in words."""
    if reason.kind is CrashKind.UNKNOWN and not (reason.message or reason.category):
        return "The log does not say why"
    return KINDS[reason.kind]


def anchor(reason: CrashReason | None) -> str:
    """The fragment of the line of a log that says why its job crashed."""
    return f"L{reason.line}" if reason is not None and reason.line else "fatal"


def headline(job: Job) -> str:
    """Reason for a crash: from the job's log, else its exit code in words."""
    return of_log(job.crash) or exit_codes.describe(job.exit_code or 0).meaning


def of_log(reason: CrashReason | None) -> str:
    """Kind, category, module and sentence of a log, without a full stop; empty if it says nothing."""
    if reason is None or not (reason.message or reason.line):
        return ""
    message = reason.message.rstrip(".")
    if reason.kind in _SELF_EXPLANATORY and message:
        # The message of an assertion has a place of its own.
        comma = "," if reason.kind is CrashKind.ASSERTION and _place(reason) else ""
        return f"{message}{comma}{_place(reason)}"
    # The category of a framework's exception often is the kind in other words, but experts search for it.
    named = KINDS[reason.kind]
    if reason.category and not message.startswith(reason.category):
        named = reason.category if reason.kind is CrashKind.EXCEPTION else f"{named} ({reason.category})"
    return f"{named}{_place(reason)}{': ' if message else ''}{message}"


def _place(reason: CrashReason) -> str:
    """The module, else the first function of the stack trace."""
    if reason.module_type:
        label = f":{reason.module_label}" if reason.module_label else ""
        return f" in {reason.module_type}{label}"
    return f" in {reason.frames[0].function}" if reason.frames else ""
