"""What is told by `NOTIFY` of documents that were written: the text of a notification, and what it says."""

from dataclasses import dataclass
from typing import Self

import orjson

# A notification holds 8000 bytes; one of more runs than this does not name them.
_MOST_RUNS = 500


@dataclass(frozen=True, slots=True)
class MachineProgress:
    """A machine is mirrored up to (epoch, revision) now."""

    machine_id: int
    epoch: int
    revision: int | None


@dataclass(frozen=True, slots=True)
class ChangeNotification:
    """The runs that changed, `None` if too many to be named, and which machine moved on with that."""

    runs: tuple[int, ...] | None
    progress: MachineProgress | None = None

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """What a notification says; `None` if it is a word, or of a release that tells something else."""
        try:
            runs, moved = orjson.loads(text)
            return cls(
                None if runs is None else tuple(map(_whole, runs)), None if moved is None else _moved(**moved)
            )
        except (TypeError, ValueError):
            return None

    def serialize(self) -> str:
        """The text of the notification."""
        runs = self.runs if self.runs is not None and len(self.runs) <= _MOST_RUNS else None
        return orjson.dumps([runs, self.progress]).decode()


def _moved(machine_id: object, epoch: object, revision: object) -> MachineProgress:
    return MachineProgress(_whole(machine_id), _whole(epoch), None if revision is None else _whole(revision))


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
