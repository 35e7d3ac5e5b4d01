"""What can be told of a request that has only come in: of a whole and plain GET all, of others nothing."""

import pytest

from web.serving.request_head import RequestHead

PLAIN = b"GET /live/run?db=production&run=1 HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip, br\r\n\r\n"


def test_it_tells_what_a_whole_get_asks_for() -> None:
    assert RequestHead.of(PLAIN) == RequestHead(
        "/live/run", "db=production&run=1", "gzip, br", None, stays=True
    )
    assert RequestHead.of(b"GET / HTTP/1.1\r\n\r\n") == RequestHead("/", "", "", None, stays=True)


def test_it_tells_what_is_known_already() -> None:
    head = RequestHead.of(PLAIN.replace(b"Host: x", b'IF-none-match:  W/"abc" '))
    assert head is not None
    assert head.known == 'W/"abc"'


def test_it_tells_who_stays() -> None:
    words = (b"keep-alive", b"Keep-Alive", b"close", b"keep-alive, close")
    heads = [RequestHead.of(PLAIN.replace(b"Host: x", b"Connection: " + word)) for word in words]
    assert [head is not None and head.stays for head in heads] == [True, True, False, False]


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
        PLAIN.replace(b"Host: x", b"Host: x\r\nHost: y"),
        PLAIN.replace(b"Host: x", b"Host: x\nContent-Length: 3"),
        PLAIN.replace(b"Host: x", b"Host: x\rContent-Length: 3"),
        PLAIN.replace(b"Host: x", b"Host: x\0"),
        PLAIN.replace(b"Host: x", b"Content-Length : 3"),
    ],
)
def test_it_tells_nothing_of_anything_else(received: bytes) -> None:
    assert RequestHead.of(received) is None
