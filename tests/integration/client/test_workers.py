"""Live workers are seen and can be told what to do; those that are gone are not there."""

from __future__ import annotations

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp
from support.waiting import until

from mesh.clock import SYSTEM_CLOCK
from mesh.contract import workers
from mesh.contract.workers import WorkerRecord
from mesh.errors import OptionError, WorkerNotFoundError, WorkerRefusedError
from mesh.exporter.exporter import Exporter
from mesh.worker.serving import run_worker
from mesh.worker.worker import Worker


async def seen(mesh: RunningApp, worker: str) -> bool:
    """Whether a worker has a record."""
    return worker in {one.worker for one in await mesh.app.workers.list()}


async def test_a_worker_is_seen_with_what_it_runs_until_it_ends(mesh: RunningApp) -> None:
    """Its record names host, queues, slots and running jobs, and goes when it goes."""
    started, go_on = anyio.Event(), anyio.Event()

    @mesh.app.task
    async def hold() -> None:
        started.set()
        await go_on.wait()

    async with mesh.worker(worker__concurrency=7) as worker:
        job = await hold.enqueue()
        await until(started.is_set, "it runs", 20)
        presence = worker._presence(worker._consumer)
        record = presence.record()
        await until(lambda: seen(mesh, worker.id), "it is seen", 20)
        status = await mesh.app.workers.get(worker.id)
        go_on.set()
        await job.result(timeout=20)

    assert [(one.job_id, one.task) for one in record.jobs] == [(job.id, "hold")]
    assert status.is_healthy
    assert (status.queues, status.slots) == (("default",), 7)
    assert status.rss_bytes > 1_000_000
    assert not await seen(mesh, worker.id)


async def test_a_worker_runs_more_jobs_at_once_when_it_is_told_to(mesh: RunningApp) -> None:
    """Jobs that waited for a slot start at once; fewer slots hold the next ones back."""
    started: list[int] = []
    go_on = anyio.Event()

    @mesh.app.task
    async def hold(number: int) -> None:
        started.append(number)
        await go_on.wait()

    async with mesh.worker(worker__concurrency=1) as worker:
        jobs = await mesh.app.enqueue_many([hold.s(number) for number in range(6)])
        await until(lambda: len(started) == 1, "one runs", 20)
        await mesh.app.workers.set(worker.id, concurrency=3)
        await until(lambda: len(started) == 3, "three run", 20)
        await mesh.app.workers.set(worker.id, concurrency=1)
        await until(lambda: worker._consumer.feeds[0].slots == 1, "it is told", 20)
        go_on.set()
        for job in jobs:
            await job.result(timeout=20)

    assert sorted(started) == list(range(6))


@pytest.mark.parametrize("is_hurried", [False, True])
async def test_a_worker_ends_when_it_is_told_to(mesh: RunningApp, *, is_hurried: bool) -> None:
    """Told to drain it lets its job finish; told to stop it hands it back."""
    go_on = anyio.Event()

    @mesh.app.task
    async def hold() -> str:
        await go_on.wait()
        return "done"

    import asyncio

    await mesh.app.setup()
    told: list[bool] = []
    stop = asyncio.Event()
    worker = Worker(mesh.app, registry=CollectorRegistry())

    def on_stop(hurried: bool) -> None:
        told.append(hurried)
        stop.set()
        if hurried:
            worker.hurry()

    worker.on_stop = on_stop
    ended: list[bool] = []
    async with anyio.create_task_group() as group:

        async def run() -> None:
            ended.append(await run_worker(worker, stop))

        group.start_soon(run)
        await until(lambda: worker.is_ready, "it is ready", 20)
        await hold.options(job_id="held").enqueue()
        await until(lambda: worker.running == 1, "it runs", 20)
        tell = mesh.app.workers.stop if is_hurried else mesh.app.workers.drain
        await until(lambda: seen(mesh, worker.id), "it is seen", 20)
        await tell(worker.id)
        await until(stop.is_set, "it is told", 20)
        if not is_hurried:
            go_on.set()
    assert told == [is_hurried]
    assert ended == [not is_hurried]
    # One that ran long enough to have a record says that it waits for its next attempt.
    expected = {"pending", "retrying"} if is_hurried else {"succeeded"}
    assert (await mesh.app.job("held").status()).state in expected


async def test_a_worker_that_cannot_do_it_says_so(mesh: RunningApp) -> None:
    """One that is a part of another program does not end that program."""
    async with mesh.worker() as worker:
        await until(lambda: seen(mesh, worker.id), "it is seen", 20)
        with pytest.raises(WorkerRefusedError, match="a part of must stop it"):
            await mesh.app.workers.drain(worker.id)
        client = await mesh.client()
        reply = await client.connection.link.request(
            client.names.worker_commands(worker.id), b'{"command":"dance"}', timeout=20
        )

    assert not workers.read_answer(reply.data).is_done


async def test_a_worker_that_is_not_there_is_named(mesh: RunningApp) -> None:
    """Neither asked nor told, and no name can be made into a wildcard."""
    await mesh.app.setup()
    for worker in ("nobody", "*", ">", "a.b", ""):
        with pytest.raises(WorkerNotFoundError):
            await mesh.app.workers.get(worker)
        with pytest.raises(WorkerNotFoundError):
            await mesh.app.workers.drain(worker)
    with pytest.raises(OptionError):
        await mesh.app.workers.set("nobody", concurrency=0)


async def test_a_worker_that_is_silent_is_unhealthy(mesh: RunningApp) -> None:
    """After 30 seconds without a heartbeat it is shown so, and counted so by the exporter."""
    await mesh.app.setup()
    client = await mesh.client()
    now_ms = SYSTEM_CLOCK.now_ms()
    for name, age_ms in (("fresh", 0), ("silent", 31_000)):
        record = WorkerRecord(name, heartbeat_at_ms=now_ms - age_ms)
        await client.publisher.publish(client.names.worker(name), b"", workers.encode(record))
    await client.publisher.publish(client.names.worker("odd"), b"", b"{")
    registry = CollectorRegistry()
    await Exporter(mesh.app.client, registry=registry).look()

    found = {one.worker: one.is_healthy for one in await mesh.app.workers.list()}

    assert found == {"fresh": True, "silent": False}
    value = registry.get_sample_value
    assert value("mesh_workers", {"health": "healthy"}) == 1
    assert value("mesh_workers", {"health": "unhealthy"}) == 1
