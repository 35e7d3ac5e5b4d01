"""A long way on one machine: passes TCP on to another port, each byte half a round trip later."""

import asyncio
from collections import deque

from benchmarks import cli

_PIECE_BYTES = 1 << 18


async def main(port: int, round_trip_s: float) -> None:
    """Serves until it is killed."""
    ways: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # To make a connection takes a round trip.
        await asyncio.sleep(round_trip_s)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        for way in (
            _pass_on(reader, far_writer, round_trip_s / 2),
            _pass_on(far_reader, writer, round_trip_s / 2),
        ):
            task = asyncio.create_task(way)
            ways.add(task)
            task.add_done_callback(ways.discard)

    server = await asyncio.start_server(take, "127.0.0.1", 0, limit=_PIECE_BYTES)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    on_the_way: deque[tuple[float, bytes]] = deque()
    some = asyncio.Event()

    async def deliver() -> None:
        while True:
            await some.wait()
            while on_the_way:
                due, piece = on_the_way.popleft()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not piece:
                    writer.close()
                    return
                writer.write(piece)
                await writer.drain()
            some.clear()

    delivering = asyncio.create_task(deliver())
    piece = b"."
    while piece:
        try:
            piece = await reader.read(_PIECE_BYTES)
        except ConnectionError:
            piece = b""
        on_the_way.append((loop.time() + delay_s, piece))
        some.set()
    await delivering


if __name__ == "__main__":
    parser = cli.parser("latency_proxy", __doc__)
    parser.add_argument("port", type=cli.count, help="to pass on to")
    parser.add_argument("round_trip_s", type=cli.duration, help="how far away that seems")
    chosen = parser.parse_args()
    asyncio.run(main(chosen.port, chosen.round_trip_s))
