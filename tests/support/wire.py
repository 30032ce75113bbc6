"""A bare NATS connection over a socket: publish what no client library would let through."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketStream
from anyio.streams.buffered import BufferedByteReceiveStream

_LONGEST_LINE = 65_536


class Wire:
    """Speaks the protocol and checks nothing.

    Attributes:
        complaints: Every ``-ERR`` the server sent.
    """

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._lines = BufferedByteReceiveStream(stream)
        self._count = 0
        self.complaints: list[bytes] = []

    async def greet(self) -> None:
        """Introduce the connection and open its inbox."""
        await self._line()
        hello = b'CONNECT {"verbose":false,"headers":true,"no_responders":true}'
        await self._stream.send(hello + b"\r\nSUB _wire.* 1\r\nPING\r\n")
        while await self._line() != b"PONG":
            pass

    async def store(self, subject: bytes, body: bytes, *headers: tuple[str, str]) -> int | None:
        """Publish one message; its sequence in the stream, or None if it was not taken."""
        answer = await self.request(subject, body, *headers)
        receipt: dict[str, Any] = json.loads(answer or b"{}")
        return None if "error" in receipt else receipt.get("seq")

    async def request(
        self, subject: bytes, body: bytes, *headers: tuple[str, str]
    ) -> bytes | None:
        """Publish one message and wait for its answer; None if nobody answers."""
        self._count += 1
        inbox = b"_wire.%d" % self._count
        block = b""
        if headers:
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
            block = f"NATS/1.0\r\n{lines}\r\n".encode()
        sizes = b"%d %d" % (len(block), len(block) + len(body))
        frame = b"HPUB" if block else b"PUB"
        frame += b" %b %b %b\r\n" % (subject, inbox, sizes if block else b"%d" % len(body))
        await self._stream.send(frame + block + body + b"\r\n")
        with anyio.fail_after(10):
            return await self._answer()

    async def publish(self, subject: bytes, body: bytes = b"") -> None:
        """Publish one message and wait for nothing."""
        await self._stream.send(b"PUB %b %d\r\n%b\r\n" % (subject, len(body), body))

    async def _answer(self) -> bytes | None:
        while True:
            words = (await self._line()).split(b" ")
            if words[0] == b"PING":
                await self._stream.send(b"PONG\r\n")
            elif words[0] == b"-ERR":
                self.complaints.append(b" ".join(words))
            elif words[0] in {b"MSG", b"HMSG"}:
                whole = await self._lines.receive_exactly(int(words[-1]) + 2)
                size = int(words[-2]) if words[0] == b"HMSG" else 0
                is_status = whole.startswith(b"NATS/1.0 ")  # such as 503, no responders
                return None if is_status else whole[size:-2]

    async def _line(self) -> bytes:
        return await self._lines.receive_until(b"\r\n", _LONGEST_LINE)


@asynccontextmanager
async def wire(url: str) -> AsyncGenerator[Wire]:
    """Connect to the server at an address such as ``nats://127.0.0.1:4222``."""
    address = urlsplit(url)
    stream = await anyio.connect_tcp(address.hostname or "", address.port or 4222)
    async with stream:
        raw = Wire(stream)
        await raw.greet()
        yield raw
