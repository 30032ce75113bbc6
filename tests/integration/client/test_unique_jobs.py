"""Unique jobs, from the producer's side: whose the key is, and what becomes of the others."""

from __future__ import annotations

from typing import Any

import anyio
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import (
    Job,
    JobCancelledError,
    JobConflictError,
    JobFailedError,
    Mesh,
    State,
    Unique,
)
from mesh.client.keys import NOTHING, Held
from mesh.client.task import Task
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.envelope import Until
from mesh.contract.records import UniqueKey
from mesh.errors import QueueFullError
from mesh.server.process import EmbeddedServer

PRODUCERS = 200


class Work:
    """A task that waits until it is let go.

    Attributes:
        task: The task.
        runs: The arguments with which it started.
        goes_on: Set to let it end.
    """

    def __init__(self, app: Mesh, unique: Unique | bool = True, **options: Any) -> None:
        self.runs: list[int] = []
        self.goes_on = anyio.Event()

        @app.task(unique=unique, **options)
        async def work(number: int) -> int:
            self.runs.append(number)
            await self.goes_on.wait()
            return number

        self.task: Task[[int], int] = work

    def digest(self, number: int = 1) -> str:
        """The key of a call."""
        unique = self.task.s(number).unique
        return "" if unique is None else unique.digest


ONE = Unique(key="one")


async def test_of_many_producers_one_is_accepted(mesh: RunningApp) -> None:
    """Two hundred enqueue the same at once over four connections: one job, one run."""
    work = Work(mesh.app, ONE)
    await mesh.app.setup()
    settings = mesh.app.settings
    apps = [Mesh(settings.url, namespace=settings.namespace) for _ in range(4)]
    tasks = [Work(app, ONE).task for app in apps]
    jobs: list[Job[int]] = []

    async def enqueue(number: int) -> None:
        jobs.append(await tasks[number % len(tasks)].enqueue(number))

    async with anyio.create_task_group() as group:
        for number in range(PRODUCERS):
            group.start_soon(enqueue, number)
    assert len({job.id for job in jobs}) == 1
    assert sum(not job.is_duplicate for job in jobs) == 1
    assert await mesh.count("jobs_stream") == 1
    work.goes_on.set()
    async with mesh.worker():
        result = await jobs[0].result(timeout=30)
    for app in apps:
        await app.close()

    assert work.runs == [result]


async def test_the_next_is_accepted_when_the_job_has_ended(mesh: RunningApp) -> None:
    """Not before; and the key is removed, so that nothing is left of it."""
    work = Work(mesh.app)
    async with mesh.worker():
        first = await work.task.enqueue(1)
        await until(lambda: work.runs == [1], "it runs")
        running = await work.task.enqueue(1)
        other = await work.task.enqueue(2)
        work.goes_on.set()
        await first.result(timeout=30)
        await other.result(timeout=30)
        second = await work.task.enqueue(1)
        await second.result(timeout=30)

        client = await mesh.client()

        async def is_free() -> bool:
            return await client.keys.read(work.digest()) == NOTHING

        await until(is_free, "the key is removed")

    assert (running.id, running.is_duplicate) == (first.id, True)
    assert (second.is_duplicate, other.is_duplicate) == (False, False)
    assert second.id != first.id
    assert work.runs == [1, 2, 1]


async def test_a_failed_or_cancelled_job_gives_its_key_back(mesh: RunningApp) -> None:
    """However it ends: a worker need not have had it, for the key is only a pointer."""

    @mesh.app.task(unique=ONE, retry=0)
    async def fail() -> None:
        raise ValueError("no")

    await mesh.app.setup()
    pending = await fail.enqueue()
    assert await pending.cancel()
    async with mesh.worker():
        failed = await fail.enqueue()
        with pytest.raises(JobFailedError):
            await failed.result(timeout=30)
        again = await fail.enqueue()

    assert [job.is_duplicate for job in (pending, failed, again)] == [False, False, False]


async def test_a_call_can_be_rejected(mesh: RunningApp) -> None:
    """The error names the job that stands in the way."""
    work = Work(mesh.app, Unique(on_conflict="reject"))
    await mesh.app.setup()
    first = await work.task.enqueue(1)

    with pytest.raises(JobConflictError, match=f"'{first.id}'.*has not ended") as told:
        await work.task.enqueue(1)
    with pytest.raises(ExceptionGroup) as group:
        await mesh.app.enqueue_many([work.task.s(1), work.task.s(2)])

    assert told.value.job_id == first.id
    assert group.group_contains(JobConflictError)
    assert await mesh.count("jobs_stream") == 2


