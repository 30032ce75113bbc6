"""A worker holds on to long jobs, drains, hands back, and stops when its queues are empty."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, Mesh, State
from mesh.worker.serving import run_worker
from mesh.worker.worker import Worker

SHORT = {"worker__ack_wait_s": 1.0, "worker__heartbeat_s": 0.3}


async def test_a_job_that_blocks_the_loop_for_long_still_runs_once(mesh: RunningApp) -> None:
    """Signs of life come from a thread of their own, so the server keeps the job with us."""
    runs: list[int] = []

    @mesh.app.task
    async def blocks() -> str:
        runs.append(1)
        threading.Event().wait(3.2)  # Blocks the event loop for three ack waits.
        return "done"

    async with mesh.worker(**SHORT):
        job = await blocks.enqueue()

        assert await job.result(timeout=30) == "done"
        await until(lambda: _is_empty(mesh), "the job is acknowledged")

    assert runs == [1]


async def test_a_job_longer_than_the_ack_wait_runs_once_and_keeps_its_lease(
    mesh: RunningApp,
) -> None:
    """A long job is seen as running, and its lease moves on."""
    runs: list[int] = []
    release = anyio.Event()

    @mesh.app.task
    async def long() -> str:
        runs.append(1)
        await release.wait()
        return "done"

    async with mesh.worker(**SHORT):
        job = await long.enqueue()
        records = (await mesh.client()).records

        async def lease() -> int:
            found = await records.progress(job.id)
            return found[0].lease_until_ms if found else 0

        await until(lambda: _is_positive(lease), "the lease is written")
        first = await lease()

        async def has_moved_on() -> bool:
            return await lease() > first + 2000

        await until(has_moved_on, "the lease is renewed for twice the ack wait")
        assert (await job.status()).state is State.RUNNING
        release.set()
        assert await job.result(timeout=30) == "done"

    assert runs == [1]


async def test_draining_lets_running_jobs_finish_and_hands_back_the_rest(
    mesh: RunningApp,
) -> None:
    """What runs ends here, what waits stays in the queue unspent."""
    started: list[int] = []
    release = anyio.Event()

    @mesh.app.task
    async def work(ctx: JobContext, number: int) -> int:
        started.append(number)
        await release.wait()
        return ctx.attempt

    async with mesh.worker(worker__concurrency=3):
        jobs = await mesh.app.enqueue_many([work.s(number) for number in range(10)])
        await until(lambda: len(started) == 3, "three jobs run")
        release.set()
    done = [job for job in jobs if (await job.status()).state is State.SUCCEEDED]
    assert len(done) >= 3

    async with mesh.worker():
        attempts = [await job.result(timeout=30) for job in jobs]

    assert attempts == [1] * 10, "a hand-back uses up no attempt"
    assert sorted(started) == list(range(10)), "no job ran twice"


async def test_what_does_not_finish_in_the_grace_time_is_handed_back_unspent(
    mesh: RunningApp,
) -> None:
    """A job cut short by the shutdown is run again by another worker, as the same attempt."""
    attempts: list[int] = []

    @mesh.app.task
    async def work(ctx: JobContext) -> str:
        attempts.append(ctx.attempt)
        if len(attempts) == 1:
            await anyio.sleep_forever()
        return "done"

    settings = {"worker__shutdown_grace_s": 0.3, "worker__ack_wait_s": 90}
    async with mesh.worker(**settings) as worker:
        job = await work.enqueue()

        async def is_running() -> bool:
            return (await job.status()).state is State.RUNNING

        await until(is_running, "it is seen as running")
    assert worker.was_cut_short
    async with mesh.worker():
        with anyio.fail_after(30):  # At once, not when the ack wait is over.
            assert await job.result() == "done"

    assert attempts == [1, 1]


async def test_a_burst_worker_stops_when_its_queues_are_empty(mesh: RunningApp) -> None:
    """It waits for retries too, and returns by itself."""
    tries: list[int] = []

    @mesh.app.task
    async def flaky(number: int) -> int:
        tries.append(number)
        if tries.count(number) == 1:
            message = "first time"
            raise ValueError(message)
        return number

    mesh.app.override({"job_defaults.retry_delay_s": 0.1})
    await mesh.app.setup()
    jobs = await mesh.app.enqueue_many([flaky.s(number) for number in range(20)])
    worker = Worker(mesh.app, registry=CollectorRegistry())

    with anyio.fail_after(30):
        assert await run_worker(worker, asyncio.Event(), is_burst=True)

    assert [(await job.status()).attempt for job in jobs] == [2] * 20


async def test_two_workers_share_a_queue_and_each_job_runs_once(mesh: RunningApp) -> None:
    """Workers scale out: more of them, the same results."""
    seen: list[tuple[str, int]] = []

    @mesh.app.task
    async def work(ctx: JobContext, number: int) -> int:
        seen.append((ctx.worker, number))
        await anyio.sleep(0.005)
        return number

    other = Mesh(mesh.app.settings.url, namespace=mesh.app.settings.namespace)
    other.task(work.function)
    async with (
        mesh.worker(worker__concurrency=5),
        RunningApp(other).worker(worker__concurrency=5),
    ):
        jobs = await mesh.app.enqueue_many([work.s(number) for number in range(400)])
        assert [await job.result(timeout=30) for job in jobs] == list(range(400))
    await other.close()

    assert sorted(number for _, number in seen) == list(range(400))
    assert len({worker for worker, _ in seen}) == 2


async def test_a_worker_serves_the_queues_it_is_told_to(mesh: RunningApp) -> None:
    """Other queues' jobs stay where they are."""

    @mesh.app.task(queue="mail")
    async def send() -> int:
        return 1

    @mesh.app.task(queue="images")
    async def resize() -> int:
        return 2

    await mesh.app.setup()
    mail, image = await send.enqueue(), await resize.enqueue()
    async with Worker(mesh.app, queues=["mail"], registry=CollectorRegistry()):
        assert await mail.result(timeout=30) == 1
        assert (await image.status()).state is State.PENDING


