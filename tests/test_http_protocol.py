"""HTTP as clients speak it to the server: well, badly, slowly, and to smuggle a request past a proxy."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.driven_loop import Connection, Listener, listening, run, settled, skip

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
LAST_GET = GET + b"Connection: close\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
MALFORMED = b"This is not a valid HTTP request."
LARGE = 8_000_000

Test = Callable[[Listener], Awaitable[None]]


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the request as an application sees it; to `/large` with more than is taken at once."""
    if scope["path"] == "/large":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(LARGE // 50_000):
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    headers = [[name.decode(), value.decode("latin-1")] for name, value in scope["headers"]]
    content = json.dumps([scope["method"], scope["path"], headers, body.decode()]).encode()
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-length", str(len(content)).encode())],
        }
    )
    await send({"type": "http.response.body", "body": content})


def against_echo(test: Test) -> None:
    async def served() -> None:
        async with listening(echo) as listener:
            await test(listener)

    run(served())


def ask(request: bytes) -> bytes:
    """All that is answered to bytes, the last of which end the connection."""
    answered: list[bytes] = []

    async def test(listener: Listener) -> None:
        answered.append(await listener.ask(request))

    against_echo(test)
    return answered[0]


def heads(answered: bytes) -> list[bytes]:
    return [part.split(b"\r\n", 1)[0] for part in answered.split(b"HTTP/1.1 ")[1:]]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01 TLS\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n",
        b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
        b"get / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT x:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        GET + b"X: a\r\n b\r\n\r\n",
        GET + b"X : a\r\n\r\n",
        GET + b"X Y: a\r\n\r\n",
        GET + b"X: a\0b\r\n\r\n",
        GET + b"X: a\rb\r\n\r\n",
        POST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\nabc",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        POST + b"Content-Length: 3, 3\r\n\r\nabc",
        POST + b"Content-Length: +3\r\n\r\nabc",
        POST + b"Content-Length: 0x3\r\n\r\nabc",
        POST + b"Content-Length: -3\r\n\r\nabc",
        POST + b"Transfer-Encoding: chunked\r\n\r\n3;\r\nx\r\nzz\r\n",
    ],
)
def test_it_refuses_what_a_proxy_might_read_otherwise(request_: bytes) -> None:
    answered = ask(request_)
    assert heads(answered) == [b"400 Bad Request"]
    assert answered.endswith(MALFORMED)
    assert b"\r\nx-content-type-options: nosniff\r\n" in answered
    assert b"\r\nconnection: close\r\n" in answered