@pytest.mark.parametrize("place", ["pending", "delayed", "running"])
async def test_a_call_can_take_the_place_of_another(mesh: RunningApp, place: str) -> None:
    """The other one is cancelled, wherever it is, and says by which."""
    work = Work(mesh.app, Unique(key="one", on_conflict="replace"))
    await mesh.app.setup()
    old = await work.task.options(delay=60 if place == "delayed" else 0).enqueue(1)
    async with mesh.worker():
        if place == "running":
            await until(lambda: work.runs == [1], "it runs")
        new = await work.task.enqueue(2)
        work.goes_on.set()
        assert await new.result(timeout=30) == 2
        with pytest.raises(JobCancelledError, match=f"replaced by job {new.id}"):
            await old.result(timeout=30)

    assert not new.is_duplicate
    assert await mesh.count("delayed_stream") == 0


async def test_the_last_of_many_that_replace_each_other_runs(mesh: RunningApp) -> None:
    """Twenty at once: all but one are cancelled, whatever the order was."""
    work = Work(mesh.app, Unique(key="one", on_conflict="replace"))
    work.goes_on.set()
    await mesh.app.setup()
    jobs: list[Job[int]] = []

    async def enqueue(number: int) -> None:
        jobs.append(await work.task.enqueue(number))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(enqueue, number)
    async with mesh.worker():
        states = [await last_state(job) for job in jobs]

    assert len({job.id for job in jobs}) == 20
    assert states.count(State.SUCCEEDED) == 1
    assert states.count(State.CANCELLED) == 19
    assert len(work.runs) == 1


async def last_state(job: Job[Any]) -> State:
    """How the job ended."""
    with anyio.fail_after(30):
        state = State.PENDING
        async for status in job.watch():
            state = status.state
        return state


async def test_a_delayed_job_has_its_key_while_it_waits(mesh: RunningApp) -> None:
    """And it runs when it is due."""
    work = Work(mesh.app)
    work.goes_on.set()
    async with mesh.worker():
        first = await work.task.options(delay=1).enqueue(1)
        second = await work.task.enqueue(1)

        assert await second.result(timeout=30) == 1

    assert (second.id, second.is_duplicate) == (first.id, True)
    assert work.runs == [1]


async def test_a_job_can_be_unique_until_it_starts(mesh: RunningApp) -> None:
    """What is enqueued after the start runs after it; what is enqueued before is the same."""
    work = Work(mesh.app, Unique(until="started"))
    await mesh.app.setup()
    first = await work.task.enqueue(1)
    before = await work.task.enqueue(1)
    async with mesh.worker():
        await until(lambda: len(work.runs) == 1, "the first runs")
        after = await work.task.enqueue(1)
        await until(lambda: len(work.runs) == 2, "the second runs beside it")
        work.goes_on.set()
        await after.result(timeout=30)
        await first.result(timeout=30)

    assert (before.id, before.is_duplicate) == (first.id, True)
    assert (after.is_duplicate, after.id != first.id) == (False, True)


async def test_a_job_can_be_unique_for_a_time(mesh: RunningApp) -> None:
    """Also when it has ended: the next is accepted when the time is over."""
    work = Work(mesh.app, Unique(until=1))
    work.goes_on.set()
    async with mesh.worker():
        first = await work.task.enqueue(1)
        await first.result(timeout=30)
        second = await work.task.enqueue(1)
        assert (second.id, second.is_duplicate) == (first.id, True)

        async def is_accepted() -> bool:
            return not (await work.task.enqueue(1)).is_duplicate

        await until(is_accepted, "the time is over")

        async def has_run_again() -> bool:
            return work.runs == [1, 1]

        await until(has_run_again, "the next one runs")


async def test_a_server_that_restarts_keeps_the_keys() -> None:
    """A unique job that waits when the server is killed is found after it."""
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        work = Work(app)
        work.goes_on.set()
        await app.setup()
        first = await work.task.enqueue(1)
        server.kill()
        await server.start_async()
        client = await app.client()
        await until(lambda: client.connection.is_connected, "the client is connected again")

        second = await work.task.enqueue(1)
        async with RunningApp(app).worker():
            assert await second.result(timeout=30) == 1
            third = await work.task.enqueue(1)
            assert await third.result(timeout=30) == 1

        assert (second.id, second.is_duplicate) == (first.id, True)
        assert not third.is_duplicate
        await app.close()


