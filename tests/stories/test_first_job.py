"""The first steps with mesh: a task, a job, a result."""

from __future__ import annotations

from support.running import RunningApp


async def test_a_job_runs_and_its_result_comes_back(mesh: RunningApp) -> None:
    """A task is enqueued with plain arguments, and its return value is awaited."""

    @mesh.app.task
    async def add(a: int, b: int) -> int:
        return a + b

    async with mesh.worker():
        job = await add.enqueue(2, 3)

        assert await job.result(timeout=30) == 5
