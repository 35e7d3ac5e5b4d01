"""Formats in which errors and warnings are written to a job's log.

The writers are CMSSW's MessageLogger and its report of a fatal exception or signal, the shell, the C and C++
libraries, CUDA and alpaka, Python, log4cplus, DQMNet, ROOT, CORAL, the Frontier client, XRootD and others.
`RULES` lists, for each literal that can be part of such a line, the functions that judge the line.
"""

import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from functools import lru_cache
from typing import NamedTuple

# Category of an exception whose beginning is missing.
UNKNOWN_CATEGORY = "exception"

_MAX_NAME = 100
# An exception or traceback is one message up to these lengths. Python prints about 100 lines at most.
_MAX_BLOCK = 32_768
_MAX_BLOCK_LINES = 400
# Lines of an exception's text behind `terminate called`.
_MAX_WHAT_LINES = 12
_MAX_EXCEPTION_LINES = 50
# Headers of MessageLogger recur in one log and from log to log.
_CACHE_SIZE = 4096


class Severity(StrEnum):
    """Severity of a message or of a line."""

    NONE = ""
    WARNING = "warning"
    ERROR = "error"


class MessageKind(StrEnum):
    """Kind of a message. All but `LOGGED` and `EXIT` can be the reason for the end of a job."""

    LOGGED = "logged"
    EXCEPTION = "exception"
    TERMINATE = "terminate"
    ASSERTION = "assertion"
    SIGNAL = "signal"
    CRASHED_MODULE = "crashed module"
    HEAP = "heap"
    ACCELERATOR = "accelerator"
    TRACEBACK = "traceback"
    SHELL = "shell"
    MEMORY = "memory"
    TIMEOUT = "timeout"
    LOADER = "loader"
    EXIT = "exit"


class Recognized(NamedTuple):
    """A message as its format shows it.

    `category` and `module` identify a group of messages: the category of MessageLogger and the type of the
    module, or the name of the exception, signal or component. `label` is the module's label.
    """

    severity: Severity
    kind: MessageKind
    category: str
    module: str = ""
    label: str = ""


class Place(NamedTuple):
    """A literal of `RULES` in a text: where its line starts, its column in the line, and the line."""

    text: str
    start: int
    column: int
    line: str


# The message that a line starts, if any, and the offset of its end; `None` for the end of the line.
Found = tuple[Recognized, int | None]
_Rule = Callable[[Place], Found | None]

# Severity letters of MessageLogger: `s` is "system", the highest; others are below warnings.
_MESSAGE_SEVERITIES = {"w": Severity.WARNING, "e": Severity.ERROR, "s": Severity.ERROR}
# Categories that jobs without a problem log with the highest severity.
_NOTES = frozenset({"LegacyModules"})
# Header of a message of MessageLogger: severity, category, then module type and label, or a phase of the job.
HEADER = re.compile(r"%MSG-([a-z]) ([^\n]{1,200}?):[ \t]*(?:([\w:@()-]{1,200}))?")
# The type of a module for accelerators has a namespace: `alpaka_serial_sync::HcalDigis:hcalDigis`.
_MODULE = re.compile(r"((?:\w+::){0,4}\w+):([\w@-]+)")

_CATEGORY = re.compile(r"An exception of category ['\"&]?(?:apos;)?([^'\"&]{1,100})")
_TERMINATE = re.compile(r"terminate called (?:after throwing an instance of ['\"]([^'\"]{1,200})|\w)")
_TRACEBACK_END = re.compile(r"((?:[A-Za-z_]\w*\.)*[A-Za-z_]\w*)(?::|$)")


def _cut(name: str | None) -> str:
    return (name or "").strip()[:_MAX_NAME]


def read_header(text: str, header: re.Match[str]) -> tuple[Recognized, int]:
    """A message of MessageLogger, and its end: a line `%MSG`, the next message, or the end of the text."""
    following = text.find("\n%MSG", header.end())
    if following < 0:
        end = len(text)
    elif text.startswith("-", following + len("\n%MSG")):
        end = following
    else:
        end = following + len("\n%MSG")
    return _of_message_logger(header[1], header[2], header[3]), end


@lru_cache(_CACHE_SIZE)
def _of_message_logger(letter: str, category: str, source: str | None) -> Recognized:
    severity = _MESSAGE_SEVERITIES.get(letter, Severity.NONE)
    category = _cut(category)
    if category in _NOTES and severity is Severity.ERROR:
        severity = Severity.WARNING
    module = _MODULE.match((source or "").partition("@")[0])
    type_, label = (_cut(module[1]), _cut(module[2])) if module else ("", "")
    return Recognized(severity, MessageKind.LOGGED, category, type_, label)