def test_it_says_that_a_url_must_be_percent_encoded() -> None:
    answered = ask("GET /ü?ü HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    assert heads(answered) == [b"400 Bad Request"]
    assert b"must be percent-encoded, such as %C3%A9" in answered


@pytest.mark.parametrize(
    ("request_", "is_problem"),
    [
        (b"GET /api/v1/clusters HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", True),
        (b"GET /dqm/api/v1?a=b HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", True),
        (b"GET /%61pi/v1/ HTTP/9.9\r\nHost: x\r\n\r\n", True),
        (b"POST /api/v1/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", True),
        ("GET /api/v1/ü HTTP/1.1\r\nHost: x\r\n\r\n".encode(), True),
        ("GET /ü?/api/v1/ HTTP/1.1\r\nHost: x\r\n\r\n".encode(), False),
        (b"GET /?next=/api/v1/ HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", False),
        (b"GET /api/v11 HTTP/1.1\r\nHost: x\r\nX Y: a\r\n\r\n", False),
        # Nothing is known of a request that has no URL.
        (b"GET /api/v1/ HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n", False),
    ],
)
def test_it_refuses_in_the_format_of_the_api(request_: bytes, *, is_problem: bool) -> None:
    refused = ask(request_).rpartition(b"HTTP/1.1 ")[2]
    assert refused.startswith(b"400 Bad Request\r\n")
    assert (b"\r\ncontent-type: application/problem+json\r\n" in refused) is is_problem
    body = refused.partition(b"\r\n\r\n")[2]
    assert (body.startswith(b'{"type":"about:blank","title":"Bad Request","status":400,')) is is_problem


def test_it_answers_what_came_before_a_malformed_request_first() -> None:
    assert heads(ask(GET + b"\r\n" + b"nonsense\r\n\r\n")) == [b"200 OK", b"400 Bad Request"]


def test_it_takes_nothing_behind_the_request_that_ends_the_connection() -> None:
    assert heads(ask(LAST_GET + GET + b"\r\n")) == [b"200 OK"]


def test_it_answers_pipelined_requests_in_order() -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        connection.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: x\r\n\r\n" % number for number in range(20)))
        paths = [json.loads((await connection.response())[1])[1] for _ in range(20)]
        assert paths == [f"/{number}" for number in range(20)]

    against_echo(test)


def test_it_ends_a_connection_with_too_many_pipelined_requests() -> None:
    assert len(heads(ask(5000 * (GET + b"\r\n")))) < 100


def test_it_reads_chunks_and_drops_trailers() -> None:
    answered = ask(
        POST + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
        b"3\r\nabc\r\n2\r\nde\r\n0\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n"
    )
    method, _path, headers, body = json.loads(answered.partition(b"\r\n\r\n")[2])
    assert (method, body) == ("POST", "abcde")
    assert "x-forwarded-for" not in dict(headers)


def test_it_asks_for_a_body_that_waits_to_be_asked_for() -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        connection.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert await connection.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.send(b"abc")
        status, body = await connection.response()
        assert (status, json.loads(body)[3]) == (200, "abc")

    against_echo(test)


def test_it_speaks_http_1_0() -> None:
    answered = ask(b"GET / HTTP/1.0\r\n\r\n")
    assert heads(answered) == [b"200 OK"]
    assert b"\r\nconnection: close\r\n" in answered


def test_it_skips_empty_lines_before_a_request() -> None:
    assert heads(ask(b"\r\n\r\n" + LAST_GET)) == [b"200 OK"]


def test_it_refuses_a_head_that_never_ends() -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        connection.send(GET)
        answered = asyncio.create_task(connection.rest())
        for number in range(10_000):
            if answered.done():
                break
            connection.send(b"X-%d: %s\r\n" % (number, b"x" * 1000))
            await settled()
        assert heads(await answered) == [b"431 Request Header Fields Too Large"]

    against_echo(test)


@pytest.mark.parametrize(
    ("first", "then"), [(b"", b""), (b"\r\n", b"\r\n"), (b"G", b"E"), (GET, b"X"), (GET + b"X: ", b"x")]
)
def test_it_gives_a_head_20_s(first: bytes, then: bytes) -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        connection.send(first)
        await skip(15)
        assert connection.is_open
        connection.send(then)
        await skip(6)
        assert await connection.rest() == b""

    against_echo(test)


def test_a_connection_is_kept_for_20_s() -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        for _ in range(3):
            connection.send(GET + b"\r\n")
            assert (await connection.response())[0] == 200
            await skip(19)
        assert connection.is_open
        await skip(2)
        assert await connection.rest() == b""

    against_echo(test)


def test_a_head_that_comes_in_pieces_is_one_request() -> None:
    async def test(listener: Listener) -> None:
        connection = await listener.connect()
        for byte in LAST_GET:
            connection.send(bytes([byte]))
            await settled()
        assert heads(await connection.rest()) == [b"200 OK"]

    against_echo(test)


async def ask_for_large(listener: Listener) -> Connection:
    connection = await listener.connect()
    connection.send(b"GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    await connection.head()
    await settled()
    return connection


def test_a_client_that_reads_nothing_for_10_s_is_cut_off() -> None:
    async def test(listener: Listener) -> None:
        connection = await ask_for_large(listener)
        # Bytes read before the client stopped count as progress.
        for _ in range(3):
            await skip(10)
        assert len(await connection.rest()) < LARGE

    against_echo(test)


async def read_at_least(connection: Connection, count: int) -> bytes:
    """Bytes of a response, `count` or more: enough for the kernel to report progress to the server."""
    received = b""
    while len(received) < count and (part := await connection.reader.read(count)):
        received += part
    return received


def test_a_client_that_reads_slowly_gets_all_of_it() -> None:
    async def test(listener: Listener) -> None:
        connection = await ask_for_large(listener)
        received = 0
        while part := await read_at_least(connection, 1_000_000):
            received += len(part)
            await skip(5)
        assert received > LARGE

    against_echo(test)
