"""A machine's documents, one an `_id`, and their revisions (protocol, "Reading documents")."""

import copy
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Header:
    """What a machine tells of a document before it is asked for it. All but `_id` and `_rev` can be null."""

    document_id: str
    revision: int
    timestamp: Any
    type: Any
    hostname: Any
    tag: Any
    run: Any

    def as_json(self) -> dict[str, Any]:
        """The header as it goes over the wire."""
        return {
            "_id": self.document_id,
            "_rev": self.revision,
            "timestamp": self.timestamp,
            "type": self.type,
            "hostname": self.hostname,
            "tag": self.tag,
            "run": self.run,
        }


@dataclass(frozen=True, slots=True)
class Draft:
    """A document that is to be uploaded and is written out only when somebody asks for it.

    `write` must give the same document each time, with the `_id` and the header's fields of this draft.
    """

    document_id: str
    write: Callable[[], Document]
    timestamp: Any = None
    type: Any = None
    hostname: Any = None
    tag: Any = None
    run: Any = None


@dataclass(slots=True)
class Stored:
    """A document at its revision, and its JSON once that was made to be kept."""

    header: Header
    write: Callable[[], Document]
    kept_wire: str | None = field(default=None, repr=False)

    def document(self) -> Document:
        """The document with its revision."""
        return {**self.write(), "_rev": self.header.revision}

    def wire(self) -> str:
        """The document's JSON as it stands inside another JSON text, without the quotes around it."""
        return self.kept_wire or json.dumps(json.dumps(self.document()))[1:-1]


class Machine:
    """A machine of a cluster: its documents, and whether it answers.

    `is_dead`: nothing answers on its port. `is_ssh_broken`: control commands can't reach it.
    `clock_offset_s`: how far its clock is ahead. `keeps_answers`: documents are written out once, when they
    are uploaded, so that serving them costs nearly nothing.
    """

    def __init__(self, name: str, *, clock_offset_s: float = 0.0) -> None:
        self.name = name
        self.clock_offset_s = clock_offset_s
        self.is_dead = False
        self.is_ssh_broken = False
        self.keeps_answers = False
        self._lock = threading.Lock()
        # In the order of their revisions: an update moves a document to the end.
        self._stored: dict[str, Stored] = {}

    def upload(self, document: Mapping[str, Any]) -> int:
        """Takes a document in, in place of the one with its `_id`, and returns its revision.

        A `_rev` in it is ignored. Raises TypeError if `_id` is no text.
        """
        own = copy.deepcopy(dict(document))
        own.pop("_rev", None)
        document_id = own.get("_id")
        if not isinstance(document_id, str):
            raise TypeError(f"a document needs a text as its _id, not {document_id!r}")
        fields = {name: own.get(name) for name in ("timestamp", "type", "hostname", "tag", "run")}
        return self.upload_draft(Draft(document_id, lambda: own, **fields))

    def upload_draft(self, draft: Draft) -> int:
        """Takes in a document that is written out when it is asked for, and returns its revision."""
        with self._lock:
            # The replaced one still counts: the new revision is one above the highest that was there.
            revision = self._highest() + 1
            header = Header(
                draft.document_id,
                revision,
                draft.timestamp,
                draft.type,
                draft.hostname,
                draft.tag,
                draft.run,
            )
            stored = Stored(header, draft.write)
            if self.keeps_answers:
                stored.kept_wire = stored.wire()
            self._stored.pop(draft.document_id, None)
            self._stored[draft.document_id] = stored
            return revision

    def reset(self) -> None:
        """Loses every document; revisions count from 1 again."""
        with self._lock:
            self._stored.clear()

    def prune(self, count: int) -> list[str]:
        """Loses the `count` newest documents, whose revisions are given out again. Returns their ids."""
        with self._lock:
            return [self._stored.popitem()[0] for _ in range(min(count, len(self._stored)))]

    def delete(self, document_id: str) -> None:
        """Loses one document. Raises KeyError if it isn't there."""
        with self._lock:
            del self._stored[document_id]

    def delete_runs_before(self, run: int) -> None:
        """Loses the documents of runs below `run`, as DQM² tidies up."""
        with self._lock:
            old = [
                document_id
                for document_id, stored in self._stored.items()
                if isinstance(stored.header.run, int) and 0 < stored.header.run < run
            ]
            for document_id in old:
                del self._stored[document_id]

    def keep_answers(self) -> None:
        """Writes out every document now, and each new one as it is uploaded."""
        self.keeps_answers = True
        for stored in self.stored():
            stored.kept_wire = stored.wire()

    def stored(self) -> list[Stored]:
        """Everything that is stored, by ascending revision."""
        with self._lock:
            return list(self._stored.values())

    def documents(self) -> dict[str, Document]:
        """Copies of every document with its revision, by `_id`, in the order of the revisions."""
        return {stored.header.document_id: copy.deepcopy(stored.document()) for stored in self.stored()}

    def headers(self) -> list[dict[str, Any]]:
        """Every header as it goes over the wire, by ascending revision."""
        return [stored.header.as_json() for stored in self.stored()]

    @property
    def highest_revision(self) -> int:
        """The highest revision that is held, 0 if there is none."""
        with self._lock:
            return self._highest()

    def headers_above(self, revision: float | None) -> list[Header]:
        """The headers of revisions above `revision` (`None`: all of them), ascending."""
        above: list[Header] = []
        with self._lock:
            for stored in reversed(self._stored.values()):
                if revision is not None and stored.header.revision <= revision:
                    break
                above.append(stored.header)
        above.reverse()
        return above

    def pick(self, document_ids: Iterable[Any]) -> list[Stored]:
        """The documents of these ids, by ascending revision, each once; what is gone is simply missing."""
        with self._lock:
            wanted = {
                document_id
                for document_id in document_ids
                if isinstance(document_id, str) and document_id in self._stored
            }
            found = [self._stored[document_id] for document_id in wanted]
        return sorted(found, key=lambda stored: stored.header.revision)

    def _highest(self) -> int:
        return next((stored.header.revision for stored in reversed(self._stored.values())), 0)
