"""What a machine can be asked: its questions, put in the line to the gateway, timed and counted."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from dqm2.client import Dqm2Client
from dqm2.errors import Dqm2Error
from dqm2.sync_messages import Headers, ResponseBody
from dqmsquare_cfg import Cluster
from grabbing import metrics
from grabbing.gateway_queue import Line, Question

T = TypeVar("T")


class Asking:
    """The questions to one machine; `host` is its name, for asking alone, all else says its label."""

    def __init__(self, cluster: Cluster, host: str, label: str, *, client: Dqm2Client, line: Line) -> None:
        self.host = host
        self._client = client
        self._line = line
        self._cluster = cluster.value
        self._labels = {"cluster": cluster.value, "machine": label}

    def headers(self, known_revision: int | None) -> Headers:
        """The headers from `known_revision` on. Raises Dqm2Error, and Stopped when the program is to end."""
        return self._put("headers", lambda: self._client.get_headers(self.host, known_revision)).answer()

    def documents(self, ids: Sequence[str], then: Callable[[ResponseBody], T]) -> Question[T]:
        """The documents of those ids, put in line; what `then` makes of the answer, at once, in the line."""
        return self._put("documents", lambda: then(self._client.get_documents(self.host, ids)))

    def _put(self, question: str, ask: Callable[[], T]) -> Question[T]:
        def counted() -> T:
            before = self._client.bytes_received
            with metrics.requests_seconds.labels(**self._labels, question=question).time():
                try:
                    return ask()
                except Dqm2Error as error:
                    metrics.request_errors.labels(**self._labels, kind=type(error).__name__).inc()
                    raise
                finally:
                    metrics.bytes_read.labels(self._cluster).inc(self._client.bytes_received - before)

        return self._line.put(counted)
