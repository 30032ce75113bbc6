"""What the scheduler does while it leads, loses its lease, arms, replaces and withdraws."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import anyio
from msgspec.structs import replace
from support.failpoints.acts import Act, task_of
from support.schedules import at, change, put, remove, status_of
from support.waiting import until

from mesh import Mesh
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import records
from mesh.contract.leases import Leadership
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.errors import JobEndedError
from mesh.policy.schedule_ticks import tick_job, tick_job_id
from mesh.scheduler.armer import Armer
from mesh.scheduler.catalogue import Catalogue
from mesh.scheduler.scheduler import SERVICE, Scheduler

_HOUR_MS = 3_600_000
LIMIT_S = 22.0  # A read that got no answer is given up after ten seconds.
_SETTINGS = {"scheduler.lease_s": 1.0, "scheduler.fsck_every_s": 0.3}


async def keep(app: Mesh, prefix: str) -> None:
    """Lead, run a tick, lose the lease and win it back, follow changes, and leave."""
    app.override(_SETTINGS)
    declared = f"{prefix}-c"
    if not app.declared_schedules():  # At the first try.
        app.every("1h", id=declared)(task_of(app, "plain"))
    client = await app.client()
    scheduler, stop = Scheduler(app), asyncio.Event()
    async with anyio.create_task_group() as group:
        group.start_soon(scheduler.run, stop)
        await _follow(client, f"{prefix}-k", scheduler)
        await remove(client, declared)
        await _is_gone(client, declared)
        stop.set()


async def _follow(client: Client, name: str, scheduler: Scheduler) -> None:
    now = SYSTEM_CLOCK.now_ms()
    schedule = await put(client, name, at(now + 100, now + _HOUR_MS, task="plain"))

    async def is_told() -> bool:
        status = await status_of(client, name)
        return status is not None and status.last_state == "succeeded"

    await until(is_told, "the last run is told", LIMIT_S, poll_s=0.1)
    await until(lambda: scheduler.leads, "it leads", LIMIT_S)
    usurper = records.encode(Leadership("another", 1))
    await client.publisher.publish(client.names.leadership(SERVICE), b"", usurper)
    await change(client, name, schedule, about="another edition")
    await _is_of_edition(client, name, schedule.edition + 1)
    await remove(client, name)

    await _is_gone(client, name)


async def _is_gone(client: Client, name: str) -> None:
    async def is_gone() -> bool:
        return await status_of(client, name) is None

    await until(is_gone, "nothing is left of it", LIMIT_S, poll_s=0.1)


async def _is_of_edition(client: Client, name: str, edition: int) -> None:
    async def is_armed() -> bool:
        status = await status_of(client, name)
        return status is not None and status.edition == edition

    await until(is_armed, "the change has taken effect", LIMIT_S, poll_s=0.1)


async def arm(app: Mesh, prefix: str) -> None:
    """Arm the same ticks twice, replace one by its next edition, and take all back."""
    client, name = await app.client(), f"{prefix}-m"
    armer = Armer(client, SYSTEM_CLOCK, lambda: True)
    now = SYSTEM_CLOCK.now_ms()
    old = at(now + 2 * _HOUR_MS, now + _HOUR_MS, task="plain", created_at_ms=1)
    new = replace(old, edition=2)
    await _arm(armer, name, old, old.timetable.at_ms)
    await _arm(armer, name, old, old.timetable.at_ms[:1])
    await _arm(armer, name, new, old.timetable.at_ms[:1])
    over = at(now - _HOUR_MS, task="plain", created_at_ms=1)
    await _arm(armer, name, over, over.timetable.at_ms)
    with contextlib.suppress(JobEndedError):  # There is no such schedule.
        await app.job(tick_job_id(name, now - _HOUR_MS)).result(timeout=LIMIT_S)
    await armer.withdraw([name])
    await _tell(client, name, new)


async def _arm(armer: Armer, name: str, schedule: Schedule, ticks: tuple[int, ...]) -> None:
    now = SYSTEM_CLOCK.now_ms()
    jobs = [tick_job(name, schedule, tick, now) for tick in ticks]
    for fault in await armer.arm(jobs):
        if fault is not None:
            raise fault


async def _tell(client: Client, name: str, schedule: Schedule) -> None:
    """Say something of a schedule when another leader has said something else."""
    await put(client, name, schedule)
    catalogue = Catalogue(client)
    await catalogue.load()
    known: Any = catalogue.known[name]
    await catalogue.tell(known, ScheduleStatus(1))
    known.status_revision = 1
    await catalogue.tell(known, ScheduleStatus(2))
    await remove(client, name)
    await catalogue.forget(known)


ACTS: dict[str, Act] = {act.__name__: act for act in (keep, arm)}
