"""Every scheduler was dead for ten minutes beyond what was armed: what becomes of the ticks."""

from __future__ import annotations

import pytest
from support.running import RunningApp
from support.schedules import LIMIT_S, MINUTE_MS, put, scheduling, status_of, tell
from support.waiting import until

from mesh import JobContext
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.schedules import Misfire, Schedule, ScheduleStatus
from mesh.contract.timetable import Timetable
from mesh.policy.schedule_ticks import tick_job_id

OUTAGE_MS = 10 * MINUTE_MS


@pytest.mark.parametrize(
    ("misfire", "made_up"), [("skip", []), ("fire_once", [10]), ("fire_all", [7, 8, 9, 10])]
)
async def test_ticks_that_nobody_armed_follow_the_rule(
    mesh: RunningApp, misfire: Misfire, made_up: list[int]
) -> None:
    """One tick a minute was due: each runs late, under its own id, or not at all."""
    ran: list[str] = []

    @mesh.app.task(name="tick")
    async def tick(ctx: JobContext) -> None:
        ran.append(ctx.job_id)

    await mesh.app.setup()
    client = await mesh.client()
    # Half a minute from any tick, so that none is only late.
    begin = SYSTEM_CLOCK.now_ms() - OUTAGE_MS - MINUTE_MS // 2
    schedule = Schedule(
        "tick",
        Timetable(every_s=60.0, start_ms=begin),
        "default",
        misfire=misfire,
        catchup_limit=4,
        since_ms=begin,
        created_at_ms=begin,
    )
    await put(client, "report", schedule)
    await tell(client, "report", ScheduleStatus(1, begin, armed_until_ms=begin))

    async with mesh.worker(), scheduling(mesh):
        await until(lambda: _is_armed_again(client), "the next ticks are armed", LIMIT_S)
        await until(lambda: len(ran) >= len(made_up), "what is made up for has run", LIMIT_S)
    status = await status_of(client, "report")

    assert sorted(ran) == [tick_job_id("report", begin + n * MINUTE_MS) for n in made_up]
    assert status is not None
    assert status.missed == 10 - len(made_up)


async def _is_armed_again(client: Client) -> bool:
    status = await status_of(client, "report")
    return status is not None and status.armed_until_ms > SYSTEM_CLOCK.now_ms()
