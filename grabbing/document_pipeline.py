"""An answer of DQM² sifted: rows of what the data policy lets through, and why the rest was set aside.

It knows neither the network nor the database and takes and gives what can be sent between processes, so that
it can be done beside the grabber (`grabbing/parser_pool.py`).
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

# What turning a document into a row can end in, should the allowlist or the packing have a fault of its own.
_FAULTS = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)


@dataclass(frozen=True, slots=True)
class Announced:
    """A document as its machine announced it, with the keyed hash that stands for it."""

    header: Header
    identity: UUID

    def set_aside(self, reason: str) -> QuarantinedDocument:
        """The document as it is set aside; `reason` holds nothing sensitive."""
        return QuarantinedDocument(self.identity, self.header.revision, self.header.type or "", reason)


@dataclass(frozen=True, slots=True)
class Order:
    """An answer of a machine, to be sifted for the documents that were wanted of it.

    `dictionary` is what logs are packed by.
    """

    host: str
    wanted: Sequence[Announced]
    answer: ResponseBody = field(repr=False)
    dictionary: ZstdDictionary | None = None


@dataclass(frozen=True, slots=True)
class Sifted:
    """What came of the documents that are still there.

    `left_out`: the fields, as often as one had a value of another shape than it must have.
    """

    rows: Sequence[DocumentRow] = ()
    set_aside: Sequence[QuarantinedDocument] = ()
    left_out: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Rules:
    """Host names that redaction covers, and those that it leaves."""

    known_hosts: tuple[str, ...]
    public_sites: tuple[str, ...]


class NotUnderstood(Exception):
    """Why a document is set aside; the message holds nothing sensitive."""


class Sifter:
    """Sifts answers by the rules of an installation. May be used by several threads at once."""

    def __init__(self, rules: Rules) -> None:
        self._parser = DocumentParser(get_redactor(rules.known_hosts, rules.public_sites))

    def sift(self, order: Order) -> Sifted:
        """The rows of an answer. Raises Dqm2InvalidResponse if it is no answer to the question."""
        asked = {announced.header.id: announced for announced in order.wanted}
        documents = parse_documents(order.answer, asked)
        now = datetime.now(UTC)
        rows: list[DocumentRow] = []
        set_aside: list[QuarantinedDocument] = []
        left_out: list[str] = []
        for document_id, announced in asked.items():
            if (document := documents.get(document_id)) is None:
                continue
            try:
                row, of_document = self._announced_row(order, announced, document, now)
            except NotUnderstood as reason:
                set_aside.append(announced.set_aside(str(reason)))
            else:
                rows.append(row)
                left_out += of_document
        return Sifted(rows, set_aside, left_out)

    def row(
        self, identity: UUID, document: object, dictionary: ZstdDictionary | None, *, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        """The row of a document, and the fields of it that were left out.

        Raises NotUnderstood, which says why.
        """
        try:
            parsed = self._parser.parse(document, identity, now=now)
            return to_row(parsed.record, dictionary), parsed.dropped_fields
        except InvalidDocument as error:
            raise NotUnderstood(str(error)) from error
        except _FAULTS as error:
            raise NotUnderstood(_told_by_its_place(error)) from error

    def _announced_row(
        self, order: Order, announced: Announced, document: Document, now: datetime
    ) -> tuple[DocumentRow, Sequence[str]]:
        row, left_out = self.row(announced.identity, document, order.dictionary, now=now)
        if row.document.revision < announced.header.revision:
            raise NotUnderstood("the answer is older than its announcement")
        return row, left_out


def _told_by_its_place(error: Exception) -> str:
    """What the error says may quote the document, so that only where it happened is told."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"not understood: {type(error).__name__} at {Path(place.filename).name}:{place.lineno}"
