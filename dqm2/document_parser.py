"""Parser of DQM² documents: turns a document into a typed record that holds only allowlisted fields.

The allowlist is `dqm2/allowlist.py`; each field has a parser in `dqm2/field_parsers.py` or
`dqm2/series_parsers.py`. A value that its parser rejects is dropped and reported by its path. Only a document
that can't be identified is rejected as a whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar
from uuid import UUID

from dqm2 import crash_reasons
from dqm2.allowlist import (
    CommonFields,
    DeliveryFields,
    DiskFields,
    Field,
    JobFields,
    MemoryFields,
    PlaybackFields,
    StartSource,
)
from dqm2.field_parsers import BYTES_PER_KB, ParseContext
from dqm2.records import (
    LUMISECTION_S,
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    DocumentVersion,
    EventSeries,
    InputStatuses,
    JobLog,
    JobRecord,
    MemoryRecord,
    MemorySeries,
    PlaybackRecord,
    Record,
)
from dqm2.redaction.redactor import RedactedText, Redactor

T = TypeVar("T")

UNKNOWN_CLIENT = "unknown"
_NAME_CACHE_SIZE = 4096


class InvalidDocument(Exception):
    """Raised for a document that can't be identified; the message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """Record of a document, and the names of the fields of which all or a part was dropped."""

    record: Record
    dropped_fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RedactedLog:
    """Log of a job, and the names of its fields of which all or a part was dropped."""

    log: JobLog
    dropped_fields: tuple[str, ...]


class DocumentParser:
    """Applies the allowlist to documents and redacts their text. Safe for use by several threads."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        # Client and stream names recur in every document.
        self._is_unredacted = lru_cache(_NAME_CACHE_SIZE)(lambda name: redactor(name) == name)

    def redact_log(self, document: object, *, now: datetime) -> RedactedLog | None:
        """The redacted log of a job's document, to be passed to `parse`; `None` for other documents."""
        if not isinstance(document, dict) or document.get(CommonFields.TYPE.path) != DocumentType.JOB:
            return None
        reader = _FieldReader(document, ParseContext(now, self._is_unredacted))
        return self._log(reader)

    def parse(
        self, document: object, identity: UUID, log: RedactedLog | None = None, *, now: datetime
    ) -> ParsedDocument:
        """Parse a document that is stored under the keyed hash `identity`; `log` saves redacting it again.

        `now` bounds the times that are accepted. Raises InvalidDocument without an id, a revision, a time, a
        mirrored type or, in the documents of a run, the run.
        """
        if not isinstance(document, dict):
            raise InvalidDocument("no object")
        reader = _FieldReader(document, ParseContext(now, self._is_unredacted))
        record = self._record(reader, identity, log)
        return ParsedDocument(record, reader.dropped_fields)

    def _record(self, reader: "_FieldReader", identity: UUID, log: RedactedLog | None) -> Record:
        document_type = reader.require(CommonFields.TYPE)
        version = _version(reader, identity)
        match document_type:
            case DocumentType.JOB:
                return self._job(version, reader, log or self._log(reader))
            case DocumentType.DELIVERY:
                return _delivery(version, reader)
            case DocumentType.PLAYBACK:
                return _playback(version, reader)
            case DocumentType.MEMORY:
                return _memory(version, reader)
            case DocumentType.DISK:
                return _disk(version, reader)

    def _job(self, version: DocumentVersion, reader: "_FieldReader", redacted: RedactedLog) -> JobRecord:
        memory = reader.get(JobFields.MEMORY)
        events = reader.get(JobFields.EVENTS)
        first_s = [reports.first_s for reports in (memory, events) if reports]
        exit_code = reader.get(JobFields.EXIT_CODE)
        log = redacted.log
        reader.drop(redacted.dropped_fields)
        findings = crash_reasons.analyze(log, exit_code)
        return JobRecord(
            document=version,
            run=reader.get(JobFields.RUN) or 0,
            client=reader.get(JobFields.CLIENT) or UNKNOWN_CLIENT,
            started_at=min(version.updated_at, *map(_utc, first_s)) if first_s else version.updated_at,
            exit_code=exit_code,
            run_key=reader.get(JobFields.RUN_KEY),
            cmssw_version=reader.get(JobFields.CMSSW_VERSION),
            cmssw_run=reader.get(JobFields.CMSSW_RUN),
            lumisection=reader.get(JobFields.LUMISECTION),
            lumisection_at=_utc(events.newest_s) if events else None,
            events_total=reader.get(JobFields.EVENTS_TOTAL),
            events_rate=reader.get(JobFields.EVENTS_RATE),
            fi_state=reader.get(JobFields.INPUT_STATE),
            rss_kb=reader.get(JobFields.RSS),
            memory=memory.series if memory else MemorySeries(),
            events=events.series if events else EventSeries(),
            input_statuses=reader.get(JobFields.INPUT_STATUSES) or InputStatuses(),
            log=log,
            crash=findings.crash,
            errors=findings.errors,
        )

    def _log(self, reader: "_FieldReader") -> RedactedLog:
        head = self._redact(reader.get(JobFields.LOG_HEAD))
        tail = self._redact(reader.get(JobFields.LOG_TAIL))
        log = JobLog(head.text, tail.text, head.redactions + tail.redactions)
        return RedactedLog(log, reader.dropped_fields)

    def _redact(self, text: str | None) -> RedactedText:
        return self._redactor.redact(text or "")


