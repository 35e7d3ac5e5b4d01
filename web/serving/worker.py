"""A worker of gunicorn's with threads, none of which waits for a visitor: neither to begin nor to read on.

Gunicorn's own gives a connection that asks nothing a thread for 5 s, and one that reads slowly a thread for
as long as that takes; its one loop waits up to 2 s for a visitor to hang up, and what comes in faster than it
goes out waits without end. Here waiting is the loop's, which waits for all at once, and a request that would
wait too long for a thread is refused (`busy`). One whose answer the application has (`has_answer`) is
answered by the loop itself, since to hand it to a thread and back takes longer; and who asks again for what
has not changed is told so (`unchanged`) without the connection being taken from where it waits.
"""

import logging
import re
import selectors
import socket
import tempfile
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gunicorn.workers.gthread import ThreadWorker

from runtime import logging_setup
from web import metrics
from web.serving import busy
from web.serving.outbox import STALLED_S, Outbox
from web.serving.overflow import Room
from web.serving.request_head import RequestHead
from web.serving.unchanged import Unchanged

log = logging.getLogger(__name__)

# How long a request may wait for a thread.
_LONGEST_WAIT_S = 1.0
# Of answers that were not taken yet this much is kept in memory; who would make it more is dropped.
_MOST_UNSENT_BYTES = 64_000_000
# And so much on disk; who would make it more is waited for.
_MOST_ON_DISK_BYTES = 512_000_000
# How long a visitor may take to hang up once he has been told that this is the end.
_LINGER_S = 2.0
_READ_BYTES = 65_536
# A plain request's head is shorter; a longer one is not looked into.
_HEAD_BYTES = 8192
_LOOK_EVERY_S = 0.25
_TELL_EVERY_S = 10.0
# Overloaded is alive: a probe that is told otherwise has the process killed, and the others overloaded.
_PROBE = re.compile(rb"GET (/[^ ?]*)?/healthz[ ?]")
_ALIVE = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 3\r\n\r\nok\n"

