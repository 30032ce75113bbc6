"""What a producer can do with a job: enqueue, look at, follow, wait for, cancel it."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import anyio
import anyio.to_thread
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import (
    JobCancelledError,
    JobContext,
    JobExpiredError,
    JobFailedError,
    JobNotFoundError,
    JobStatus,
    ResultTimeoutError,
    State,
    current_job,
)
from mesh.clock import SYSTEM_CLOCK
from mesh.errors import (
    BrokerError,
    ConnectError,
    NotProvisionedError,
    UnreadableRecordError,
)


async def test_a_job_goes_through_its_states(mesh: RunningApp) -> None:
    """A job is pending, then running with its progress, then succeeded."""
    release = anyio.Event()

    @mesh.app.task
    async def slow(ctx: JobContext) -> str:
        ctx.progress(1, 2, "half way")
        await release.wait()
        return f"attempt {ctx.attempt} of {ctx.job_id}"

    await mesh.app.setup()
    job = await slow.enqueue()
    pending = await job.status()
    async with mesh.worker():
        seen: list[JobStatus] = []
        async for status in job.watch():
            seen.append(status)
            if status.current == 1:
                release.set()

        assert await job.result() == f"attempt 1 of {job.id}"

    assert (pending.state, pending.task, pending.queue, pending.priority) == (
        *(State.PENDING, "slow", "default", "normal"),
    )
    running = next(status for status in seen if status.current == 1)
    assert (running.state, running.total, running.message) == (State.RUNNING, 2, "half way")
    last = seen[-1]
    assert (last.state, last.attempt, last.is_finished) == (State.SUCCEEDED, 1, True)
    assert last.enqueued_at_ms <= last.started_at_ms <= last.finished_at_ms
    # The running record goes with the job's end.
    assert (await (await mesh.client()).records.progress(job.id)) is None


async def test_plain_functions_run_in_threads_and_know_their_job(mesh: RunningApp) -> None:
    """A plain function does not block the loop and may ask which job it is."""

    @mesh.app.task
    def where() -> tuple[str, str]:
        return current_job().job_id, threading.current_thread().name

    async with mesh.worker():
        job = await where.enqueue()
        job_id, thread = await job.result(timeout=30)

    assert job_id == job.id
    assert thread != threading.main_thread().name


async def test_an_unknown_job_is_not_found(mesh: RunningApp) -> None:
    """Unknown is different from pending, for every question."""
    await mesh.app.setup()
    job = mesh.app.job("never-enqueued")

    for question in (job.status, job.cancel, lambda: job.result(timeout=30)):
        with pytest.raises(JobNotFoundError, match="never-enqueued"):
            await question()


async def test_a_record_that_mesh_did_not_write_is_named(mesh: RunningApp) -> None:
    """Rubbish in a bucket is a clear error, not a decoder's."""
    await mesh.app.setup()
    client = await mesh.client()
    await mesh.publish(client.names.result("a"), b"rubbish")
    await mesh.publish(client.names.progress("b"), b"rubbish")

    for job_id in ("a", "b"):
        with pytest.raises(UnreadableRecordError, match=f"{job_id}.*another wrote"):
            await mesh.app.job(job_id).status()


async def test_waiting_ends_when_the_time_is_over_and_the_job_goes_on(
    mesh: RunningApp,
) -> None:
    """A wait that is too short raises, and a later one succeeds."""
    release = anyio.Event()

    @mesh.app.task
    async def slow() -> str:
        await release.wait()
        return "done"

    async with mesh.worker():
        job = await slow.enqueue()
        with pytest.raises(ResultTimeoutError, match="it goes on"):
            await job.result(timeout=0.2)
        release.set()

        assert await job.result(timeout=30) == "done"


async def test_a_thousand_waiters_each_get_their_own_result(mesh: RunningApp) -> None:
    """Results are pushed to whoever waits, in any order."""

    @mesh.app.task
    async def square(x: int) -> int:
        return x * x

    got: dict[int, int] = {}
    async with mesh.worker():
        jobs = await mesh.app.enqueue_many([square.s(x) for x in range(1000)])

        async def wait(x: int) -> None:
            got[x] = await jobs[x].result(timeout=30)

        async with anyio.create_task_group() as group:
            for x in range(1000):
                group.start_soon(wait, x)

    assert got == {x: x * x for x in range(1000)}


