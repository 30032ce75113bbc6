"""Publishing: confirmed, retried with the same id, called unknown only after the deadline."""

from __future__ import annotations

import anyio
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh
from mesh.errors import EnqueueUnknownError, QueueFullError
from mesh.server.process import EmbeddedServer


async def test_jobs_published_into_an_outage_are_stored_once() -> None:
    """A server that is killed and comes back within the deadline loses and doubles nothing."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 20})
        running = RunningApp(app)

        @app.task
        async def noop(number: int) -> int:
            return number

        await app.setup()
        stored: list[int] = []

        async def enqueue() -> None:
            jobs = await app.enqueue_many([noop.s(number) for number in range(20_000)])
            stored.append(len(jobs))

        async with anyio.create_task_group() as group:
            group.start_soon(enqueue)
            client = await app.client()
            await until(lambda: client.publisher.in_flight > 1000, "jobs are on their way")
            server.kill()
            await server.start_async()

        assert stored == [20_000]
        assert await running.count("jobs_stream") == 20_000
        await app.close()


async def test_an_enqueue_that_was_never_confirmed_is_unknown_and_names_its_job() -> None:
    """Without a server the job's fate is unknown, and the error carries the id to ask with."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 0.5})
        await app.setup()
        server.kill()

        with pytest.raises(EnqueueUnknownError, match="order-1") as caught:
            await app.send("noop", job_id="order-1")

        assert caught.value.job_id == "order-1"
        await app.close()


async def test_a_full_queue_refuses_new_jobs(mesh: RunningApp) -> None:
    """A full job stream pushes back at the producer, with a clear error."""
    mesh.app.override({"limits.max_jobs": 3, "publish.full_wait_s": 0})
    await mesh.app.setup()
    for _ in range(3):
        await mesh.app.send("noop")

    with pytest.raises(QueueFullError, match="maximum messages"):
        await mesh.app.send("noop")
    with pytest.raises(ExceptionGroup, match="1 of 1 jobs") as caught:
        await mesh.app.enqueue_many([mesh.app.task(noop).s()])

    assert caught.group_contains(QueueFullError)


async def noop() -> None:
    """Do nothing."""


async def test_a_worker_goes_on_after_the_server_was_killed() -> None:
    """Jobs enqueued before, during and after an outage all end."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 20})
        running = RunningApp(app)

        @app.task
        async def slow(number: int) -> int:
            await anyio.sleep(0.01)
            return number

        last: list[int] = []
        async with running.worker(worker__concurrency=5):
            before = await app.enqueue_many([slow.s(number) for number in range(500)])

            async def wait_through_the_outage() -> None:
                last.append(await before[-1].result())

            async with anyio.create_task_group() as group:
                group.start_soon(wait_through_the_outage)
                await before[20].result(timeout=30)
                server.kill()
                await server.start_async()
            after = await app.enqueue_many([slow.s(number) for number in range(500, 600)])
            jobs = before + after

            assert [await job.result(timeout=30) for job in jobs] == list(range(600))
            assert last == [499]

        assert await running.count("jobs_stream") == 0
        await app.close()
