"""Soft timeouts, timeouts and deadlines, in the loop, in threads and in child processes."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from integration.worker.test_process_pool import is_running
from prometheus_client import CollectorRegistry
from support.processes import APPS
from support.running import RunningApp
from support.waiting import until, until_sync

from mesh import (
    JobContext,
    JobExpiredError,
    JobFailedError,
    Mesh,
    Retry,
    SoftTimeoutError,
    State,
)
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.server.process import EmbeddedServer
from mesh.tasks.cancellation import AttemptStopped
from mesh.transport.buckets import Shelf
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

# An error that is raised in another thread never gets through while each line is traced.
pytestmark = pytest.mark.untraced

REFERENCE = f"{APPS / 'limited.py'}:app"
DEFAULTS = {
    "worker.ack_wait_s": 10.0,
    "worker.heartbeat_s": 2.0,
    "worker.shutdown_grace_s": 5.0,
    "worker.process_pool": 1,
}
SOFT = ["soft_in_loop", "soft_in_thread", "soft_in_process", "soft_in_loop_of_process"]


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each start of a task leaves a line."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    return path


@pytest.fixture
async def app(server: EmbeddedServer, namespace: str, effects: Path) -> AsyncGenerator[Mesh]:
    """The app in a file, torn down afterwards."""
    del effects  # Its tasks need the file.
    app = load_app(REFERENCE)
    app.override({"url": server.url, "namespace": namespace, **DEFAULTS})
    await app.setup()
    yield app
    await RunningApp(app).tear_down()


@asynccontextmanager
async def working(app: Mesh) -> AsyncGenerator[Worker]:
    """Run a worker with child processes; the first of them is started already."""
    worker = Worker(app, app_reference=REFERENCE, registry=CollectorRegistry())
    async with worker:
        await (await app.send("pid")).result(timeout=30)
        yield worker


def text_of(effects: Path) -> str:
    """What the tasks noted."""
    return effects.read_text(encoding="utf-8")


def in_seconds(seconds: float) -> datetime:
    """A moment some time from now."""
    return datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000, UTC) + timedelta(
        seconds=seconds
    )


# --- Soft timeouts ----------------------------------------------------------------------------


@pytest.mark.parametrize("task", SOFT)
async def test_a_task_cleans_up_at_its_soft_timeout(app: Mesh, task: str) -> None:
    """The error is raised where the task is, and what it returns then is its result."""
    async with working(app):
        result = await (await app.send(task, ["catch"])).result(timeout=30)

    assert result.startswith("cleaned up")


@pytest.mark.parametrize("task", SOFT)
async def test_a_soft_timeout_that_nobody_catches_is_a_failure(app: Mesh, task: str) -> None:
    """It is known by its name, its place is in the traceback, and the next job is not hit."""
    async with working(app):
        job = await app.send(task, ["raise"])
        with pytest.raises(JobFailedError) as caught:
            await job.result(timeout=30)
        result = await (await app.send(task, ["catch"])).result(timeout=30)

    assert caught.value.error_type == "mesh.errors.SoftTimeoutError"
    assert "soft timeout" in caught.value.error_message
    assert "limited.py" in caught.value.traceback
    assert result.startswith("cleaned up")


async def test_a_retry_rule_names_the_soft_timeout(mesh: RunningApp) -> None:
    """As its own name, or as that of a type it derives from; it may come with the call."""
    attempts: list[int] = []

    @mesh.app.task(retry=Retry(1, "fixed", 0.0, on=(TimeoutError,)))
    async def work(ctx: JobContext) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await anyio.sleep_forever()
        return ctx.attempt

    async with mesh.worker():
        job = await work.options(soft_timeout=0.2, timeout="1m").enqueue()
        assert await job.result(timeout=30) == 2

    assert attempts == [1, 2]


@pytest.mark.parametrize("library", ["asyncio", "anyio"])
async def test_a_soft_timeout_ends_what_a_task_group_has_started(
    mesh: RunningApp, library: str
) -> None:
    """The children of the group are cancelled, and the error comes out of it as it is."""
    ended: list[str] = []

    async def child() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append("child")

    @mesh.app.task(soft_timeout=0.2)
    async def work() -> str:
        try:
            if library == "asyncio":
                async with asyncio.TaskGroup() as tasks:
                    tasks.create_task(child())
            else:
                async with anyio.create_task_group() as group:
                    group.start_soon(child)
        except SoftTimeoutError:
            await anyio.lowlevel.checkpoint()  # No cancellation is left to come.
            ended.append("work")
        return "cleaned up"

    async with mesh.worker():
        assert await (await work.enqueue()).result(timeout=30) == "cleaned up"

    assert ended == ["child", "work"]


async def test_a_task_that_outlives_its_soft_timeout_runs_into_the_other(
    mesh: RunningApp,
) -> None:
    """Whoever catches the error and goes on is stopped at the timeout."""
    told: list[str] = []

    @mesh.app.task(soft_timeout=0.2, timeout=0.8, retry=False)
    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except SoftTimeoutError:
            told.append("soft")
        await anyio.sleep_forever()

    async with mesh.worker():
        with pytest.raises(JobFailedError) as caught:
            await (await work.enqueue()).result(timeout=30)

    assert told == ["soft"]
    assert caught.value.error_type == "mesh.errors.JobTimeoutError"


async def test_a_soft_timeout_never_hits_the_next_job_of_its_thread(mesh: RunningApp) -> None:
    """Jobs that end at the very moment when they would be told: none is hit by another's."""

    @mesh.app.task(soft_timeout=0.1, timeout=20, retry=False)
    def about_in_time(seconds: float) -> str:
        ends = SYSTEM_CLOCK.monotonic() + seconds
        try:
            while SYSTEM_CLOCK.monotonic() < ends:
                threading.Event().wait(0.0005)
        except SoftTimeoutError:
            return "told"
        return "in time"

    @mesh.app.task(retry=False)
    def without(seconds: float) -> str:
        ends = SYSTEM_CLOCK.monotonic() + seconds
        while SYSTEM_CLOCK.monotonic() < ends:
            pass
        return "not told"

    async with mesh.worker(worker__concurrency=4):
        calls = [about_in_time.s(0.1 + (n % 40) * 0.005) for n in range(80)]
        others = await mesh.app.enqueue_many([without.s(0.02) for _ in range(80)])
        jobs = await mesh.app.enqueue_many(calls)
        told = [await job.result(timeout=40) for job in jobs]
        not_told = [await job.result(timeout=40) for job in others]

    assert set(not_told) == {"not told"}
    assert set(told) == {"in time", "told"}


