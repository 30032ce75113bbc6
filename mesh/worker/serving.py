"""Run a worker until it is told to stop, or its queues are empty."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import anyio

from mesh.worker.worker import Worker

Service = Callable[[asyncio.Event], Coroutine[Any, Any, None]]
"""Serves until the event is set."""


async def run_worker(
    worker: Worker,
    stop: asyncio.Event,
    *,
    is_burst: bool = False,
    beside: Service | None = None,
) -> bool:
    """Run a worker until it is told to stop.

    Args:
        worker: The worker.
        stop: Set to have it drain and return.
        is_burst: Stop by itself when its queues are empty.
        beside: Another service to run on this loop while it takes jobs.

    Returns:
        Whether every running job could finish in the grace time.
    """
    async with worker:
        if beside is None and not is_burst:
            await stop.wait()
        else:
            looking = anyio.CancelScope()
            async with anyio.create_task_group() as group:
                if beside is not None:
                    group.start_soon(beside, stop)
                if is_burst:
                    group.start_soon(_stop_when_empty, worker, stop, looking)
                await stop.wait()
                looking.cancel()
    return not worker.was_cut_short


async def _stop_when_empty(
    worker: Worker, stop: asyncio.Event, looking: anyio.CancelScope
) -> None:
    with looking:
        await worker.until_empty()
        stop.set()
