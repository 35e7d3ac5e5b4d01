"""What the database keeps of a document, ready to be written: a row made of its record, series packed.

Rows are made apart from the database, where packing can go on beside it, and a document that does not fit
is found before a batch is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from dqm2.records import (
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    DocumentVersion,
    JobRecord,
    MemoryRecord,
    PlaybackRecord,
    Record,
)
from storage import codecs
from storage.downsampling import downsample
from storage.log_compression import ZstdDictionary

_Columns = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RunMetadata:
    """What a job's document says of its run."""

    run_key: str | None
    cmssw_version: str | None


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document of a type: the columns of the type's own table, and for a job those of its details.

    `run` is that of the document; `None` where it is the machine's rather than a run's.
    """

    type: DocumentType
    document: DocumentVersion
    columns: _Columns
    run: int | None = None
    details: _Columns | None = None
    run_metadata: RunMetadata | None = None


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    """A document that could not be understood; `reason` holds nothing sensitive."""

    identity: UUID
    revision: int
    document_type: str
    reason: str


def to_row(record: Record, dictionary: ZstdDictionary | None = None) -> DocumentRow:
    """The row of a record; a job's log is packed by the dictionary, if there is one."""
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


def _job(record: JobRecord, dictionary: ZstdDictionary | None) -> DocumentRow:
    is_over = record.exit_code is not None
    columns = {
        "run": record.run,
        "client": record.client,
        "started_at": record.started_at,
        "exit_code": record.exit_code,
        "cmssw_run": record.cmssw_run,
        "lumisection": record.lumisection,
        "lumisection_at": record.lumisection_at or record.document.updated_at,
        "lumisections_skipped": sum(fate.is_skipped for fate in record.input_statuses.statuses),
        "events_total": record.events_total,
        "events_rate": record.events_rate,
        "fi_state": record.fi_state,
        "rss_kb": record.rss_kb,
    }
    details = {
        "memory": codecs.pack_memory(downsample(record.memory) if is_over else record.memory),
        "events": codecs.pack_events(downsample(record.events) if is_over else record.events),
        "fates": codecs.pack_input_statuses(record.input_statuses),
        "log": codecs.pack_log(record.log, dictionary),
        "log_replaced": record.log.redactions,
    }
    facts = RunMetadata(record.run_key, record.cmssw_version)
    return DocumentRow(DocumentType.JOB, record.document, columns, record.run, details, facts)


def _delivery(record: DeliveryRecord) -> _Columns:
    return {
        "run": record.run,
        "global_start": record.global_start,
        "global_start_is_guess": record.global_start_is_guess,
        "lumisection_s": record.lumisection_s,
        "streams": codecs.pack_streams(record.streams),
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
