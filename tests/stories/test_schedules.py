"""The story of a schedule: declared beside its task, run by a worker, looked at."""

from __future__ import annotations

from support.running import RunningApp
from support.schedules import LIMIT_S, scheduling
from support.waiting import until

from mesh import JobContext, State


async def test_a_task_runs_again_and_again_and_its_schedule_says_so(mesh: RunningApp) -> None:
    """It is stored when the scheduler starts, and each run knows its tick."""
    ticks: list[int] = []

    @mesh.app.every("1s", id="pulse", about="shows that all is well")
    @mesh.app.task
    async def beat(ctx: JobContext) -> None:
        assert ctx.scheduled_for is not None
        ticks.append(round(ctx.scheduled_for.timestamp()))

    assert beat.name == "beat"
    async with mesh.worker(), scheduling(mesh):
        await until(lambda: len(ticks) >= 2, "two ticks have come", LIMIT_S)

        async def is_told() -> bool:
            last = (await mesh.app.schedules.list())[0].last
            return last is not None and last.state is State.SUCCEEDED

        await until(is_told, "the list tells of the last run", LIMIT_S)
        view = await mesh.app.schedules.get("pulse")

    assert ticks[1] == ticks[0] + 1
    assert view.next_ms is not None
    assert view.schedule.about == "shows that all is well"
