"""A full job stream pushes back, and nothing that mesh itself publishes is lost by it."""

from __future__ import annotations

import anyio
import pytest
from support.proxy import proxied
from support.running import RunningApp
from support.waiting import until

from mesh import Job, JobFailedError, Mesh, Retry
from mesh.contract import headers
from mesh.errors import EnqueueUnknownError, QueueFullError
from mesh.identifiers import new_job_id
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.faults import ApiError


async def fill(running: RunningApp, queue: str = "other") -> int:
    """Put jobs that nobody runs into the stream until it takes no more; say how many."""
    count = 0
    client = await running.client()
    while True:
        subject = client.names.job(queue, "low", new_job_id())
        answer = await client.connection.link.request(subject, b'{"task":"none"}', timeout=5)
        if b'"error"' in answer.data:
            return count
        count += 1


async def test_a_publish_waits_for_room_and_goes_on_when_there_is_some(
    mesh: RunningApp,
) -> None:
    """A burst is stretched, not refused, where workers catch up in time."""
    mesh.app.override({"limits.max_jobs": 50, "publish.full_wait_s": 60})

    @mesh.app.task
    async def noop(number: int) -> int:
        return number

    await mesh.app.setup()
    made: list[Job[int]] = []

    async def enqueue() -> None:
        made.extend(await mesh.app.enqueue_many([noop.s(number) for number in range(600)]))

    async with anyio.create_task_group() as group:
        group.start_soon(enqueue)
        client = await mesh.client()
        await until(lambda: client.publisher.in_flight >= 500, "the others wait for room")
        async with mesh.worker():
            await until(lambda: len(made) == 600, "all have got in", 60)
            assert [await job.result(timeout=30) for job in made] == list(range(600))


async def test_a_batch_into_a_full_stream_takes_no_longer_than_one(mesh: RunningApp) -> None:
    """Once one has waited in vain, the rest is not tried, and each says so."""
    mesh.app.override({"limits.max_jobs": 3, "publish.full_wait_s": 0.5, "publish.window": 100})
    await mesh.app.setup()
    await fill(mesh)

    with anyio.fail_after(30), pytest.raises(ExceptionGroup, match="5,000 of 5,000") as caught:
        await mesh.app.enqueue_many([mesh.app.task(nothing).s() for _ in range(5000)])

    assert caught.group_contains(QueueFullError)
    assert await mesh.count("jobs_stream") == 3


async def nothing() -> None:
    """Do nothing."""