def _fatal_exception(place: Place) -> Found:
    """A fatal exception in its frame."""
    end = _block_end(place, "End Fatal Exception")
    category = _CATEGORY.search(place.text, place.start, end)
    name = _cut(category[1]) if category else UNKNOWN_CATEGORY
    return Recognized(Severity.ERROR, MessageKind.EXCEPTION, name), end


def _bare_exception(place: Place) -> Found | None:
    """An exception without its frame: the category, the context, and the message up to an empty line."""
    category = _CATEGORY.match(place.line, place.column)
    if category is None:
        return None
    end = _paragraph_end(place, _MAX_EXCEPTION_LINES)
    return Recognized(Severity.ERROR, MessageKind.EXCEPTION, _cut(category[1])), end


def _cut_exception(place: Place) -> Found | None:
    """The end of a fatal exception whose beginning is missing."""
    if place.line.strip() != "Exception Message:":
        return None
    end = _block_end(place, "End Fatal Exception")
    return Recognized(Severity.ERROR, MessageKind.EXCEPTION, UNKNOWN_CATEGORY), end


def _terminate(place: Place) -> Found | None:
    """`terminate called`, with the text of the exception up to an empty line."""
    found = _TERMINATE.match(place.line, place.column)
    if found is None:
        return None
    end = _paragraph_end(place, _MAX_WHAT_LINES)
    return Recognized(Severity.ERROR, MessageKind.TERMINATE, _cut(found[1]) or "terminate"), end


def _traceback(place: Place) -> Found:
    """A traceback of Python: indented lines and the exception."""
    position, category = place.start, ""
    for _ in range(_MAX_BLOCK_LINES):
        line_end = place.text.find("\n", position, position + _MAX_BLOCK)
        if line_end < 0:
            line_end = min(len(place.text), position + _MAX_BLOCK)
        line = place.text[position : min(line_end, position + _MAX_NAME)]
        if position != place.start and not line[:1].isspace():
            found = _TRACEBACK_END.match(line)
            category = found[1] if found else ""
            position = line_end if found else position - 1
            break
        if line_end == len(place.text):
            position = line_end
            break
        position = line_end + 1
    name = _cut(category.rpartition(".")[2]) or "Traceback"
    return Recognized(Severity.ERROR, MessageKind.TRACEBACK, name), max(position, place.start)


def _block_end(place: Place, last: str) -> int:
    """End of the line that contains `last`, of the text before another MessageLogger message, or a bound."""
    bound = min(len(place.text), place.start + _MAX_BLOCK)
    at = place.text.find(last, place.start + place.column + 1, bound)
    if at < 0:
        return _paragraph_end(place, _MAX_BLOCK_LINES)
    line_end = place.text.find("\n", at, bound)
    return bound if line_end < 0 else line_end


def _paragraph_end(place: Place, max_lines: int) -> int:
    """End of the last line before an empty line, a message, a stack trace or `max_lines` more lines."""
    text = place.text
    bound = min(len(text), place.start + _MAX_BLOCK)
    position = text.find("\n", place.start + place.column, bound)
    for number in range(max_lines):
        if position < 0:
            return bound
        following = text.find("\n", position + 1, bound)
        line = text[position + 1 : bound if following < 0 else following]
        # The text of an exception may begin with an empty line.
        if (not line.strip() and number > 1) or line.startswith(
            ("%MSG", "-----", "A fatal system", "#0", "Thread ")
        ):
            return position
        position = following
    return bound if position < 0 else position


def _line(pattern: str, kind: MessageKind, category: str = "", severity: Severity = Severity.ERROR) -> _Rule:
    """Rule for a line that contains `pattern`, whose first group is the category unless one is given."""
    compiled = re.compile(pattern)
    default = str(severity)

    def rule(place: Place) -> Found | None:
        found = compiled.search(place.line)
        if found is None:
            return None
        name = category or next(filter(None, found.groups()), "") or default
        return Recognized(severity, kind, name[:_MAX_NAME]), None

    return rule


def _logged(pattern: str, category: str = "") -> _Rule:
    return _line(pattern, MessageKind.LOGGED, category)


def _warning(pattern: str) -> _Rule:
    return _line(pattern, MessageKind.LOGGED, severity=Severity.WARNING)


def _crashed_module(place: Place) -> Found | None:
    found = _CRASHED_MODULE.search(place.line)
    if found is None:
        return None
    type_, _, label = found[1].rpartition(":")
    if not type_ or type_.endswith(":"):
        # `none`, `non-CMSSW`, or a module of an old release, which had no label.
        label, type_ = "", "" if found[1] in ("none", "non-CMSSW") else found[1]
    recognized = Recognized(
        Severity.ERROR, MessageKind.CRASHED_MODULE, "crashed module", _cut(type_), _cut(label)
    )
    return recognized, None


