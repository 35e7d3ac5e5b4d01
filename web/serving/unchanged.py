"""What who already has the newest of something is told: that it has not changed, in the bytes that go out.

Hundreds of viewers ask for the same every few seconds, and nearly always this is the answer. It is made of
the request's head and of what is kept (`web/cache/response_cache.py`) alone, without WSGI; its headers, its
place in the log and in the metrics are those that it would have had.
"""

from dataclasses import dataclass

from gunicorn.util import http_date

from runtime import logging_setup
from web import metrics
from web.access_log import ID_HEADER, NOT_MODIFIED, SeenRequest
from web.cache.response_cache import NOT_MODIFIED as STATUS
from web.cache.response_cache import KeptAnswers
from web.serving.request_head import RequestHead


@dataclass(frozen=True, slots=True)
class Unchanged:
    """An answer that nothing has changed: its bytes, and `sent` to be called once they are on their way."""

    content: bytes
    seen: SeenRequest
    route: str

    def sent(self) -> None:
        """Logs and counts it."""
        metrics.response_cache_requests.labels("hit").inc()
        self.seen.status = NOT_MODIFIED
        token = logging_setup.request_id.set(self.seen.id)
        self.seen.end(self.route)
        logging_setup.request_id.reset(token)


def answer(kept: KeptAnswers, head: RequestHead) -> Unchanged | None:
    """What to tell who has what he asks for, and asks on; `None` if he is to be answered otherwise."""
    if head.known is None or not head.stays:
        return None
    found = kept.find(head.path, head.query, head.encodings)
    if found is None or not found.is_known_to(head.known):
        return None
    seen = SeenRequest("GET", head.path, head.query)
    headers = (
        ("Server", "gunicorn"),
        ("Date", http_date()),
        ("Connection", "keep-alive"),
        *found.headers_of_unchanged(),
        (ID_HEADER, seen.id),
    )
    lines = (f"HTTP/1.1 {STATUS}", *(f"{name}: {value}" for name, value in headers), "", "")
    return Unchanged("\r\n".join(lines).encode("latin-1"), seen, found.route)
