"""The response cache serves responses that are the same for everyone, and no others."""

from collections.abc import Callable
from itertools import count
from threading import Event

import pytest
from flask import Flask, Response, request

from dqmsquare_cfg import Cluster, Settings
from tests.driven_loop import Listener, listening, run, settled, until
from tests.waiting import TIMEOUT_S
from web import databases
from web.asgi import MirrorApplication
from web.cache import dependencies
from web.cache.dependencies import CacheDependencies
from web.cache.response_cache import RenderedResponse, ResponseCache, accepts_gzip
from web.responses import etag_response

GET = b"GET /counted HTTP/1.1\r\nHost: x\r\n"


class Counted:
    """A cached view that numbers its responses, and waits while `may_go_on` is not set."""

    def __init__(self, app: Flask, change: Callable[[Response], None] = lambda _response: None) -> None:
        self.rendered = 0
        self.may_go_on = Event()
        self.may_go_on.set()

        @app.get("/counted")
        @dependencies.cached_view
        def counted() -> Response:
            number = self.rendered
            self.rendered += 1
            assert self.may_go_on.wait(TIMEOUT_S)
            response = etag_response(f"response {number}")
            change(response)
            return response


async def body(listener: Listener, request_: bytes = GET) -> str:
    connection = await listener.connect()
    connection.send(request_ + b"\r\n")
    return (await connection.response())[1].decode()


def bodies_of_two(app: Flask, settings: Settings, change: Callable[[Response], None]) -> list[str]:
    """Responses to two clients, one after the other."""

    async def test() -> list[str]:
        Counted(app, change)
        async with listening(MirrorApplication(app, settings)) as listener:
            return [await body(listener) for _ in range(2)]

    return run(test())


def set_cookie(response: Response) -> None:
    response.set_cookie("visitor", "1")


def vary_by_cookie(response: Response) -> None:
    response.vary.add("Cookie")


def vary_by_address(response: Response) -> None:
    response.vary.update(("Accept-Encoding", "X-Forwarded-For"))


def drop_tag(response: Response) -> None:
    del response.headers["ETag"]


def fail(response: Response) -> None:
    response.status_code = 500


def read_past_the_cache(_response: Response) -> None:
    databases.uncached_reader(Cluster.PRODUCTION).runs.span()


def test_it_serves_what_is_for_everyone_to_the_next(app: Flask, settings: Settings) -> None:
    assert bodies_of_two(app, settings, lambda _response: None) == ["response 0", "response 0"]


@pytest.mark.parametrize(
    "change", [set_cookie, vary_by_cookie, vary_by_address, drop_tag, fail, read_past_the_cache]
)
def test_it_renders_everything_else_for_each(
    app: Flask, settings: Settings, change: Callable[[Response], None]
) -> None:
    assert bodies_of_two(app, settings, change) == ["response 0", "response 1"]


def test_it_renders_a_view_that_is_not_marked_for_each(app: Flask, settings: Settings) -> None:
    numbers = count()

    @app.get("/counted")
    def unmarked() -> Response:
        return etag_response(f"response {next(numbers)}")

    async def test() -> list[str]:
        async with listening(MirrorApplication(app, settings)) as listener:
            return [await body(listener) for _ in range(2)]

    assert run(test()) == ["response 0", "response 1"]


def test_it_renders_once_for_all_waiting_clients(app: Flask, settings: Settings) -> None:
    async def test() -> None:
        counted = Counted(app)
        counted.may_go_on.clear()
        async with listening(MirrorApplication(app, settings)) as listener:
            clients = [await listener.connect() for _ in range(5)]
            for client in clients:
                client.send(GET + b"\r\n")
            await until(lambda: counted.rendered)
            # The one that it is rendered for leaves.
            clients[0].writer.close()
            await settled()
            counted.may_go_on.set()
            assert {await client.response() for client in clients[1:]} == {(200, b"response 0")}
        assert counted.rendered == 1

    run(test())


def test_it_serves_each_client_its_own_response_at_the_same_moment(app: Flask, settings: Settings) -> None:
    async def test() -> None:
        counted = Counted(app, set_cookie)
        counted.may_go_on.clear()
        async with listening(MirrorApplication(app, settings)) as listener:
            clients = [await listener.connect() for _ in range(4)]
            for client in clients:
                client.send(GET + b"\r\n")
            await until(lambda: counted.rendered)
            counted.may_go_on.set()
            bodies = {(await client.response())[1] for client in clients}
        assert bodies == {b"response %d" % number for number in range(4)}

    run(test())


def test_it_passes_no_condition_of_a_client_on(app: Flask, settings: Settings) -> None:
    seen: list[str] = []

    def note_condition(_response: Response) -> None:
        seen.append(str(request.if_none_match))

    async def test() -> None:
        Counted(app, note_condition)
        async with listening(MirrorApplication(app, settings)) as listener:
            tag = b'If-None-Match: "x"\r\n'
            assert [await body(listener, GET + tag) for _ in range(2)] == ["response 0"] * 2

    run(test())
    assert seen == [""]


def test_it_compresses_only_for_clients_that_accept_it(app: Flask, settings: Settings) -> None:
    async def test() -> None:
        Counted(app, lambda response: response.set_data("x" * 2000))
        async with listening(MirrorApplication(app, settings)) as listener:
            # Too long to be looked into.
            long = b"Accept-Encoding: gzip, " + b"x" * 1000 + b"\r\n"
            for encodings in (long, b"", long):
                assert await body(listener, GET + encodings) == "x" * 2000

    run(test())


def rendered(size: int) -> RenderedResponse:
    return RenderedResponse(200, [], [], b"x" * size, b'"tag"', "/", CacheDependencies(), is_cacheable=True)


def test_it_drops_what_was_used_longest_ago() -> None:
    cache = ResponseCache(max_bytes=1_000_000)
    keys = [("/", b"%d" % number, True) for number in range(12)]
    for key in keys:
        cache.put(key, rendered(100_000))
        assert cache.get(keys[0]) is not None
    assert [number for number, key in enumerate(keys) if cache.get(key) is not None] == [0, *range(4, 12)]


def test_it_counts_the_memory_of_responses_without_a_body() -> None:
    cache = ResponseCache(max_bytes=1_000_000)
    keys = [("/", b"%d" % number, True) for number in range(1000)]
    for key in keys:
        cache.put(key, rendered(0))
    assert sum(cache.get(key) is not None for key in keys) < 1000
    cache.put(("/", b"large", True), rendered(3_000_000))
    assert cache.get(("/", b"large", True)) is None


@pytest.mark.parametrize(
    ("accept_encoding", "accepted"),
    [
        (b"gzip, deflate, br", True),
        (b"br;q=1.0, gzip;q=0.5", True),
        (b"*", True),
        (b"", False),
        (b"identity", False),
        (b"gzip;q=0", False),
        (b"x" * 1000 + b", gzip", False),
    ],
)
def test_it_recognizes_clients_that_accept_compressed_responses(
    accept_encoding: bytes, *, accepted: bool
) -> None:
    assert accepts_gzip(accept_encoding) is accepted
