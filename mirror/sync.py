"""One machine brought up to date: the headers after its stored revision, then the documents that are new.

Documents come in batches, ascending by revision; while one batch is turned into records and written, the next
is fetched. What can't be understood is set aside with the reason, and mirroring goes on.
"""

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import sqlalchemy as sa

from dqm2.client import Dqm2Client, Dqm2Error, Dqm2Failed, Dqm2Garbled, Header, Headers
from dqm2.documents import Allowlist, Unidentifiable
from dqm2.identity import Identities
from mirror import metrics
from mirror.line import Line, Question
from mirror.records import (
    Cluster,
    DeliveryRecord,
    DiskRecord,
    DocumentType,
    JobRecord,
    MemoryRecord,
    PlaybackRecord,
    Record,
)
from mirror.writer import Batch, Machine, MirrorWriter, SetAside

log = logging.getLogger(__name__)

T = TypeVar("T")
_Documents = Mapping[str, Mapping[str, object]]

# Headers whose documents are asked for at once: 50 to 200 reach the full rate of DQM² (protocol, costs).
_BATCH = 200
# How often a long catch-up tells how far it is.
_TELL_EVERY_S = 5.0
# A document's time this far ahead is a broken clock, by which nothing can be measured.
_FUTURE = timedelta(days=1)
# Older than any version that is stored.
_NEVER = (-1, -1)
_MIRRORED_TYPES = frozenset(DocumentType)
# What turning a document into a record can end in, should the allowlist have a fault of its own.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class _Known:
    """A header with the keyed hash of its document."""

    header: Header
    identity: UUID


@dataclass(frozen=True, slots=True)
class _Asked:
    """Headers of a batch, those of them whose documents are wanted, and the question for these."""

    headers: Sequence[_Known]
    wanted: Sequence[_Known]
    question: Question[_Documents] | None


@dataclass(frozen=True, slots=True)
class _Answered:
    """A batch with the documents that are still there, and why some could not be had, both by `_id`."""

    asked: _Asked
    documents: _Documents
    garbled: Mapping[str, str]


