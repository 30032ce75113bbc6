"""A server that was killed forgets what it delivered; no job runs again after it has ended."""

from __future__ import annotations

from collections import Counter

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp
from support.trust import noted
from support.waiting import until

from mesh import JobContext, Mesh, State
from mesh.client.client import Client
from mesh.contract.records import ResultRecord
from mesh.server.process import EmbeddedServer
from mesh.worker.worker import Worker

SHORT = {"worker.ack_wait_s": 1.0, "worker.heartbeat_s": 0.2}


def worker_of(app: Mesh) -> Worker:
    """A worker in this process."""
    return Worker(app, registry=CollectorRegistry())


async def test_a_backlog_that_no_server_has_forgotten_is_believed(mesh: RunningApp) -> None:
    """The first worker of a queue notes the server; nothing before it is suspect."""

    @mesh.app.task
    async def work(number: int) -> int:
        return number

    await mesh.app.setup()
    jobs = await mesh.app.enqueue_many([work.s(number) for number in range(5)])
    async with worker_of(mesh.app):
        assert [await job.result(timeout=30) for job in jobs] == list(range(5))
        first = await noted(await mesh.client())
    async with worker_of(mesh.app):
        second = await noted(await mesh.client())

    assert first.until_sequence == 0
    assert second == first


@pytest.mark.parametrize("survives", [True, False], ids=["same worker", "new worker"])
async def test_a_job_that_ended_before_the_server_was_killed_does_not_run_again(
    *, survives: bool
) -> None:
    """Its message is left, as when an acknowledgement was forgotten; it is only removed."""
    runs: Counter[int] = Counter()
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        app.override(SHORT)

        @app.task
        async def work(number: int) -> int:
            runs[number] += 1
            return number

        await app.setup()
        client = await app.client()
        async with worker_of(app):
            await (await work.enqueue(0)).result(timeout=30)
            before = await noted(client)
            await app.queue("default").pause()
            for number in range(1, 6):
                await work.options(job_id=f"j{number}").enqueue(number)
            ended = ResultRecord(State.SUCCEEDED, "work", "default", "normal")
            assert await client.records.finish("j3", ended)
            if survives:
                await _kill_and_start(server, client)
                await app.queue("default").resume()
                await until(lambda: _is_empty(app), "every message is gone", 30)
        if not survives:
            await _kill_and_start(server, client)
            await app.queue("default").resume()
            async with worker_of(app):
                await until(lambda: _is_empty(app), "every message is gone", 30)
        after = await noted(client)
        await app.close()

    assert runs == Counter([0, 1, 2, 4, 5])
    assert after.epoch != before.epoch
    assert after.until_sequence >= 6


async def _kill_and_start(server: EmbeddedServer, client: Client) -> None:
    server.kill()
    await until(lambda: not client.connection.is_connected, "the server is away")
    await server.start_async()
    await until(lambda: client.connection.is_connected, "the server is back", 30)


async def _is_empty(app: Mesh) -> bool:
    return await RunningApp(app).count("jobs_stream") == 0


async def test_a_queue_whose_consumer_was_made_anew_is_not_believed(mesh: RunningApp) -> None:
    """A consumer that was deleted has forgotten all it delivered, too."""
    runs: list[str] = []

    @mesh.app.task
    async def work(ctx: JobContext) -> None:
        runs.append(ctx.job_id)

    await mesh.app.setup()
    client = await mesh.client()
    async with worker_of(mesh.app):
        await (await work.options(job_id="a").enqueue()).result(timeout=30)
    await work.options(job_id="b").enqueue()
    await client.records.finish("b", ResultRecord(State.SUCCEEDED, "work", "default", "normal"))
    await client.connection.api(f"CONSUMER.DELETE.{client.names.jobs_stream}.default-normal")

    async with worker_of(mesh.app):
        await until(lambda: _is_empty(mesh.app), "the message is removed")

    assert runs == ["a"]


@pytest.mark.timeout(180)
async def test_jobs_in_hand_of_a_server_that_is_killed_do_not_start_after_they_ended() -> None:
    """Twelve times the server is killed in the middle of hundreds of deliveries."""
    late: list[str] = []
    goal: list[int] = []
    started = 0
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        app.override(SHORT)

        @app.task
        async def work(ctx: JobContext) -> None:
            nonlocal started
            started += 1
            if await client.records.result(ctx.job_id) is not None:
                late.append(ctx.job_id)

        await app.setup()
        client = await app.client()
        async with worker_of(app), worker_of(app):
            for _ in range(12):
                goal.append(started + 150)
                jobs = await app.enqueue_many([work.s() for _ in range(400)])
                await until(lambda: started >= goal[-1], "some hundred jobs run", 30)
                server.kill()
                await server.start_async()
                with anyio.fail_after(40):
                    for job in jobs:
                        await job.result()
        await app.close()

    assert started >= 12 * 400
    assert late == []
