"""Frames of the thread that crashed, from a stack trace by gdb, as `cmsRun` prints it, or by a sanitizer."""

import re
from collections.abc import Iterator

from dqm2.records import StackFrame

MAX_FRAMES = 5
# Frames that are looked at; a trace that overflowed the stack has many thousands.
_MAX_SCANNED = 200
_MAX_LINE = 4000
_MAX_FUNCTION = 160
_MAX_LIBRARY = 80
# Longest list of template arguments that is kept.
_MAX_ARGUMENTS = 40

# `#5  0x00002b6e4ef1bac7 in f(int) () from /…/libX.so`; an inlined function has no address. Sanitizers write
# `    #5 0x2b6e4ef1bac7 in f(int) (/…/libX.so+0x1bac7)`.
_FRAME_START = re.compile(r"\n {0,8}#")
_FRAME = re.compile(r"#\d{1,5} {1,4}(?:0x[0-9a-f]{1,16} in )?([^\n]{1,4000})")
_LIBRARY = re.compile(r" from (\S{1,1000})\s*$| \((/\S{1,1000})\+0x[0-9a-f]{1,16}\)")
_HANDLER = "<signal handler called>"
# The other threads wait in a handler of their own while gdb prints the trace.
_PAUSED = "sig_pause_for_stacktrace"
_MAX_THREADS = 256
_MAX_PAUSED_LINES = 1024
_OPERATORS = ("operator", "operator<<", "operator>>", "operator<", "operator>", "operator==")
# The next thread, or the end of ROOT's trace.
_THREAD = re.compile(r"^(?:Thread \d|={5})", re.MULTILINE)

# Code of the system and of libraries: the cause is below.
_SYSTEM_LIBRARY = re.compile(
    r"lib(?:c|m|dl|rt|pthread|gcc_s|stdc\+\+|tbb|jemalloc|tcmalloc|cuda|cudart|nvidia)\b|ld-linux"
)
_SYSTEM_FUNCTION = re.compile(
    r"raise$|abort$|_?_?gsignal|__assert|__libc_|__GI_|__gnu_cxx::|__cxa_|_Unwind_|std::|tbb::|oneapi::"
    r"|operator |start_thread|clone|malloc|free$|mem(?:cpy|move|set)|__mem|poll$|waitpid|\?\?$|sig_dostack"
    r"|edm::service::InitRootHandlers|full_read|main$|main::|_start$|pthread_"
)
# Folders of ROOT and of other software that CMSSW uses.
_EXTERNAL_PATH = re.compile(r"/(?:external|lcg)/")
# Functions of CMSSW's framework that call every module: they are in each trace.
_CALLER = re.compile(
    r"edm::(?:Worker|stream::|StreamSchedule|Path\b|(?:Serial|Limited)TaskQueue|WaitingTask|FunctorTask)"
)
_FRAMEWORK_LIBRARY = re.compile(r"lib(?:FWCore|DataFormatsCommon)|pluginFWCore")
_FRAMEWORK_FUNCTION = re.compile(r"(?:non-virtual thunk to )?edm::(?!Ref|Ptr|Handle|DetSet)")


def crashed_frames(text: str, start: int, end: int) -> tuple[StackFrame, ...]:
    """The first frames of CMSSW's own code below the signal handler, between two offsets of a text.

    Frames of the framework and of other libraries count only if there is nothing else. A trace in which
    all threads merely wait has no frames.
    """
    handlers = list(_handlers(text, start, end))
    handler = next((at for at, is_paused in handlers if not is_paused), None)
    if handler is not None:
        start = handler
        if thread := _THREAD.search(text, start, end):
            end = thread.start()
    elif handlers:
        return ()
    frames = [(frame, path) for frame, path in _frames(text, start, end) if not _is_system(frame)]
    own = [frame for frame, path in frames if not _EXTERNAL_PATH.search(path)]
    modules = [frame for frame in own if not _is_framework(frame)]
    return tuple((modules or own or [frame for frame, _ in frames])[:MAX_FRAMES])


def _handlers(text: str, start: int, end: int) -> Iterator[tuple[int, bool]]:
    """Offsets behind signal handlers, and whether the thread of each merely waits."""
    at = start
    for _ in range(_MAX_THREADS):
        found = text.find(_HANDLER, at, end)
        if found < 0:
            return
        lines = text[max(at, found - _MAX_PAUSED_LINES) : found].rsplit("\n", 2)
        at = found + len(_HANDLER)
        yield at, any(_PAUSED in line for line in lines[-2:])


def _frames(text: str, start: int, end: int) -> Iterator[tuple[StackFrame, str]]:
    """Frames with the paths of their libraries."""
    position = start
    for _ in range(_MAX_SCANNED):
        found = _FRAME_START.search(text, position, end)
        if found is None:
            return
        position = found.end() - 1
        frame = _FRAME.match(text, position, min(end, position + _MAX_LINE))
        if frame is not None:
            library = _LIBRARY.search(frame[1])
            path = (library[1] or library[2]) if library else ""
            yield StackFrame(function_name(frame[1]), path.rpartition("/")[2][:_MAX_LIBRARY]), path


def function_name(signature: str) -> str:
    """Name of a function of a frame, without its return type, its arguments and its place.

    Long template arguments are replaced by an ellipsis.
    """
    # Parentheses that belong to a name.
    plain = signature.replace("(anonymous namespace)", "{anonymous}").replace("operator()", "operator{}")
    name: list[str] = []
    brackets: list[int] = []
    for at, character in enumerate(plain):
        if character in "<{" and not plain.endswith(("operator", "operator<"), 0, at):
            brackets.append(len(name))
        elif character in ">}" and brackets and plain[at - 1] != "-":
            opened = brackets.pop()
            if len(name) - opened > _MAX_ARGUMENTS:
                name[opened:] = "<…" if name[opened] == "<" else "{…"
        elif not brackets and character == "(":
            break
        elif not brackets and character == " " and not plain.endswith(_OPERATORS, 0, at):
            if plain.startswith("(", at + 1):
                break
            # A return type, or `non-virtual thunk to`.
            name.clear()
            continue
        name.append(character)
    found = "".join(name).replace("operator{}", "operator()").replace("{anonymous}", "(anonymous namespace)")
    return found.strip()[:_MAX_FUNCTION]


def _is_system(frame: StackFrame) -> bool:
    function = frame.function
    return bool(
        _SYSTEM_LIBRARY.match(frame.library) or _SYSTEM_FUNCTION.match(function) or _CALLER.match(function)
    )


def _is_framework(frame: StackFrame) -> bool:
    return bool(_FRAMEWORK_LIBRARY.match(frame.library) or _FRAMEWORK_FUNCTION.match(frame.function))
