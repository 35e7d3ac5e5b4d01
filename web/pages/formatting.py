"""How values are worded on pages: one way each for numbers, sizes, times, durations and exit codes.

Times are shown in the time zone of the experiment, with its abbreviation; scripts add UTC and the age
(`static/js/relative_time.js`).
"""

import signal
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from zoneinfo import ZoneInfo

from flask import Flask

from dqm2.records import InputStatuses, JobLog

ZONE = ZoneInfo("Europe/Zurich")
NOTHING = "–"
# A narrow space that no line breaks at: what SI puts between groups of digits and before units.
_SPACE = "\u202f"
_BYTES_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
_KIBI = 1024
_SIGNAL_BASE = 128
_LAST_LINES = 12

# cmsRun's own error codes (FWCore/Utilities/interface/EDMException.h) as the system cuts them to 8 bits.
_CMSSW_CODES = {
    code % 256: f"CMSSW error {code}: {meaning}"
    for code, meaning in {
        8001: "CMS exception",
        8002: "standard exception",
        8003: "unknown exception",
        8004: "out of memory (bad_alloc)",
        8005: "bad exception type",
        8006: "product not found",
        8007: "dictionary not found",
        8009: "configuration",
        8010: "logic error",
        8013: "null pointer",
        8016: "event corruption",
        8017: "schedule execution failure",
        8018: "event processor failure",
        8019: "file in path not found",
        8020: "file could not be opened",
        8021: "file could not be read",
        8022: "fatal ROOT error",
    }.items()
}
_SIGNAL_MEANINGS = {
    signal.SIGHUP: "its terminal or its parent went away",
    signal.SIGINT: "interrupted",
    signal.SIGILL: "illegal instruction",
    signal.SIGABRT: "gave up by itself: assertion, or uncaught exception",
    signal.SIGBUS: "bad memory access",
    signal.SIGFPE: "arithmetic error",
    signal.SIGKILL: "killed: by HLTD, by hand, or for want of memory",
    signal.SIGSEGV: "segmentation violation",
    signal.SIGPIPE: "wrote to a pipe that nobody reads",
    signal.SIGTERM: "told to end",
}


@dataclass(frozen=True, slots=True)
class ExitCode:
    """An exit code, the short name of what it stands for (`SIGKILL`; may be empty), and a sentence."""

    code: int
    name: str
    meaning: str

    def __str__(self) -> str:
        return f"{self.code} {self.name}".strip()


def init_app(app: Flask) -> None:
    """Gives templates the wordings as filters."""
    app.jinja_env.filters.update(
        number=number,
        short=short,
        rate=rate,
        seconds=seconds,
        size=size,
        kilobytes=kilobytes,
        duration=duration,
        iso=iso,
        unix_ms=unix_ms,
        clock=clock,
        day=day,
        moment=moment,
        minute=minute,
        exit_code=exit_code,
        skipped=skipped,
        last_lines=last_lines,
    )


def number(value: int | None) -> str:
    """A whole number in groups of three digits."""
    return NOTHING if value is None else f"{value:,}".replace(",", _SPACE)


def short(value: int | None) -> str:
    """A number in two or three digits and a letter for thousands and more: 0, 950, 12k, 1.2M."""
    if value is None:
        return NOTHING
    for letter, size_of_one in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if value >= size_of_one:
            times = value / size_of_one
            return f"{times:.1f}{letter}" if times < 10 else f"{times:.0f}{letter}"
    return str(value)


def rate(per_s: float | None) -> str:
    """A rate in 1/s, with as many digits as tell something."""
    if per_s is None:
        return NOTHING
    return f"{per_s:.1f}" if 0 < per_s < 100 else number(round(per_s))


def seconds(value: float | None) -> str:
    """A length of time in seconds, of which tenths matter."""
    return NOTHING if value is None else f"{value:.1f}"


def size(value: float | None) -> str:
    """A size in bytes with the unit that leaves one to four digits before the point."""
    if value is None:
        return NOTHING
    power = 0
    while value >= _KIBI and power < len(_BYTES_UNITS) - 1:
        value /= _KIBI
        power += 1
    digits = f"{value:.1f}" if power and value < 10 else f"{value:.0f}"
    return f"{digits}{_SPACE}{_BYTES_UNITS[power]}"


def kilobytes(value: int | None) -> str:
    """A size that is given in kB as the kernel means them (1024 bytes)."""
    return size(None if value is None else value * _KIBI)


def duration(span: timedelta) -> str:
    """A length of time in its two largest units; seconds only below an hour."""
    seconds = max(0, round(span.total_seconds()))
    days, rest = divmod(seconds, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, seconds = divmod(rest, 60)
    if days:
        return f"{days}{_SPACE}d {hours}{_SPACE}h"
    if hours:
        return f"{hours}{_SPACE}h {minutes}{_SPACE}min"
    if minutes:
        return f"{minutes}{_SPACE}min {seconds}{_SPACE}s"
    return f"{seconds}{_SPACE}s"


def iso(at: datetime) -> str:
    """A time in UTC as `<time datetime>` has it."""
    return at.strftime("%Y-%m-%dT%H:%M:%SZ")


def unix_ms(at: datetime) -> int:
    """A time as scripts compute with it, in unix milliseconds."""
    return round(at.timestamp() * 1000)


def clock(at: datetime) -> str:
    """The time of day, without its zone: for columns whose head names it."""
    return at.astimezone(ZONE).strftime("%H:%M:%S")


def day(at: datetime) -> str:
    """The day."""
    return f"{at.astimezone(ZONE):%d %b %Y}"


def moment(at: datetime) -> str:
    """Day and time with the zone's name, e.g. `15 Sep 2022 13:05:12 CEST`."""
    return f"{at.astimezone(ZONE):%d %b %Y %H:%M:%S %Z}"


def minute(at: datetime) -> str:
    """Day and minute, e.g. `15 Sep 13:05 CEST`: where little room is, and the whole time is at hand."""
    return f"{at.astimezone(ZONE):%d %b %H:%M %Z}"


def exit_code(code: int) -> ExitCode:
    """What an exit code says: a signal (negative, or 128 and more as shells have it) or an error of CMSSW."""
    if code == 0:
        return ExitCode(code, "", "finished as it should")
    number_of_signal = -code if code < 0 else code - _SIGNAL_BASE
    try:
        ended_by = signal.Signals(number_of_signal)
    except ValueError:
        return ExitCode(code, "", _CMSSW_CODES.get(code, "ended with an error of its own"))
    meaning = _SIGNAL_MEANINGS.get(ended_by, "ended by a signal")
    return ExitCode(code, ended_by.name, f"{ended_by.name}: {meaning}")


def skipped(fates: InputStatuses) -> str:
    """The lumisections whose input was skipped, neighbours together: `12, 40–52`."""
    numbers = [ls for ls, fate in zip(fates.lumisections, fates.statuses, strict=True) if fate.is_skipped]
    # Numbers that follow each other are equally far from their places in the list.
    together = groupby(enumerate(numbers), key=lambda placed: placed[1] - placed[0])
    ranges = [[ls for _, ls in placed] for _, placed in together]
    return ", ".join(str(ls[0]) if len(ls) == 1 else f"{ls[0]}–{ls[-1]}" for ls in ranges)


def last_lines(log: JobLog) -> str:
    """The last lines of a log."""
    return "\n".join(log.tail.rstrip("\n").split("\n")[-_LAST_LINES:])
