"""Parsing of DQM² responses into database rows; documents that cannot be parsed are quarantined.

It uses neither the network nor the database, and its input and output can be pickled, so that it can run in
other processes (`grabbing/parser_pool.py`).
"""

import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from dqm2.document_parser import DocumentParser, InvalidDocument
from dqm2.redaction.redactor import get_redactor
from dqm2.sync_messages import Document, Header, ResponseBody, parse_documents
from storage.log_compression import ZstdDictionary
from storage.rows import DocumentRow, QuarantinedDocument, to_row

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

    `dropped_fields` has a field once for each value that failed validation.
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
        for document_id, document in documents.items():
            keyed = requested[document_id]
            try:
                row, dropped = self._current_row(item, keyed, document, now)
            except InvalidDocument as error:
                quarantined.append(keyed.quarantined(str(error)))
            else:
                rows.append(row)
                dropped_fields += dropped
        return ProcessedBatch(rows, quarantined, dropped_fields)

    def row(
        self, identity: UUID, document: object, dictionary: ZstdDictionary | None, *, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        """The row of a document with this pseudonym, and the fields that were dropped from it.

        Raises InvalidDocument, whose message holds nothing sensitive.
        """
        try:
            parsed = self._parser.parse(document, identity, now=now)
            return to_row(parsed.record, dictionary), parsed.dropped_fields
        except _PARSER_BUGS as error:
            raise InvalidDocument(_location(error)) from error

    def _current_row(
        self, item: WorkItem, keyed: KeyedHeader, document: Document, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        row, dropped = self.row(keyed.identity, document, item.dictionary, now=now)
        if row.document.revision < keyed.header.revision:
            raise InvalidDocument("the document is older than its header")
        return row, dropped


def _location(error: Exception) -> str:
    """Type and place of an error, without its message, which may quote the document."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"parser error: {type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
