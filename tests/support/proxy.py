"""A TCP proxy in front of a server that can fail as networks do; on loopback only."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import anyio

_CHUNK = 65_536


class Proxy:
    """Passes bytes on until it is told otherwise; what it is told holds for every connection.

    Attributes:
        url: The address for clients.
        accepted: How many connections were made through it, and when, by the loop's clock.
        delay_s: How long each piece is kept before it is passed on.
        drops_to_server: What clients send vanishes.
        drops_to_client: What the server sends vanishes.
        dropped: How many bytes have vanished.
    """

    def __init__(self, target: str) -> None:
        address = urlsplit(target)
        self._host, self._port = address.hostname or "", address.port or 4222
        self._server: asyncio.Server
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self.url = ""
        self.accepted: list[float] = []
        self.delay_s = 0.0
        self.drops_to_server = False
        self.drops_to_client = False
        self.dropped = 0

    async def start(self) -> None:
        """Listen on a port that the system chooses."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"nats://127.0.0.1:{port}"

    def cut(self) -> None:
        """Reset every connection there is; new ones may be made."""
        for writer in self._writers:
            writer.transport.abort()

    def blackhole(self) -> None:
        """Pass on and read nothing more: nobody is told, as with a pulled cable."""
        self._flowing.clear()

    def heal(self) -> None:
        """Pass on everything again; connections that were black holes are reset."""
        self.drops_to_server = self.drops_to_client = False
        self.delay_s = 0.0
        if not self._flowing.is_set():
            self.cut()
            self._flowing.set()

    async def stop(self) -> None:
        """End every connection and listen no more."""
        self._server.close()
        self._flowing.set()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.accepted.append(asyncio.get_running_loop().time())
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await self._flowing.wait()
            inner_reader, inner_writer = await asyncio.open_connection(self._host, self._port)
            ends = (writer, inner_writer)
            self._writers.update(ends)
            loop = asyncio.get_running_loop()
            up = loop.create_task(self._pass(reader, inner_writer, to_server=True))
            down = loop.create_task(self._pass(inner_reader, writer, to_server=False))
            try:
                await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for part in (up, down):
                    part.cancel()
                await asyncio.gather(up, down, return_exceptions=True)
                self._writers.difference_update(ends)
                inner_writer.transport.abort()
        writer.transport.abort()

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, to_server: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while True:
                await self._flowing.wait()
                piece = await reader.read(_CHUNK)
                await self._flowing.wait()
                if not piece:
                    return
                if self.delay_s:
                    await anyio.sleep(self.delay_s)
                if self.drops_to_server if to_server else self.drops_to_client:
                    self.dropped += len(piece)
                    continue
                writer.write(piece)
                await writer.drain()


@asynccontextmanager
async def proxied(target: str) -> AsyncGenerator[Proxy]:
    """Run a proxy in front of a server's address."""
    proxy = Proxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
