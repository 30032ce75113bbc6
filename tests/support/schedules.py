"""Write schedules in a test as any client may, and run schedulers beside it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import anyio
from msgspec.structs import replace
from support.running import RunningApp
from support.waiting import until

from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import schedules
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.contract.subjects import kv_stream
from mesh.contract.timetable import Timetable
from mesh.policy.schedule_ticks import tick_job
from mesh.scheduler.armer import Armer
from mesh.scheduler.scheduler import Scheduler
from mesh.transport.buckets import Shelf

LIMIT_S = 30.0
MINUTE_MS = 60_000


def every(seconds: float, task: str = "tick", **more: Any) -> Schedule:
    """A schedule that is due at an interval, in a minute for the first time."""
    now = SYSTEM_CLOCK.now_ms()
    moments: dict[str, Any] = {"since_ms": now, "created_at_ms": now, "updated_at_ms": now}
    timetable = Timetable(every_s=seconds, start_ms=now + MINUTE_MS)
    return Schedule(task, timetable, "default", **moments | more)


def at(*moments_ms: int, task: str = "tick", **more: Any) -> Schedule:
    """A schedule that is due at some moments."""
    now = SYSTEM_CLOCK.now_ms()
    moments: dict[str, Any] = {"since_ms": now, "created_at_ms": now, "updated_at_ms": now}
    return Schedule(task, Timetable(at_ms=moments_ms), "default", **moments | more)


async def put(client: Client, schedule_id: str, schedule: Schedule) -> Schedule:
    """Write a record."""
    subject = client.names.schedule(schedule_id)
    await client.publisher.publish(subject, b"", schedules.encode(schedule))
    return schedule


async def change(client: Client, schedule_id: str, schedule: Schedule, **to: Any) -> Schedule:
    """Write the next edition of a record."""
    now = SYSTEM_CLOCK.now_ms()
    to = {"updated_at_ms": now, "edition": schedule.edition + 1} | to
    return await put(client, schedule_id, replace(schedule, **to))


async def remove(client: Client, schedule_id: str) -> None:
    """Remove a record."""
    shelf = Shelf(client.connection, kv_stream(client.names.schedules_bucket))
    await shelf.remove(client.names.schedule(schedule_id))


async def status_of(client: Client, schedule_id: str) -> ScheduleStatus | None:
    """Read what the leader says of a schedule."""
    shelf = Shelf(client.connection, kv_stream(client.names.schedules_bucket))
    entry = await shelf.last(client.names.schedule_status(schedule_id))
    return None if entry is None else schedules.read_schedule_status(entry.value)


async def armed(client: Client) -> list[str]:
    """Name the jobs that the server holds."""
    prefix = client.names.delayed("")
    answer = await client.connection.api(
        f"STREAM.INFO.{client.names.delayed_stream}", {"subjects_filter": f"{prefix}*"}
    )
    subjects: dict[str, int] = answer["state"].get("subjects") or {}
    return sorted(name.removeprefix(prefix) for name in subjects)


@asynccontextmanager
async def scheduling(mesh: RunningApp) -> AsyncGenerator[Scheduler]:
    """Run a scheduler in this process; it leads when entered, and has left when left."""
    scheduler, stop = Scheduler(mesh.app), asyncio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(scheduler.run, stop)
        try:
            await until(lambda: scheduler.leads, "the scheduler leads", LIMIT_S)
            yield scheduler
        finally:
            stop.set()


async def arm_by_hand(
    client: Client, schedule_id: str, schedule: Schedule, *ticks_ms: int
) -> list[str]:
    """Arm ticks as a leader did that is gone; name their jobs."""
    armer = Armer(client, SYSTEM_CLOCK, lambda: True)
    now = SYSTEM_CLOCK.now_ms()
    jobs = [tick_job(schedule_id, schedule, tick, now) for tick in ticks_ms]
    assert await armer.arm(jobs) == [None] * len(jobs)
    return [job.job_id for job in jobs]


async def tell(client: Client, schedule_id: str, status: ScheduleStatus) -> None:
    """Write what a leader said of a schedule."""
    subject = client.names.schedule_status(schedule_id)
    await client.publisher.publish(subject, b"", schedules.encode(status))
