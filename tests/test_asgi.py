"""The ASGI application: what it refuses itself, what it passes on to Flask, and when."""

import asyncio
import json
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from threading import Event, Semaphore
from typing import Any

import pytest
from flask import Flask, Response, jsonify, request

from dqmsquare_cfg import Settings
from runtime import logging_setup
from tests.control_room import USER
from tests.driven_loop import Connection, Listener, listening, run, settled, skip, until
from tests.served import free_port
from tests.waiting import TIMEOUT_S
from web import access_log, limits, refusals, request_head
from web.asgi import MirrorApplication
from web.cache.dependencies import cached_view
from web.control_room import passwords
from web.errors import INTERNAL_ERROR, DatabaseUnavailable
from web.limits import RequestKind, RequestQueue, limited_as
from web.responses import SECURITY_HEADERS, etag_response, streamed

GET = b"GET /seen HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /seen HTTP/1.1\r\nHost: x\r\n"
FORM = b"Content-Type: application/x-www-form-urlencoded\r\n"
CHUNKED = b"Transfer-Encoding: chunked\r\n"

Test = Callable[[Listener], Awaitable[None]]


def seen() -> Response:
    """The request as Flask sees it."""
    return jsonify(
        headers=dict(request.headers), form=dict(request.form), body=request.get_data(as_text=True)
    )


