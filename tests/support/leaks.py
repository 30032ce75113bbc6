"""See what a test left behind: streams on the server, tasks in the loop."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import nats


async def left_on_server(url: str) -> list[str]:
    """Name every stream on the server, and remove it: the next test is not to pay for it.

    With the streams go consumers, buckets and keys.
    """
    connection = await nats.connect(url)
    try:
        reply = await connection.request("$JS.API.STREAM.NAMES", b"", timeout=20)
        names: list[str] = json.loads(reply.data).get("streams") or []
        for name in names:
            await connection.request(f"$JS.API.STREAM.DELETE.{name}", b"", timeout=20)
    finally:
        await connection.close()
    return [f"stream {name}" for name in names]


def left_running(before: set[asyncio.Task[Any]]) -> list[asyncio.Task[Any]]:
    """Name the tasks of this loop that were not there before and go on."""
    known = before | {task for task in (asyncio.current_task(),) if task is not None}
    return [task for task in asyncio.all_tasks() - known if not task.done()]
