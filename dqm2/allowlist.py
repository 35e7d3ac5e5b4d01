"""The allowlist itself: every field of a document that may leave P5, its shape, and what becomes of it.

What is not named here does not get past `dqm2/document_parser.py`. `python -m dqm2.allowlist` prints the
table in docs/data-policy.md; a test holds the two together.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from dqm2 import field_parsers, job_log, series_parsers
from dqm2.field_parsers import FieldParser, word_of
from dqm2.records import (
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
    shape: FieldParser[T]
    becomes: tuple[str, ...]

    @property
    def keys(self) -> list[str]:
        """The path's steps."""
        return self.path.split(".")


class CommonFields:
    """What every document is known by; one without them can't be identified."""

    ID = Field("_id", field_parsers.DOCUMENT_ID, ("document",))
    REVISION = Field("_rev", field_parsers.COUNT, ("document",))
    TYPE = Field("type", word_of(DocumentType), ("document",))
    TIMESTAMP = Field("timestamp", field_parsers.TIME, ("document", "started_at"))
    REPORT_TIMESTAMP = Field("report_timestamp", field_parsers.TIME, ("document", "started_at"))


class JobFields:
    """`dqm-source-state`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    CLIENT = Field("tag", field_parsers.NAME, ("client",))
    EXIT_CODE = Field("exit_code", field_parsers.EXIT_CODE, ("exit_code",))
    RUN_KEY = Field("cmdline", field_parsers.RUN_KEY_ARGUMENT, ("run_key",))
    CMSSW_VERSION = Field("cmdline", field_parsers.CMSSW_VERSION, ("cmssw_version",))
    CMSSW_RUN = Field("cmssw_run", field_parsers.RUN, ("cmssw_run",))
    LUMISECTION = Field("cmssw_lumi", field_parsers.LUMISECTION, ("lumisection",))
    EVENTS_TOTAL = Field("events_total", field_parsers.COUNT, ("events_total",))
    EVENTS_RATE = Field("events_rate", field_parsers.RATE, ("events_rate",))
    INPUT_STATE = Field("fi_state", field_parsers.INPUT_STATE, ("fi_state",))
    RSS = Field("extra.ps_info.VmRSS", field_parsers.JOB_KILOBYTES, ("rss_kb",))
    MEMORY = Field("extra.mem_info", series_parsers.MEMORY, ("memory", "started_at"))
    EVENTS = Field("extra.lumi_stats", series_parsers.EVENTS, ("events", "lumisection_at", "started_at"))
    INPUT_STATUSES = Field("extra.lumi_seen", series_parsers.INPUT_STATUSES, ("input_statuses",))
    HEAD = Field("extra.stdlog_start", job_log.HEAD, ("log",))
    TAIL = Field("extra.stdlog_end", job_log.TAIL, ("log",))


class DeliveryFields:
    """`dqm-files`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    START = Field("extra.global_start", field_parsers.TIME, ("global_start",))
    START_SOURCE = Field("extra.global_start_source", word_of(StartSource), ("global_start_is_guess",))
    LUMISECTION_LENGTH = Field("extra.lumi", field_parsers.LUMISECTION_LENGTH, ("lumisection_s",))
    STREAMS = Field("extra.streams", series_parsers.STREAMS, ("streams",))


class PlaybackFields:
    """`dqm-playback`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    STATE = Field("state", word_of(SimulatorState), ("state",))
    LUMISECTION = Field("ls", field_parsers.LUMISECTION, ("lumisection",))
    NUMBER_OF_LS = Field("config.number_of_ls", field_parsers.LUMISECTION, ("number_of_ls",))
    RUN_KEY = Field("config.run_key", field_parsers.RUN_KEY, ("run_key",))
    SOURCE_RUN = Field("config.source", field_parsers.SOURCE_RUN, ("source_run",))


class MemoryFields:
    """`dqm-stats`"""

    TOTAL = Field("memory_total", field_parsers.COUNT, ("total_bytes",))
    USED = Field("memory_used", field_parsers.COUNT, ("used_bytes",))
    FREE = Field("memory_free", field_parsers.COUNT, ("free_bytes",))
    AVAILABLE = Field("extra.meminfo.MemAvailable", field_parsers.MACHINE_KILOBYTES, ("available_bytes",))


class DiskFields:
    """`dqm-diskspace`"""

    TOTAL = Field("disk_total", field_parsers.BYTES, ("total_bytes",))
    USED = Field("disk_used", field_parsers.BYTES, ("used_bytes",))
    FREE = Field("disk_free", field_parsers.BYTES, ("free_bytes",))
    FILES = Field("extra.file_count", field_parsers.COUNT, ("files",))


# Which fields a record is made of, besides those of every document.
FIELDS_BY_RECORD: Mapping[type, type] = {
    JobRecord: JobFields,
    DeliveryRecord: DeliveryFields,
    PlaybackRecord: PlaybackFields,
    MemoryRecord: MemoryFields,
    DiskRecord: DiskFields,
}


def fields_of(table: type) -> Iterator[Field[Any]]:
    """The fields of one of the tables above, in their order."""
    return (value for value in vars(table).values() if isinstance(value, Field))


def markdown_table() -> str:
    """The allowlist as docs/data-policy.md shows it."""
    lines = ["| document | field | shape | becomes |", "|---|---|---|---|"]
    for table, document in (
        (CommonFields, "every"),
        *((table, table.__doc__) for table in FIELDS_BY_RECORD.values()),
    ):
        for field in fields_of(table):
            becomes = ", ".join(f"`{name}`" for name in field.becomes)
            lines.append(f"| {document} | `{field.path}` | {field.shape.words} | {becomes} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
