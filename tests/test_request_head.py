"""What can be told of a request that has only come in: of a whole and plain GET all, of others nothing."""

import pytest

from web.request_head import RequestHead

PLAIN = b"GET /live/run?db=production&run=1 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\n\r\n"


def test_it_tells_what_a_whole_get_asks_for() -> None:
    assert RequestHead.of(PLAIN) == RequestHead("/live/run", "db=production&run=1", "gzip, br")
    assert RequestHead.of(b"GET / HTTP/1.1\r\n\r\n") == RequestHead("/", "", "")


@pytest.mark.parametrize(
    "received",
    [
        b"",
        PLAIN[:-2],
        PLAIN + PLAIN,
        PLAIN + b"x",
        PLAIN.replace(b"GET", b"POST"),
        PLAIN.replace(b"HTTP/1.1", b"HTTP/1.0"),
        PLAIN.replace(b"/live", b"/l%69ve"),
        PLAIN.replace(b"/live", b"http://x/live"),
        PLAIN.replace(b"Host: x", b"Content-Length: 3"),
        PLAIN.replace(b"Host: x", b"transfer-encoding: chunked"),
        PLAIN.replace(b"Host: x", b"Accept-Encoding: identity"),
        PLAIN.replace(b"Host: x", b"Host: x\r\n folded"),
    ],
)
def test_it_tells_nothing_of_anything_else(received: bytes) -> None:
    assert RequestHead.of(received) is None
