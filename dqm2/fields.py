"""The allowlist itself: every field of a document that may leave P5, its shape, and what becomes of it.

What is not named here does not get past `dqm2/documents.py`. `python -m dqm2.fields` prints the table that
stands in docs/data-policy.md; a test holds the two together.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from dqm2 import job_log, series, shapes
from dqm2.shapes import Shape, word_of
from mirror.records import (
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    JobRecord,
    MemoryRecord,
    PlaybackRecord,
    SimulatorState,
)

T = TypeVar("T")


class StartSource(StrEnum):
    """Where DQM² has the start of a run from; without the global file it is a guess."""

    GLOBAL_FILE = "global_file"
    FIRST_LUMI = "first_lumi"


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """A field of a document by its path (`extra.mem_info`), and the record's fields that are made of it."""

    path: str
    shape: Shape[T]
    becomes: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """The path's steps."""
        return self.path.split(".")


class Every:
    """What every document is known by; one without them can't be identified."""

    ID = Field("_id", shapes.DOCUMENT_ID, ("origin",))
    REVISION = Field("_rev", shapes.COUNT, ("origin",))
    TYPE = Field("type", word_of(DocumentType), ("origin",))
    TIMESTAMP = Field("timestamp", shapes.TIME, ("origin", "started_at"))
    REPORT_TIMESTAMP = Field("report_timestamp", shapes.TIME, ("origin", "started_at"))


class Job:
    """`dqm-source-state`"""

    RUN = Field("run", shapes.RUN, ("run",))
    CLIENT = Field("tag", shapes.NAME, ("client",))
    EXIT_CODE = Field("exit_code", shapes.EXIT_CODE, ("exit_code",))
    RUN_KEY = Field("cmdline", shapes.RUN_KEY_ARGUMENT, ("run_key",))
    CMSSW_VERSION = Field("cmdline", shapes.CMSSW_VERSION, ("cmssw_version",))
    CMSSW_RUN = Field("cmssw_run", shapes.RUN, ("cmssw_run",))
    LUMISECTION = Field("cmssw_lumi", shapes.LUMISECTION, ("lumisection",))
    EVENTS_TOTAL = Field("events_total", shapes.COUNT, ("events_total",))
    EVENTS_RATE = Field("events_rate", shapes.RATE, ("events_rate",))
    INPUT_STATE = Field("fi_state", shapes.INPUT_STATE, ("fi_state",))
    RSS = Field("extra.ps_info.VmRSS", shapes.JOB_KILOBYTES, ("rss_kb",))
    MEMORY = Field("extra.mem_info", series.MEMORY, ("memory", "started_at"))
    EVENTS = Field("extra.lumi_stats", series.EVENTS, ("events", "lumisection_at", "started_at"))
    FATES = Field("extra.lumi_seen", series.FATES, ("fates",))
    HEAD = Field("extra.stdlog_start", job_log.HEAD, ("log",))
    TAIL = Field("extra.stdlog_end", job_log.TAIL, ("log",))


class Delivery:
    """`dqm-files`"""

    RUN = Field("run", shapes.RUN, ("run",))
    START = Field("extra.global_start", shapes.TIME, ("global_start",))
    START_SOURCE = Field("extra.global_start_source", word_of(StartSource), ("global_start_is_guess",))
    LUMISECTION_LENGTH = Field("extra.lumi", shapes.LUMISECTION_LENGTH, ("lumisection_s",))
    STREAMS = Field("extra.streams", series.STREAMS, ("streams",))


class Playback:
    """`dqm-playback`"""

    RUN = Field("run", shapes.RUN, ("run",))
    STATE = Field("state", word_of(SimulatorState), ("state",))
    LUMISECTION = Field("ls", shapes.LUMISECTION, ("lumisection",))
    NUMBER_OF_LS = Field("config.number_of_ls", shapes.LUMISECTION, ("number_of_ls",))
    RUN_KEY = Field("config.run_key", shapes.RUN_KEY, ("run_key",))
    SOURCE_RUN = Field("config.source", shapes.SOURCE_RUN, ("source_run",))


class Memory:
    """`dqm-stats`"""

    TOTAL = Field("memory_total", shapes.COUNT, ("total_bytes",))
    USED = Field("memory_used", shapes.COUNT, ("used_bytes",))
    FREE = Field("memory_free", shapes.COUNT, ("free_bytes",))
    AVAILABLE = Field("extra.meminfo.MemAvailable", shapes.MACHINE_KILOBYTES, ("available_bytes",))


class Disk:
    """`dqm-diskspace`"""

    TOTAL = Field("disk_total", shapes.BYTES, ("total_bytes",))
    USED = Field("disk_used", shapes.BYTES, ("used_bytes",))
    FREE = Field("disk_free", shapes.BYTES, ("free_bytes",))
    FILES = Field("extra.file_count", shapes.COUNT, ("files",))


# Which fields a record is made of, besides those of every document.
RECORDS: Mapping[type, type] = {
    JobRecord: Job,
    DeliveryRecord: Delivery,
    PlaybackRecord: Playback,
    MemoryRecord: Memory,
    DiskRecord: Disk,
}


def fields_of(table: type) -> Iterator[Field[Any]]:
    """The fields of one of the tables above, in their order."""
    return (value for value in vars(table).values() if isinstance(value, Field))


def markdown_table() -> str:
    """The allowlist as docs/data-policy.md shows it."""
    lines = ["| document | field | shape | becomes |", "|---|---|---|---|"]
    for table, document in ((Every, "every"), *((table, table.__doc__) for table in RECORDS.values())):
        for field in fields_of(table):
            becomes = ", ".join(f"`{name}`" for name in field.becomes)
            lines.append(f"| {document} | `{field.path}` | {field.shape.words} | {becomes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