_Outcome = Future[Any]
HasAnswer = Callable[[RequestHead], bool]
TellUnchanged = Callable[[RequestHead, int], Unchanged | None]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A request that was handed to the threads, and when."""

    conn: Any
    outcome: _Outcome
    since_s: float

    @property
    def has_begun(self) -> bool:
        """Whether a thread has taken it, or it was given up."""
        return self.outcome.running() or self.outcome.done()


class PatientWorker(ThreadWorker):
    """The worker; its one loop calls every method, threads `handle_request` alone."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Handed to the threads and not begun, as far as is known; the oldest first.
        self._waiting: deque[_Waiting] = deque()
        # Until when the loop waits for each visitor who reads on or is to hang up.
        self._patience_s: dict[Any, float] = {}
        self._room = _room_on_disk(Path(self.cfg.worker_tmp_dir or tempfile.gettempdir()) / "waiting")
        self._refused = 0
        self._look_at_s = self._tell_at_s = 0.0

    def enqueue_req(self, conn: Any) -> None:
        """Answers a request, or hands it to the threads unless others have waited for them too long."""
        conn.outbox = None
        if not (conn.initialized or conn.data_ready):
            self._wait_for_request(conn)
        elif self._has_answer(conn):
            outcome = _Outcome()
            outcome.set_result(self.handle(conn))
            self.finish_request(conn, outcome)
        elif self._is_overloaded():
            self._refuse(conn)
        else:
            outcome = self.tpool.submit(self.handle, conn)
            self._waiting.append(_Waiting(conn, outcome, time.monotonic()))
            outcome.add_done_callback(lambda done: self.method_queue.defer(self.finish_request, conn, done))

    def on_client_socket_readable(self, conn: Any, client: Any) -> None:
        """Tells who asks again that nothing has changed, or takes it as any other request."""
        if not self._told_unchanged(conn):
            super().on_client_socket_readable(conn, client)
            return
        # It goes on waiting, now for longer than all others.
        self.keepalived_conns.remove(conn)
        conn.set_timeout()
        self.keepalived_conns.append(conn)

    def handle_request(self, req: Any, conn: Any) -> Any:
        """Answers a request; what its reader does not take at once stays in the outbox."""
        sock = conn.sock
        conn.sock = conn.outbox = Outbox(sock, self._room)
        try:
            return super().handle_request(req, conn)
        except BaseException:
            conn.outbox.give_up()
            conn.outbox = None
            raise
        finally:
            conn.sock = sock

    def finish_request(self, conn: Any, fs: _Outcome) -> None:
        """Goes on with a connection whose request was answered, or given up."""
        outbox: Outbox | None = conn.outbox
        conn.outbox = None
        if fs.cancelled():
            self._refuse(conn)
        elif outbox is not None and outbox.size:
            self._send_rest(conn, outbox, fs)
        else:
            self._answered(conn, fs)

    def wait_for_and_dispatch_events(self, timeout: float | None) -> None:
        """Waits for whatever comes next, but not past the time to look after those who wait."""
        is_watching = self._waiting or self._patience_s
        super().wait_for_and_dispatch_events(_LOOK_EVERY_S if is_watching else timeout)

    def murder_pending(self) -> None:
        """Ends what has waited for too long."""
        super().murder_pending()
        now_s = time.monotonic()
        if now_s < self._look_at_s:
            return
        self._look_at_s = now_s + _LOOK_EVERY_S
        for conn in [conn for conn, until_s in self._patience_s.items() if until_s < now_s]:
            self._drop(conn)
        while self._waiting and self._waiting[0].since_s < now_s - _LONGEST_WAIT_S:
            # One that has not begun ends in `finish_request`.
            self._waiting.popleft().outcome.cancel()
        if self._refused and now_s >= self._tell_at_s:
            log.warning("requests_shed count=%d", self._refused)
            self._refused, self._tell_at_s = 0, now_s + _TELL_EVERY_S

    def _wait_for_request(self, conn: Any) -> None:
        """Browsers open connections that they may need later."""
        conn.sock.settimeout(0)
        conn.set_timeout()
        self.pending_conns.append(conn)
        readable = partial(self.on_pending_socket_readable, conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, readable)

    def _has_answer(self, conn: Any) -> bool:
        """Whether a whole request has come in that there is an answer to, so that nothing is waited for."""
        has_answer: HasAnswer | None = getattr(self.app, "has_answer", None)
        # What was read ahead comes before what can be seen.
        if has_answer is None or (conn.parser is not None and conn.parser.unreader.buf.getvalue()):
            return False
        head = RequestHead.of(_received(conn))
        return head is not None and has_answer(head)

    def _told_unchanged(self, conn: Any) -> bool:
        """Answers a request if nothing has changed that it asks for; any other is left as it came."""
        unchanged: TellUnchanged | None = getattr(self.app, "unchanged", None)
        # One that stops hangs up behind its answers.
        if unchanged is None or not self.alive:
            return False
        received = _received(conn)
        head = RequestHead.of(received)
        answer = None if head is None else unchanged(head, conn.server[1])
        if answer is None or not _send_at_once(conn, answer.content):
            return False
        with suppress(OSError):
            conn.sock.recv(len(received))
        answer.sent()
        return True

    def _is_overloaded(self) -> bool:
        while self._waiting and self._waiting[0].has_begun:
            self._waiting.popleft()
        return bool(self._waiting) and self._waiting[0].since_s < time.monotonic() - _LONGEST_WAIT_S

    def _refuse(self, conn: Any) -> None:
        """Answers, without a thread, that there is too much to do; or, to a probe, that the process lives."""
        is_probe = _PROBE.match(_received(conn)) is not None
        if not is_probe:
            self._refused += 1
            metrics.http_requests.labels("none", "503").inc()
        with suppress(OSError):
            conn.sock.send(_ALIVE if is_probe else busy.RAW, socket.MSG_DONTWAIT)
        self._hang_up(conn)

    def _answered(self, conn: Any, fs: _Outcome) -> None:
        if fs.exception() is None and not fs.result():
            self._hang_up(conn)
        else:
            super().finish_request(conn, fs)

    def _send_rest(self, conn: Any, outbox: Outbox, fs: _Outcome) -> None:
        """Sends what is left of an answer as its reader takes it."""
        unsent = (waiting.outbox.in_memory for waiting in self._patience_s if waiting.outbox is not None)
        if sum(unsent) + outbox.in_memory > _MOST_UNSENT_BYTES:
            outbox.give_up()
            self._close(conn)
            return
        conn.outbox = outbox
        conn.sock.settimeout(0)
        send = partial(self._send_more, conn, outbox, fs)
        self._wait_for(conn, selectors.EVENT_WRITE, send, STALLED_S)

    def _send_more(self, conn: Any, outbox: Outbox, fs: _Outcome, _sock: object) -> None:
        try:
            outbox.send_some()
        except OSError:
            self._drop(conn)
            return
        self._patience_s[conn] = min(time.monotonic() + STALLED_S, outbox.until_s)
        if not outbox.size:
            conn.outbox = None
            self._wait_no_more(conn)
            self._answered(conn, fs)

    def _hang_up(self, conn: Any) -> None:
        """Ends a connection: closed at once, what was sent last could be lost on its way."""
        try:
            conn.sock.settimeout(0)
            conn.sock.shutdown(socket.SHUT_WR)
        except OSError:
            self._close(conn)
            return
        self._wait_for(conn, selectors.EVENT_READ, partial(self._drain, conn), _LINGER_S)

    def _drain(self, conn: Any, _sock: object) -> None:
        try:
            has_hung_up = not conn.sock.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            has_hung_up = True
        if has_hung_up:
            self._drop(conn)

    def _wait_for(self, conn: Any, event: int, callback: Callable[[Any], None], patience_s: float) -> None:
        self._patience_s[conn] = time.monotonic() + patience_s
        self.poller.register(conn.sock, event, callback)

    def _wait_no_more(self, conn: Any) -> None:
        del self._patience_s[conn]
        self.poller.unregister(conn.sock)

    def _drop(self, conn: Any) -> None:
        """Closes a connection that the loop waits for."""
        self._wait_no_more(conn)
        if conn.outbox is not None:
            conn.outbox.give_up()
        self._close(conn)

    def _close(self, conn: Any) -> None:
        self.nr_conns -= 1
        conn.close()


def _room_on_disk(folder: Path) -> Room:
    room = Room(folder, _MOST_ON_DISK_BYTES)
    try:
        room.new_file().close()
    except OSError as error:
        # Slow readers hold threads then, which is to be known before there are any.
        log.warning(
            "answers can't wait on disk folder=%s reason=%s",
            logging_setup.quote_value(str(folder)),
            logging_setup.quote_value(error.strerror or ""),
        )
    return room


def _received(conn: Any) -> bytes:
    """What has come in of a request, which stays where it is."""
    try:
        received: bytes = conn.sock.recv(_HEAD_BYTES, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:
        return b""
    return received


def _send_at_once(conn: Any, content: bytes) -> bool:
    """Sends something short, or nothing of it; whether it did."""
    try:
        sent = conn.sock.send(content, socket.MSG_DONTWAIT)
        if sent < len(content):
            # Half an answer can't be taken back. What is at its end is found as soon as it is read.
            conn.sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        return False
    return True
