"""The server's protocol and application in the test's own event loop, whose clock the test drives."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import uvicorn
from uvicorn.server import ServerState

from tests import waiting
from web.http_protocol import HttpProtocol

T = TypeVar("T")


class DrivenLoop(asyncio.SelectorEventLoop):
    """Event loop whose clock only the test puts forward: no time passes while a loaded machine is slow."""

    def __init__(self) -> None:
        self._time_s = 0.0
        super().__init__()

    def time(self) -> float:
        """The time that the test has let pass."""
        return self._time_s

    async def skip(self, seconds: float) -> None:
        """Let time pass; what is due by then has run afterwards."""
        await settled()
        self._time_s += seconds
        await settled()


def run(test: Coroutine[Any, Any, T]) -> T:
    """Run a test in a loop and a thread of its own: Playwright's loop may be running in this one."""

    def run_in_thread() -> T:
        with asyncio.Runner(loop_factory=DrivenLoop) as runner:
            return runner.run(test)

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(run_in_thread).result()


async def skip(seconds: float) -> None:
    """Let time pass in the running loop."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, DrivenLoop)
    await loop.skip(seconds)


async def settled() -> None:
    """Let the loop do what it can do now."""
    for _ in range(20):
        await asyncio.sleep(0)


@dataclass
class Connection:
    """Client's side of a connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, content: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(content)

    async def head(self) -> bytes:
        """Head of the next response."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def response(self) -> tuple[int, bytes]:
        """Status and body of the next response, which announces its length."""
        head = await self.head()
        fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
        return int(head[9:12]), await self.reader.readexactly(int(fields.get(b"content-length", b"0")))

    async def rest(self) -> bytes:
        """Bytes received until the server closes the connection."""
        try:
            return await self.reader.read()
        except ConnectionResetError:
            return b""

    @property
    def is_open(self) -> bool:
        """Whether the server has not ended it, as far as is known."""
        return not self.reader.at_eof() and self.reader.exception() is None


class Listener:
    """An application that is listened for on a port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._writers: list[asyncio.StreamWriter] = []

    async def connect(self) -> Connection:
        """Connect to it."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return Connection(reader, writer)

    async def ask(self, request: bytes) -> bytes:
        """All that is answered to bytes until the server ends the connection."""
        connection = await self.connect()
        connection.send(request)
        return await connection.rest()

    def close(self) -> None:
        """End all connections."""
        for writer in self._writers:
            writer.close()


@asynccontextmanager
async def listening(application: Any, port: int = 0) -> AsyncIterator[Listener]:
    """Serve an ASGI application by the server's protocol."""
    config = uvicorn.Config(
        application,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=20,
    )
    config.load()
    state = ServerState()
    server = await asyncio.get_running_loop().create_server(
        lambda: HttpProtocol(config=config, server_state=state, app_state={}), "127.0.0.1", port
    )
    listener = Listener(server.sockets[0].getsockname()[1])
    try:
        yield listener
    finally:
        listener.close()
        server.close()
        await settled()
        # A thread that hands something to a loop which has ended would wait forever.
        others = asyncio.all_tasks() - {asyncio.current_task()}
        if others:
            await asyncio.wait(others)


async def until(is_fulfilled: Callable[[], object]) -> None:
    """Wait until a condition is fulfilled by a thread. Raises AssertionError if it is not in time."""
    await asyncio.to_thread(waiting.until, is_fulfilled)
