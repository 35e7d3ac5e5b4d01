"""Frames of the thread that crashed, from a stack trace by gdb as `cmsRun` prints it on a signal."""

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

# `#5  0x00002b6e4ef1bac7 in f(int) () from /…/libX.so`; an inlined function has no address.
_FRAME = re.compile(r"#\d{1,5} {1,4}(?:0x[0-9a-f]{1,16} in )?([^\n]{1,4000})")
_LIBRARY = re.compile(r" from (\S{1,1000})\s*$")
_HANDLER = "<signal handler called>"
_OPERATORS = ("operator", "operator<<", "operator>>", "operator<", "operator>", "operator==")
_THREAD = re.compile(r"^Thread \d", re.MULTILINE)

# Code of the system and of libraries: the cause is below.
_SYSTEM_LIBRARY = re.compile(
    r"lib(?:c|m|dl|rt|pthread|gcc_s|stdc\+\+|tbb|jemalloc|tcmalloc|cuda|cudart|nvidia)\b|ld-linux"
)
_SYSTEM_FUNCTION = re.compile(
    r"raise$|abort$|_?_?gsignal|__assert|__libc_|__GI_|__gnu_cxx::|__cxa_|_Unwind_|std::|tbb::|oneapi::"
    r"|operator |start_thread|clone|malloc|free$|mem(?:cpy|move|set)|__mem|poll$|waitpid|\?\?$|sig_dostack"
    r"|edm::service::InitRootHandlers|full_read|main$|main::|_start$|pthread_"
)
# CMSSW's framework: what calls every module says nothing, the rest only if the crash is in the framework.
_CALLER = re.compile(
    r"edm::(?:Worker|stream::|StreamSchedule|Path\b|(?:Serial|Limited)TaskQueue|WaitingTask|FunctorTask)"
)
_FRAMEWORK_LIBRARY = re.compile(r"lib(?:FWCore|DataFormatsCommon)|pluginFWCore")
_FRAMEWORK_FUNCTION = re.compile(r"(?:non-virtual thunk to )?edm::(?!Ref|Ptr|Handle|DetSet)")


def crashed_frames(text: str, start: int, end: int) -> tuple[StackFrame, ...]:
    """The first frames of CMSSW's own code below the signal handler, between two offsets of a text.

    Frames of the framework, the system and other libraries count only if there is nothing else.
    """
    handler = text.find(_HANDLER, start, end)
    at = start if handler < 0 else handler + len(_HANDLER)
    if thread := _THREAD.search(text, at, end):
        # Without a handler, the trace begins with the thread itself.
        end = thread.start() if handler >= 0 else end
    frames = list(_frames(text, at, end))
    own = [frame for frame in frames if not _is_system(frame)]
    modules = [frame for frame in own if not _is_framework(frame)]
    return tuple((modules or own)[:MAX_FRAMES])


def _frames(text: str, start: int, end: int) -> Iterator[StackFrame]:
    position = start
    for _ in range(_MAX_SCANNED):
        position = text.find("\n#", position, end) + 1
        if position == 0:
            return
        frame = _FRAME.match(text, position, min(end, position + _MAX_LINE))
        if frame is not None:
            library = _LIBRARY.search(frame[1])
            name = library[1].rpartition("/")[2] if library else ""
            yield StackFrame(function_name(frame[1]), name[:_MAX_LIBRARY])


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
