"""Reason for the end of a job, found in the messages of its log.

A log holds errors that the job survived, and a crash leaves several messages: an exception, then the signal
by which the process aborts, then the shell's message. The first message of those that end a process is the
cause.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from signal import Signals

from dqm2 import exit_codes
from dqm2.log_formats import UNKNOWN_CATEGORY, MessageKind, Severity
from dqm2.log_messages import LogMessage, error_groups, find_messages
from dqm2.records import CrashKind, CrashReason, ErrorGroup, JobLog
from dqm2.stack_traces import crashed_frames

# Version of all rules by which crashes and errors are found: storage computes them again if it has changed.
RULES_VERSION = 4

_MAX_MESSAGE = 300
_MAX_TEXT = 4000
_MAX_TRACE = 262_144
_MAX_CONTEXT = 2000
_MAX_NAME = 100
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)'\"\]])[.!?](?=\s+[A-Z]|\s*$)")

# Messages that end a process.
_FATAL = frozenset(
    {
        MessageKind.EXCEPTION,
        MessageKind.TERMINATE,
        MessageKind.ASSERTION,
        MessageKind.SIGNAL,
        MessageKind.CRASHED_MODULE,
        MessageKind.HEAP,
    }
)
# Other messages that may be the cause of a kill, by priority.
_CAUSES_IF_KILLED = (MessageKind.MEMORY, MessageKind.TIMEOUT, MessageKind.SHELL)
# Messages that may end a process, by priority; they count only without one of `_FATAL`.
_POSSIBLY_FATAL = (
    MessageKind.TRACEBACK,
    MessageKind.LOADER,
    MessageKind.ACCELERATOR,
    *_CAUSES_IF_KILLED,
)
# Longest distance (lines) between an error of a GPU and the abort that it causes.
_ACCELERATOR_LINES = 60
# Lines at the end of a log in which an error is the cause if no other cause is known.
_LAST_LINES = 40

_SIGNALS = {
    "segmentation violation": Signals.SIGSEGV,
    "segmentation fault": Signals.SIGSEGV,
    "bus error": Signals.SIGBUS,
    "illegal instruction": Signals.SIGILL,
    "floating point exception": Signals.SIGFPE,
    "external termination request": Signals.SIGTERM,
    "terminated": Signals.SIGTERM,
    "killed": Signals.SIGKILL,
    "abort signal": Signals.SIGABRT,
    "aborted": Signals.SIGABRT,
    "trace/breakpoint trap": Signals.SIGTRAP,
    "cpu time limit exceeded": Signals.SIGXCPU,
    "file size limit exceeded": Signals.SIGXFSZ,
}
_KIND_BY_MESSAGE = {
    MessageKind.LOADER: CrashKind.CONFIGURATION,
    MessageKind.MEMORY: CrashKind.OUT_OF_MEMORY,
    MessageKind.TIMEOUT: CrashKind.TIMEOUT,
}
_KIND_BY_SIGNAL = {
    Signals.SIGKILL: CrashKind.KILLED,
    Signals.SIGTERM: CrashKind.KILLED,
    Signals.SIGINT: CrashKind.KILLED,
    Signals.SIGHUP: CrashKind.KILLED,
    Signals.SIGXCPU: CrashKind.TIMEOUT,
    Signals.SIGALRM: CrashKind.TIMEOUT,
}
# Categories of `cms::Exception`; those of the framework also have an exit code.
_KIND_BY_CATEGORY = {
    "BadAlloc": CrashKind.OUT_OF_MEMORY,
    "std::bad_alloc": CrashKind.OUT_OF_MEMORY,
    "ExceededResourceVSize": CrashKind.OUT_OF_MEMORY,
    "ExceededResourceRSS": CrashKind.OUT_OF_MEMORY,
    "ExceededResourceTime": CrashKind.TIMEOUT,
    "EventTimeout": CrashKind.TIMEOUT,
    "CommandLineProcessing": CrashKind.CONFIGURATION,
    "ConfigFileNotFound": CrashKind.CONFIGURATION,
    "ConfigFileReadError": CrashKind.CONFIGURATION,
    "Configuration": CrashKind.CONFIGURATION,
    "ConfigurationError": CrashKind.CONFIGURATION,
    "FileInPathError": CrashKind.CONFIGURATION,
    "PluginNotFound": CrashKind.CONFIGURATION,
    "PluginLibraryLoadError": CrashKind.CONFIGURATION,
    "UnavailableAccelerator": CrashKind.CONFIGURATION,
    "FileOpenError": CrashKind.NO_INPUT,
    "FallbackFileOpenError": CrashKind.NO_INPUT,
    "FileReadError": CrashKind.NO_INPUT,
    "NoSecondaryFiles": CrashKind.NO_INPUT,
    "MismatchedInputFiles": CrashKind.NO_INPUT,
}
# Of the exit code of all exceptions of other categories.
_ANY_CATEGORY = "OtherCMS"
_KIND_BY_PYTHON_EXCEPTION = {
    "ImportError": CrashKind.CONFIGURATION,
    "ModuleNotFoundError": CrashKind.CONFIGURATION,
    "SyntaxError": CrashKind.CONFIGURATION,
    "MemoryError": CrashKind.OUT_OF_MEMORY,
    "TimeoutError": CrashKind.TIMEOUT,
    "KeyboardInterrupt": CrashKind.KILLED,
}
_KIND_BY_EXIT_CODE = {124: CrashKind.TIMEOUT, 126: CrashKind.CONFIGURATION, 127: CrashKind.CONFIGURATION}
# Kinds of exceptions of other categories, by patterns in their text.
_KIND_BY_TEXT = (
    (
        re.compile(r"\b(?:cuda|hip)Error[A-Z]|\bCUDA_ERROR_|\bcms::cuda::|access fault by GPU "),
        CrashKind.CUDA,
    ),
    (
        re.compile(r"\bstd::bad_alloc\b|\boom[-_]kill|[Oo]ut of memory: Kill|Cannot allocate memory"),
        CrashKind.OUT_OF_MEMORY,
    ),
    (
        re.compile(
            r"\bORA-\d{4,5}\b|\bCORAL\b|\b[Ff]rontier\b|\[frontier|\[fn-|\bcond::|\bcoral::"
            r"|ConditionDatabase|\bsqlite"
        ),
        CrashKind.DATABASE,
    ),
)
_ACCELERATOR_MESSAGE = re.compile(
    r"((?:cuda|hip)Error[A-Z]\w{0,60}|CUDA_ERROR_\w{1,60})'?: '?([^\n]{1,300}?)(?:'!|'?$)", re.MULTILINE
)

_EXCEPTION_MESSAGE = re.compile(r"Exception Message: *\n")
_ADDITIONAL_INFO = re.compile(r"\n\s*\[a\] ([^\n]+(?:\n(?!\s*\[b\]|-{5})[^\n]+)?)")
_WHAT = re.compile(r"what\(\): *")
# An exception of CMSSW as the text of another, behind up to two lines of it.
_NESTED = re.compile(
    r"(?:[^\n]{0,200}\n){0,2}?[^\n]{0,200}?An exception of category '([^'\n]{1,100})' occurred[^\n]{0,100}\n"
    r"(?:\s+\[\d+\] [^\n]{0,400}\n){0,20}Exception Message: *\n"
)
# The place, on a line of its own before the message: `StreamerInputFile::openStreamerFile`.
_FUNCTION = re.compile(r"(?!std::)\w{1,80}(?:::~?\w{1,80}){1,4}(?:\(\))?")
_CMS_EXCEPTIONS = ("cms::Exception", "edm::Exception")
# Sentences that the framework puts before the message of an exception that is not its own.
_WRAPPED = re.compile(
    r"A std::\w+ exception was thrown\.|A std::exception was thrown\.|An? unknown \w* ?exception[^\n]*"
    r"|A std::string was thrown as an exception\.|A const char\* was thrown as an exception\."
    r"| ?unknown python problem occurred\.?"
)
# CMSSW leaves out the quote behind the label of a component of the EventSetup, which may be empty.
_COMPONENT = re.compile(r"\bEventSetup component ([\w@:<>, ]{1,200}?)/(?:'|&apos;)([\w@-]{0,100})")
_MODULE = re.compile(r"\bmodule ([\w@:<>, ]{1,200}?)/(?:'|&apos;)([\w@-]{1,100})")
_CONSTRUCTED_MODULE = re.compile(r"\bmodule: class=([\w@:<>, ]{1,200}?) label='([\w@-]{1,100})")
_INPUT_SOURCE = re.compile(r"\binput source of type (\w{1,100})")
_ASSERTION_FAILED = re.compile(r"([^\s:]{1,200}:\d{1,7}): .{0,4000}?(Assertion [`'‘\"].{1,2000}failed)")
_FATAL_CHECK = re.compile(r"([^\s:]{1,200}:\d{1,7})\] ([^\n]{1,2000})")
_SANITIZED = re.compile(r"\w+Sanitizer: (?:(SEGV)\b|detected memory leaks|[\w-]+)")
# The directory in which a release was built has no information.
_BUILD_PATH = re.compile(r"/(?:data|build)/cmsb\w{1,12}/(?:[\w.+@-]{1,100}/){0,40}")


@dataclass(frozen=True, slots=True)
class LogFindings:
    """The reason for the end of a job, `None` unless it crashed, and the errors of its log."""

    crash: CrashReason | None
    errors: tuple[ErrorGroup, ...]


def analyze(log: JobLog, exit_code: int | None) -> LogFindings:
    """Find the errors of a log, and the reason for a crash; takes linear time and never fails.

    `exit_code` is `None` while the job runs. The texts of the result are parts of the log, which is redacted.
    """
    messages = find_messages(log)
    return LogFindings(find_reason(messages, exit_code) if exit_code else None, error_groups(messages))


def find_reason(messages: Sequence[LogMessage], exit_code: int) -> CrashReason:
    """The reason for the end of a job with an exit code other than 0, from the messages of its log."""
    errors = [message for message in messages if message.severity is Severity.ERROR]
    ended_by = exit_codes.exit_signal(exit_code)
    was_killed = ended_by is not None and _KIND_BY_SIGNAL.get(ended_by) is CrashKind.KILLED
    cause = _cause(errors, was_killed=was_killed)
    if cause is None:
        return _unexplained(errors, exit_code)
    reason = _explain(cause, ended_by)
    if cause.kind is MessageKind.EXCEPTION and not reason.category:
        reason = _with_category(reason, exit_codes.describe(exit_code).category)
    return _with_module_and_frames(reason, cause, errors)


def _cause(errors: Sequence[LogMessage], *, was_killed: bool) -> LogMessage | None:
    """The message about the cause of a crash."""
    fatal = next((error for error in errors if error.kind in _FATAL), None)
    if fatal is not None:
        return next((error for error in errors if _is_accelerator_error(error, fatal)), fatal)
    for kind in _CAUSES_IF_KILLED if was_killed else _POSSIBLY_FATAL:
        found = [error for error in errors if error.kind is kind]
        if found:
            return found[-1]
    return None


def _is_accelerator_error(error: LogMessage, fatal: LogMessage) -> bool:
    is_near = fatal.line - _ACCELERATOR_LINES <= error.line < fatal.line
    return is_near and error.kind is MessageKind.ACCELERATOR


def _explain(cause: LogMessage, ended_by: Signals | None) -> CrashReason:
    text = _text(cause)
    category = cause.recognized.category
    match cause.kind:
        case MessageKind.EXCEPTION:
            return _exception(
                cause, "" if category == UNKNOWN_CATEGORY else category, text, _exception_message(text)
            )
        case MessageKind.TERMINATE:
            what = _WHAT.search(text)
            nested = _NESTED.match(text, what.end() if what else 0)
            if nested and category in _CMS_EXCEPTIONS:
                category = nested[1]
            found = nested or what
            return _exception(cause, category, text, _sentence(text[found.end() :] if found else text))
        case MessageKind.TRACEBACK:
            return _exception(cause, category, text, _sentence(text.rstrip().rpartition("\n")[2]))
        case MessageKind.ACCELERATOR:
            return _exception(cause, category, text, _sentence(text))
        case MessageKind.ASSERTION:
            return _reason(cause, CrashKind.ASSERTION, "", _assertion(text))
        case MessageKind.HEAP:
            return _heap(cause, text)
        case MessageKind.SIGNAL | MessageKind.SHELL | MessageKind.CRASHED_MODULE:
            return _signal(cause, category, ended_by)
    return _reason(cause, _KIND_BY_MESSAGE[cause.kind], "", _sentence(text))


def _with_category(reason: CrashReason, category: str) -> CrashReason:
    """The reason with the category of its exit code, unless that code stands for any exception."""
    if category in ("", _ANY_CATEGORY):
        return reason
    return replace(reason, category=category, kind=_KIND_BY_CATEGORY.get(category, reason.kind))


def _text(message: LogMessage) -> str:
    """The text of a message, bounded."""
    return message.part.text[message.start : min(message.end, message.start + _MAX_TEXT)]


def _kind_by_text(text: str, *, default: CrashKind) -> CrashKind:
    return next((kind for pattern, kind in _KIND_BY_TEXT if pattern.search(text)), default)


def _signal(cause: LogMessage, name: str, ended_by: Signals | None) -> CrashReason:
    """Reason from the name of a signal, or from the exit code if the log does not name it."""
    found = Signals.__members__.get(name) or _SIGNALS.get(name.lower(), ended_by)
    if found is None:
        return _reason(cause, CrashKind.SIGNAL, "", "")
    kind = _KIND_BY_SIGNAL.get(found, CrashKind.SIGNAL)
    return _reason(cause, kind, found.name, name.capitalize() if name.lower() in _SIGNALS else "")


def _reason(cause: LogMessage, kind: CrashKind, category: str, message: str) -> CrashReason:
    return CrashReason(kind, category, message, line=cause.line)


def _exception(cause: LogMessage, category: str, text: str, message: str) -> CrashReason:
    """Reason from an exception: its kind follows from its category, else from its text."""
    kind = _KIND_BY_CATEGORY.get(category) or _KIND_BY_PYTHON_EXCEPTION.get(category)
    kind = kind or _kind_by_text(text, default=CrashKind.EXCEPTION)
    if kind is CrashKind.CUDA:
        error = _ACCELERATOR_MESSAGE.search(text)
        category = error[1] if error else category
        message = _sentence(f"{error[1]}: {error[2]}") if error else message
    if cause.kind is not MessageKind.EXCEPTION:
        return _reason(cause, kind, category, message)
    # A message whose beginning is missing has its context above.
    context = cause.part.text[max(0, cause.start - _MAX_CONTEXT) : cause.start] if not category else ""
    module_type, module_label = _context_module(context + text)
    return CrashReason(kind, category, message, module_type, module_label, line=cause.line)


def _exception_message(text: str) -> str:
    """First sentence of the message of an exception of CMSSW."""
    found = _EXCEPTION_MESSAGE.search(text)
    if found is not None:
        nested = _NESTED.match(text, found.end())
        return _sentence(text[(nested or found).end() :])
    info = _ADDITIONAL_INFO.search(text)
    return _sentence(": ".join(info[1].split("\n"))) if info else ""


def _assertion(text: str) -> str:
    found = _ASSERTION_FAILED.search(text) or _FATAL_CHECK.search(text)
    if found is None:
        return _sentence(text)
    return _sentence(f"{found[2]} in {found[1].rpartition('/')[2]}")


def _heap(cause: LogMessage, text: str) -> CrashReason:
    """Reason from damaged memory, which the C library or a sanitizer found."""
    sanitized = _SANITIZED.search(text)
    if sanitized is None:
        return _reason(cause, CrashKind.SIGNAL, Signals.SIGABRT.name, _sentence(text))
    category = Signals.SIGSEGV.name if sanitized[1] else cause.recognized.category
    reason = _reason(cause, CrashKind.SIGNAL, category, sanitized[0])
    end = cause.part.text.find("\n\n", cause.end)
    end = min(len(cause.part.text) if end < 0 else end, cause.end + _MAX_TRACE)
    return replace(reason, frames=crashed_frames(cause.part.text, cause.end, end))


def _context_module(text: str) -> tuple[str, str]:
    """Type and label of the module in the context of an exception: the innermost, which is last."""
    patterns = (_MODULE, _CONSTRUCTED_MODULE, _COMPONENT)
    modules = [found for pattern in patterns for found in pattern.finditer(text)]
    if modules:
        module = max(modules, key=lambda found: found.start())
        return module[1][:_MAX_NAME], module[2][:_MAX_NAME]
    source = _INPUT_SOURCE.search(text)
    return (source[1], "source") if source else ("", "")


def _with_module_and_frames(
    reason: CrashReason, cause: LogMessage, errors: Sequence[LogMessage]
) -> CrashReason:
    """A reason with the module and the frames that the report of a signal names."""
    below = [error for error in errors if error.line >= cause.line and error.part is cause.part]
    if cause.kind is MessageKind.ACCELERATOR:
        # The exception that reports the error knows the module.
        exception = next((error for error in below if error.kind is MessageKind.EXCEPTION), None)
        if exception is not None:
            module_type, module_label = _context_module(_text(exception))
            reason = replace(reason, module_type=module_type, module_label=module_label)
    if not reason.module_type:
        modules = [error.recognized for error in below if error.kind is MessageKind.CRASHED_MODULE]
        module = next((module for module in modules if module.module), None)
        if module is not None:
            reason = replace(reason, module_type=module.module, module_label=module.label)
    if cause.kind is MessageKind.EXCEPTION:
        return reason
    text = cause.part.text
    if cause.kind is MessageKind.CRASHED_MODULE:
        # The beginning of the trace is missing.
        return replace(reason, frames=crashed_frames(text, max(0, cause.start - _MAX_TRACE), cause.start))
    signal = next((error for error in below if error.kind is MessageKind.SIGNAL), None)
    if signal is None:
        return reason
    return replace(reason, frames=crashed_frames(text, signal.end, min(len(text), signal.end + _MAX_TRACE)))


def _unexplained(errors: Sequence[LogMessage], exit_code: int) -> CrashReason:
    """A reason by the exit code, and by an error at the end of the log."""
    ended_by = exit_codes.exit_signal(exit_code)
    described = exit_codes.describe(exit_code)
    kind = _KIND_BY_EXIT_CODE.get(exit_code, CrashKind.UNKNOWN)
    if ended_by is not None:
        kind = _KIND_BY_SIGNAL.get(ended_by, CrashKind.SIGNAL)
    elif described.category:
        kind = _KIND_BY_CATEGORY.get(described.category, CrashKind.EXCEPTION)
    reason = CrashReason(kind, described.name or described.category)
    logged = [error for error in errors if error.kind is MessageKind.LOGGED]
    if not logged or ended_by is not None:
        return reason
    last = logged[-1]
    last_line = last.part.first_line + last.part.text.count("\n")
    if last.part is not errors[-1].part or last.last_line < last_line - _LAST_LINES:
        return reason
    text = _text(last)
    if kind is CrashKind.UNKNOWN:
        by_name = _KIND_BY_PYTHON_EXCEPTION.get(last.recognized.category)
        kind = by_name or _kind_by_text(text, default=kind)
    # Below the header of a message is its text.
    message = text.partition("\n")[2] if text.startswith("%MSG") else text
    recognized = last.recognized
    return CrashReason(
        kind,
        described.category or recognized.category,
        _sentence(message.removesuffix("%MSG")),
        recognized.module,
        recognized.label,
        line=last.line,
    )


def _sentence(text: str) -> str:
    """First sentence of a text, in one line and bounded."""
    lines = [line.strip() for line in text[:_MAX_TEXT].split("\n")]
    lines = [line for line in lines if line and not _WRAPPED.fullmatch(line)]
    if not lines:
        return ""
    first = lines[0]
    if len(lines) > 1 and first.endswith(":"):
        first = f"{first} {lines[1]}"
    elif len(lines) > 1 and _FUNCTION.fullmatch(first):
        first = f"{first}: {lines[1]}"
    first = " ".join(_BUILD_PATH.sub("", first).split())
    end = _SENTENCE_END.search(first)
    sentence = first[: end.start()] if end else first.rstrip(".")
    return sentence if len(sentence) <= _MAX_MESSAGE else f"{sentence[: _MAX_MESSAGE - 1]}…"