class _FieldReader:
    """Reads fields of one document and collects the paths of those that were dropped."""

    def __init__(self, document: dict[object, object], context: ParseContext) -> None:
        self._document = document
        self._context = context
        self._dropped_fields: dict[str, None] = {}

    @property
    def dropped_fields(self) -> tuple[str, ...]:
        """Names of the fields that were dropped, in whole or in part."""
        return tuple(self._dropped_fields)

    def drop(self, names: Iterable[str]) -> None:
        """Count fields as dropped that were read before."""
        self._dropped_fields.update(dict.fromkeys(names))

    def get(self, field: Field[T]) -> T | None:
        """Value of a field; `None` if it is missing or dropped."""
        value = self._lookup(field)
        if value is None:
            return None
        result = field.parser.parse(value, self._context)
        if not result.is_complete:
            self._dropped_fields[field.name] = None
        return result.value

    def require(self, field: Field[T]) -> T:
        """Value of a field. Raises InvalidDocument if it is missing or dropped."""
        value = self.get(field)
        if value is None:
            raise InvalidDocument(f"no usable {field.path}")
        return value

    def _lookup(self, field: Field[T]) -> object:
        holder: object = self._document
        for depth, key in enumerate(field.keys):
            if holder is None:
                return None
            if not isinstance(holder, dict):
                self._dropped_fields[".".join(field.keys[:depth])] = None
                return None
            holder = holder.get(key)
        return holder


def _utc(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _version(reader: _FieldReader, identity: UUID) -> DocumentVersion:
    reader.require(CommonFields.ID)
    revision = reader.require(CommonFields.REVISION)
    updated_at = reader.get(CommonFields.TIMESTAMP) or reader.get(CommonFields.REPORT_TIMESTAMP)
    if updated_at is None:
        raise InvalidDocument(f"no usable {CommonFields.TIMESTAMP.path}")
    return DocumentVersion(identity, revision, updated_at)


def _delivery(version: DocumentVersion, reader: _FieldReader) -> DeliveryRecord:
    return DeliveryRecord(
        document=version,
        run=reader.require(DeliveryFields.RUN),
        global_start=reader.get(DeliveryFields.START),
        global_start_is_guess=reader.get(DeliveryFields.START_SOURCE) is StartSource.FIRST_LUMI,
        lumisection_s=reader.get(DeliveryFields.LUMISECTION_LENGTH) or LUMISECTION_S,
        streams=reader.get(DeliveryFields.STREAMS) or (),
    )


def _playback(version: DocumentVersion, reader: _FieldReader) -> PlaybackRecord:
    return PlaybackRecord(
        document=version,
        run=reader.require(PlaybackFields.RUN),
        state=reader.get(PlaybackFields.STATE),
        lumisection=reader.get(PlaybackFields.LUMISECTION),
        number_of_ls=reader.get(PlaybackFields.NUMBER_OF_LS),
        run_key=reader.get(PlaybackFields.RUN_KEY),
        source_run=reader.get(PlaybackFields.SOURCE_RUN),
    )


def _memory(version: DocumentVersion, reader: _FieldReader) -> MemoryRecord:
    available_kb = reader.get(MemoryFields.AVAILABLE)
    return MemoryRecord(
        document=version,
        total_bytes=reader.get(MemoryFields.TOTAL),
        used_bytes=reader.get(MemoryFields.USED),
        free_bytes=reader.get(MemoryFields.FREE),
        available_bytes=None if available_kb is None else available_kb * BYTES_PER_KB,
    )


def _disk(version: DocumentVersion, reader: _FieldReader) -> DiskRecord:
    return DiskRecord(
        document=version,
        total_bytes=reader.get(DiskFields.TOTAL),
        used_bytes=reader.get(DiskFields.USED),
        free_bytes=reader.get(DiskFields.FREE),
        files=reader.get(DiskFields.FILES),
    )
