"""Machines of the clusters: their documents with revisions, and their names as they resolve inside P5.

See docs/dqm2-protocol.md, "Reading documents", for the rules of revisions.
"""

import copy
import json
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from config.parsers import short_name
from dqmsquare_cfg import Cluster

DOMAIN = ".cms"

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class DocumentHeader:
    """A document's header. Its machine sets the revision; all but `_id` and `_rev` can be null."""

    document_id: str
    timestamp: Any = None
    type: Any = None
    hostname: Any = None
    tag: Any = None
    run: Any = None
    revision: int = 0

    def as_json(self) -> dict[str, Any]:
        """The header as sent over the wire."""
        return {
            "_id": self.document_id,
            "_rev": self.revision,
            "timestamp": self.timestamp,
            "type": self.type,
            "hostname": self.hostname,
            "tag": self.tag,
            "run": self.run,
        }


@dataclass(slots=True)
class StoredDocument:
    """A document at its revision. `build` returns the same document at every call."""

    header: DocumentHeader
    build: Callable[[], Document]
    cached_json: str | None = field(default=None, repr=False)

    def document(self) -> Document:
        """The document with its revision."""
        return {**self.build(), "_rev": self.header.revision}

    def escaped_json(self) -> str:
        """The document's JSON, escaped for use inside a JSON string, without the quotes."""
        return self.cached_json or json.dumps(json.dumps(self.document()))[1:-1]


class Machine:
    """A machine of a cluster: its documents, one for each `_id`, and its failures. Thread-safe.

    `is_dead`: nothing listens on its port. `is_ssh_broken`: control commands can't reach it.
    `clock_offset_s`: seconds by which its clock is ahead.
    """

    def __init__(self, name: str, *, clock_offset_s: float = 0.0) -> None:
        self.name = name
        self.clock_offset_s = clock_offset_s
        self.is_dead = False
        self.is_ssh_broken = False
        self._caches_json = False
        self._lock = threading.Lock()
        # Ordered by revision: an update moves a document to the end.
        self._stored: dict[str, StoredDocument] = {}

    def upload(self, document: Mapping[str, Any]) -> int:
        """Store a copy of a document, replacing the one with its `_id`, and return its revision.

        A `_rev` in it is ignored. Raises TypeError if `_id` is not a string.
        """
        own = copy.deepcopy(dict(document))
        own.pop("_rev", None)
        document_id = own.get("_id")
        if not isinstance(document_id, str):
            raise TypeError(f"the _id of a document must be a string, not {document_id!r}")
        fields: dict[str, Any] = {
            name: own.get(name) for name in ("timestamp", "type", "hostname", "tag", "run")
        }
        return self.upload_lazily(DocumentHeader(document_id, **fields), lambda: own)

    def upload_lazily(self, header: DocumentHeader, build: Callable[[], Document]) -> int:
        """Store a document that is built only when it is requested, and return its revision.

        `build` must return the same document at every call, with the fields of the header.
        """
        with self._lock:
            # The replaced document still counts: the new revision is one above the highest one present.
            revision = self._highest() + 1
            stored = StoredDocument(replace(header, revision=revision), build)
            if self._caches_json:
                stored.cached_json = stored.escaped_json()
            self._stored.pop(header.document_id, None)
            self._stored[header.document_id] = stored
            return revision

    def reset(self) -> None:
        """Delete every document; revisions restart at 1."""
        with self._lock:
            self._stored.clear()

    def prune(self, count: int) -> list[str]:
        """Delete the `count` newest documents, whose revisions will be reused, and return their ids."""
        with self._lock:
            return [self._stored.popitem()[0] for _ in range(min(count, len(self._stored)))]

    def delete(self, document_id: str) -> None:
        """Delete one document. Raises KeyError if there is none."""
        with self._lock:
            del self._stored[document_id]

    def delete_runs_before(self, run: int) -> None:
        """Delete the documents of runs below `run`, as DQM² does."""
        with self._lock:
            for document_id, stored in list(self._stored.items()):
                if isinstance(stored.header.run, int) and 0 < stored.header.run < run:
                    del self._stored[document_id]

    def cache_json(self) -> None:
        """Serialize each document only once, now or at its upload, so that serving costs almost nothing."""
        self._caches_json = True
        for stored in self.stored():
            stored.cached_json = stored.escaped_json()

    def stored(self) -> list[StoredDocument]:
        """All stored documents, by ascending revision."""
        with self._lock:
            return list(self._stored.values())

    def documents(self) -> dict[str, Document]:
        """Copies of all documents with their revisions, by `_id`, by ascending revision."""
        return {stored.header.document_id: copy.deepcopy(stored.document()) for stored in self.stored()}

    def headers(self) -> list[dict[str, Any]]:
        """All headers as sent over the wire, by ascending revision."""
        return [stored.header.as_json() for stored in self.stored()]

    @property
    def highest_revision(self) -> int:
        """The highest revision present, 0 if there is none."""
        with self._lock:
            return self._highest()

    def headers_above(self, revision: float | None) -> list[DocumentHeader]:
        """The headers of revisions above `revision` (`None`: all), ascending."""
        above: list[DocumentHeader] = []
        with self._lock:
            for stored in reversed(self._stored.values()):
                if revision is not None and stored.header.revision <= revision:
                    break
                above.append(stored.header)
        above.reverse()
        return above

    def find(self, document_ids: Iterable[Any]) -> list[StoredDocument]:
        """The documents with these ids, by ascending revision; unknown ids are skipped."""
        wanted = {document_id for document_id in document_ids if isinstance(document_id, str)}
        with self._lock:
            found = [self._stored[document_id] for document_id in wanted if document_id in self._stored]
        return sorted(found, key=lambda stored: stored.header.revision)

    def _highest(self) -> int:
        return next((stored.header.revision for stored in reversed(self._stored.values())), 0)


class Topology:
    """The machines of both clusters, and which of them is the gateway."""

    def __init__(
        self,
        clusters: Mapping[Cluster, Iterable[str]],
        gateway: str,
        clock_offsets_s: Mapping[str, float] | None = None,
    ) -> None:
        offsets_s = clock_offsets_s or {}
        self.clusters = {cluster: tuple(names) for cluster, names in clusters.items()}
        names = dict.fromkeys([*(name for names in self.clusters.values() for name in names), gateway])
        self._machines = {name: Machine(name, clock_offset_s=offsets_s.get(name, 0.0)) for name in names}
        self.gateway = self._machines[gateway]

    @property
    def machines(self) -> tuple[Machine, ...]:
        """All machines, the production cluster's first."""
        return tuple(self._machines.values())

    def machine(self, name: str) -> Machine:
        """The machine with a name, short or ending in `.cms`. Raises KeyError if there is none."""
        machine = self.resolve(name)
        if machine is None:
            raise KeyError(f"no machine {name!r} is simulated; known machines: {', '.join(self._machines)}")
        return machine

    def resolve(self, host: str) -> Machine | None:
        """The machine that a host name resolves to inside P5, `None` if there is none."""
        if host.endswith(DOMAIN) or "." not in host:
            return self._machines.get(short_name(host))
        return None

    def machines_of(self, cluster: Cluster) -> tuple[Machine, ...]:
        """The machines of a cluster, builder unit first."""
        return tuple(self._machines[name] for name in self.clusters[cluster])