async def test_an_atomic_batch_is_stored_whole_or_not_at_all(mesh: RunningApp) -> None:
    """A batch with an id that exists already stores none of its jobs."""

    @mesh.app.task
    async def add(a: int, b: int) -> int:
        return a + b

    await mesh.app.setup()
    await add.options(job_id="taken").enqueue(1, 1)
    calls = [add.s(x, 1) for x in range(999)]

    with pytest.raises(BrokerError, match=r"'taken'.*none of the batch is stored"):
        await mesh.app.enqueue_many([*calls, add.options(job_id="taken").s(0, 0)], atomic=True)
    assert await mesh.count("jobs_stream") == 1
    with pytest.raises(ValueError, match="at most 1,000"):
        await mesh.app.enqueue_many([*calls, *calls], atomic=True)
    jobs = await mesh.app.enqueue_many(calls, atomic=True)

    assert await mesh.count("jobs_stream") == 1000
    async with mesh.worker():
        assert [await job.result(timeout=30) for job in jobs] == list(range(1, 1000))


async def test_large_and_small_jobs_go_in_one_batch(mesh: RunningApp) -> None:
    """Arguments too large for a message travel through the bucket, in any company."""

    @mesh.app.task
    async def length(text: str) -> int:
        return len(text)

    sizes = [10, 1_000_000, 20, 2_000_000]
    for atomic in (False, True):
        async with mesh.worker():
            calls = [length.s("x" * size) for size in sizes]
            jobs = await mesh.app.enqueue_many(calls, atomic=atomic)

            assert [await job.result(timeout=30) for job in jobs] == sizes


async def test_the_same_job_id_is_stored_once(mesh: RunningApp) -> None:
    """Enqueueing an id again gives the same job."""

    @mesh.app.task
    async def add(a: int, b: int) -> int:
        return a + b

    await mesh.app.setup()
    first = await add.options(job_id="order-9").enqueue(1, 2)
    second = await add.options(job_id="order-9").enqueue(1, 2)

    assert first.id == second.id == "order-9"
    assert await mesh.count("jobs_stream") == 1


async def test_a_delayed_job_is_held_by_the_server_until_it_is_due(mesh: RunningApp) -> None:
    """A delay and an eta both keep the job out of the queue; no process of ours waits."""

    @mesh.app.task
    async def now() -> int:
        return 1

    await mesh.app.setup()
    later = await now.options(delay="1h").enqueue()
    in_a_second = datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000 + 1, UTC)
    soon = await now.options(eta=in_a_second).enqueue()
    status = await later.status()
    assert status.state is State.SCHEDULED
    assert (status.queue, status.priority, status.task) == ("default", "normal", "now")
    assert status.due_at_ms > (await soon.status()).due_at_ms
    async with mesh.worker():
        assert await soon.result(timeout=30) == 1
        ended = await soon.status()

    assert ended.started_at_ms - ended.enqueued_at_ms >= 950
    assert await mesh.count("jobs_stream") == 0
    assert await later.cancel()


@pytest.mark.parametrize("place", ["scheduled", "pending", "running", "retrying"])
async def test_a_job_can_be_cancelled_wherever_it_is(mesh: RunningApp, place: str) -> None:
    """A cancelled job says so to whoever asks, and does not run again."""
    runs: list[int] = []
    stopped = anyio.Event()

    @mesh.app.task(retry=5)
    async def work() -> None:
        runs.append(1)
        if place == "retrying":
            message = "again"
            raise ValueError(message)
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    await mesh.app.setup()
    if place == "scheduled":
        job = await work.options(delay=60).enqueue()
    else:
        job = await work.enqueue()
    if place in {"scheduled", "pending"}:
        assert await job.cancel("not needed")
    async with mesh.worker():
        if place in {"running", "retrying"}:

            async def is_there() -> bool:
                return (await job.status()).state == place

            await until(is_there, f"the job is {place}")
            assert await job.cancel("not needed")
        if place == "running":
            with anyio.fail_after(30):
                await stopped.wait()
        with pytest.raises(JobCancelledError, match="not needed"):
            await job.result(timeout=30)
        assert await job.cancel(), "cancelling twice says the same"
        ran = len(runs)
        probe = await work.options(job_id="probe", delay=0.01).enqueue()
        await until(lambda: len(runs) > ran, "another job runs")
        await probe.cancel()

    assert len(runs) == ran + 1
    assert (await job.status()).state is State.CANCELLED
    assert await mesh.count("jobs_stream") == 0


async def test_a_job_that_ended_cannot_be_cancelled(mesh: RunningApp) -> None:
    """The answer to a late cancel is no, and the result stays."""

    @mesh.app.task
    async def quick() -> int:
        return 1

    async with mesh.worker():
        job = await quick.enqueue()
        await job.result(timeout=30)

        assert await job.cancel() is False
        assert await job.result() == 1


