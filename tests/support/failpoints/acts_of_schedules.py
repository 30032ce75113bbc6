"""What programs do with schedules; safe to repeat, as the other acts are."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta

from msgspec.structs import replace
from support.failpoints.acts import LIMIT_S, Act, task_of

from mesh import Mesh
from mesh.client.schedule_book import ScheduleBook
from mesh.client.schedule_making import Declared
from mesh.contract import schedules
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.errors import ScheduleNotFoundError

_PAST = datetime(2026, 1, 1, tzinfo=UTC)
_HOUR = timedelta(hours=1)


def _aged(schedule: Schedule | None) -> Schedule | None:
    """The schedule as if it had been made long ago, so that it has a history."""
    return None if schedule is None else replace(schedule, created_at_ms=1)


async def schedule(app: Mesh, prefix: str) -> None:
    """Make a schedule, look at it, change it, run it, remove it."""
    them, name, call = app.schedules, f"{prefix}-s", task_of(app, "plain").s("some")
    await them.upsert(name, call, at=[_PAST, _PAST + _HOUR])
    client = await app.client()
    await ScheduleBook(client).change(name, _aged)
    told = schedules.encode(ScheduleStatus(1))
    await client.publisher.publish(client.names.schedule_status(name), b"", told)
    assert name in {view.id for view in await them.list()}
    await them.get(name)
    await them.pause(name, until="1h")
    await them.resume(name)
    await them.preview(name)
    await (await them.trigger(name)).result(timeout=LIMIT_S)
    filled = await them.backfill(name, _PAST, _PAST + _HOUR)
    for job_id in (*filled.enqueued, *filled.skipped):
        await app.job(job_id).result(timeout=LIMIT_S)
    assert len(await them.history(name)) == 2
    with contextlib.suppress(ScheduleNotFoundError):
        await them.remove(name)


async def declare(app: Mesh, prefix: str) -> None:
    """Declare a schedule in code, and then no more."""
    call = task_of(app, "plain").s("some")
    declared = app._code_schedules.declared
    declared.append(Declared(f"{prefix}-c", call, {"cron": "@yearly"}, "code"))
    await app.schedules.sync()
    declared.clear()
    await app.schedules.sync(prune=True)


ACTS: dict[str, Act] = {act.__name__: act for act in (schedule, declare)}