_CRASHED_MODULE = re.compile(r"Module: ([\w:@<>, -]{1,200}?) \(crashed\)")

_SIGNAL = _line(r"[Ff]atal system signal has occurred(?:: ([a-z ]{1,40})| during exit)", MessageKind.SIGNAL)
# As a shell reports the end of a process, with or without the script and the process.
_SHELL = _line(
    r"^(?:\S{1,300}: line \d{1,9}: {1,9}(?:\d{1,9} )?|\[\d{1,4}\][+-]? +(?:\d{1,9} )?)? *"
    r"(Segmentation fault|Aborted|Killed|Bus error|Illegal instruction|Floating point exception"
    r"|Terminated|Trace/breakpoint trap|CPU time limit exceeded|File size limit exceeded)"
    r"(?: *\(core dumped\).*|\s*$| {3,}.*)",
    MessageKind.SHELL,
)
_CORE_DUMPED = _line(r"\((core dumped)\)|dumped core", MessageKind.SHELL, "core dumped")
_DEBUGGER = _line(r"received signal (SIG[A-Z0-9]{2,10})\b", MessageKind.SIGNAL)
_ROOT_BREAK = _line(r"\*\*\* Break \*\*\* ([a-z ]{3,40})", MessageKind.SIGNAL)
_ASSERTION = _line(r"Assertion ['`‘\"].{0,4000}failed|Assertion failed", MessageKind.ASSERTION, "assertion")
_HEAP = _line(
    r"(?:^|\*\*\* |: )(double free or corruption"
    r"|free\(\): (?:invalid|double free|unaligned|corrupted|too many)[a-z ]{0,60}[a-z]"
    r"|(?:malloc(?:_consolidate)?|tcache_thread_shutdown)\(\): [a-z ]+"
    r"|(?:munmap|mremap)_chunk\(\): invalid pointer|realloc\(\): invalid [a-z ]+"
    r"|corrupted size vs\. prev_size|Fatal glibc error"
    r"|corrupted double-linked list|stack smashing detected|buffer overflow detected"
    r"|pure virtual method called)|\](?: Attempt to \w+ (invalid pointer))",
    MessageKind.HEAP,
)
_SANITIZER = _line(r"(?:ERROR|SUMMARY): (\w+Sanitizer): |: (runtime error): ", MessageKind.HEAP)
_VALGRIND = _logged(r"^==\d{1,9}== (Invalid \w+)")
_VALGRIND_END = _line(r"^==\d{1,9}== Process terminating .{0,80}\((SIG[A-Z0-9]{2,10})\)", MessageKind.SIGNAL)
# Neither the status of a kernel that still runs nor a count.
_ACCELERATOR = _line(
    r"\b((?:cuda|hip)Error(?!NotReady)[A-Z]\w{0,60}|CUDA_ERROR_\w{1,60}|cms::cuda::bad_alloc"
    r"|CUDA error(?! count\b))\b(?! *[:=] *\d+\s*$)|(Memory access fault) by GPU ",
    MessageKind.ACCELERATOR,
)
_MEMORY = _line(
    r"(std::bad_alloc)|(oom)[-_]kill|([Oo]ut of memory): Kill|(Cannot allocate memory)"
    r"|exceeded (max[PRV]S\w+)|(exceed\w* (?:the )?memory limit|[Mm]emory limit exceeded)",
    MessageKind.MEMORY,
)
_TIMEOUT = _line(r"^(timeout): (?:the monitored command|sending signal|failed)", MessageKind.TIMEOUT)
_LOADER = _line(
    r"(error while loading shared libraries)|: (command not found)$|(symbol lookup error)|"
    r"(cannot execute(?: binary file)?)|: (version) [`'][\w.]{1,60}' not found \(required by ",
    MessageKind.LOADER,
)
# A shell, a script or `env` that can't start a program, and may continue without it.
_NOT_STARTED = _logged(
    r"^(?:\S{0,200}/)?(?:env|exec|[a-z]{0,3}sh|[\w.+-]{1,60}\.sh)(?:: (?:line )?\d{1,6})?: \S.{0,200}: "
    r"(?:not found|No such file or directory|Permission denied)\s*$"
)
_EXIT = _line(r"-- process exit: (?!0 --)(-?\d{1,10})", MessageKind.EXIT, "exit code")