async def test_a_worker_in_a_namespace_that_is_not_set_up_says_so(mesh: RunningApp) -> None:
    """The error names the namespace, the server and the command."""
    from mesh.errors import NotProvisionedError

    with pytest.raises(NotProvisionedError, match=r"namespace 't\d.*run `mesh setup`"):
        async with Worker(mesh.app, registry=CollectorRegistry()):
            pass


async def test_jobs_are_counted_for_prometheus(mesh: RunningApp) -> None:
    """Outcomes, durations and waits are counted by queue and task, never by job."""
    registry = CollectorRegistry()

    @mesh.app.task(retry=0)
    async def work(number: int) -> int:
        return 1 // number

    await mesh.app.setup()
    async with Worker(mesh.app, registry=registry):
        good = await work.enqueue(1)
        bad = await work.enqueue(0)
        await good.result(timeout=30)
        labels = {"queue": "default", "task": "work"}

        def count(name: str, **more: str) -> float:
            return registry.get_sample_value(name, labels | more) or 0.0

        await until(
            lambda: count("mesh_jobs_finished_total", outcome="failed") == 1, "both are counted"
        )
        assert (await bad.status()).state is State.FAILED

    assert count("mesh_jobs_finished_total", outcome="succeeded") == 1
    assert count("mesh_job_attempts_total", result="dead") == 1
    assert count("mesh_job_duration_seconds_count") == 2


async def test_a_job_that_comes_twice_while_it_runs_is_run_once(mesh: RunningApp) -> None:
    """Two messages of one id, as after lost deduplication, are one job to the worker."""
    runs: list[int] = []
    release = anyio.Event()

    @mesh.app.task
    async def work() -> str:
        runs.append(1)
        await release.wait()
        return "done"

    async with mesh.worker(**SHORT):
        client = await mesh.client()
        for priority in ("normal", "high"):
            subject = client.names.job("default", priority, "twin")
            await mesh.publish(subject, b'{"task": "work"}')
        await until(lambda: bool(runs), "it runs")
        queue = mesh.app.queue("default")

        async def are_both_given() -> bool:
            return (await queue.status()).running == 2

        await until(are_both_given, "the worker was given both")
        release.set()

        assert await mesh.app.job("twin").result(timeout=30) == "done"
        await until(lambda: _is_empty(mesh), "both messages are acknowledged")

    assert runs == [1]


async def test_a_worker_runs_on_uvloop(mesh: RunningApp, tmp_path: Path) -> None:
    """The other event loop runs the same jobs, and drains on SIGTERM."""
    effects = tmp_path / "effects"
    await mesh.app.setup(["effects"])
    reference = f"{APPS / 'effects.py'}:app"
    options = ("--loop", "uvloop")
    async with worker_process(
        mesh.app, reference, tmp_path, *options, EFFECTS=str(effects)
    ) as worker:
        jobs = [
            await mesh.app.send("work", [number, 0.01], queue="effects") for number in range(20)
        ]
        assert [await job.result(timeout=30) for job in jobs] == list(range(20))
        assert worker.stop() == 0


async def _is_empty(mesh: RunningApp) -> bool:
    return await mesh.count("jobs_stream") == 0


async def _is_positive(number: Callable[[], Awaitable[int]]) -> bool:
    return await number() > 0
