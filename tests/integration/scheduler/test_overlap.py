"""What becomes of a tick while the job of an earlier one has not ended; no scheduler lives."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace
from support.running import RunningApp
from support.schedules import LIMIT_S, arm_by_hand, at, put, remove
from support.waiting import until

from mesh import JobContext, State
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.schedules import Pause, RunOverlap


class Stage:
    """A task that goes on until it is let go, and what it has seen."""

    def __init__(self, mesh: RunningApp) -> None:
        self.started: list[str] = []
        self.ended: list[int] = []
        self.may_end = asyncio.Event()

        @mesh.app.task(name="tick")
        async def tick(ctx: JobContext) -> None:
            self.started.append(ctx.job_id)
            await self.may_end.wait()
            self.ended.append(len(self.started))

        assert tick.name == "tick"


async def second_tick(mesh: RunningApp, overlap: RunOverlap) -> tuple[Stage, list[State]]:
    """Let the second tick come while the first one runs; the states of both in the end."""
    stage = Stage(mesh)
    await mesh.app.setup()
    client = await mesh.client()
    now = SYSTEM_CLOCK.now_ms()
    schedule = await put(client, "report", at(now + 1, now + 2, overlap=overlap))
    async with mesh.worker():
        (first,) = await arm_by_hand(client, "report", schedule, now + 1)
        await until(lambda: stage.started == [first], "the first tick starts", LIMIT_S)
        (second,) = await arm_by_hand(client, "report", schedule, now + 2)
        if overlap == "skip":
            await until(lambda: _has_ended(mesh, second), "the second one is over", LIMIT_S)
        elif overlap == "queue":
            await until(lambda: _came(client, 3), "the second one is given back", LIMIT_S)
        else:
            await until(lambda: second in stage.started, "the second one starts", LIMIT_S)
        stage.may_end.set()
        jobs = [mesh.app.job(job_id) for job_id in (first, second)]
        for job in jobs:
            await until(lambda job=job: _has_ended(mesh, job.id), f"{job.id} ends", LIMIT_S)
        return stage, [(await job.status()).state for job in jobs]


async def _came(client: Client, times: int) -> bool:
    """Whether jobs were delivered so often."""
    stream = client.names.jobs_stream
    info = await client.connection.api(f"CONSUMER.INFO.{stream}.default-normal")
    return int(info["delivered"]["consumer_seq"]) >= times


async def _has_ended(mesh: RunningApp, job_id: str) -> bool:
    return (await mesh.app.job(job_id).status()).is_finished


async def test_two_jobs_run_beside_each_other_if_that_is_allowed(mesh: RunningApp) -> None:
    """Which is the default."""
    _, states = await second_tick(mesh, "allow")

    assert states == [State.SUCCEEDED, State.SUCCEEDED]


async def test_a_tick_is_skipped_while_another_runs(mesh: RunningApp) -> None:
    """Its record says because of which job."""
    stage, states = await second_tick(mesh, "skip")

    assert states == [State.SUCCEEDED, State.CANCELLED]
    assert len(stage.started) == 1


async def test_a_tick_waits_while_another_runs(mesh: RunningApp) -> None:
    """It starts when the first has ended."""
    stage, states = await second_tick(mesh, "queue")

    assert states == [State.SUCCEEDED, State.SUCCEEDED]
    assert stage.ended == [1, 2], "the first ended while it was the only one to have started"


async def test_a_tick_cancels_the_one_that_runs(mesh: RunningApp) -> None:
    """It starts when the record of the first says so."""
    _, states = await second_tick(mesh, "cancel_running")

    assert states == [State.CANCELLED, State.SUCCEEDED]


@pytest.mark.parametrize("fate", ["paused", "removed"])
async def test_a_tick_that_was_armed_before_its_schedule_changed_does_not_run(
    mesh: RunningApp, fate: str
) -> None:
    """No scheduler lived to withdraw it, so the worker asks."""
    stage = Stage(mesh)
    await mesh.app.setup()
    client = await mesh.client()
    now = SYSTEM_CLOCK.now_ms()
    schedule = await put(client, "report", at(now + 1))
    (job_id,) = await arm_by_hand(client, "report", schedule, now + 1)
    if fate == "paused":
        await put(client, "report", replace(schedule, pause=Pause(now)))
    else:
        await remove(client, "report")

    async with mesh.worker():
        await until(lambda: _has_ended(mesh, job_id), "the tick is over", LIMIT_S)

    assert stage.started == []
    assert (await mesh.app.job(job_id).status()).state is State.CANCELLED