_TENSORFLOW = _logged(r": E (tensorflow|external/\w+)/")
# A fatal message of TensorFlow and of others who log by glog: the process aborts behind it.
_FATAL_CHECK = _line(r"(?:: F |^F\d{4} ).{0,200}?:\d{1,7}\] ", MessageKind.ASSERTION, "assertion")
_FRONTIER = _logged(
    r"\berror \[((?:fn-|frontier)[\w-]*\.c):\d+\]"
    r"|^(?!(?:warn|debug|info) ).*\[((?:fn-|frontier)[\w-]*\.c):\d+\]: "
)
_CORAL = _logged(r"\b(CORAL/[\w/]{1,80}) (?:Error|Fatal) |\( CORAL : \"([^\"]{1,100})\" from ")
_ORACLE = _logged(r"\b(ORA-\d{4,5}): ")
_ROOT = _logged(r"\b(?:Sys)?(?:Error|Fatal) in <([^>]{1,200})>: |Fatal Root Error: @SUB=([\w:~]{1,100})")
_XROOTD = _logged(r"\]\[Error *\]\[(\w+) *\]")
_DQMNET = _logged(r"\b(\w{1,40})\[\d{1,9}\]: (?:ERROR|FATAL|CRITICAL): ")
# Date and time as loggers write them: `09/15/22 11:07:39`, `[2022-09-15 13:07:39,1]`, `15 Sep 2022 13:07:39`.
_TIME = (
    r"[\[(]?\d{1,4}[-/. ](?:\d{1,2}|[A-Z][a-z]{2})[-/. ]\d{1,4}[T ]{1,2}\d{1,2}:\d{2}[\d:.,+Z]{0,20}[\])]?"
)
# Not a count, such as `Error: 0 events` or `ERROR: 3 / 12`, nor a state.
_TEXT = r"(?!0\b|\d+ *(?:[%/,;]|$|[A-Z]+:)|none\b)\S"
# log4cplus and log4j: time, thread, level, name of the logger, separator.
_LOG4 = _logged(rf"^{_TIME}.{{0,80}}?\b(?:ERROR|FATAL) +([\w.:-]{{1,100}}) +(?:%%|<[^>]{{0,40}}>|-) ")
_UPPER = _logged(
    # Behind a time, in brackets, before a colon, or at the start of a sentence.
    rf"^{_TIME}.{{0,80}}?\b(?:ERROR|FATAL|CRITICAL)\b(?! *[=\d])"
    r"|\[(?:ERROR|FATAL|CRITICAL) *\]"
    # Before a time; of DIM; of log4cplus itself.
    rf"|^(?:ERROR|FATAL|CRITICAL) +{_TIME}|[ -]\((?:ERROR|FATAL)\) \S|^log4cplus:ERROR \S"
    rf"|(?:^|[\s:>\])])(?:ERROR|FATAL|CRITICAL)(?: ERROR)?(?: ?[:!]|:\w+:)\s*{_TEXT}"
    r"|^\s*(?:ERROR|FATAL|CRITICAL)\s+(?![\d\s=:-]|[a-z]{1,20} *[:=]? *\d+\s*$)"
    r"|^(\w{2,30}) {2,}(?:ERROR|FATAL) +\S",
    "",
)
_NAMED = _logged(
    rf"^\s*((?:[A-Za-z_]\w{{0,60}}(?:\.|::)){{0,8}}[A-Za-z_]\w{{0,80}}(?:Error|Exception)): {_TEXT}"
    rf"|^(?:\S{{1,60}}: )?(Error): {_TEXT}"
    r"|^(cmsRun): Error "
)
# Also of compilers, as in ROOT's interpreter: `input_line_8:1:2: error: …`.
_LOWER = _logged(
    rf"^(?:[\w./-]{{1,100}}(?::\d{{1,6}}){{0,2}}: )?(?:fatal )?(error): {_TEXT}|\[(error)\](?!:? *\d+\s*$)"
)
_CHECK = _logged(r"(Check failed): ")
_DISK = _logged(r": (No space left on device)")
_CONDOR = _logged(r"(Abnormal termination) \(signal \d+\)")
_WHAT = _logged(r"^\s+(what\(\)): ")

_WARN_UPPER = _warning(
    r"[ -]\(WARNING\) \S|\b(\w{1,40})\[\d{1,9}\]: WARNING: "
    r"|(?:^|[\s\[(<:>])WARN(?:ING)?(?!: *\d+ *(?:[%/,;\]]|$))(?=[\]:!>)]| {1,20}(?![\s\d=]))"
)
_WARN_NAMED = _warning(
    r"\bWarning in <([^>]{1,200})>|(?:^|[\s:])([A-Z]\w{0,60}Warning): |: Warning: |^Warning [a-zA-Z]"
    r"|^(?:\S{1,100}: )?[Ww]arning[:!] (?!0\b|\d+\s*$)|^\s*\[?[Ww]arning\]?[:!](?! *(?:0\b|\d+\s*$))"
    r"|\]\[Warning *\]|\bCORAL/[\w/]{1,80} Warning "
)
_WARN_LOWER = _warning(r"\bwarn \[([\w.-]{1,60}):\d+\]")

