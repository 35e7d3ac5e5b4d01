"""Payload of the `NOTIFY` that reports written documents."""

from dataclasses import dataclass
from typing import Self

import orjson

# PostgreSQL limits a payload to 8000 bytes; a change of more runs than this does not name them.
_MAX_RUNS = 500


@dataclass(frozen=True, slots=True)
class MachineProgress:
    """The new checkpoint of a machine: (epoch, revision)."""

    machine_id: int
    epoch: int
    revision: int | None


@dataclass(frozen=True, slots=True)
class ChangeNotification:
    """The runs that changed, and the checkpoint that was reached with them.

    `runs` are those of which jobs were written, `other_runs` those of which only other documents were. Both
    are `None` if there are too many to name.
    """

    runs: tuple[int, ...] | None
    other_runs: tuple[int, ...] | None = ()
    progress: MachineProgress | None = None

    @classmethod
    def parse(cls, payload: str) -> Self | None:
        """The notification in a payload; `None` for a plain word or another release's format."""
        try:
            runs, other_runs, progress = orjson.loads(payload)
            return cls(
                None if runs is None else tuple(map(_integer, runs)),
                None if other_runs is None else tuple(map(_integer, other_runs)),
                None if progress is None else _progress(**progress),
            )
        except (TypeError, ValueError):
            return None

    def serialize(self) -> str:
        """The payload."""
        runs, other_runs = self.runs, self.other_runs
        if runs is None or other_runs is None or len(runs) + len(other_runs) > _MAX_RUNS:
            runs = other_runs = None
        return orjson.dumps([runs, other_runs, self.progress]).decode()


def _progress(machine_id: object, epoch: object, revision: object) -> MachineProgress:
    return MachineProgress(
        _integer(machine_id), _integer(epoch), None if revision is None else _integer(revision)
    )


def _integer(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError
    return value
