"""A job id of the caller's is an idempotency key: one job, and who comes second is told."""

from __future__ import annotations

from functools import partial
from typing import Any

import anyio
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import Job, JobConflictError, Mesh, State
from mesh.client.task import Task
from mesh.errors import EnqueueUnknownError
from mesh.server.process import EmbeddedServer


def counting(app: Mesh) -> tuple[Task[[int], int], list[int]]:
    """A task, and the list of the arguments with which it ran."""
    runs: list[int] = []

    @app.task
    async def work(number: int) -> int:
        runs.append(number)
        return number

    return work, runs


async def forget_message_ids(server: EmbeddedServer) -> None:
    """Restart the server: it forgets the message ids of jobs that are no longer stored."""
    server.kill()
    await server.start_async()


async def test_a_job_is_told_from_its_repeat_in_every_state(mesh: RunningApp) -> None:
    """Pending, delayed, running or ended: the same id is the same job, whatever its options."""
    work, runs = counting(mesh.app)
    await mesh.app.setup(["mail"])
    keyed = work.options(idempotency_key="order-9")

    first = await keyed.enqueue(1)
    pending = await work.options(job_id="order-9", queue="mail", priority="high").enqueue(2)
    postponed = await work.options(job_id="order-9", delay=60).enqueue(3)
    later = await work.options(job_id="order-10", delay=60).enqueue(4)
    delayed = await work.options(job_id="order-10", delay=5).enqueue(5)
    at_once = await work.options(job_id="order-10").enqueue(6)
    async with mesh.worker():
        assert await postponed.result(timeout=30) == 1
        ended = await keyed.enqueue(7)

        assert await ended.result(timeout=30) == 1

    jobs = [first, pending, postponed, ended, later, delayed, at_once]
    assert [job.is_duplicate for job in jobs] == [False, True, True, True, False, True, True]
    assert runs == [1]
    assert (await later.status()).state is State.SCHEDULED
    assert await mesh.count("delayed_stream") == 1


async def test_a_job_with_an_id_of_its_own_is_told_from_none(mesh: RunningApp) -> None:
    """Ids that mesh makes up are new, and the blocking twin says the same."""
    work, _ = counting(mesh.app)
    await mesh.app.setup()

    made_up = [await work.enqueue(1), await work.enqueue(1)]
    blocking = [await anyio.to_thread.run_sync(enqueue_blocking, work) for _ in range(2)]

    assert [job.is_duplicate for job in made_up] == [False, False]
    assert blocking == [("order-9", False), ("order-9", True)]


def enqueue_blocking(work: Task[[int], int]) -> tuple[str, bool]:
    """Enqueue with an id from a thread; the id, and whether it was there already."""
    job = work.options(job_id="order-9").sync.enqueue(1)
    return job.id, job.is_duplicate


async def test_an_ended_job_is_known_after_the_server_forgot_its_message_id() -> None:
    """The window of message ids is lost in a restart; the records are not."""
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        work, runs = counting(app)
        running = RunningApp(app)
        async with running.worker():
            job = await work.options(job_id="order-9").enqueue(1)
            assert await job.result(timeout=30) == 1

            async def is_acknowledged() -> bool:
                return await running.count("jobs_stream") == 0

            await until(is_acknowledged, "the job has left the stream")
            await forget_message_ids(server)

            again = await work.options(job_id="order-9").enqueue(2)
            many = await app.enqueue_many([work.options(job_id="order-9").s(3), work.s(4)])

            assert (again.is_duplicate, await again.result(timeout=30)) == (True, 1)
            assert [job.is_duplicate for job in many] == [True, False]
            assert await many[1].result(timeout=30) == 4
        await app.close()

    assert runs == [1, 4]


async def test_an_enqueue_whose_fate_was_unknown_is_safe_to_repeat() -> None:
    """The error names the job; to enqueue it again, after the server is back, runs it once."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 0.5})
        work, runs = counting(app)
        await app.setup()
        server.kill()
        with pytest.raises(EnqueueUnknownError, match="order-9"):
            await work.options(job_id="order-9").enqueue(1)
        await server.start_async()
        client = await app.client()
        await until(lambda: client.connection.is_connected, "the client is connected again")

        jobs = [await work.options(job_id="order-9").enqueue(1) for _ in range(3)]
        async with RunningApp(app).worker():
            assert [await job.result(timeout=30) for job in jobs] == [1, 1, 1]

        assert [job.is_duplicate for job in jobs[1:]] == [True, True]
        await app.close()

    assert runs == [1]


async def test_an_enqueue_into_an_outage_goes_on_when_the_server_is_back() -> None:
    """The questions before the publish are as patient as the publish itself."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 20})
        work, _ = counting(app)
        await app.setup()
        client = await app.client()
        jobs: list[Job[int]] = []

        async def enqueue(**options: Any) -> None:
            jobs.append(await work.options(**options).enqueue(1))

        async with anyio.create_task_group() as group:
            server.kill()
            await until(lambda: not client.connection.is_connected, "the server is away")
            group.start_soon(partial(enqueue, job_id="order-9"))
            group.start_soon(partial(enqueue, unique=True))
            await until(lambda: client.publisher.in_flight == 2, "both have asked")
            await server.start_async()

        assert [job.is_duplicate for job in jobs] == [False, False]
        assert await RunningApp(app).count("jobs_stream") == 2
        await app.close()