# Judged by the first rule that applies; a literal must not contain another's start.
RULES: Mapping[str, tuple[_Rule, ...]] = {
    "Begin Fatal Exception": (_fatal_exception,),
    "An exception of category": (_bare_exception,),
    "Exception Message:": (_cut_exception,),
    "atal system signal has occurred": (_SIGNAL,),
    "terminate called": (_terminate,),
    "Traceback (most": (_traceback,),
    "(crashed)": (_crashed_module,),
    "Assertion": (_ASSERTION,),
    "received signal": (_DEBUGGER,),
    "*** Break ***": (_ROOT_BREAK,),
    **dict.fromkeys(
        (
            "Segmentation fault",
            "Aborted",
            "Killed",
            "Bus error",
            "Illegal instruction",
            "Floating point exception",
            "Terminated",
            "Trace/breakpoint trap",
            "limit exceeded",
        ),
        (_SHELL, _CORE_DUMPED),
    ),
    "core dumped": (_CORE_DUMPED,),
    "dumped core": (_TIMEOUT, _CORE_DUMPED),
    **dict.fromkeys(
        (
            "double free",
            "free(): ",
            "malloc",
            "munmap_chunk()",
            "mremap_chunk()",
            "tcache_thread_shutdown()",
            "Attempt to ",
            "realloc():",
            "corrupted size",
            "corrupted double",
            "smashing detected",
            "overflow detected",
            "pure virtual method",
        ),
        (_HEAP,),
    ),
    "Sanitizer: ": (_SANITIZER,),
    ": runtime error": (_SANITIZER,),
    "== Invalid": (_VALGRIND,),
    "== Process terminating": (_VALGRIND_END,),
    "Fatal glibc ": (_HEAP,),
    **dict.fromkeys(
        ("cudaError", "hipError", "CUDA_ERROR_", "CUDA error"), (_FATAL_CHECK, _TENSORFLOW, _ACCELERATOR)
    ),
    "Memory access fault": (_ACCELERATOR,),
    "bad_alloc": (_ACCELERATOR, _MEMORY),
    **dict.fromkeys(
        ("oom-kill", "oom_kill", "ut of memory: Kill", "Cannot allocate", "exceeded max", "emory limit"),
        (_MEMORY,),
    ),
    "timeout: ": (_TIMEOUT,),
    "error while loading": (_LOADER,),
    "command not found": (_LOADER,),
    "symbol lookup": (_LOADER,),
    "cannot execute": (_LOADER,),
    "' not found (required": (_LOADER,),
    **dict.fromkeys((": not found", ": No such file or", ": Permission denied"), (_NAMED, _NOT_STARTED)),
    "-- process exit: ": (_EXIT,),
    " tensorflow/": (_FATAL_CHECK, _TENSORFLOW),
    "Check failed: ": (_FATAL_CHECK, _CHECK),
    "No space left on": (_NAMED, _DISK),
    "[fn-": (_WARN_LOWER, _FRONTIER),
    "[frontier": (_WARN_LOWER, _FRONTIER),
    "CORAL": (_CORAL, _WARN_NAMED),
    "ORA-": (_ORACLE,),
    **dict.fromkeys(("ERROR", "FATAL", "CRITICAL"), (_EXIT, _DQMNET, _LOG4, _UPPER, _ORACLE, _ROOT)),
    **dict.fromkeys(("Error in <", "Fatal in <", "Fatal Root Error"), (_ROOT,)),
    "[Error": (_XROOTD,),
    **dict.fromkeys(("Error: ", "Exception: ", "cmsRun: Error "), (_NAMED,)),
    "error [": (_FRONTIER,),
    **dict.fromkeys(("error: ", "[error]"), (_MEMORY, _LOWER)),
    "Abnormal termination": (_CONDOR,),
    "what():": (_WHAT,),
    "WARN": (_WARN_UPPER,),
    "Warning": (_WARN_NAMED,),
    "warning:": (_WARN_NAMED,),
    "warn [": (_WARN_LOWER,),
}
# A crash can begin within a message, which then has no end.
INTERRUPTING = (
    "Begin Fatal Exception",
    "atal system signal has occurred",
    "terminate called",
    " (crashed)",
)
