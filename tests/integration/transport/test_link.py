"""The one seam with nats-py's private side: these fail when nats-py moves what we rely on."""

from __future__ import annotations

import logging
from pathlib import Path

import anyio
import pytest
from support.cluster import free_ports
from support.waiting import until

from mesh import Mesh
from mesh.errors import ServerUnfitError
from mesh.server.binary import find_binary
from mesh.server.process import EmbeddedServer
from mesh.settings.model import Settings
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.link import Handler

Heard = tuple[bytes, bytes, bytes, bytes]


def into(heard: list[Heard]) -> Handler:
    """Make a handler that keeps what it hears."""

    def handler(subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        heard.append((subject, reply, data, headers))

    return handler


async def test_listening_hands_over_raw_frames_in_order(server: EmbeddedServer) -> None:
    """Subject, reply, payload and headers come as the bytes that were sent."""
    connection = Connection(Settings(url=server.url), "test")
    await connection.open()
    heard: list[Heard] = []
    try:
        await connection.link.listen("seam.>", into(heard))
        block = frames.header_block([("Mesh-Task", "grüße")])
        connection.link.post(frames.publish("seam.a", "reply.to", block, b"one"))
        connection.link.post(frames.signal(b"seam.b", b"two"))
        await until(lambda: len(heard) == 2, "both messages come")
    finally:
        await connection.close()

    assert heard[0] == (b"seam.a", b"reply.to", b"one", block)
    assert heard[1][:3] == (b"seam.b", b"", b"two")


async def test_a_failing_handler_and_strange_bytes_do_not_cut_the_connection(
    server: EmbeddedServer, caplog: pytest.LogCaptureFixture
) -> None:
    """nats-py ends its read loop on any exception; a bad message must not reach it."""
    connection = Connection(Settings(url=server.url), "test")
    await connection.open()
    heard: list[bytes] = []

    def handler(subject: bytes, _reply: bytes, data: bytes, _headers: bytes) -> None:
        heard.append(subject)
        if data == b"bad":
            message = "handler fails"
            raise ValueError(message)

    try:
        await connection.link.listen("seam.>", handler)
        with caplog.at_level(logging.CRITICAL, "mesh.transport"):
            connection.link.post(frames.signal(b"seam.one", b"bad"))
            connection.link.post(frames.signal(b"seam.\xff\xfe", b"strange"))
            connection.link.post(frames.signal(b"seam.three", b"good"))
            await until(lambda: len(heard) == 3, "all three come")
    finally:
        await connection.close()

    assert heard == [b"seam.one", b"seam.\xff\xfe", b"seam.three"]


async def test_listening_goes_on_after_the_server_was_killed() -> None:
    """Subscriptions and posts survive a kill -9 and restart of the server."""
    with EmbeddedServer() as server:
        connection = Connection(Settings(url=server.url), "test")
        await connection.open()
        heard: list[Heard] = []
        reconnects: list[int] = []
        connection.on_reconnect(lambda: reconnects.append(1))
        try:
            await connection.link.listen("seam.>", into(heard))
            server.kill()
            await until(lambda: not connection.is_connected, "the loss is noticed")
            connection.link.post(frames.signal(b"seam.a", b"while away"))
            await server.start_async()
            await until(lambda: bool(reconnects), "it reconnects")
            connection.link.post(frames.signal(b"seam.b", b"after"))
            await until(
                lambda: b"after" in {frame[2] for frame in heard}, "messages come again"
            )
        finally:
            await connection.close()


async def test_unlistening_takes_in_what_is_on_its_way(server: EmbeddedServer) -> None:
    """What the server sent before it heard of the end is not dropped."""
    connection = Connection(Settings(url=server.url), "test")
    await connection.open()
    heard: list[Heard] = []
    try:
        subscription = await connection.link.listen("seam.>", into(heard))
        for number in range(500):
            connection.link.post(frames.signal(b"seam.a", b"%d" % number))
        await connection.link.unlisten(subscription, drain=True)
    finally:
        await connection.close()

    assert len(heard) == 500


async def test_an_error_of_the_server_ends_in_a_reconnect(server: EmbeddedServer) -> None:
    """nats-py would close for good, and whoever listens would wait for ever."""
    connection = Connection(Settings(url=server.url), "test")
    await connection.open()
    heard: list[Heard] = []
    reconnects: list[int] = []
    connection.on_reconnect(lambda: reconnects.append(1))
    try:
        await connection.link.listen("seam.>", into(heard))
        connection.link.post(b"NONSENSE\r\n")
        await until(lambda: bool(reconnects), "it reconnects")
        connection.link.post(frames.signal(b"seam.a", b"after"))
        await until(lambda: bool(heard), "messages come again")
    finally:
        await connection.close()


async def test_a_header_cannot_forge_another() -> None:
    """A line break in a value is refused."""
    with pytest.raises(ValueError, match="no line breaks"):
        frames.header_block([("Mesh-Task", "a\r\nNats-Rollup: all")])


async def test_a_server_without_jetstream_is_named(tmp_path: Path) -> None:
    """The error says what is missing and how to switch it on."""
    (port,) = free_ports(1)
    log = tmp_path / "log"
    with log.open("wb") as output:
        plain = await anyio.open_process(
            [find_binary(), "-a", "127.0.0.1", "-p", str(port)], stdout=output, stderr=output
        )
    try:
        await until(lambda: "Server is ready" in log.read_text(), "the server is ready")

        with pytest.raises(ServerUnfitError, match=r"has no JetStream.*-js"):
            await Mesh(f"nats://127.0.0.1:{port}").client()
    finally:
        plain.terminate()
        await plain.wait()


async def test_a_server_that_is_too_old_is_named(
    server: EmbeddedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error names the version found and the one needed."""
    monkeypatch.setattr("mesh.transport.connection.OLDEST_SERVER", (99, 1))

    with pytest.raises(ServerUnfitError, match=r"is version 2\.\d+.*needs 99\.1"):
        await Mesh(server.url).client()
