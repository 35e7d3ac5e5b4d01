"""Queue of a cluster's DQM² requests: one in flight at a time, while the grabber stays responsive.

The gateway serves nobody else while it relays a request, so a grabber has at most one in flight
(docs/dqm2-protocol.md). Requests run on a daemon thread of their own instead of a `ThreadPoolExecutor`, whose
threads Python joins at exit: a gateway that hangs must delay neither the heartbeat nor the shutdown.
"""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from typing import TypeVar

from dqm2.client import Dqm2Client
from dqm2.errors import Dqm2Error
from dqm2.headers import Headers
from dqm2.sync_messages import ClusterStatus, ResponseBody
from dqmsquare_cfg import Cluster
from grabbing import metrics
from grabbing.stop_event import StopEvent, Stopped, complete

T = TypeVar("T")

_GATEWAY_LABEL = "gateway"
# Interval of the check-ins while a result is awaited; a heartbeat is due every 5 s.
_CHECK_IN_S = 1.0


class GatewayQueue:
    """Runs the DQM² requests of one cluster one at a time, and times and counts each.

    `on_check_in` is called every second while a result is awaited. Machines are requested by
    host name; metrics carry their label.
    """

    def __init__(
        self,
        cluster: Cluster,
        client: Dqm2Client,
        stop: StopEvent,
        on_check_in: Callable[[], None],
    ) -> None:
        self.cluster = cluster
        self._client = client
        self._stop = stop
        self._on_check_in = on_check_in
        self._tasks: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        threading.Thread(target=self._run_tasks, name="gateway-queue", daemon=True).start()

    def headers(
        self, host: str, label: str, known_revision: int | None, *, is_responsive: bool = False
    ) -> Headers:
        """The headers as of `Dqm2Client.get_headers`. Raises Dqm2Error and Stopped."""
        request = partial(self._client.get_headers, host, known_revision, is_responsive=is_responsive)
        return self.wait_for(self._submit("headers", label, request))

    def request_documents(
        self, host: str, label: str, ids: Sequence[str], then: Callable[[ResponseBody], T]
    ) -> "Future[T]":
        """Queue a request for documents; `then` turns the response into the result, on the queue's thread."""
        return self._submit("documents", label, lambda: then(self._client.get_documents(host, ids)))

    def cluster_status(self) -> ClusterStatus:
        """Reachability of the machines from the gateway. Raises Dqm2Error and Stopped."""
        return self.wait_for(
            self._submit(
                "cluster_status", _GATEWAY_LABEL, lambda: self._client.get_cluster_status(self.cluster)
            )
        )

    def wait_for(self, future: "Future[T]") -> T:
        """The future's result, checking in while it is pending. Raises its error, or Stopped."""
        while not future.done():
            self._stop.wait_or_done(future, _CHECK_IN_S)
            if not future.done():
                self.check_in()
        return future.result()

    def check_in(self) -> None:
        """Interrupt a long piece of work for the heartbeat. Raises Stopped if the stop is requested."""
        if self._stop.is_set:
            raise Stopped
        self._on_check_in()

    def _submit(self, operation: str, label: str, request: Callable[[], T]) -> "Future[T]":
        future: Future[T] = Future()
        self._tasks.put(partial(complete, future, partial(self._measure, operation, label, request)))
        return future

    def _measure(self, operation: str, label: str, request: Callable[[], T]) -> T:
        cluster, bytes_before = self.cluster.value, self._client.bytes_received
        with metrics.upstream_request_duration.labels(cluster, label, operation).time():
            try:
                return request()
            except Dqm2Error as error:
                metrics.upstream_errors.labels(cluster, label, type(error).__name__).inc()
                raise
            finally:
                metrics.upstream_received_bytes.labels(cluster).inc(
                    self._client.bytes_received - bytes_before
                )

    def _run_tasks(self) -> None:
        while True:
            self._tasks.get()()
