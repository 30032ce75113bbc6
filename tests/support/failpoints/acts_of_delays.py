"""What programs do with delayed jobs: arm them, move them, have them run now."""

from __future__ import annotations

import asyncio
import contextlib

import anyio
from support.failpoints.acts import LARGE, LIMIT_S, Act

from mesh import Job, JobNotDelayedError, JobNotEditableError, Mesh
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.envelope import Envelope


async def move(app: Mesh, prefix: str) -> None:
    """Move jobs that are delayed, wait for their next attempt, or have ended."""
    later = await app.send("plain", job_id=f"{prefix}-later", delay="1h")
    with contextlib.suppress(JobNotDelayedError):  # The try before this one had it run.
        await later.reschedule(delay="2h")
    for text in (LARGE, "changed"):
        with contextlib.suppress(JobNotEditableError):
            await later.edit(args=[text], priority="high")
    await _run_now(later)
    with contextlib.suppress(JobNotEditableError):
        await later.edit(priority="low")
    retried = await app.send("again", [3600], job_id=f"{prefix}-retried")
    async with asyncio.timeout(LIMIT_S):
        async for status in retried.watch():
            if status.state == "retrying" or status.is_finished:
                break
    await _run_now(retried)
    with contextlib.suppress(JobNotDelayedError):
        await retried.reschedule(delay="1h")
    await _arm(app, f"{prefix}-armed")


async def _run_now(job: Job[object]) -> None:
    async with asyncio.timeout(LIMIT_S):
        while True:
            try:
                await job.run_now()
                break
            except JobNotDelayedError as error:
                if error.state.is_terminal:
                    break
                await anyio.sleep(0.05)  # Its worker has not put it off yet.
    await job.result(timeout=LIMIT_S)


async def _arm(app: Mesh, job_id: str) -> None:
    client = await app.client()
    due_ms = SYSTEM_CLOCK.now_ms() + 600
    for _ in range(2):
        await client.delays.arm(
            job_id, Envelope("plain"), queue="default", priority="normal", due_ms=due_ms
        )
    await app.job(job_id).result(timeout=LIMIT_S)


ACTS: dict[str, Act] = {act.__name__: act for act in (move,)}
