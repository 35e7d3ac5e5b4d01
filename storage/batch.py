"""What is written at once: some documents of a machine, and how far it is mirrored with them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from storage.rows import DocumentRow, QuarantinedDocument


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """How far a machine is mirrored: all of its documents up to (epoch, revision), the last being `head`.

    `head_at` is the time of that version of it; `None` if it had none.
    """

    epoch: int
    revision: int | None
    last_document: UUID | None
    last_document_at: datetime | None = None

    def next_epoch(self) -> "Checkpoint":
        """The start of a new epoch: the machine's revisions started over."""
        return Checkpoint(self.epoch + 1, None, None)


@dataclass(frozen=True, slots=True)
class Batch:
    """Documents of one machine and the position that it is at once they are written.

    `clock_at` is the machine's own clock, the time of its newest document, if the batch knows it.
    """

    machine_id: int
    checkpoint: Checkpoint
    clock_at: datetime | None
    rows: Sequence[DocumentRow]
    quarantined: Sequence[QuarantinedDocument] = ()
