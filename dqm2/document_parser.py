"""Documents of DQM² become the mirror's records, and nothing of them but what the allowlist names.

The allowlist is `dqm2/allowlist.py`, field by field, each with the shape that it must have
(`dqm2/field_parsers.py`, `dqm2/series_parsers.py`). A value of another shape is left out
and told of; only a document that can't be identified is refused as a whole.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import TypeVar

from dqm2.allowlist import Delivery, Disk, Every, Field, Job, Memory, Playback, StartSource
from dqm2.field_parsers import BYTES_A_KILOBYTE, Circumstances
from dqm2.pseudonyms import Identities
from dqm2.records import (
    LUMISECTION_S,
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    EventSeries,
    InputFates,
    JobRecord,
    Log,
    MemoryRecord,
    MemorySeries,
    Origin,
    PlaybackRecord,
    Record,
)
from dqm2.redaction.redactor import Redacted, Redactor

T = TypeVar("T")

UNKNOWN = "unknown"
_NAMES_REMEMBERED = 4096


class Unidentifiable(Exception):
    """A document that can't be told from others; the message quotes nothing of it."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """A document's record, and the fields whose value had, in whole or in part, another shape."""

    record: Record
    left_out: tuple[str, ...]


class Allowlist:
    """Lets of a document through what the data policy allows, under the identities of an installation."""

    def __init__(self, identities: Identities, redactor: Redactor) -> None:
        self._identities = identities
        self._redactor = redactor
        # Names of clients and streams recur with every document.
        self._is_left_by_redaction = lru_cache(_NAMES_REMEMBERED)(lambda name: redactor(name) == name)

    def record(self, machine: str, document: object, *, now: datetime) -> Admitted:
        """The record of a document that `machine` answered with; `now` bounds the times that it may tell.

        Raises Unidentifiable if it has no id, revision, time or type that is mirrored, or lacks the run that
        it is about.
        """
        if not isinstance(document, dict):
            raise Unidentifiable("no object")
        reading = _Reading(document, Circumstances(now, self._is_left_by_redaction))
        record = self._record(machine, reading)
        return Admitted(record, reading.left_out)

    def _record(self, machine: str, reading: "_Reading") -> Record:
        document_type = reading.needed(Every.TYPE)
        origin = self._origin(machine, reading)
        match document_type:
            case DocumentType.JOB:
                return self._job(origin, reading)
            case DocumentType.DELIVERY:
                return _delivery(origin, reading)
            case DocumentType.PLAYBACK:
                return _playback(origin, reading)
            case DocumentType.MEMORY:
                return _memory(origin, reading)
            case DocumentType.DISK:
                return _disk(origin, reading)

    def _origin(self, machine: str, reading: "_Reading") -> Origin:
        document_id = reading.needed(Every.ID)
        revision = reading.needed(Every.REVISION)
        updated_at = reading.take(Every.TIMESTAMP) or reading.take(Every.REPORT_TIMESTAMP)
        if updated_at is None:
            raise Unidentifiable(f"no usable {Every.TIMESTAMP.path}")
        return Origin(self._identities.of_document(machine, document_id), revision, updated_at)

    def _job(self, origin: Origin, reading: "_Reading") -> JobRecord:
        memory = reading.take(Job.MEMORY)
        events = reading.take(Job.EVENTS)
        first_s = [reports.first_s for reports in (memory, events) if reports]
        return JobRecord(
            origin=origin,
            run=reading.take(Job.RUN) or 0,
            client=reading.take(Job.CLIENT) or UNKNOWN,
            started_at=min(origin.updated_at, *map(_utc, first_s)) if first_s else origin.updated_at,
            exit_code=reading.take(Job.EXIT_CODE),
            run_key=reading.take(Job.RUN_KEY),
            cmssw_version=reading.take(Job.CMSSW_VERSION),
            cmssw_run=reading.take(Job.CMSSW_RUN),
            lumisection=reading.take(Job.LUMISECTION),
            lumisection_at=_utc(events.newest_s) if events else None,
            events_total=reading.take(Job.EVENTS_TOTAL),
            events_rate=reading.take(Job.EVENTS_RATE),
            fi_state=reading.take(Job.INPUT_STATE),
            rss_kb=reading.take(Job.RSS),
            memory=memory.series if memory else MemorySeries(),
            events=events.series if events else EventSeries(),
            fates=reading.take(Job.FATES) or InputFates(),
            log=self._log(reading),
        )

    def _log(self, reading: "_Reading") -> Log:
        head = self._redacted(reading.take(Job.HEAD))
        tail = self._redacted(reading.take(Job.TAIL))
        return Log(head.text, tail.text, head.replaced + tail.replaced)

    def _redacted(self, text: str | None) -> Redacted:
        return self._redactor.redact(text or "")


class _Reading:
    """One document being read: what was taken of it, and which fields had another shape."""

    def __init__(self, document: dict[object, object], circumstances: Circumstances) -> None:
        self._document = document
        self._circumstances = circumstances
        self._left_out: dict[str, None] = {}

    @property
    def left_out(self) -> tuple[str, ...]:
        """The paths of the fields that were left out, in whole or in part."""
        return tuple(self._left_out)

    def take(self, field: Field[T]) -> T | None:
        """The field's value; `None` if the document doesn't have it, or has it in another shape."""
        value = self._at(field)
        if value is None:
            return None
        taken = field.shape.read(value, self._circumstances)
        if not taken.is_whole:
            self._left_out[field.path] = None
        return taken.value

    def needed(self, field: Field[T]) -> T:
        """The field's value; raises Unidentifiable without it."""
        value = self.take(field)
        if value is None:
            raise Unidentifiable(f"no usable {field.path}")
        return value

    def _at(self, field: Field[T]) -> object:
        holder: object = self._document
        for depth, key in enumerate(field.keys):
            if holder is None:
                return None
            if not isinstance(holder, dict):
                self._left_out[".".join(field.keys[:depth])] = None
                return None
            holder = holder.get(key)
        return holder


