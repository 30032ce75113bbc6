"""Schedules are armed ahead and fire by themselves; changes take effect at once."""

from __future__ import annotations

import pytest
from support.running import RunningApp
from support.schedules import (
    LIMIT_S,
    armed,
    at,
    change,
    every,
    put,
    remove,
    scheduling,
    status_of,
)
from support.waiting import until

from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.schedules import Pause
from mesh.contract.timetable import Timetable


async def is_armed(client: Client, count: int) -> bool:
    """Whether so many ticks are armed."""
    return len(await armed(client)) == count


async def test_armed_ticks_run_on_time_while_no_scheduler_lives(mesh: RunningApp) -> None:
    """A scheduler arms the next ticks and is gone; the worker gets each of them, once."""
    seen: list[str] = []

    @mesh.app.task(name="tick")
    async def tick() -> None:
        seen.append("run")

    await mesh.app.setup()
    client = await mesh.client()
    now = SYSTEM_CLOCK.now_ms()
    moments = [now + 1500, now + 2000, now + 2500]
    async with scheduling(mesh):
        await put(client, "report", at(*moments))
        await until(lambda: is_armed(client, 3), "all ticks are armed", LIMIT_S)

    async with mesh.worker():
        await until(lambda: len(seen) == 3, "all ticks have run", LIMIT_S)

    assert await armed(client) == []


@pytest.mark.alone
async def test_a_change_takes_effect_within_two_seconds(mesh: RunningApp) -> None:
    """Another timetable, a pause, a resumption and a removal: what was armed is withdrawn."""
    await mesh.app.setup()
    client = await mesh.client()
    took: list[float] = []

    async def within(count: int) -> None:
        began = SYSTEM_CLOCK.monotonic()
        await until(lambda: is_armed(client, count), f"{count} ticks are armed", LIMIT_S)
        took.append(SYSTEM_CLOCK.monotonic() - began)

    async with scheduling(mesh):
        hourly = await put(client, "report", every(3600.0))
        await within(2)
        more = Timetable(every_s=600.0, start_ms=hourly.timetable.start_ms)
        dense = await change(client, "report", hourly, timetable=more)
        await within(8)
        rests = await change(client, "report", dense, pause=Pause(SYSTEM_CLOCK.now_ms()))
        await within(0)
        await change(client, "report", rests, pause=None)
        await within(8)
        await remove(client, "report")
        await within(0)
        await until(lambda: _is_forgotten(client), "its status is gone, too", LIMIT_S)

    assert max(took) < 2, took


async def _is_forgotten(client: Client) -> bool:
    return await status_of(client, "report") is None