async def test_a_batch_without_a_server_takes_no_longer_than_one() -> None:
    """The deadline holds for the whole batch, far larger than the window."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 1.0, "window": 100})
        await app.setup()
        client = await app.client()
        server.kill()
        await until(lambda: not client.connection.is_connected, "the server is missed")

        with (
            anyio.fail_after(30),
            pytest.raises(ExceptionGroup, match="5,000 of 5,000") as caught,
        ):
            await app.enqueue_many([app.task(nothing).s() for _ in range(5000)])

        assert caught.group_contains(EnqueueUnknownError)
        await app.close()


@pytest.mark.parametrize("ending", ["kill", "restart"])
async def test_a_job_that_is_due_waits_for_room_through_a_restart(ending: str) -> None:
    """It fired into a full stream with younger jobs in it, and the server restarts."""
    with EmbeddedServer() as server:
        app = Mesh(server.url, limits={"max_jobs": 3})
        running = RunningApp(app)
        await app.setup()
        await fill(running)
        for number in range(5):
            await app.send("none", job_id=f"late-{number}", delay="1s")
        client = await running.client()
        shelf = Shelf(client.connection, client.names.delayed_stream)

        async def have_fired() -> bool:
            found = [await shelf.last(client.names.due_anywhere(f"late-{n}")) for n in range(5)]
            return None not in found

        await until(have_fired, "all five are due")
        assert (await client.status("late-4")).state == "pending"
        await Shelf(client.connection, client.names.jobs_stream).remove(
            (await first_of(running)).subject
        )
        assert await fill(running) == 1  # Younger than those that are due.
        if ending == "kill":
            server.kill()
            await server.start_async()
        else:
            await server.restart_async()
        await until(lambda: client.connection.is_connected, "it is back")
        await running.purge("jobs_stream")
        taken: set[str] = set()

        async def take() -> bool:
            for number in range(5):
                subject = client.names.job_anywhere(f"late-{number}")
                if await Shelf(client.connection, client.names.jobs_stream).remove(subject):
                    taken.add(f"late-{number}")
            return len(taken) == 5

        await until(take, "all five have got in", 40)

        async def is_handed_over() -> bool:
            return await shelf.count() == 0

        await until(is_handed_over, "the delayed stream has let go of them", 30)
        await app.close()


async def first_of(running: RunningApp) -> Entry:
    """The first message of the job stream."""
    client = await running.client()
    shelf = Shelf(client.connection, client.names.jobs_stream)
    found = await shelf.last(client.names.lane("other", "low"))
    assert found is not None
    return found


async def test_retries_and_dead_letters_get_through_while_the_stream_is_full(
    mesh: RunningApp,
) -> None:
    """A short wait, a long one and a failure for good all need no room, or wait for some."""
    runs: dict[str, int] = {}

    @mesh.app.task(retry=Retry(1, "fixed", 0.1))
    async def soon() -> str:
        return ran("soon")

    @mesh.app.task(retry=Retry(1, "fixed", 6.0, jitter=0))
    async def late() -> str:
        return ran("late")

    @mesh.app.task(retry=0)
    async def never() -> str:
        return ran("never")

    def ran(name: str) -> str:
        runs[name] = runs.get(name, 0) + 1
        if runs[name] == 1:
            raise ValueError(name)
        return name

    mesh.app.override({"limits.max_jobs": 6})
    async with mesh.worker():
        jobs = [await task.enqueue() for task in (soon, late, never)]
        with pytest.raises(JobFailedError):
            await jobs[2].result(timeout=30)
        assert await jobs[0].result(timeout=30) == "soon"

        async def is_put_off() -> bool:
            return (await jobs[1].status()).state == "retrying"

        await until(is_put_off, "the long wait has begun")
        assert await fill(mesh)
        client = await mesh.client()
        shelf = Shelf(client.connection, client.names.delayed_stream)

        async def is_due() -> bool:
            return await shelf.last(client.names.due_anywhere(jobs[1].id)) is not None

        await until(is_due, "it is due and there is no room", 30)
        await mesh.purge("jobs_stream")
        assert await jobs[1].result(timeout=30) == "late"

    assert await mesh.count("dead_stream") == 1
    assert runs == {"soon": 2, "late": 2, "never": 1}


async def test_a_job_that_is_sent_again_is_marked_and_a_record_is_not() -> None:
    """Only a repeat bears the mark, and only a job: for a record the refusal says it."""
    with EmbeddedServer() as server:
        async with proxied(server.url) as proxy:
            app = Mesh(proxy.url, publish={"deadline_s": 30})
            await app.setup()
            client = await app.client()
            jobs = Shelf(client.connection, client.names.jobs_stream)
            await app.send("none")
            plain = await jobs.last(client.names.job_anywhere("*"))

            async with anyio.create_task_group() as group:
                proxy.drops_to_server = True
                group.start_soon(app.send, "none")
                await until(lambda: proxy.dropped > 0, "the first copy has vanished")
                proxy.heal()

            again = await jobs.last(client.names.job_anywhere("*"))
            assert plain is not None
            assert headers.REPEAT not in plain.headers
            assert again is not None
            assert len(again.value) == len(plain.value)
            assert again.headers[headers.REPEAT] == "1"
            assert again.subject.endswith(again.headers[headers.MESSAGE_ID])
            assert again.subject != plain.subject

            faults: list[ApiError] = []

            async def write() -> None:
                block = frames.header_block([(headers.EXPECTED_LAST, "0")])
                try:
                    await client.publisher.publish(client.names.result("r"), block, b"{}")
                except ApiError as fault:
                    faults.append(fault)

            proxy.dropped = 0
            async with anyio.create_task_group() as group:
                proxy.drops_to_client = True
                group.start_soon(write)
                await until(lambda: proxy.dropped > 0, "its receipt has vanished")
                proxy.heal()
            await write()

            assert [fault.err_code for fault in faults] == [10071, 10071]
            assert [fault.was_resent for fault in faults] == [True, False]
            record = await Shelf(client.connection, "KV_mesh-results").last(
                client.names.result("r")
            )
            assert record is not None
            assert headers.REPEAT not in record.headers
            await app.close()
