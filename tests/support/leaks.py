"""See what a test left on the server."""

from __future__ import annotations

import json

import nats


async def left_on_server(url: str) -> list[str]:
    """Name every stream on the server; with the streams go consumers, buckets and keys."""
    connection = await nats.connect(url)
    try:
        reply = await connection.request("$JS.API.STREAM.NAMES", b"", timeout=5)
    finally:
        await connection.close()
    return [f"stream {name}" for name in json.loads(reply.data).get("streams") or []]