@pytest.fixture
def app(app: Flask) -> Flask:
    """The application with a view that returns its request."""
    app.add_url_rule("/seen", view_func=seen, methods=["GET", "POST"])
    return app


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Settings with two threads for pages."""
    return replace(settings, server_threads=2)


@pytest.fixture
def serve(app: Flask, settings: Settings) -> Callable[[Test], None]:
    """Run a test against the application."""

    def run_against(test: Test) -> None:
        async def served() -> None:
            async with listening(MirrorApplication(app, settings)) as listener:
                await test(listener)

        run(served())

    return run_against


class Gate:
    """A view whose requests wait in their threads, each until it is let through."""

    def __init__(self, app: Flask, kind: RequestKind = RequestKind.PAGE, path: str = "/gate") -> None:
        self.entered = 0
        self.has_left: list[bool] = []
        self._gate = Semaphore(0)

        @app.get(path, endpoint=path)
        @limited_as(kind)
        def view() -> str:
            self.entered += 1
            assert self._gate.acquire(timeout=TIMEOUT_S)
            self.has_left.append(access_log.client_has_left())
            return "through"

    def open(self, count: int = 1) -> None:
        self._gate.release(count)


async def asked(listener: Listener, request_: bytes) -> Connection:
    connection = await listener.connect()
    connection.send(request_)
    return connection


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


def test_it_refuses_requests_for_the_api_with_problem_details(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        connection = await asked(listener, get("/api/v1/clusters?" + "x" * 4100))
        assert b"\r\ncontent-type: application/problem+json\r\n" in await connection.head()
        problem = json.loads(await connection.reader.read(1000))
        assert problem["status"] == 414
        assert problem["detail"] == refusals.URL_TOO_LONG.sentence

    serve(test)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (GET + b"".join(b"X-%d: x\r\n" % number for number in range(201)), 431),
        (GET + b"X: " + b"x" * 65_536 + b"\r\n", 431),
        (GET + b"Accept: " + b"a/b;q=0.1, " * 100 + b"\r\n", 431),
        (GET + b"If-None-Match: " + b'"0123456789", ' * 100 + b"\r\n", 431),
        (GET + (b"Cookie: " + b"a=b; " * 1000 + b"\r\n") * 2, 431),
        (b"GET /seen?%s HTTP/1.1\r\nHost: x\r\n" % (b"x" * 4100), 414),
        (b"GET /seen?%s HTTP/1.1\r\nHost: x\r\n" % (b"a=b&" * 101), 400),
        (b"GET /seen HTTP/2.0\r\nHost: x\r\n", 505),
        (b"GET /seen HTTP/1.1\r\n", 400),
        (GET + b"Host: y\r\n", 400),
        (POST + b"Transfer-Encoding: gzip, chunked\r\n", 501),
        (b"POST /seen HTTP/1.0\r\nTransfer-Encoding: chunked\r\n", 400),
        (POST + b"Content-Length: 3\r\nConnection: upgrade\r\nUpgrade: h2c\r\n", 400),
        (POST + b"Content-Length: 16385\r\n", 413),
    ],
)
def test_it_refuses_by_the_head_in_a_sentence(
    serve: Callable[[Test], None], request_: bytes, status: int
) -> None:
    async def test(listener: Listener) -> None:
        connection = await asked(listener, request_ + b"\r\n")
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 %d " % status)
        assert b"\r\nx-content-type-options: nosniff\r\n" in head
        assert b"\r\nx-request-id: " in head
        assert (await connection.reader.read(1000)).endswith(b".")
        await skip(3)
        assert await connection.rest() == b""

    serve(test)


def test_it_passes_on_what_is_within_the_bounds(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        many = b"".join(b"X-%d: x\r\n" % number for number in range(199))
        for head in (many, b"X: " + b"x" * 64_000 + b"\r\n", b"Cookie: " + b"x" * 8_000 + b"\r\n"):
            assert (await (await asked(listener, GET + head + b"\r\n")).response())[0] == 200
        for query in (b"x" * 4000, b"&".join([b"x=y"] * 100)):
            url = b"GET /seen?%s HTTP/1.1\r\nHost: x\r\n\r\n" % query
            assert (await (await asked(listener, url)).response())[0] == 200

    serve(test)


def test_it_takes_a_form_however_it_comes(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        for body in (
            b"Content-Length: 7\r\n\r\na=1&b=2",
            CHUNKED + b"\r\n3\r\na=1\r\n4\r\n&b=2\r\n0\r\n\r\n",
        ):
            connection = await asked(listener, POST + FORM + body)
            status, content = await connection.response()
            assert (status, json.loads(content)["form"]) == (200, {"a": "1", "b": "2"})
            # The connection is good for another.
            connection.send(GET + b"\r\n")
            assert (await connection.response())[0] == 200

    serve(test)


def test_it_refuses_a_body_that_grows_too_large(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        connection = await asked(listener, POST + CHUNKED + b"\r\n" + b"1000\r\n%s\r\n" % (b"x" * 4096) * 17)
        assert (await connection.response())[0] == 413

    serve(test)


def test_it_gives_a_body_10_s_and_no_thread(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        slow = [await asked(listener, POST + b"Content-Length: 10\r\n\r\nabc") for _ in range(50)]
        await settled()
        assert (await (await asked(listener, GET + b"\r\n")).response())[0] == 200
        await skip(9)
        for connection in slow:
            connection.send(b"d")
        await skip(2)
        assert {(await connection.response())[0] for connection in slow} == {408}

    serve(test)


def test_it_leaves_a_strangers_command_unread(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        command = b"POST /cr/exe HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nExpect: 100-continue\r\n\r\n"
        connection = await asked(listener, command)
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 401 ")
        assert b"\r\nconnection: close\r\n" in head

    serve(test)


def test_it_drops_headers_that_could_pass_for_others(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        forged = b"X_Forwarded_For: 192.0.2.1\r\nX-Forwarded_For: 192.0.2.1\r\nX-Known: yes\r\n"
        _status, content = await (await asked(listener, GET + forged + b"\r\n")).response()
        headers = json.loads(content)["headers"]
        assert "X-Forwarded-For" not in headers
        assert headers["X-Known"] == "yes"

    serve(test)


def test_it_answers_an_upgrade_as_any_request_and_ends_the_connection(serve: Callable[[Test], None]) -> None:
    async def test(listener: Listener) -> None:
        upgrade = GET + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
        answered = await listener.ask(upgrade + GET + b"\r\n")
        assert answered.count(b"HTTP/1.1 200") == 1

    serve(test)


def test_a_kind_of_request_waits_for_its_own_kind_alone(app: Flask, serve: Callable[[Test], None]) -> None:
    # The commands beyond 24 are refused by the Control Room.
    slots = {
        RequestKind.PAGE: 2,
        RequestKind.RUN_RANGE: 2,
        RequestKind.LOG_SEARCH: 1,
        RequestKind.LOGIN: 1,
        RequestKind.COMMAND: 26,
    }
    longest_s = {kind: 1 if kind is RequestKind.PAGE else 5 for kind in slots}
    gates = {kind: Gate(app, kind, f"/gate/{kind}") for kind in slots}

    async def test(listener: Listener) -> None:
        inside = []
        for kind, gate in gates.items():
            path = get(f"/gate/{kind}")
            inside += [await asked(listener, path) for _ in range(slots[kind])]
            await until(lambda: gate.entered == slots[kind])  # noqa: B023 - waited for right here
            waiting = await asked(listener, path)
            await skip(longest_s[kind] - 0.1)
            assert (await (await asked(listener, get("/healthz"))).response())[0] == 200
            await skip(0.2)
            assert (await waiting.response())[0] == 503
        for kind, gate in gates.items():
            gate.open(slots[kind])
        assert {(await connection.response())[0] for connection in inside} == {200}

    serve(test)


@pytest.mark.parametrize(
    ("method", "path", "query", "kind"),
    [
        ("GET", "/", {}, RequestKind.PAGE),
        ("GET", "/api", {"what": "get_run"}, RequestKind.PAGE),
        ("GET", "/api", {"what": "get_runs"}, RequestKind.RUN_RANGE),
        ("GET", "/api", {"what": "get_clients"}, RequestKind.RUN_RANGE),
        ("GET", "/crashes/search", {}, RequestKind.PAGE),
        ("GET", "/crashes/search", {"q": "error"}, RequestKind.LOG_SEARCH),
        ("GET", "/cr/login/", {}, RequestKind.PAGE),
        # It hashes a password.
        ("POST", "/cr/login/", {}, RequestKind.LOGIN),
        ("POST", "/cr/exe", {}, RequestKind.COMMAND),
    ],
)
def test_a_view_that_takes_long_has_a_kind_of_its_own(
    app: Flask, method: str, path: str, query: dict[str, str], kind: RequestKind
) -> None:
    endpoint, _ = app.url_map.bind("localhost").match(path, method)
    assert limits.kind_of(app.view_functions[endpoint], query) is kind


class SlowHash:
    """A check of passwords that accepts all of them, and waits until it may."""

    def __init__(self) -> None:
        self.running = self.most_running = 0
        self._gate = Semaphore(0)

    def __call__(self, _hash: str, _password: str) -> bool:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        assert self._gate.acquire(timeout=TIMEOUT_S)
        self.running -= 1
        return True

    def open(self, count: int) -> None:
        self._gate.release(count)


def test_sign_ins_hash_one_password_at_a_time_and_leave_pages_their_threads(
    serve: Callable[[Test], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = SlowHash()
    monkeypatch.setattr(passwords, "check_password_hash", slow)
    form = f"username={USER}&password=any".encode()
    sign_in = b"POST /cr/login/ HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n%s" % (
        FORM,
        len(form),
        form,
    )

    async def test(listener: Listener) -> None:
        sign_ins = [await asked(listener, sign_in) for _ in range(24)]
        await until(lambda: slow.running)
        for _ in range(3):
            pages = [await asked(listener, get("/cr/login/")) for _ in range(2)]
            assert {(await page.response())[0] for page in pages} == {200}
        slow.open(len(sign_ins))
        assert {(await answered.response())[0] for answered in sign_ins} == {302}
        assert slow.most_running == 1

    serve(test)


def test_it_does_not_work_for_a_client_that_left_before_its_turn(
    app: Flask, serve: Callable[[Test], None]
) -> None:
    gate = Gate(app)

    async def test(listener: Listener) -> None:
        inside = [await asked(listener, get("/gate")) for _ in range(2)]
        await until(lambda: gate.entered == 2)
        leaving = await asked(listener, get("/gate"))
        await settled()
        leaving.writer.close()
        await settled()
        gate.open(2)
        assert {(await connection.response())[0] for connection in inside} == {200}
        assert (await (await asked(listener, GET + b"\r\n")).response())[0] == 200
        assert gate.entered == 2

    serve(test)


def test_a_view_can_tell_that_its_client_has_left(app: Flask, serve: Callable[[Test], None]) -> None:
    gate = Gate(app, RequestKind.COMMAND)

    async def test(listener: Listener) -> None:
        leaving, _staying = [await asked(listener, get("/gate")) for _ in range(2)]
        await until(lambda: gate.entered == 2)
        leaving.writer.close()
        await settled()
        gate.open(2)
        await until(lambda: len(gate.has_left) == 2)
        assert sorted(gate.has_left) == [False, True]

    serve(test)


def add_stream(app: Flask, chunks: Callable[[], Iterator[bytes]]) -> None:
    def view() -> Response:
        return streamed((chunk for chunk in chunks()), "text/plain")

    app.add_url_rule("/stream", view_func=limited_as(RequestKind.RUN_RANGE)(view), endpoint="stream")


def test_a_stream_stops_when_its_client_leaves(app: Flask, serve: Callable[[Test], None]) -> None:
    ended = Event()

    def endless() -> Iterator[bytes]:
        try:
            while True:
                yield b"x" * 1000
        finally:
            ended.set()

    add_stream(app, endless)

    async def test(listener: Listener) -> None:
        leaving = await asked(listener, get("/stream"))
        await leaving.head()
        leaving.writer.close()
        await until(ended.is_set)

    serve(test)


def test_a_stream_to_an_http_1_0_client_has_a_length(app: Flask, serve: Callable[[Test], None]) -> None:
    add_stream(app, lambda: iter([b"one", b"two"]))

    async def test(listener: Listener) -> None:
        answered = await listener.ask(b"GET /stream HTTP/1.0\r\n\r\n")
        assert b"\r\ncontent-length: 6\r\n" in answered
        assert answered.endswith(b"\r\n\r\nonetwo")

    serve(test)


def test_a_stream_that_fails_is_seen_to_be_incomplete(
    app: Flask, serve: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Iterator[bytes]:
        yield b"one"
        raise DatabaseUnavailable("The database is down.")

    add_stream(app, failing)

    async def test(listener: Listener) -> None:
        connection = await asked(listener, get("/stream"))
        assert b"transfer-encoding: chunked" in await connection.head()
        with pytest.raises(asyncio.IncompleteReadError):
            await connection.reader.readuntil(b"0\r\n\r\n")

    with caplog.at_level(logging.WARNING):
        serve(test)
    assert 'response_aborted reason="The database is down."' in caplog.text


def test_it_cuts_off_a_client_that_takes_5_minutes(
    app: Flask, serve: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    whole = b"x" * 50_000_000
    add_stream(app, lambda: iter([whole]))
    app.add_url_rule("/large", view_func=cached_view(lambda: etag_response(whole)), endpoint="large")

    async def test(listener: Listener) -> None:
        for path in ("/large", "/stream"):
            connection = await asked(listener, get(path))
            received, passed_s = 0, 0
            while part := await read_at_least(connection, 1_000_000):
                received += len(part)
                await skip(9)
                passed_s += 9
            assert received < len(whole)
            assert passed_s >= 300

    with caplog.at_level(logging.WARNING):
        serve(test)
    assert [record.name for record in caplog.records] == ["web.asgi"] * 2


async def read_at_least(connection: Connection, count: int) -> bytes:
    """Bytes of a response, `count` or more unless it ends; enough for the server to notice progress."""
    received = b""
    with suppress(ConnectionResetError):
        while len(received) < count and (part := await connection.reader.read(count)):
            received += part
    return received


def watch_ids(monkeypatch: pytest.MonkeyPatch, logger: str) -> list[str]:
    """Ids of the requests of the lines that a logger writes from now on."""

    def note_id(_record: logging.LogRecord) -> bool:
        ids.append(logging_setup.request_id.get())
        return True

    ids: list[str] = []
    monkeypatch.setattr(logging.getLogger(logger), "filters", [note_id])
    return ids


@pytest.mark.parametrize(
    ("part", "function", "mark"),
    [
        (RequestQueue, "acquire", cached_view),
        (RequestQueue, "acquire", limited_as(RequestKind.PAGE)),
        (request_head, "parse", cached_view),
    ],
)
def test_an_error_of_its_own_has_the_headers_and_the_id_of_its_log_line(
    app: Flask,
    serve: Callable[[Test], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    part: object,
    function: str,
    mark: Callable[[Any], Any],
) -> None:
    def failing(*_: object) -> None:
        raise RuntimeError("a bug")

    logged_ids = watch_ids(monkeypatch, "web.asgi")
    app.add_url_rule("/broken", view_func=mark(lambda: "never made"), endpoint="broken")
    monkeypatch.setattr(part, function, failing)

    async def test(listener: Listener) -> None:
        connection = await asked(listener, get("/broken"))
        head = await connection.head()
        assert head.startswith(b"HTTP/1.1 500 ")
        for name in SECURITY_HEADERS:
            assert b"\r\n%s: " % name.lower().encode() in head
        [request_id] = re.findall(rb"\r\nx-request-id: (\w+)\r\n", head)
        body = await connection.rest()
        assert body == INTERNAL_ERROR.format(request_id=request_id.decode()).encode()
        assert logged_ids == [request_id.decode()]

    with caplog.at_level(logging.ERROR):
        serve(test)
    assert [record.getMessage() for record in caplog.records] == ["request_failed"]


def test_an_error_within_a_response_ends_the_connection(
    app: Flask, serve: Callable[[Test], None], caplog: pytest.LogCaptureFixture
) -> None:
    def failing() -> Iterator[bytes]:
        yield b"one"
        raise RuntimeError("a bug")

    add_stream(app, failing)

    async def test(listener: Listener) -> None:
        answered = await listener.ask(get("/stream"))
        assert answered.startswith(b"HTTP/1.1 200 ")
        assert not answered.endswith(b"\r\n0\r\n\r\n")

    with caplog.at_level(logging.ERROR):
        serve(test)
    assert [record.getMessage() for record in caplog.records] == ["request_failed"]


def test_it_logs_refused_requests_together(
    app: Flask,
    serve: Callable[[Test], None],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    gate = Gate(app)
    logged_ids = watch_ids(monkeypatch, "web.limits")

    async def test(listener: Listener) -> None:
        _inside = [await asked(listener, get("/gate")) for _ in range(2)]
        await until(lambda: gate.entered == 2)
        refused = [await asked(listener, get("/gate")) for _ in range(3)]
        await skip(1.1)
        assert [(await connection.response())[0] for connection in refused] == [503] * 3
        await skip(10)
        gate.open(2)

    with caplog.at_level(logging.INFO):
        serve(test)
    assert "requests_shed count=3 page=3" in caplog.text
    assert logged_ids == [""]
    assert "status=503" not in caplog.text


def test_the_metrics_port_leads_to_metrics_alone(app: Flask, settings: Settings) -> None:
    def metrics(_environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"metrics"]

    async def test() -> None:
        port = int(free_port())
        application = MirrorApplication(app, replace(settings, server_metrics_port=port), metrics)
        async with listening(application, port) as there, listening(application) as here:
            assert (await there.ask(b"GET /seen HTTP/1.0\r\n\r\n")).endswith(b"metrics")
            assert b"HTTP/1.1 404" in await here.ask(b"GET /metrics HTTP/1.0\r\n\r\n")

    run(test())
