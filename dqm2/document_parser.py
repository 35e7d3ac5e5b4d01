"""Documents of DQM² become the mirror's records, and nothing of them but what the allowlist names.

The allowlist is `dqm2/allowlist.py`, field by field, each with the shape that it must have
(`dqm2/field_parsers.py`, `dqm2/series_parsers.py`). A value of another shape is left out
and told of; only a document that can't be identified is refused as a whole.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

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
from dqm2.pseudonyms import Pseudonymizer
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
from dqm2.redaction.redactor import Redacted, Redactor

T = TypeVar("T")

UNKNOWN_CLIENT = "unknown"
_NAMES_REMEMBERED = 4096


class InvalidDocument(Exception):
    """A document that can't be told from others; the message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document's record, and the fields whose value had, in whole or in part, another shape."""

    record: Record
    dropped_fields: tuple[str, ...]


class DocumentParser:
    """Lets of a document through what the data policy allows, under the identities of an installation."""

    def __init__(self, identities: Pseudonymizer, redactor: Redactor) -> None:
        self._identities = identities
        self._redactor = redactor
        # Names of clients and streams recur with every document.
        self._passes_redaction = lru_cache(_NAMES_REMEMBERED)(lambda name: redactor(name) == name)

    def parse(self, machine: str, document: object, *, now: datetime) -> ParsedDocument:
        """The record of a document that `machine` answered with; `now` bounds the times that it may tell.

        Raises InvalidDocument if it has no id, revision, time or type that is mirrored, or lacks the run that
        it is about.
        """
        if not isinstance(document, dict):
            raise InvalidDocument("no object")
        reading = _Reading(document, ParseContext(now, self._passes_redaction))
        record = self._record(machine, reading)
        return ParsedDocument(record, reading.dropped_fields)

    def _record(self, machine: str, reading: "_Reading") -> Record:
        document_type = reading.needed(CommonFields.TYPE)
        version = self._version(machine, reading)
        match document_type:
            case DocumentType.JOB:
                return self._job(version, reading)
            case DocumentType.DELIVERY:
                return _delivery(version, reading)
            case DocumentType.PLAYBACK:
                return _playback(version, reading)
            case DocumentType.MEMORY:
                return _memory(version, reading)
            case DocumentType.DISK:
                return _disk(version, reading)

    def _version(self, machine: str, reading: "_Reading") -> DocumentVersion:
        document_id = reading.needed(CommonFields.ID)
        revision = reading.needed(CommonFields.REVISION)
        updated_at = reading.take(CommonFields.TIMESTAMP) or reading.take(CommonFields.REPORT_TIMESTAMP)
        if updated_at is None:
            raise InvalidDocument(f"no usable {CommonFields.TIMESTAMP.path}")
        return DocumentVersion(self._identities.for_document(machine, document_id), revision, updated_at)

    def _job(self, version: DocumentVersion, reading: "_Reading") -> JobRecord:
        memory = reading.take(JobFields.MEMORY)
        events = reading.take(JobFields.EVENTS)
        first_s = [reports.first_s for reports in (memory, events) if reports]
        return JobRecord(
            document=version,
            run=reading.take(JobFields.RUN) or 0,
            client=reading.take(JobFields.CLIENT) or UNKNOWN_CLIENT,
            started_at=min(version.updated_at, *map(_utc, first_s)) if first_s else version.updated_at,
            exit_code=reading.take(JobFields.EXIT_CODE),
            run_key=reading.take(JobFields.RUN_KEY),
            cmssw_version=reading.take(JobFields.CMSSW_VERSION),
            cmssw_run=reading.take(JobFields.CMSSW_RUN),
            lumisection=reading.take(JobFields.LUMISECTION),
            lumisection_at=_utc(events.newest_s) if events else None,
            events_total=reading.take(JobFields.EVENTS_TOTAL),
            events_rate=reading.take(JobFields.EVENTS_RATE),
            fi_state=reading.take(JobFields.INPUT_STATE),
            rss_kb=reading.take(JobFields.RSS),
            memory=memory.series if memory else MemorySeries(),
            events=events.series if events else EventSeries(),
            input_statuses=reading.take(JobFields.INPUT_STATUSES) or InputStatuses(),
            log=self._log(reading),
        )

    def _log(self, reading: "_Reading") -> JobLog:
        head = self._redacted(reading.take(JobFields.HEAD))
        tail = self._redacted(reading.take(JobFields.TAIL))
        return JobLog(head.text, tail.text, head.replaced + tail.replaced)

    def _redacted(self, text: str | None) -> Redacted:
        return self._redactor.redact(text or "")


class _Reading:
    """One document being read: what was taken of it, and which fields had another shape."""

    def __init__(self, document: dict[object, object], context: ParseContext) -> None:
        self._document = document
        self._context = context
        self._dropped_fields: dict[str, None] = {}

    @property
    def dropped_fields(self) -> tuple[str, ...]:
        """The paths of the fields that were left out, in whole or in part."""
        return tuple(self._dropped_fields)

    def take(self, field: Field[T]) -> T | None:
        """The field's value; `None` if the document doesn't have it, or has it in another shape."""
        value = self._at(field)
        if value is None:
            return None
        taken = field.shape.read(value, self._context)
        if not taken.is_complete:
            self._dropped_fields[field.path] = None
        return taken.value

    def needed(self, field: Field[T]) -> T:
        """The field's value; raises InvalidDocument without it."""
        value = self.take(field)
        if value is None:
            raise InvalidDocument(f"no usable {field.path}")
        return value

    def _at(self, field: Field[T]) -> object:
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


def _delivery(version: DocumentVersion, reading: _Reading) -> DeliveryRecord:
    return DeliveryRecord(
        document=version,
        run=reading.needed(DeliveryFields.RUN),
        global_start=reading.take(DeliveryFields.START),
        global_start_is_guess=reading.take(DeliveryFields.START_SOURCE) is not StartSource.GLOBAL_FILE,
        lumisection_s=reading.take(DeliveryFields.LUMISECTION_LENGTH) or LUMISECTION_S,
        streams=reading.take(DeliveryFields.STREAMS) or (),
    )


def _playback(version: DocumentVersion, reading: _Reading) -> PlaybackRecord:
    return PlaybackRecord(
        document=version,
        run=reading.needed(PlaybackFields.RUN),
        state=reading.take(PlaybackFields.STATE),
        lumisection=reading.take(PlaybackFields.LUMISECTION),
        number_of_ls=reading.take(PlaybackFields.NUMBER_OF_LS),
        run_key=reading.take(PlaybackFields.RUN_KEY),
        source_run=reading.take(PlaybackFields.SOURCE_RUN),
    )


def _memory(version: DocumentVersion, reading: _Reading) -> MemoryRecord:
    available_kb = reading.take(MemoryFields.AVAILABLE)
    return MemoryRecord(
        document=version,
        total_bytes=reading.take(MemoryFields.TOTAL),
        used_bytes=reading.take(MemoryFields.USED),
        free_bytes=reading.take(MemoryFields.FREE),
        available_bytes=None if available_kb is None else available_kb * BYTES_PER_KB,
    )


def _disk(version: DocumentVersion, reading: _Reading) -> DiskRecord:
    return DiskRecord(
        document=version,
        total_bytes=reading.take(DiskFields.TOTAL),
        used_bytes=reading.take(DiskFields.USED),
        free_bytes=reading.take(DiskFields.FREE),
        files=reading.take(DiskFields.FILES),
    )
