"""Three real servers as one cluster, on ports of this machine's loopback."""

from __future__ import annotations

import json
import socket
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import nats
import nats.errors
from support.waiting import until

from mesh.server.binary import find_binary

_CONFIG = """\
server_name: n{number}
listen: 127.0.0.1:{port}
jetstream {{
  store_dir: "{store}"
}}
cluster {{
  name: test
  listen: 127.0.0.1:{route}
  routes: [{routes}]
}}
"""


def free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on; all at once, so that they differ."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [found.getsockname()[1] for found in sockets]
    finally:
        for found in sockets:
            found.close()


@asynccontextmanager
async def three_servers(folder: Path) -> AsyncGenerator[str]:
    """Run a cluster; its URLs, comma-separated, once it has a leader. Gone afterwards."""
    ports, routes = free_ports(3), free_ports(3)
    processes = [
        _start(folder, number, ports[number], routes[number], routes) for number in range(3)
    ]
    try:
        url = ",".join(f"nats://127.0.0.1:{port}" for port in ports)
        await until(lambda: _is_ready(url), "the cluster has a leader", 30)
        yield url
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(30)


def _start(
    folder: Path, number: int, port: int, route: int, routes: list[int]
) -> subprocess.Popen[bytes]:
    home = folder / f"n{number}"
    home.mkdir()
    config = home / "server.conf"
    config.write_text(
        _CONFIG.format(
            number=number,
            port=port,
            store=home / "data",
            route=route,
            routes=", ".join(f'"nats://127.0.0.1:{one}"' for one in routes),
        ),
        encoding="utf-8",
    )
    log = (home / "log").open("wb")
    with log:
        return subprocess.Popen([find_binary(), "-c", config], stdout=log, stderr=log)


async def _is_ready(url: str) -> bool:
    """Whether a stream with three copies can be made."""

    async def silent(_error: Exception) -> None:
        """Errors are expected until the cluster stands."""

    try:
        connection = await nats.connect(
            url.split(","), allow_reconnect=False, connect_timeout=1, error_cb=silent
        )
    except (OSError, nats.errors.Error):
        return False
    try:
        body = json.dumps({"name": "PROBE", "subjects": ["probe"], "num_replicas": 3}).encode()
        reply = await connection.request("$JS.API.STREAM.CREATE.PROBE", body, timeout=2)
        if "error" in json.loads(reply.data):
            return False
        await connection.request("$JS.API.STREAM.DELETE.PROBE", b"", timeout=2)
    except nats.errors.Error:
        return False
    else:
        return True
    finally:
        await connection.close()