async def test_a_key_that_points_to_nothing_is_taken_over(mesh: RunningApp) -> None:
    """A producer died between claim and publish; a deletion or a stranger left something."""
    work = Work(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    long_ago = SYSTEM_CLOCK.now_ms() - 60_000
    for number, until_ in enumerate((Until.DONE, Until.STARTED)):
        key = UniqueKey("never-published", until_, long_ago)
        assert await client.keys.write(work.digest(number), key, 0)
    await mesh.publish(client.names.unique_key(work.digest(2)), b"rubbish")
    await mesh.publish(client.names.unique_key(work.digest(3)), b"")

    jobs = [await work.task.enqueue(number) for number in range(4)]

    assert [job.is_duplicate for job in jobs] == [False] * 4
    assert await mesh.count("jobs_stream") == 4


async def test_a_slow_producer_is_waited_for_and_not_overtaken(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A key whose job is not there yet is no answer: it may come, or its producer has died."""
    mesh.app.override({"publish.deadline_s": 0.2})
    work = Work(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    coming = UniqueKey("coming", Until.DONE, SYSTEM_CLOCK.now_ms() + 3_600_000)
    jobs: list[Job[int]] = []
    looks: list[str] = []
    read = client.keys.read

    async def look(digest: str) -> Held:
        looks.append(digest)
        return await read(digest)

    async def enqueue(number: int) -> None:
        jobs.append(await work.task.enqueue(number))

    monkeypatch.setattr(client.keys, "read", look)
    assert await client.keys.write(work.digest(1), coming, 0)
    async with anyio.create_task_group() as group:
        group.start_soon(enqueue, 1)
        await until(lambda: len(looks) >= 3, "it has looked at the key again and again")
        await mesh.app.send("work", [1], job_id="coming")
    # Its producer's clock is an hour ahead and it died: that does not count for an hour.
    lost = UniqueKey("lost", Until.DONE, SYSTEM_CLOCK.now_ms() + 3_600_000)
    assert await client.keys.write(work.digest(2), lost, 0)
    await enqueue(2)

    assert (jobs[0].id, jobs[0].is_duplicate) == ("coming", True)
    assert not jobs[1].is_duplicate


async def test_a_job_that_was_refused_gives_its_key_back(mesh: RunningApp) -> None:
    """A full queue must not leave a key behind that everybody waits for."""
    mesh.app.override({"limits.max_jobs": 1})
    work = Work(mesh.app)
    await mesh.app.setup()
    await work.task.enqueue(1)
    client = await mesh.client()

    with pytest.raises(QueueFullError):
        await work.task.enqueue(2)
    with pytest.raises(QueueFullError):
        await mesh.app.enqueue_many([work.task.s(3)], atomic=True)

    assert await client.keys.read(work.digest(2)) == NOTHING
    assert await client.keys.read(work.digest(3)) == NOTHING
    assert await client.keys.read(work.digest(1)) != NOTHING


async def test_an_enqueue_of_unknown_fate_is_repeated_with_its_id(mesh: RunningApp) -> None:
    """The key names the same job, so it does not stand in its own way."""
    work = Work(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    key = UniqueKey("order-9", Until.DONE, SYSTEM_CLOCK.now_ms())
    assert await client.keys.write(work.digest(), key, 0)

    first = await work.task.options(job_id="order-9").enqueue(1)
    again = await work.task.options(job_id="order-9").enqueue(1)
    other = await work.task.options(job_id="order-10").enqueue(1)

    assert (first.id, first.is_duplicate) == ("order-9", False)
    assert (again.id, again.is_duplicate) == ("order-9", True)
    assert (other.id, other.is_duplicate) == ("order-9", True)


async def test_unique_jobs_among_many(mesh: RunningApp) -> None:
    """Each finds its job, whether it came with the batch or was there before."""
    work = Work(mesh.app)
    free = mesh.app.task(name="free")(len)
    await mesh.app.setup()
    before = await work.task.enqueue(0)

    calls = [*(work.task.s(number % 5) for number in range(20)), free.s("a"), free.s("b")]
    jobs = await mesh.app.enqueue_many(calls)

    assert len({job.id for job in jobs}) == 7
    assert jobs[0].id == before.id
    assert sum(not job.is_duplicate for job in jobs) == 6
    assert await mesh.count("jobs_stream") == 7


async def test_a_batch_of_all_or_none_refuses_a_key_that_is_taken(mesh: RunningApp) -> None:
    """Whatever the rule says; the keys it had claimed before are given back."""
    work = Work(mesh.app)
    await mesh.app.setup()
    first = await work.task.enqueue(1)
    client = await mesh.client()

    with pytest.raises(JobConflictError, match=first.id):
        await mesh.app.enqueue_many([work.task.s(2), work.task.s(1)], atomic=True)
    assert await client.keys.read(work.digest(2)) == NOTHING
    with pytest.raises(JobConflictError, match="the same id or unique key"):
        await mesh.app.enqueue_many([work.task.s(2), work.task.s(2)], atomic=True)
    with pytest.raises(ValueError, match="cannot hold delayed jobs"):
        await mesh.app.enqueue_many(
            [work.task.s(2), work.task.options(delay=5).s(3)], atomic=True
        )
    assert await client.keys.read(work.digest(2)) == NOTHING
    jobs = await mesh.app.enqueue_many([work.task.s(2), work.task.s(3)], atomic=True)
    work.goes_on.set()
    async with mesh.worker():
        assert [await job.result(timeout=30) for job in jobs] == [2, 3]


async def test_large_arguments_are_unique_too(mesh: RunningApp) -> None:
    """They travel through the bucket of payloads, and only those of the job that is stored."""

    @mesh.app.task(unique=True)
    async def measure(text: str) -> int:
        return len(text)

    await mesh.app.setup()
    first = await measure.enqueue("x" * 2_000_000)
    second = await measure.enqueue("x" * 2_000_000)
    async with mesh.worker():
        assert await second.result(timeout=30) == 2_000_000

    assert (second.id, second.is_duplicate) == (first.id, True)