class MachineSync:
    """Keeps one machine mirrored; `host` is its name, for asking alone, everything else says its label."""

    def __init__(
        self,
        cluster: Cluster,
        host: str,
        machine: Machine,
        *,
        client: Dqm2Client,
        line: Line,
        writer: MirrorWriter,
        allowlist: Allowlist,
        identities: Identities,
        redact: Callable[[str], str],
    ) -> None:
        self.machine = machine
        self._host = host
        self._position = machine.position
        self._client = client
        self._line = line
        self._writer = writer
        self._allowlist = allowlist
        self._identities = identities
        self._redact = redact
        self._labels = {"cluster": cluster.value, "machine": machine.label}
        self._cluster = cluster

    def bring_up_to_date(self) -> int:
        """Mirrors what is new on the machine; the number of documents written.

        Raises Dqm2Error if the machine can't be asked, Stopped, ClaimLost, and SQLAlchemy's errors. Whatever
        it ends in, what was written before stays, and the next call goes on from there.
        """
        began = told_at = time.monotonic()
        headers = self._new_headers()
        written = done = 0
        for batch in self._batches(headers):
            written += self._keep(batch)
            done += len(batch.asked.headers)
            if time.monotonic() - told_at > _TELL_EVERY_S:
                told_at = time.monotonic()
                self._tell_progress(done, len(headers), told_at - began)
        if written:
            log.info(
                "mirrored host=%s documents=%d rev=%s seconds=%.2f",
                self.machine.label,
                written,
                self._position.revision,
                time.monotonic() - began,
            )
        self._tell_metrics(len(headers) - done)
        return written

    def _new_headers(self) -> list[_Known]:
        """The headers beyond the position; if the machine's revisions started over, all of them."""
        headers = self._headers(self._position.revision)
        if self._started_over(headers):
            self._begin_epoch()
            headers = self._headers(None)
        known = self._position.revision
        return [entry for entry in headers if known is None or entry.header.revision > known]

    def _headers(self, known_revision: int | None) -> list[_Known]:
        found: Headers = self._ask(
            "headers", lambda: self._client.headers(self._host, known_revision)
        ).answer()
        if found.unreadable:
            log.warning("left out headers host=%s entries=%d", self.machine.label, found.unreadable)
            metrics.values_left_out.labels(self._cluster.value, "header").inc(found.unreadable)
        return [
            _Known(header, self._identities.of_document(self._host, header.id)) for header in found.headers
        ]

    def _started_over(self, headers: Sequence[_Known]) -> bool:
        """Whether the revisions were reset or given out again: protocol, "Revisions can start over"."""
        known = self._position.revision
        if known is None:
            return False
        at_known = (entry for entry in headers if entry.header.revision == known)
        of_head = (entry for entry in headers if entry.identity == self._position.head)
        if any(entry.identity != self._position.head for entry in at_known):
            return True
        return not any(entry.header.revision >= known for entry in of_head)

    def _begin_epoch(self) -> None:
        position = self._position.anew()
        log.warning(
            "revisions started over host=%s epoch=%d after_rev=%s",
            self.machine.label,
            position.epoch,
            self._position.revision,
        )
        metrics.epochs_begun.labels(**self._labels).inc()
        self._write(Batch(self.machine.id, position, None, ()))

    def _batches(self, headers: Sequence[_Known]) -> Iterator[_Answered]:
        """The batches with their documents, the next one asked for before the present one is handed out."""
        ahead = self._ask_for(headers[:_BATCH]) if headers else None
        start = 0
        while ahead is not None:
            present = self._answered(ahead)
            start += _BATCH
            ahead = self._ask_for(headers[start : start + _BATCH]) if start < len(headers) else None
            yield present

    def _ask_for(self, headers: Sequence[_Known]) -> _Asked:
        """Asks for the documents that are newer than what is stored."""
        mirrored = [entry for entry in headers if entry.header.type in _MIRRORED_TYPES]
        stored = self._writer.stored_versions([entry.identity for entry in mirrored])
        epoch = self._position.epoch
        wanted = [
            entry for entry in mirrored if stored.get(entry.identity, _NEVER) < (epoch, entry.header.revision)
        ]
        return _Asked(headers, wanted, self._question(_ids(wanted)) if wanted else None)

    def _question_for_headers(self, known_revision: int | None) -> Question[Headers]:
        return self._ask("headers", lambda: self._client.headers(self._host, known_revision))

    def _question(self, ids: Sequence[str]) -> Question[_Documents]:
        return self._ask("documents", lambda: self._client.documents(self._host, ids))

    def _answered(self, asked: _Asked) -> _Answered:
        if asked.question is None:
            return _Answered(asked, {}, {})
        try:
            return _Answered(asked, asked.question.answer(), {})
        except (Dqm2Garbled, Dqm2Failed):
            # Is it the documents or the way? A question that was answered a moment ago tells.
            self._prove_way()
            return _Answered(asked, *self._isolated(_ids(asked.wanted)))

    def _isolated(self, ids: Sequence[str]) -> tuple[dict[str, Mapping[str, object]], dict[str, str]]:
        """A batch that has no good answer, halved until what spoils it is alone: documents, and reasons."""
        try:
            return dict(self._question(ids).answer()), {}
        except (Dqm2Garbled, Dqm2Failed) as error:
            if len(ids) == 1:
                self._prove_way()
                return {}, {ids[0]: self._redact(f"no good answer: {error}")}
        half = len(ids) // 2
        documents, garbled = self._isolated(ids[:half])
        more_documents, more_garbled = self._isolated(ids[half:])
        return documents | more_documents, garbled | more_garbled

    def _prove_way(self) -> None:
        """Raises Dqm2Error unless the machine answers: then trouble with documents is the documents' own."""
        self._question_for_headers(self._position.revision).answer()

    def _keep(self, batch: _Answered) -> int:
        """Turns a batch into records and writes them with the position it brings; how many documents."""
        now = datetime.now(UTC)
        records: list[Record] = []
        set_aside: list[SetAside] = []
        for entry in batch.asked.wanted:
            outcome = self._understood(entry, batch, now)
            if isinstance(outcome, SetAside):
                set_aside.append(outcome)
            elif outcome is not None:
                records.append(outcome)
        last = batch.asked.headers[-1]
        position = replace(self._position, revision=last.header.revision, head=last.identity)
        self._write(Batch(self.machine.id, position, _clock(batch.asked.headers, now), records, set_aside))
        return len(records)

    def _understood(self, entry: _Known, batch: _Answered, now: datetime) -> Record | SetAside | None:
        """The record of a document, or why there is none; `None` if the machine no longer has it."""
        if (reason := batch.garbled.get(entry.header.id)) is not None:
            return _set_aside(entry, reason)
        document = batch.documents.get(entry.header.id)
        if document is None:
            return None
        try:
            admitted = self._allowlist.record(self._host, document, now=now)
        except Unidentifiable as error:
            return _set_aside(entry, str(error))
        except _FAULTS as error:
            # What the error says may quote the document, so that only where it happened is told.
            place = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{Path(place.filename).name}:{place.lineno}"
            return _set_aside(entry, f"not understood: {type(error).__name__} at {where}")
        for field in admitted.left_out:
            metrics.values_left_out.labels(self._cluster.value, field).inc()
        return admitted.record

    def _write(self, batch: Batch) -> None:
        """Writes a batch; what the database refuses of it is set aside."""
        try:
            self._writer.write(batch)
        except (sa.exc.DataError, sa.exc.IntegrityError):
            batch = self._without_refused(batch)
            self._writer.write(batch)
        self._position = batch.position
        for item in batch.set_aside:
            log.warning(
                "set aside host=%s type=%s rev=%d reason=%s",
                self.machine.label,
                item.document_type,
                item.revision,
                item.reason,
            )
        metrics.documents_set_aside.labels(**self._labels).inc(len(batch.set_aside))
        for record in batch.records:
            metrics.documents_mirrored.labels(**self._labels, type=document_type(record).value).inc()

    def _without_refused(self, batch: Batch) -> Batch:
        """The batch less the records that the database refuses when they are written one by one."""
        accepted: list[Record] = []
        set_aside = list(batch.set_aside)
        for record in batch.records:
            alone = replace(batch, position=self._position, records=(record,), set_aside=())
            try:
                self._writer.write(alone)
            except (sa.exc.DataError, sa.exc.IntegrityError) as error:
                origin = record.origin
                reason = f"the database refuses it: {type(error.orig).__name__}"
                set_aside.append(SetAside(origin.identity, origin.revision, document_type(record), reason))
            else:
                accepted.append(record)
        return replace(batch, records=accepted, set_aside=set_aside)

    def _ask(self, question: str, ask: Callable[[], T]) -> Question[T]:
        """Puts a question in line, timed and counted."""

        def counted() -> T:
            before = self._client.bytes_read
            with metrics.requests_seconds.labels(**self._labels, question=question).time():
                try:
                    return ask()
                except Dqm2Error as error:
                    metrics.request_errors.labels(**self._labels, kind=type(error).__name__).inc()
                    raise
                finally:
                    metrics.bytes_read.labels(self._cluster.value).inc(self._client.bytes_read - before)

        return self._line.put(counted)

    def _tell_progress(self, done: int, of: int, seconds: float) -> None:
        rate = done / seconds
        log.info(
            "mirroring host=%s headers=%d of=%d per_s=%.0f left_s=%.0f",
            self.machine.label,
            done,
            of,
            rate,
            (of - done) / rate,
        )

    def _tell_metrics(self, lag: int) -> None:
        metrics.revision.labels(**self._labels).set(self._position.revision or 0)
        metrics.revision_lag.labels(**self._labels).set(lag)
        metrics.mirrored_timestamp.labels(**self._labels).set_to_current_time()


def document_type(record: Record) -> DocumentType:
    """The type of the documents that such records are made of."""
    match record:
        case JobRecord():
            return DocumentType.JOB
        case DeliveryRecord():
            return DocumentType.DELIVERY
        case PlaybackRecord():
            return DocumentType.PLAYBACK
        case MemoryRecord():
            return DocumentType.MEMORY
        case DiskRecord():
            return DocumentType.DISK


def _ids(entries: Sequence[_Known]) -> list[str]:
    return [entry.header.id for entry in entries]


def _set_aside(entry: _Known, reason: str) -> SetAside:
    return SetAside(entry.identity, entry.header.revision, entry.header.type or "", reason)


def _clock(headers: Sequence[_Known], now: datetime) -> datetime | None:
    """The machine's own clock: the time of the newest document of those headers."""
    times = (entry.header.updated_at for entry in reversed(headers))
    return next((time for time in times if time is not None and time < now + _FUTURE), None)
