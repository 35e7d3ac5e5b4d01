"""TCP proxy that adds latency: it forwards to a local port, each byte half a round trip later."""

import asyncio
from collections import deque

from benchmarks import cli

_CHUNK_BYTES = 1 << 18


async def main(port: int, round_trip_s: float) -> None:
    """Serve until killed."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # Establishing a connection takes a round trip.
        await asyncio.sleep(round_trip_s)
        upstream_reader, upstream_writer = await asyncio.open_connection("127.0.0.1", port)
        for direction in (
            _forward(reader, upstream_writer, round_trip_s / 2),
            _forward(upstream_reader, writer, round_trip_s / 2),
        ):
            task = asyncio.create_task(direction)
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=_CHUNK_BYTES)
    print(f"listening on {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    loop = asyncio.get_running_loop()
    in_transit: deque[tuple[float, bytes]] = deque()
    arrived = asyncio.Event()

    async def deliver() -> None:
        while True:
            await arrived.wait()
            while in_transit:
                due_at_s, chunk = in_transit.popleft()
                await asyncio.sleep(max(0.0, due_at_s - loop.time()))
                if not chunk:
                    writer.close()
                    return
                writer.write(chunk)
                await writer.drain()
            arrived.clear()

    delivery = asyncio.create_task(deliver())
    chunk = b"."
    while chunk:
        try:
            chunk = await reader.read(_CHUNK_BYTES)
        except ConnectionError:
            chunk = b""
        in_transit.append((loop.time() + delay_s, chunk))
        arrived.set()
    await delivery


if __name__ == "__main__":
    parser = cli.parser("latency_proxy", __doc__)
    parser.add_argument("port", type=cli.positive_int, help="port to forward to")
    parser.add_argument("round_trip_s", type=cli.positive_number, help="latency to add, in seconds")
    options = parser.parse_args()
    asyncio.run(main(options.port, options.round_trip_s))
