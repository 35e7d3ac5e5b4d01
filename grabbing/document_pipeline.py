"""Parsing of DQM² responses into database rows; documents that cannot be parsed are quarantined.

It uses neither the network nor the database, and its input and output can be pickled, so that it can run in
other processes (`grabbing/parser_pool.py`).
"""

import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from dqm2.document_parser import DocumentParser, InvalidDocument, ParsedDocument, RedactedLog
from dqm2.headers import Header
from dqm2.redaction.redactor import get_redactor
from dqm2.sync_messages import Document, ResponseBody, parse_documents
from storage.log_compression import ZstdDictionary
from storage.rows import DocumentRow, QuarantinedDocument, to_row

T = TypeVar("T")

# Documents that go through each step of parsing together. The tables of a step, such as the patterns of
# redaction, fill a processor's cache; one document after the other takes a fifth longer.
_STEP_DOCUMENTS = 16
# Errors that a bug in the parser or the codecs can raise for a single document.
_PARSER_BUGS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class KeyedHeader:
    """A document's header with its pseudonym, a keyed hash."""

    header: Header
    identity: UUID

    def quarantined(self, reason: str) -> QuarantinedDocument:
        """The document's quarantine record; `reason` must hold nothing sensitive."""
        return QuarantinedDocument(self.identity, self.header.revision, self.header.type or "", reason)


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A machine's response with the documents of `headers`; `dictionary` is to compress their logs."""

    headers: Sequence[KeyedHeader]
    response: ResponseBody = field(repr=False)
    dictionary: ZstdDictionary | None = None


@dataclass(frozen=True, slots=True)
class ProcessedBatch:
    """Rows and quarantined documents of a response; a document that is gone from the machine is in neither.

    `dropped_fields` names a field once for each document in which all or part of its value was rejected.
    """

    rows: Sequence[DocumentRow] = ()
    quarantined: Sequence[QuarantinedDocument] = ()
    dropped_fields: Sequence[str] = ()


class DocumentProcessor:
    """Parses, redacts and encodes documents; thread-safe.

    `dictionary` is the newest log dictionary of the cluster's database.
    """

    def __init__(self, known_hosts: tuple[str, ...], allowed_hosts: tuple[str, ...]) -> None:
        self.redact = get_redactor(known_hosts, allowed_hosts)
        self.dictionary: ZstdDictionary | None = None
        self._parser = DocumentParser(self.redact)
        self._arguments = (known_hosts, allowed_hosts)

    def __reduce__(self) -> tuple[type["DocumentProcessor"], tuple[tuple[str, ...], tuple[str, ...]]]:
        """Pickle the arguments alone: patterns and caches are built again in the other process."""
        return DocumentProcessor, self._arguments

    def process(self, item: WorkItem) -> ProcessedBatch:
        """Parse a response. Raises Dqm2InvalidResponse if it does not answer the request."""
        requested = {keyed.header.id: keyed for keyed in item.headers}
        documents = parse_documents(item.response, requested)
        now = datetime.now(UTC)
        rows: list[DocumentRow] = []
        quarantined: list[QuarantinedDocument] = []
        dropped_fields: list[str] = []
        remaining = iter(documents.items())
        while some := [(requested[id_], document) for id_, document in islice(remaining, _STEP_DOCUMENTS)]:
            for (keyed, _), outcome in zip(some, self._outcomes(some, item.dictionary, now), strict=True):
                if isinstance(outcome, InvalidDocument):
                    quarantined.append(keyed.quarantined(str(outcome)))
                else:
                    rows.append(outcome[0])
                    dropped_fields += outcome[1]
        return ProcessedBatch(rows, quarantined, dropped_fields)

    def row(
        self, identity: UUID, document: object, dictionary: ZstdDictionary | None, *, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        """The row of a document with this pseudonym, and the fields that were dropped from it.

        Raises InvalidDocument, whose message holds nothing sensitive.
        """
        try:
            parsed = self._parser.parse(document, identity, now=now)
            return _row(parsed, dictionary)
        except _PARSER_BUGS as error:
            raise InvalidDocument(_location(error)) from error

    def _outcomes(
        self,
        documents: Sequence[tuple[KeyedHeader, Document]],
        dictionary: ZstdDictionary | None,
        now: datetime,
    ) -> Sequence[tuple[DocumentRow, Sequence[str]] | InvalidDocument]:
        """As `row` for each document, step by step: redaction, the other fields, the row."""
        logs = [_attempt(partial(self._parser.redact_log, document, now=now)) for _, document in documents]
        parsed = [
            log if isinstance(log, InvalidDocument) else _attempt(partial(self._parse, *one, log, now))
            for one, log in zip(documents, logs, strict=True)
        ]
        return [
            one if isinstance(one, InvalidDocument) else _attempt(partial(_row, one, dictionary))
            for one in parsed
        ]

    def _parse(
        self, keyed: KeyedHeader, document: Document, log: RedactedLog | None, now: datetime
    ) -> ParsedDocument:
        parsed = self._parser.parse(document, keyed.identity, log, now=now)
        if parsed.record.document.revision < keyed.header.revision:
            raise InvalidDocument("the document is older than its header")
        return parsed


def _row(parsed: ParsedDocument, dictionary: ZstdDictionary | None) -> tuple[DocumentRow, Sequence[str]]:
    return to_row(parsed.record, dictionary), parsed.dropped_fields


def _attempt(step: Callable[[], T]) -> T | InvalidDocument:
    """The result of a step of a document's parsing, or why the document can't be parsed."""
    try:
        return step()
    except InvalidDocument as error:
        return error
    except _PARSER_BUGS as error:
        return InvalidDocument(_location(error))


def _location(error: Exception) -> str:
    """Type and place of an error, without its message, which may quote the document."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"parser error: {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
