"""Allowlist of document fields that may leave P5, each with its parser and the record fields made from it.

A field that is not listed here is never read. `python -m dqm2.allowlist` prints the table of
docs/data-policy.md; a test compares the two.
"""

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from dqm2 import field_parsers, series_parsers
from dqm2.field_parsers import FieldParser, enum_value
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
    """Source of a run's start time in DQM²; from the first lumisection it is a guess. It may be absent."""

    GLOBAL_FILE = "global_file"
    FIRST_LUMI = "first_lumi"


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """Field of a document: dotted path (`extra.mem_info`), parser, and the record fields made from it.

    `part` names the part of the field's value, if there are several.
    """

    path: str
    parser: FieldParser[T]
    record_fields: tuple[str, ...]
    part: str = ""

    @property
    def name(self) -> str:
        """Name under which dropped values are counted."""
        return f"{self.path} ({self.part})" if self.part else self.path

    @property
    def keys(self) -> list[str]:
        """Keys of the path, outermost first."""
        return self.path.split(".")


class CommonFields:
    """Fields of every document; they identify it."""

    ID = Field("_id", field_parsers.DOCUMENT_ID, ("document",))
    REVISION = Field("_rev", field_parsers.COUNT, ("document",))
    TYPE = Field("type", enum_value(DocumentType), ("document",))
    TIMESTAMP = Field("timestamp", field_parsers.TIME, ("document", "started_at"))
    REPORT_TIMESTAMP = Field("report_timestamp", field_parsers.TIME, ("document", "started_at"))


class JobFields:
    """`dqm-source-state`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    CLIENT = Field("tag", field_parsers.NAME, ("client",))
    EXIT_CODE = Field("exit_code", field_parsers.EXIT_CODE, ("exit_code", "crash"))
    RUN_KEY = Field("cmdline", field_parsers.RUN_KEY_ARGUMENT, ("run_key",), "run key")
    CMSSW_VERSION = Field("cmdline", field_parsers.CMSSW_VERSION, ("cmssw_version",), "CMSSW version")
    CMSSW_RUN = Field("cmssw_run", field_parsers.RUN, ("cmssw_run",))
    LUMISECTION = Field("cmssw_lumi", field_parsers.LUMISECTION, ("lumisection",))
    EVENTS_TOTAL = Field("events_total", field_parsers.COUNT, ("events_total",))
    EVENTS_RATE = Field("events_rate", field_parsers.RATE, ("events_rate",))
    INPUT_STATE = Field("fi_state", field_parsers.INPUT_STATE, ("fi_state",))
    RSS = Field("extra.ps_info.VmRSS", field_parsers.JOB_KILOBYTES, ("rss_kb",))
    MEMORY = Field("extra.mem_info", series_parsers.MEMORY, ("memory", "started_at"))
    EVENTS = Field("extra.lumi_stats", series_parsers.EVENTS, ("events", "lumisection_at", "started_at"))
    INPUT_STATUSES = Field("extra.lumi_seen", series_parsers.INPUT_STATUSES, ("input_statuses",))
    LOG_HEAD = Field("extra.stdlog_start", series_parsers.LOG_HEAD, ("log", "crash", "errors"))
    LOG_TAIL = Field("extra.stdlog_end", series_parsers.LOG_TAIL, ("log", "crash", "errors"))


class DeliveryFields:
    """`dqm-files`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    START = Field("extra.global_start", field_parsers.TIME, ("global_start",))
    START_SOURCE = Field("extra.global_start_source", enum_value(StartSource), ("global_start_is_guess",))
    LUMISECTION_LENGTH = Field("extra.lumi", field_parsers.LUMISECTION_LENGTH, ("lumisection_s",))
    STREAMS = Field("extra.streams", series_parsers.STREAMS, ("streams",))


class PlaybackFields:
    """`dqm-playback`"""

    RUN = Field("run", field_parsers.RUN, ("run",))
    STATE = Field("state", enum_value(SimulatorState), ("state",))
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


# In addition to CommonFields, which every record is made from.
FIELDS_BY_RECORD: Mapping[type, type] = {
    JobRecord: JobFields,
    DeliveryRecord: DeliveryFields,
    PlaybackRecord: PlaybackFields,
    MemoryRecord: MemoryFields,
    DiskRecord: DiskFields,
}


def fields_of(table: type) -> Iterator[Field[Any]]:
    """Fields of one of the classes above, in order."""
    return (value for value in vars(table).values() if isinstance(value, Field))


def markdown_table() -> str:
    """The allowlist as the table of docs/data-policy.md."""
    lines = ["| document | field | accepted value | record field |", "|---|---|---|---|"]
    tables = ((CommonFields, "every"), *((table, table.__doc__) for table in FIELDS_BY_RECORD.values()))
    for table, document in tables:
        for field in fields_of(table):
            names = ", ".join(f"`{name}`" for name in field.record_fields)
            lines.append(f"| {document} | `{field.path}` | {field.parser.description} | {names} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(markdown_table())