# --- Timeouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["in Python", "in C", "in C, with the lock of Python"])
async def test_a_child_is_killed_within_a_second_of_its_timeout(
    app: Mesh, tmp_path: Path, how: str
) -> None:
    """Whatever it does: ignored signals and calls that never return keep nobody waiting."""
    note = tmp_path / "note"
    async with working(app):
        job = await app.send("deaf", [how, str(note)], timeout=1.0)
        await until(note.exists, "the task runs in its child", 30)
        child = int(await anyio.Path(note).read_text())
        with pytest.raises(JobFailedError) as caught:
            await job.result(timeout=30)
        status = await job.status()
        await until(lambda: not is_running(child), "the child is gone", 1.0)

    assert caught.value.error_type == "mesh.errors.JobTimeoutError"
    assert status.finished_at_ms - status.started_at_ms < 2000


async def test_an_async_task_that_swallows_its_cancellation_has_timed_out(
    mesh: RunningApp,
) -> None:
    """What it returns after it was told to stop is dropped."""
    stopped: list[str] = []

    @mesh.app.task(timeout=0.3, retry=False)
    async def stubborn(ctx: JobContext) -> str:
        try:
            await anyio.sleep_forever()
        except asyncio.CancelledError:
            stopped.append(ctx.cancelled.reason)
        await anyio.sleep(0.05)
        return "late, but here"

    async with mesh.worker():
        with pytest.raises(JobFailedError) as caught:
            await (await stubborn.enqueue()).result(timeout=30)

    assert stopped == ["timeout"]
    assert caught.value.error_type == "mesh.errors.JobTimeoutError"


