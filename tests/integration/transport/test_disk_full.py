"""The disk under the server is full: it is noticed and named, and what was confirmed stays."""

from __future__ import annotations

import itertools
import logging
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest
from support.waiting import until

from mesh import Mesh
from mesh.errors import EnqueueUnknownError, QueueFullError
from mesh.server.config import ServerConfig
from mesh.server.process import EmbeddedServer
from mesh.transport.buckets import Shelf

_SMALL = 32 * 1024 * 1024
_LOAD = "x" * 60_000


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 32 MiB; only root may mount one."""
    folder = tmp_path / "small"
    folder.mkdir()
    mounting = ["mount", "-t", "tmpfs", "-o", f"size={_SMALL}", "mesh-test", str(folder)]
    answer = subprocess.run(mounting, capture_output=True, text=True, check=False)
    if answer.returncode:
        reason = f"no file system can be mounted here (only root may): {answer.stderr.strip()}"
        assert os.environ.get("CI") != "true", reason
        pytest.skip(reason)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


async def send_for_ever(app: Mesh) -> None:
    """Enqueue one job after the other until one is not taken."""
    for number in itertools.count():
        with anyio.fail_after(30):
            await app.send("none", [_LOAD], job_id=f"job-{number}")


async def test_a_full_disk_is_named_and_loses_nothing_that_was_confirmed(
    small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that cannot write says nothing; with more space and a restart all is well."""
    config = ServerConfig(store_dir=small_disk / "store", max_store_bytes=1 << 30)
    with EmbeddedServer(config) as server:
        app = Mesh(server.url, publish={"deadline_s": 5})
        await app.setup()
        client = await app.client()
        caplog.set_level(logging.ERROR, "mesh.transport")
        with pytest.raises(EnqueueUnknownError, match="disk full") as caught:
            await send_for_ever(app)

        confirmed = int(caught.value.job_id.removeprefix("job-"))
        assert "restart the server" in caplog.text
        assert confirmed > 100
        await anyio.run_process(["mount", "-o", f"remount,size={2 * _SMALL}", str(small_disk)])
        server.kill()
        await server.start_async()
        await until(lambda: client.connection.is_connected, "it is back")
        await app.send("none", job_id="after")
        shelf = Shelf(client.connection, client.names.jobs_stream)
        for number in range(confirmed):
            assert await shelf.last(client.names.job_anywhere(f"job-{number}")) is not None
        await app.close()


async def test_a_used_up_storage_limit_is_a_full_queue(tmp_path: Path) -> None:
    """Where the server knows its limit it answers: what it refused is surely not stored."""
    config = ServerConfig(store_dir=tmp_path / "store", max_store_bytes=4 * 1024 * 1024)
    with EmbeddedServer(config) as server:
        app = Mesh(server.url, publish={"full_wait_s": 0.2})
        await app.setup()
        with pytest.raises(QueueFullError, match="storage is used up"):
            await send_for_ever(app)
        client = await app.client()
        await client.connection.api(f"STREAM.PURGE.{client.names.jobs_stream}")
        await app.send("none", job_id="after")
        await app.close()
