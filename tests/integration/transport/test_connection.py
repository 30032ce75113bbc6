"""One connection: it stays, it notices a dead line, and it comes back with its login."""

from __future__ import annotations

import asyncio
from pathlib import Path

import anyio
import pytest
from support.proxy import proxied
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh
from mesh.errors import PermissionDeniedError
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer
from mesh.settings.model import CredentialsSettings, Settings
from mesh.transport import frames
from mesh.transport.connection import Connection

WORD = "s3cret"
_USERS = """\
authorization {
  users: [
    { user: "worker", password: "s3cret" }
    { user: "narrow", password: "s3cret", permissions: {
        publish: ["$JS.API.INFO", "mesh.allowed"], subscribe: ["_INBOX.>"] } }
  ]
}
"""


async def test_a_dead_line_is_noticed_within_its_pings_and_left(server: EmbeddedServer) -> None:
    """Nobody says goodbye and unsent bytes are waiting: it is given up all the same."""
    async with proxied(server.url) as proxy:
        connection = Connection(Settings(url=proxy.url, ping_interval_s=0.2), "test")
        await connection.open()
        try:
            proxy.blackhole()
            # More than the kernel takes in: a polite close would wait for it for ever.
            connection.link.post(frames.signal(b"nowhere", b"x" * 900_000) * 12)
            await until(lambda: not connection.is_connected, "the line is given up", 30)
            proxy.heal()
            await until(lambda: connection.is_connected, "another is found")
            await connection.flush()
        finally:
            await connection.close()


@pytest.mark.parametrize("direction", ["drops_to_server", "drops_to_client"])
async def test_a_line_that_is_dead_in_one_direction_is_noticed(
    server: EmbeddedServer, direction: str
) -> None:
    """Bytes that vanish on their way there or back are as bad as none."""
    async with proxied(server.url) as proxy:
        connection = Connection(Settings(url=proxy.url, ping_interval_s=0.2), "test")
        await connection.open()
        try:
            setattr(proxy, direction, True)
            await until(lambda: not connection.is_connected, "the line is given up", 30)
            proxy.heal()
            await until(lambda: connection.is_connected, "another is found")
        finally:
            await connection.close()


async def test_closing_does_not_wait_for_a_dead_line(server: EmbeddedServer) -> None:
    """A worker that is told to stop stops, whatever the network does."""
    async with proxied(server.url) as proxy:
        connection = Connection(Settings(url=proxy.url), "test")
        await connection.open()
        proxy.blackhole()
        connection.link.post(frames.signal(b"nowhere", b"x" * 900_000) * 12)

        with anyio.fail_after(30):
            await connection.close()


@pytest.mark.alone
async def test_many_connections_do_not_come_back_in_one_moment(server: EmbeddedServer) -> None:
    """After an outage each waits a time of its own."""
    async with proxied(server.url) as proxy:
        connections = [Connection(Settings(url=proxy.url), f"c{n}") for n in range(50)]
        for connection in connections:
            await connection.open()
        try:
            proxy.accepted.clear()
            proxy.cut()
            await until(
                lambda: len(proxy.accepted) == 50 and all(c.is_connected for c in connections),
                "all are back",
                30,
            )
        finally:
            await asyncio.gather(*(connection.close() for connection in connections))

    came = sorted(time - min(proxy.accepted) for time in proxy.accepted)
    assert came[-1] > 0.08  # They share 0.15 s; all at once they need a few milliseconds.
    assert max(sum(0 <= at - start < 0.02 for at in came) for start in came) < 25


@pytest.mark.parametrize("login", ["password", "token"])
async def test_a_login_outlives_a_restart_of_the_server(login: str, tmp_path: Path) -> None:
    """What was given once is given again at every reconnect; it never stands in an address."""
    extra = tmp_path / "users.conf"
    if login == "password":
        extra.write_text(_USERS)
        credentials = CredentialsSettings(user="worker", password=WORD)
    else:
        extra.write_text('authorization { token: "s3cret" }\n')
        credentials = CredentialsSettings(token=WORD)
    with EmbeddedServer(ServerConfig(extra_file=extra)) as server:
        connection = Connection(Settings(url=server.url, credentials=credentials), "test")
        await connection.open()
        try:
            for _ in range(2):
                server.kill()
                await until(lambda: not connection.is_connected, "the server is missed")
                await server.start_async()
                await until(lambda: connection.is_connected, "it is back")
                assert "streams" in await connection.api("INFO")
        finally:
            await connection.close()


def ignore(_subject: bytes, _reply: bytes, _data: bytes, _headers: bytes) -> None:
    """Hear a message and do nothing."""


async def test_a_denied_subscription_fails_the_start(tmp_path: Path) -> None:
    """nats-py raises nothing for it, and whoever listens would wait for ever."""
    extra = tmp_path / "users.conf"
    extra.write_text(_USERS)
    narrow = CredentialsSettings(user="narrow", password=WORD)
    with EmbeddedServer(ServerConfig(extra_file=extra)) as server:
        connection = Connection(Settings(url=server.url, credentials=narrow), "test")
        await connection.open()
        try:
            await connection.link.listen("mesh.control.>", ignore)
            with pytest.raises(PermissionDeniedError, match=r"mesh\.control"):
                await connection.confirm()
        finally:
            await connection.close()


async def test_a_denied_publish_is_said_at_once_and_is_not_unknown(tmp_path: Path) -> None:
    """The server took none of it: there is nothing to ask for and nothing to repeat."""
    extra = tmp_path / "users.conf"
    extra.write_text(_USERS)
    with EmbeddedServer(ServerConfig(extra_file=extra)) as server:
        app = Mesh(server.url, credentials={"user": "worker", "password": WORD})
        await app.setup()
        await app.close()
        app = Mesh(
            server.url,
            credentials={"user": "narrow", "password": WORD},
            publish={"deadline_s": 60},
        )
        with (
            pytest.raises(PermissionDeniedError, match="may not publish"),
            anyio.fail_after(30),
        ):
            await app.send("noop")
        await app.close()


async def test_a_burst_to_a_reader_that_pauses_loses_no_job() -> None:
    """The server cuts a client that does not read; it comes back and all its jobs run."""
    with EmbeddedServer() as server:
        async with proxied(server.url) as proxy:
            app = Mesh(server.url)
            app.override({"url": proxy.url, "ping_interval_s": 0.5, "worker.ack_wait_s": 4.0})
            running = RunningApp(app)
            seen: set[int] = set()

            @app.task(pool="async")
            async def weigh(number: int, load: str) -> int:
                seen.add(number)
                return len(load)

            await app.setup()
            load = "x" * 256_000
            for start in range(0, 256, 32):
                await app.enqueue_many(
                    [weigh.s(number, load) for number in range(start, start + 32)]
                )
            async with running.worker(worker__concurrency=256):
                await until(lambda: len(seen) > 5, "the first ones run", 30)
                proxy.blackhole()
                client = await app.client()
                await until(lambda: not client.connection.is_connected, "the line is dead", 30)
                proxy.heal()
                await until(lambda: len(seen) == 256, "all have run", 60)

                async def is_empty() -> bool:
                    return not await running.count("jobs_stream")

                await until(is_empty, "all are acknowledged", 60)
            await app.close()