async def test_a_thread_that_times_out_learns_of_it_and_its_result_is_dropped(
    mesh: RunningApp,
) -> None:
    """The job has failed at once; the thread is left behind, and can see that it is."""
    seen: list[str] = []
    ended = threading.Event()

    @mesh.app.task(timeout=0.3, retry=False)
    def stubborn(ctx: JobContext) -> str:
        until_sync(ctx.cancelled.is_set, "the thread is told")
        try:
            ctx.cancelled.raise_if_set()
        except AttemptStopped as stop:
            seen.append(str(stop))
        ended.set()
        return "late"

    async with mesh.worker():
        job = await stubborn.enqueue()
        with pytest.raises(JobFailedError) as caught:
            await job.result(timeout=30)
        await until(ended.is_set, "the thread has ended")

    assert seen == ["the attempt was told to stop: timeout"]
    assert caught.value.error_type == "mesh.errors.JobTimeoutError"
    assert (await job.status()).state is State.FAILED


# --- Deadlines --------------------------------------------------------------------------------


@pytest.mark.parametrize("task", ["wait_in_loop", "wait_in_thread", "wait_in_process"])
async def test_a_running_job_is_stopped_at_its_deadline(
    app: Mesh, effects: Path, task: str
) -> None:
    """It fails, and is not tried again, whatever its rule says."""
    async with working(app):
        job = await app.send(task, ["a", "/never"], deadline=in_seconds(1.0), retry=5)
        with pytest.raises(JobFailedError) as caught:
            await job.result(timeout=30)

    assert caught.value.error_type == "mesh.errors.JobDeadlineError"
    assert text_of(effects).count("start a") == 1
    assert await RunningApp(app).count("dead_stream") == 1


async def test_a_job_that_was_not_started_by_its_deadline_expires(mesh: RunningApp) -> None:
    """It does not run, and says why."""
    runs: list[int] = []

    @mesh.app.task(deadline=0.05)
    async def work() -> None:
        runs.append(1)

    await mesh.app.setup()
    job = await work.enqueue()
    passed = anyio.current_time() + 0.1
    await until(lambda: anyio.current_time() > passed, "its deadline is over")
    async with mesh.worker():
        with pytest.raises(JobExpiredError):
            await job.result(timeout=30)

    assert runs == []
    assert (await job.status()).message == "its deadline passed before it was started"


@pytest.mark.parametrize("kind", ["retry", "snooze", "asked"])
async def test_a_job_that_would_wait_past_its_deadline_fails_at_once(
    mesh: RunningApp, kind: str
) -> None:
    """With the error of its last attempt as the cause."""

    @mesh.app.task(retry=Retry(5, "fixed", 600.0), deadline="1m")
    async def work(ctx: JobContext) -> None:
        if kind == "snooze":
            raise ctx.snooze("1h")
        try:
            int("no luck")
        except ValueError as error:
            if kind == "asked":
                raise ctx.retry("2m") from error
            raise

    async with mesh.worker():
        job = await work.enqueue()
        with pytest.raises(JobFailedError, match="only after its deadline") as caught:
            await job.result(timeout=30)
        error = (await job.status()).error

    assert caught.value.error_type == "mesh.errors.JobDeadlineError"
    assert error is not None
    if kind == "snooze":
        assert error.cause is None
    else:
        assert error.cause is not None
        assert error.cause.type == "ValueError"
        assert f"ValueError: {error.cause.message}" in error.message


async def test_a_deadline_that_passes_while_a_job_waits_for_its_retry_is_kept(
    mesh: RunningApp,
) -> None:
    """Nobody was there to run it in time: it was started, so it has failed."""

    @mesh.app.task(retry=Retry(5, "fixed", 0.3))
    async def work() -> None:
        message = "no luck"
        raise ValueError(message)

    await mesh.app.setup()
    job = await work.options(deadline=in_seconds(1.2)).enqueue()
    async with mesh.worker():

        async def is_retrying() -> bool:
            return (await job.status()).state is State.RETRYING

        await until(is_retrying, "it has failed once")
    passed = SYSTEM_CLOCK.now_ms() + 1200
    await until(lambda: SYSTEM_CLOCK.now_ms() > passed, "its deadline is over")
    async with mesh.worker():
        with pytest.raises(JobFailedError, match="had not ended by its deadline") as caught:
            await job.result(timeout=30)

    assert caught.value.error_type == "mesh.errors.JobDeadlineError"
    assert "ValueError: no luck" in caught.value.error_message


