"""Rows of parsed documents, and the batches in which a machine's documents are written.

Rows are built without a database connection: series are packed in parallel with writes, and a document that
can't be stored is found before its batch is written.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

from dqm2 import log_templates
from dqm2.log_templates import Templates
from dqm2.records import (
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    DocumentVersion,
    EventSeries,
    InputStatus,
    JobRecord,
    MemoryRecord,
    MemorySeries,
    PlaybackRecord,
    Record,
)
from storage import codecs, crash_groups, log_findings
from storage.crash_groups import CrashGroup
from storage.delivery_statistics import summarize
from storage.log_compression import ZstdDictionary

# Points kept of each series of a finished job: as many as its graph can show.
MAX_POINTS = 240

_SKIPPED = [status for status in InputStatus if status.is_skipped]

_Columns = Mapping[str, Any]
Series = TypeVar("Series", MemorySeries, EventSeries)


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """Facts about a run that its jobs' documents carry."""

    run_key: str | None
    cmssw_version: str | None


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document ready to be written: the columns of its type's table, and what else is stored of a job.

    `run` is `None` for documents of a machine rather than of a run. `templates` are those of the log of a job
    that has ended.
    """

    type: DocumentType
    document: DocumentVersion
    columns: _Columns
    run: int | None = None
    details: _Columns | None = None
    run_metadata: RunMetadata | None = None
    crash_group: CrashGroup | None = None
    templates: Templates | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    """A document that could not be parsed or stored; `reason` contains nothing sensitive."""

    identity: UUID
    revision: int
    document_type: str
    reason: str


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """Sync position of a machine: all its documents up to (epoch, revision) are stored.

    `last_document` is the document at that position; `last_document_at` is the time of its stored version,
    `None` if it has none.
    """

    epoch: int
    revision: int | None
    last_document: UUID | None
    last_document_at: datetime | None = None

    def next_epoch(self) -> "Checkpoint":
        """Start of a new epoch: the machine's revisions started over."""
        return Checkpoint(self.epoch + 1, None, None)


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of one machine and the machine's checkpoint once they are written.

    `clock_at` is the machine's own clock, i.e. the time of its newest document; `None` if the batch does not
    contain it. `dropped_fields` names a field once for each document in which all or part of its value was
    rejected. `is_caught_up`: no further document of the machine is known.
    """

    machine_id: int
    checkpoint: Checkpoint
    clock_at: datetime | None
    rows: Sequence[DocumentRow]
    quarantined: Sequence[QuarantinedDocument] = ()
    dropped_fields: Sequence[str] = ()
    is_caught_up: bool = False


def to_row(record: Record, dictionary: ZstdDictionary | None = None) -> DocumentRow:
    """Row of a record; a job's log is compressed with the dictionary, if there is one."""
    match record:
        case JobRecord():
            return _job(record, dictionary)
        case DeliveryRecord():
            return DocumentRow(DocumentType.DELIVERY, record.document, _delivery(record), run=record.run)
        case PlaybackRecord():
            return DocumentRow(DocumentType.PLAYBACK, record.document, _playback(record), run=record.run)
        case MemoryRecord():
            return DocumentRow(DocumentType.MEMORY, record.document, _memory(record))
        case DiskRecord():
            return DocumentRow(DocumentType.DISK, record.document, _disk(record))


def downsample(series: Series) -> Series:
    """At most `MAX_POINTS` points of a series, evenly spaced, including the first and the last."""
    columns: list[Sequence[int]] = [getattr(series, field.name) for field in fields(series)]
    last = len(columns[0]) - 1
    if last < MAX_POINTS:
        return series
    kept = [round(point * last / (MAX_POINTS - 1)) for point in range(MAX_POINTS)]
    return type(series)(*([column[at] for at in kept] for column in columns))


def _job(record: JobRecord, dictionary: ZstdDictionary | None) -> DocumentRow:
    is_finished = record.exit_code is not None
    group = crash_groups.group_of(record.client, record.exit_code, record.crash)
    columns = {
        "run": record.run,
        "client": record.client,
        "started_at": record.started_at,
        "exit_code": record.exit_code,
        "cmssw_run": record.cmssw_run,
        "lumisection": record.lumisection,
        "lumisection_at": record.lumisection_at or record.document.updated_at,
        "lumisections_skipped": sum(map(record.input_statuses.statuses.count, _SKIPPED)),
        "events_total": record.events_total,
        "events_rate": record.events_rate,
        "fi_state": record.fi_state,
        "rss_kb": record.rss_kb,
        **log_findings.columns(record.crash, record.errors, group),
    }
    details = {
        "memory": codecs.pack_memory(downsample(record.memory) if is_finished else record.memory),
        "events": codecs.pack_events(downsample(record.events) if is_finished else record.events),
        "input_statuses": codecs.pack_input_statuses(record.input_statuses),
        "log": codecs.pack_log(record.log, dictionary),
        "log_redactions": record.log.redactions,
    }
    metadata = RunMetadata(record.run_key, record.cmssw_version)
    # Once per job, not for each of its reports.
    templates = log_templates.templates(record.log, record.errors, record.crash) if is_finished else None
    return DocumentRow(
        DocumentType.JOB, record.document, columns, record.run, details, metadata, group, templates
    )


def _delivery(record: DeliveryRecord) -> _Columns:
    return {
        "run": record.run,
        "global_start": record.global_start,
        "global_start_is_guess": record.global_start_is_guess,
        "lumisection_s": record.lumisection_s,
        "streams": codecs.pack_streams(record.streams),
        **asdict(summarize(record)),
        "statistics_revision": record.document.revision,
    }


def _playback(record: PlaybackRecord) -> _Columns:
    return {
        "run": record.run,
        "state": record.state,
        "lumisection": record.lumisection,
        "number_of_ls": record.number_of_ls,
        "run_key": record.run_key,
        "source_run": record.source_run,
    }


def _memory(record: MemoryRecord) -> _Columns:
    return {
        "total_bytes": record.total_bytes,
        "used_bytes": record.used_bytes,
        "free_bytes": record.free_bytes,
        "available_bytes": record.available_bytes,
    }


def _disk(record: DiskRecord) -> _Columns:
    return {
        "total_bytes": record.total_bytes,
        "used_bytes": record.used_bytes,
        "free_bytes": record.free_bytes,
        "files": record.files,
    }
