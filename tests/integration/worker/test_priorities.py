"""Priorities: an urgent job overtakes, a humble one is not starved."""

from __future__ import annotations

import random
import statistics

import anyio
import anyio.lowlevel
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh
from mesh.clock import SYSTEM_CLOCK

pytestmark = pytest.mark.alone


@pytest.mark.timeout(180)
async def test_a_high_job_behind_100_000_low_ones_starts_at_once(mesh: RunningApp) -> None:
    """It gets the next slot that a low one leaves, within 5 ms, however many low ones wait."""
    app, starts, chance = mesh.app, dict[int, float](), random.Random(5)

    @app.task(queue="work")
    async def backlog() -> None:
        await anyio.sleep(chance.uniform(0.01, 0.09))

    @app.task(queue="work")
    async def urgent(number: int) -> None:
        starts[number] = SYSTEM_CLOCK.monotonic()

    await app.setup()
    low = [backlog.options(priority="low").s() for _ in range(1000)]
    for _ in range(100):
        await app.enqueue_many(low)
    waits: list[float] = []
    async with mesh.worker(worker__concurrency=50) as worker:
        await until(lambda: worker.running == 50, "low jobs fill the slots")
        for number in range(100):
            sent = SYSTEM_CLOCK.monotonic()
            job = await urgent.options(priority="high").enqueue(number)
            await job.result(timeout=30)
            waits.append(starts[number] - sent)
        assert await mesh.count("jobs_stream") > 1000, "the backlog is still there"
        await mesh.purge("jobs_stream")

    assert statistics.median(waits) * 1000 < 5, sorted(waits)


@pytest.mark.timeout(180)
async def test_low_jobs_progress_under_a_full_load_of_high_ones(mesh: RunningApp) -> None:
    """While high-priority jobs never run out, low-priority ones still get their share."""
    app, done = mesh.app, {"high": 0, "low": 0}

    @app.task(queue="work")
    async def work(priority: str) -> None:
        done[priority] += 1
        await anyio.lowlevel.checkpoint()

    await app.setup()
    await app.enqueue_many([work.options(priority="low").s("low") for _ in range(3000)])
    await app.enqueue_many([work.options(priority="high").s("high") for _ in range(20_000)])
    async with mesh.worker(worker__concurrency=20):
        await until(lambda: done["high"] >= 8000, "many high jobs are done", 40)
        high, low = done["high"], done["low"]
        await mesh.purge("jobs_stream")

    assert low > 0, "low jobs are starved"
    assert high > 4 * low, (high, low)


async def test_strict_priority_runs_low_jobs_last(mesh: RunningApp) -> None:
    """With strict priority a low job runs only when no high one waits."""
    app, order = mesh.app, list[str]()

    @app.task(queue="work")
    async def work(priority: str) -> None:
        order.append(priority)

    await app.setup()
    jobs = await app.enqueue_many([work.options(priority="low").s("low") for _ in range(50)])
    jobs += await app.enqueue_many(
        [work.options(priority="high").s("high") for _ in range(500)]
    )
    async with mesh.worker(worker__concurrency=5, worker__strict_priority=True):
        for job in jobs:
            await job.result(timeout=30)

    assert order == ["high"] * 500 + ["low"] * 50


def test_priorities_are_checked_where_they_are_named() -> None:
    """An unknown priority is refused when the task is defined."""
    app = Mesh()

    with pytest.raises(ValueError, match="one of critical, high, normal, low"):

        @app.task(priority="urgent")
        async def task() -> None: ...