async def test_a_job_that_waits_for_a_child_keeps_its_limits(
    app: Mesh, tmp_path: Path, effects: Path
) -> None:
    """While all children are busy its time to start passes, or its deadline."""
    gate = tmp_path / "gate"
    async with working(app):
        first = await app.send("wait_in_process", ["first", str(gate)])
        await until(lambda: "start first" in text_of(effects), "the child is busy")
        second = await app.send("wait_in_process", ["second", str(gate)], expires=0.3)
        third = await app.send("wait_in_process", ["third", str(gate)], deadline=0.5)
        for job in (second, third):
            with pytest.raises(JobExpiredError):
                await job.result(timeout=30)
        gate.touch()
        assert await first.result(timeout=30) == "first"

    assert text_of(effects) == "start first\n"
    assert (await second.status()).message == "it was not started in time"
    assert (await third.status()).message == "its deadline passed before it was started"


# --- Time to start ----------------------------------------------------------------------------


async def test_a_job_that_was_started_does_not_expire(mesh: RunningApp) -> None:
    """Neither before a short retry nor before a long one, nor after a snooze."""
    runs: list[int] = []

    @mesh.app.task(expires=1.0, retry=Retry(3, delays_s=(1.2,)))
    async def work(ctx: JobContext) -> int:
        runs.append(ctx.attempt)
        if len(runs) == 1:
            message = "again"
            raise ValueError(message)
        if len(runs) == 2:
            raise ctx.snooze(0.1)
        return ctx.attempt

    async with mesh.worker():
        assert await (await work.enqueue()).result(timeout=30) == 2

    assert runs == [1, 2, 2]


async def test_a_job_put_off_to_the_delayed_stream_does_not_expire(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There too it waits as one that was started."""
    monkeypatch.setattr("mesh.worker.settlement.LONGEST_NAK_S", 0.05)

    @mesh.app.task(expires=0.5, retry=Retry(3, delays_s=(1.2,)))
    async def work(ctx: JobContext) -> int:
        if ctx.attempt == 1:
            message = "again"
            raise ValueError(message)
        return ctx.attempt

    async with mesh.worker():
        assert await (await work.enqueue()).result(timeout=30) == 2


async def test_a_delayed_job_has_its_time_to_start_from_when_it_is_due(
    mesh: RunningApp,
) -> None:
    """A delay longer than the time to start is no contradiction."""

    @mesh.app.task(expires=1.0)
    async def work() -> str:
        return "done"

    async with mesh.worker():
        job = await work.options(delay=1.5).enqueue()
        assert await job.result(timeout=30) == "done"


async def test_a_job_that_expires_is_announced(mesh: RunningApp) -> None:
    """Whoever follows the events hears of it, and whoever watches sees it."""

    @mesh.app.task
    async def work() -> None:
        """Do nothing."""

    await mesh.app.setup()
    job = await work.options(expires=0).enqueue()
    async with mesh.worker():
        states = [status.state async for status in job.watch()]
    client = await mesh.client()
    events = Shelf(client.connection, client.names.events_stream)
    event = await events.last(client.names.event("finished", job.id))

    assert states[-1] is State.EXPIRED
    assert event is not None
    assert event.headers[headers.STATE] == "expired"
    assert await mesh.count("jobs_stream") == 0


async def test_a_producer_that_does_not_know_the_task_is_bound_by_its_limits(
    mesh: RunningApp,
) -> None:
    """The task's own time to start and deadline are what a job has that says nothing."""
    runs: list[int] = []

    @mesh.app.task(expires=0.05)
    async def hasty() -> None:
        runs.append(1)

    @mesh.app.task(deadline=0.05)
    async def bounded() -> None:
        runs.append(2)

    await mesh.app.setup()
    jobs: list[Any] = [await mesh.app.send("hasty"), await mesh.app.send("bounded")]
    passed = anyio.current_time() + 0.2
    await until(lambda: anyio.current_time() > passed, "their time is over")
    async with mesh.worker():
        for job in jobs:
            with pytest.raises(JobExpiredError):
                await job.result(timeout=30)

    assert runs == []
