"""A small TCP proxy between clients and a NATS server, in which the network can go wrong."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

_CHUNK = 65_536
_LATE_S = 0.3
_COMMAND = re.compile(rb"(H?PUB) (\S+)[^\r\n]*?(\d+)\r\n")
_ANSWERS = (b"+ACK", b"-NAK", b"+TERM", b"+NXT")


class AckFilter:
    """Takes acknowledgements out of what a client says to its server; signs of life stay."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes, *, loses: bool) -> bytes:
        """Return what of the bytes is let through; half a command waits for its other half.

        Args:
            data: What came.
            loses: Whether acknowledgements are taken out, or only whole commands kept together.
        """
        data = self._rest + data
        start = 0
        kept: list[bytes] = []
        while (end := _command_end(data, start)) is not None:
            if not (loses and _is_answer(data, start)):
                kept.append(data[start:end])
            start = end
        self._rest = data[start:]
        return b"".join(kept)


def _command_end(data: bytes, start: int) -> int | None:
    line_end = data.find(b"\r\n", start)
    if line_end < 0:
        return None
    end = line_end + 2
    match = _COMMAND.match(data, start)
    if match is not None:
        end += int(match[3]) + 2
    return end if len(data) >= end else None


def _is_answer(data: bytes, start: int) -> bool:
    match = _COMMAND.match(data, start)
    if match is None or not match[2].startswith(b"$JS.ACK."):
        return False
    return data.startswith(_ANSWERS, match.end())


class Gate:
    """Lets the bytes of one direction pass, or holds them; all connections share it."""

    def __init__(self) -> None:
        self._open = asyncio.Event()
        self._open.set()
        self.late_s = 0.0

    async def passes(self) -> None:
        """Wait until bytes may pass."""
        await self._open.wait()

    def hold(self) -> None:
        """Let nothing pass."""
        self._open.clear()

    def release(self) -> None:
        """Let everything pass again."""
        self._open.set()


class Connection:
    """One client's connection and its other half to the server."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self.client = client
        self.server = server
        self.is_half_open = False

    def reset(self) -> None:
        """End both halves at once."""
        for writer in (self.client, self.server):
            writer.transport.abort()


class Proxy:
    """Listens on loopback and passes everything on to one server, as long as it is told to.

    Args:
        server_port: Returns the server's port.

    Attributes:
        port: Where it listens.
        up: From clients to the server.
        down: From the server to clients.
        loses_acks: Whether acknowledgements are taken out.
    """

    def __init__(self, server_port: Callable[[], int]) -> None:
        self._server_port = server_port
        self.port = 0
        self.up = Gate()
        self.down = Gate()
        self.loses_acks = False
        self._refuses = False
        self._connections: set[Connection] = set()
        self._group: TaskGroup

    @asynccontextmanager
    async def listening(self) -> AsyncGenerator[Proxy]:
        """Listen until left; every connection is ended then."""
        listener = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = listener.sockets[0].getsockname()[1]
        async with anyio.create_task_group() as self._group:
            try:
                yield self
            finally:
                listener.close()
                self.cut()
                self._group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await listener.wait_closed()

    def cut(self) -> None:
        """Reset every connection."""
        for connection in list(self._connections):
            connection.reset()

    def refuse(self, *, refuses: bool) -> None:
        """Reset new connections as soon as they are made, or no longer."""
        self._refuses = refuses

    def half_open(self) -> None:
        """Close the server's end of every connection; the clients hear nothing of it."""
        for connection in self._connections:
            connection.is_half_open = True
            connection.server.transport.abort()

    def forget_half_open(self) -> None:
        """Reset the connections that were left half open."""
        for connection in list(self._connections):
            if connection.is_half_open:
                connection.reset()

    def delay(self, *, is_late: bool) -> None:
        """Have every byte come late, or no longer."""
        self.up.late_s = self.down.late_s = _LATE_S if is_late else 0.0

    async def _accept(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        if self._refuses:
            to_client.transport.abort()
            return
        try:
            from_server, to_server = await asyncio.open_connection(
                "127.0.0.1", self._server_port()
            )
        except OSError:
            to_client.transport.abort()
            return
        connection = Connection(to_client, to_server)
        self._connections.add(connection)
        self._group.start_soon(self._pass_up, connection, from_client)
        self._group.start_soon(self._pass_down, connection, from_server)

    async def _pass_up(self, connection: Connection, source: asyncio.StreamReader) -> None:
        acks = AckFilter()

        def change(data: bytes) -> bytes:
            return acks.feed(data, loses=self.loses_acks)

        await self._pass(source, connection.server, self.up, change)
        self._end(connection)

    async def _pass_down(self, connection: Connection, source: asyncio.StreamReader) -> None:
        await self._pass(source, connection.client, self.down, lambda data: data)
        if not connection.is_half_open:
            self._end(connection)

    def _end(self, connection: Connection) -> None:
        connection.reset()
        self._connections.discard(connection)

    async def _pass(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        gate: Gate,
        change: Callable[[bytes], bytes],
    ) -> None:
        """Pass bytes on until one of the ends is gone; a late byte holds up those behind it."""
        with contextlib.suppress(OSError):
            while data := await source.read(_CHUNK):
                if gate.late_s:
                    await anyio.sleep(gate.late_s)
                await gate.passes()
                if not sink.transport.is_closing():
                    sink.write(change(data))
                    await sink.drain()