async def test_a_job_that_ends_while_it_is_enqueued_again_does_not_run_twice(
    mesh: RunningApp,
) -> None:
    """The look finds nothing yet, the publish nothing more: the worker asks the records."""
    work, runs = counting(mesh.app)
    async with mesh.worker():
        await (await work.options(job_id="order-9").enqueue(1)).result(timeout=30)

        async def is_empty() -> bool:
            return await mesh.count("jobs_stream") == 0

        await until(is_empty, "the first is acknowledged")
        client = await mesh.client()
        call = work.options(job_id="order-9").s(2)
        message = client._maker.make_guarded(call, "order-9")
        body = message.block.replace(b"Nats-Msg-Id: order-9\r\n", b"")
        await client.publisher.publish(message.subject, body, message.body)
        await until(is_empty, "the repeat is acknowledged")

    assert runs == [1]


async def test_many_producers_with_one_id_are_one_job(mesh: RunningApp) -> None:
    """One of a hundred that enqueue at once is told that it was the first."""
    work, runs = counting(mesh.app)
    jobs: list[Job[int]] = []

    async def enqueue(number: int) -> None:
        jobs.append(await work.options(job_id="order-9").enqueue(number))

    async with mesh.worker():
        async with anyio.create_task_group() as group:
            for number in range(100):
                group.start_soon(enqueue, number)
        results = {await job.result(timeout=30) for job in jobs}

    assert sum(not job.is_duplicate for job in jobs) == 1
    assert results == set(runs)
    assert len(runs) == 1


async def test_ids_are_told_apart_within_one_batch(mesh: RunningApp) -> None:
    """Repeats among many are found, whether they come with the batch or were there before."""
    work, runs = counting(mesh.app)
    await mesh.app.setup()
    await work.options(job_id="a").enqueue(0)
    ids = ["a", "b", None, "b", "c"]
    calls = [
        (work if job_id is None else work.options(job_id=job_id)).s(number)
        for number, job_id in enumerate(ids)
    ]

    jobs = await mesh.app.enqueue_many(calls)
    async with mesh.worker():
        for job in jobs:
            await job.result(timeout=30)

    assert [job.id for job in jobs if job.id in "abc"] == ["a", "b", "b", "c"]
    told = [job.is_duplicate for job in jobs]
    assert told[0] is True
    assert sorted([told[1], told[3]]) == [False, True]
    assert (told[2], told[4]) == (False, False)
    assert len(runs) == 4


async def test_a_batch_of_all_or_none_names_the_job_that_was_there(mesh: RunningApp) -> None:
    """Before it is published, and also if the other one came in between."""
    work, _ = counting(mesh.app)
    await mesh.app.setup()
    await work.options(job_id="taken").enqueue(0)
    client = await mesh.client()

    def batch(*ids: str) -> list[Any]:
        return [work.s(1), *(work.options(job_id=job_id).s(2) for job_id in ids)]

    with pytest.raises(JobConflictError, match=r"'taken'.*none of the batch is stored") as told:
        await mesh.app.enqueue_many(batch("new", "taken"), atomic=True)
    assert told.value.job_id == "taken"
    with pytest.raises(JobConflictError, match=r"'new'.*none is stored"):
        await mesh.app.enqueue_many(batch("new", "new"), atomic=True)
    # As if it came between the look and the publish.
    messages = [
        client._maker.make_guarded(work.options(job_id=job_id, queue="mail").s(1), job_id)
        for job_id in ("new", "taken")
    ]
    with pytest.raises(JobConflictError, match="'taken'"):
        await client._batches._store(messages, ["new", "taken"])
    jobs = await mesh.app.enqueue_many(batch("new"), atomic=True)

    assert [job.is_duplicate for job in jobs] == [False, False]
    assert await mesh.count("jobs_stream") == 3