def _utc(unix_s: float) -> datetime:
    return datetime.fromtimestamp(unix_s, UTC)


def _delivery(origin: Origin, reading: _Reading) -> DeliveryRecord:
    return DeliveryRecord(
        origin=origin,
        run=reading.needed(Delivery.RUN),
        global_start=reading.take(Delivery.START),
        global_start_is_guess=reading.take(Delivery.START_SOURCE) is not StartSource.GLOBAL_FILE,
        lumisection_s=reading.take(Delivery.LUMISECTION_LENGTH) or LUMISECTION_S,
        streams=reading.take(Delivery.STREAMS) or (),
    )


def _playback(origin: Origin, reading: _Reading) -> PlaybackRecord:
    return PlaybackRecord(
        origin=origin,
        run=reading.needed(Playback.RUN),
        state=reading.take(Playback.STATE),
        lumisection=reading.take(Playback.LUMISECTION),
        number_of_ls=reading.take(Playback.NUMBER_OF_LS),
        run_key=reading.take(Playback.RUN_KEY),
        source_run=reading.take(Playback.SOURCE_RUN),
    )


def _memory(origin: Origin, reading: _Reading) -> MemoryRecord:
    available_kb = reading.take(Memory.AVAILABLE)
    return MemoryRecord(
        origin=origin,
        total_bytes=reading.take(Memory.TOTAL),
        used_bytes=reading.take(Memory.USED),
        free_bytes=reading.take(Memory.FREE),
        available_bytes=None if available_kb is None else available_kb * BYTES_A_KILOBYTE,
    )


def _disk(origin: Origin, reading: _Reading) -> DiskRecord:
    return DiskRecord(
        origin=origin,
        total_bytes=reading.take(Disk.TOTAL),
        used_bytes=reading.take(Disk.USED),
        free_bytes=reading.take(Disk.FREE),
        files=reading.take(Disk.FILES),
    )
