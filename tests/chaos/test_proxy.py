"""The proxy passes everything on, and loses what it is told to lose."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
from chaos.proxy import AckFilter, Proxy

ACK = b"PUB $JS.ACK.S.c.1.2.3.4.5 4\r\n+ACK\r\n"
NAK = b'PUB $JS.ACK.S.c.1.2.3.4.5 19\r\n-NAK {"delay":1000}\r\n'
ALIVE = b"PUB $JS.ACK.S.c.1.2.3.4.5 4\r\n+WPI\r\n"
JOB = b"HPUB mesh.jobs.q.normal.9 _INBOX.p.1f 12 28\r\nNATS/1.0\r\n\r\n$JS.ACK. 4\r\n+ACK\r\n"
OTHERS = b"PING\r\n" + ALIVE + JOB


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_the_filter_takes_out_acknowledgements_and_nothing_else(size: int) -> None:
    """However the bytes are cut, acks and naks vanish and every other command stays whole."""
    stream = ACK + OTHERS + NAK + OTHERS + ACK
    acks = AckFilter()

    kept = b"".join(
        acks.feed(stream[at : at + size], loses=True) for at in range(0, len(stream), size)
    )

    assert kept == OTHERS * 2


def test_the_filter_lets_everything_pass_when_it_is_off() -> None:
    """Without the fault the bytes that go in come out."""
    assert AckFilter().feed(ACK + OTHERS, loses=False) == ACK + OTHERS


@asynccontextmanager
async def echo() -> AsyncGenerator[Proxy]:
    """A proxy before a server that says everything again."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with Proxy(lambda: port).listening() as proxy:
        yield proxy
    server.close()
    with anyio.fail_after(5):
        await server.wait_closed()


async def has_ended(reader: asyncio.StreamReader) -> bool:
    """Wait for the end of a connection, whichever way it ends."""
    try:
        return await reader.read() == b""
    except ConnectionError:
        return True


async def test_held_bytes_arrive_when_the_network_is_mended() -> None:
    """A network that holds everything back loses nothing."""
    async with echo() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        proxy.up.hold()
        writer.write(b"PING\r\n")
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await reader.readline()

        proxy.up.release()

        with anyio.fail_after(5):
            assert await reader.readline() == b"PING\r\n"
        writer.close()


async def test_a_cut_ends_connections_and_refuses_new_ones() -> None:
    """Who is cut off sees the end of the connection at once, and of the next one too."""
    async with echo() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        with anyio.fail_after(5):
            await reader.readline()

            proxy.refuse(refuses=True)
            proxy.cut()

            assert await has_ended(reader)
            again, writer_again = await asyncio.open_connection("127.0.0.1", proxy.port)
            assert await has_ended(again)
        writer.close()
        writer_again.close()


async def test_the_client_of_a_half_open_connection_hears_nothing() -> None:
    """The server's end is gone, and the client learns it only when the network is mended."""
    async with echo() as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"PING\r\n")
        with anyio.fail_after(5):
            await reader.readline()
        proxy.half_open()
        writer.write(b"PING\r\n")
        with pytest.raises(TimeoutError), anyio.fail_after(0.1):
            await reader.read(1)

        proxy.forget_half_open()

        with anyio.fail_after(5):
            assert await has_ended(reader)
        writer.close()
