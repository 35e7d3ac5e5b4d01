"""Meaning of a job's exit code in words.

Codes of `cmsRun` are `edm::errors::ErrorCodes` of CMSSW (`FWCore/Utilities/interface/EDMException.h`). The
operating system keeps 8 bits of an exit code, so that a parent process sees 70 for 8006. A process that
ended by signal n has code −n for DQM²'s monitor and 128 + n for a shell.
"""

import signal
from dataclasses import dataclass

_SIGNAL_BASE = 128
_BITS_8 = 256

# Exit code, name of the category in CMSSW, meaning.
_CMSSW_ERRORS = (
    (7000, "CommandLineProcessing", "the command line of cmsRun was not understood"),
    (7001, "ConfigFileNotFound", "the configuration file was not found"),
    (7002, "ConfigFileReadError", "the configuration file could not be read"),
    (8001, "OtherCMS", "an exception of CMS's own code"),
    (8002, "StdException", "a standard C++ exception"),
    (8003, "Unknown", "an exception of unknown type"),
    (8004, "BadAlloc", "out of memory (bad_alloc)"),
    (8005, "BadExceptionType", "an exception of a wrong type"),
    (8006, "ProductNotFound", "a data product was not found"),
    (8007, "DictionaryNotFound", "a class has no dictionary"),
    (8008, "InsertFailure", "a data product could not be stored"),
    (8009, "Configuration", "an error in the configuration"),
    (8010, "LogicError", "a logic error"),
    (8011, "UnimplementedFeature", "a feature is not implemented"),
    (8012, "InvalidReference", "a reference is invalid"),
    (8013, "NullPointerError", "a null pointer"),
    (8014, "NoProductSpecified", "no data product was specified"),
    (8015, "EventTimeout", "an event took too long"),
    (8016, "EventCorruption", "a corrupt event"),
    (8017, "ScheduleExecutionFailure", "the schedule of modules failed"),
    (8018, "EventProcessorFailure", "the event processor failed"),
    (8019, "FileInPathError", "a file was not found in the search path"),
    (8020, "FileOpenError", "a file could not be opened"),
    (8021, "FileReadError", "a file could not be read"),
    (8022, "FatalRootError", "a fatal error in ROOT"),
    (8023, "MismatchedInputFiles", "input files do not match"),
    (8024, "ProductDoesNotSupportViews", "a data product does not support views"),
    (8025, "ProductDoesNotSupportPtr", "a data product does not support pointers"),
    (8026, "NotFound", "something was not found"),
    (8027, "FormatIncompatibility", "a file has an incompatible format"),
    (8028, "FallbackFileOpenError", "a file could not be opened, nor its fallback"),
    (8029, "NoSecondaryFiles", "there are no secondary input files"),
    (8030, "ExceededResourceVSize", "more virtual memory than allowed"),
    (8031, "ExceededResourceRSS", "more resident memory than allowed"),
    (8032, "ExceededResourceTime", "more time than allowed"),
    (8033, "FileWriteError", "a file could not be written"),
    (8034, "FileNameInconsistentWithGUID", "a file's name does not match its identifier"),
    (8035, "UnavailableAccelerator", "a required accelerator (GPU) is not available"),
    (8036, "ExternalFailure", "an external program failed"),
    (8501, "EventGenerationFailure", "event generation failed"),
    (8901, "UnexpectedJobTermination", "the job ended unexpectedly"),
    (9000, "CaughtSignal", "a signal was caught"),
)
_CMSSW_BY_CODE = {code: (category, meaning) for code, category, meaning in _CMSSW_ERRORS}
# Pairs such as 7002 and 8026 have the same 8 bits.
_CMSSW_BY_8_BITS = {
    low: tuple(code for code in _CMSSW_BY_CODE if code % _BITS_8 == low)
    for low in {code % _BITS_8 for code in _CMSSW_BY_CODE}
}

# Of the shell and of `timeout`: "Exit Status" in the manuals of bash and coreutils. CMSSW has no such codes.
_OTHER_CODES = {
    1: "ended with an error of its own, e.g. an uncaught exception in Python",
    2: "wrong use of a command",
    124: "stopped by `timeout`: it took too long",
    126: "the program could not be executed",
    127: "the program was not found",
}
_SIGNAL_MEANINGS = {
    signal.SIGHUP: "the terminal or the parent process ended",
    signal.SIGINT: "interrupted",
    signal.SIGQUIT: "quit on request",
    signal.SIGILL: "illegal instruction",
    signal.SIGTRAP: "trace or breakpoint trap",
    signal.SIGABRT: "aborted: failed assertion or uncaught exception",
    signal.SIGBUS: "bad memory access",
    signal.SIGFPE: "arithmetic error",
    signal.SIGKILL: "killed by HLTD, by a person, or because the machine was out of memory",
    signal.SIGSEGV: "segmentation violation",
    signal.SIGPIPE: "wrote to a pipe that nobody reads",
    signal.SIGALRM: "a timer expired",
    signal.SIGTERM: "terminated on request",
    signal.SIGXCPU: "more CPU time than allowed",
    signal.SIGXFSZ: "a file larger than allowed",
    signal.SIGSYS: "bad system call",
}


@dataclass(frozen=True, slots=True)
class ExitCode:
    """An exit code, the name of its signal (`SIGKILL`, or empty), and its meaning in words.

    `category` is the category of exceptions for which `cmsRun` has this code, or empty.
    """

    code: int
    name: str
    meaning: str
    category: str = ""

    def __str__(self) -> str:
        return f"{self.code} {self.name}".strip()


def describe(code: int) -> ExitCode:
    """An exit code in words; never fails."""
    if code == 0:
        return ExitCode(code, "", "finished normally")
    if code in _CMSSW_BY_CODE:
        return _cmssw_error(code, (code,))
    if code in _OTHER_CODES:
        return ExitCode(code, "", _OTHER_CODES[code])
    number = exit_signal(code)
    if number is not None:
        meaning = _SIGNAL_MEANINGS.get(number, "ended by a signal")
        return ExitCode(code, number.name, f"{number.name}: {meaning}")
    if code in _CMSSW_BY_8_BITS:
        return _cmssw_error(code, _CMSSW_BY_8_BITS[code])
    return ExitCode(code, "", "ended with an error of its own")


def exit_signal(code: int) -> signal.Signals | None:
    """The signal that ended a process, from −n or 128 + n; `None` for other codes."""
    number = -code if code < 0 else code - _SIGNAL_BASE
    try:
        return signal.Signals(number) if number > 0 else None
    except ValueError:
        return None


def _cmssw_error(code: int, candidates: tuple[int, ...]) -> ExitCode:
    errors = [f"{candidate}: {_CMSSW_BY_CODE[candidate][1]}" for candidate in candidates]
    category = _CMSSW_BY_CODE[candidates[0]][0] if len(candidates) == 1 else ""
    return ExitCode(code, "", f"CMSSW error {', or '.join(errors)}", category)