async def test_a_job_that_nobody_started_in_time_expires(mesh: RunningApp) -> None:
    """An expired job is not run, and says so."""
    runs: list[int] = []

    @mesh.app.task(expires=0.05)
    async def work() -> None:
        runs.append(1)

    await mesh.app.setup()
    job = await work.enqueue()
    passed = anyio.current_time() + 0.1
    await until(lambda: anyio.current_time() > passed, "its time to start is over")
    async with mesh.worker():
        with pytest.raises(JobExpiredError):
            await job.result(timeout=30)

    assert runs == []


async def test_a_timeout_ends_the_attempt_and_retries_follow(mesh: RunningApp) -> None:
    """An attempt that takes too long fails with a JobTimeoutError and is tried again."""
    attempts: list[int] = []

    @mesh.app.task(timeout=0.3, retry=1)
    async def slow(ctx: JobContext) -> str:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            await anyio.sleep_forever()
        return "in time"

    async with mesh.worker(job_defaults__retry_delay_s=0.1):
        job = await slow.enqueue()

        assert await job.result(timeout=30) == "in time"

    assert attempts == [1, 2]


async def test_a_long_wait_before_a_retry_is_held_by_the_server(mesh: RunningApp) -> None:
    """A retry that waits longer than a few seconds leaves the queue free for others."""

    @mesh.app.task
    async def fails() -> None:
        message = "again"
        raise ValueError(message)

    async with mesh.worker(job_defaults__retry_delay_s=30):
        job = await fails.enqueue()

        async def is_delayed() -> bool:
            return await mesh.count("delayed_stream") == 1

        await until(is_delayed, "the next attempt waits in the delayed stream")
        status = await job.status()
        await until(lambda: mesh_is_empty(mesh), "the queue is empty")
        assert await job.cancel()

    assert (status.state, status.attempt) == (State.RETRYING, 1)
    assert status.error is not None
    assert status.error.type == "ValueError"
    assert status.due_at_ms > status.started_at_ms + 20_000


async def mesh_is_empty(mesh: RunningApp) -> bool:
    """Whether no job lies in the queue."""
    return await mesh.count("jobs_stream") == 0


async def test_results_and_failures_pass_their_time_to_live(mesh: RunningApp) -> None:
    """After its time to live a result is gone, and a reader is told so."""

    @mesh.app.task(result_ttl=1)
    async def quick() -> int:
        return 1

    async with mesh.worker():
        job = await quick.enqueue()
        await job.result(timeout=30)

        async def is_gone() -> bool:
            return await (await mesh.client()).records.result(job.id) is None

        await until(is_gone, "the record's time to live is over")
        with pytest.raises(JobNotFoundError):
            await job.result(timeout=30)


async def test_blocking_twins_do_the_same_from_threads(mesh: RunningApp) -> None:
    """Every call has a blocking twin that works in threads while a loop runs elsewhere."""

    @mesh.app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @mesh.app.task(retry=0)
    async def fails() -> None:
        message = "no"
        raise ValueError(message)

    def script() -> tuple[int, list[int], State, list[State], bool]:
        job = add.sync.enqueue(1, 2)
        value = job.result(timeout=30)
        many = mesh.app.sync.enqueue_many([add.s(x, x) for x in range(10)])
        values = [one.result(timeout=30) for one in many]
        by_name = mesh.app.sync.send("add", [5, 6])
        states = [status.state for status in by_name.watch()]
        with pytest.raises(JobFailedError, match="ValueError: no"):
            fails.options(priority="high").sync.enqueue().result(timeout=30)
        return value, values, job.status().state, states, job.cancel()

    async with mesh.worker():
        outcomes = [await anyio.to_thread.run_sync(script) for _ in range(2)]

    for value, values, state, states, was_cancelled in outcomes:
        assert value == 3
        assert values == [2 * x for x in range(10)]
        assert state is State.SUCCEEDED
        assert states[-1] is State.SUCCEEDED
        assert was_cancelled is False


async def test_a_namespace_that_is_not_set_up_is_named(mesh: RunningApp) -> None:
    """Both the producer and the worker say what is missing and which command mends it."""
    mesh.app.override({"publish.deadline_s": 0.5})

    with pytest.raises(NotProvisionedError, match="mesh setup"):
        await mesh.app.send("add", [1, 2])


async def test_an_unreachable_server_is_named(namespace: str) -> None:
    """The error says where it looked and how to start a server."""
    from mesh import Mesh

    app = Mesh("nats://127.0.0.1:1", namespace=namespace, connect_timeout_s=0.5)

    with pytest.raises(ConnectError, match=r"127\.0\.0\.1:1.*mesh server"):
        await app.send("add", [1, 2])
