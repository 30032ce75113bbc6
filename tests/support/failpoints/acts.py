"""What programs do with mesh: enqueue, wait, cancel, operate; each act is safe to repeat."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
from prometheus_client import CollectorRegistry
from support.waiting import until

import mesh.client.lanes
from mesh import Mesh
from mesh.client.editing import JobNotEditableError
from mesh.client.letters import Changes, DeadLetterNotFoundError
from mesh.client.task import Task
from mesh.contract import headers
from mesh.errors import (
    BrokerError,
    JobEndedError,
    JobNotFoundError,
    PayloadMissingError,
    WorkerNotFoundError,
)
from mesh.exporter.exporter import Exporter
from mesh.transport import frames

Act = Callable[[Mesh, str], Awaitable[None]]

LARGE = "x" * 5000
LIMIT_S = 15
_MENDED = {"is_mended": True}


def task_of(app: Mesh, name: str) -> Task[..., Any]:
    return Task(app.tasks.get(name), app)


async def enqueue(app: Mesh, prefix: str) -> None:
    """Enqueue single jobs in every way, and wait for them."""
    plain = task_of(app, "plain")
    jobs = [
        await plain.enqueue("some"),
        await plain.enqueue(LARGE),
        await plain.options(job_id=f"{prefix}-a").enqueue("some"),
        await app.send("plain", [LARGE], job_id=f"{prefix}-b"),
        await plain.options(job_id=f"{prefix}-c", delay=0.6).enqueue("some"),
    ]
    for job in jobs:
        await job.result(timeout=LIMIT_S)


async def enqueue_many(app: Mesh, prefix: str) -> None:
    """Enqueue many jobs at once."""
    plain = task_of(app, "plain")
    texts = enumerate(["one", "two", LARGE])
    calls = [plain.options(job_id=f"{prefix}-m{n}").s(text) for n, text in texts]
    nameless = [plain.s("one"), plain.s(LARGE)]
    for job in [*await app.enqueue_many(calls), *await app.enqueue_many(nameless)]:
        await job.result(timeout=LIMIT_S)


async def enqueue_atomically(app: Mesh, prefix: str) -> None:
    """Enqueue a batch of which all or none is stored."""
    plain = task_of(app, "plain")
    texts = enumerate(["one", "two", LARGE])
    calls = [plain.options(job_id=f"{prefix}-t{n}").s(text) for n, text in texts]
    try:
        await app.enqueue_many(calls, atomic=True)
    except BrokerError as error:
        if "was enqueued before" not in str(error):  # By the try before this one.
            raise
    for number in range(3):
        await app.job(f"{prefix}-t{number}").result(timeout=LIMIT_S)


async def follow(app: Mesh, prefix: str) -> None:
    """Ask for jobs and follow them."""
    job = await app.send("slow", [0.5], job_id=f"{prefix}-w")
    await job.status()
    async for status in app.job(job.id).watch():
        assert status.job_id == job.id
    await job.result(timeout=LIMIT_S)
    large = await app.send("large", job_id=f"{prefix}-l")
    assert await large.result(timeout=LIMIT_S) == LARGE
    client = await app.client()
    client.records._results._has_replicas = True  # As it is where there are several servers.
    with contextlib.suppress(JobNotFoundError):
        await app.job(f"{prefix}-never").status()


async def cancel(app: Mesh, prefix: str) -> None:
    """Cancel jobs that wait, are delayed, run, or are cancelled by somebody else meanwhile."""
    waiting = await app.send("plain", job_id=f"{prefix}-p", queue="nobody")
    await asyncio.gather(waiting.cancel("once"), waiting.cancel("twice"))
    delayed = await app.send("plain", job_id=f"{prefix}-d", delay="1h")
    await delayed.cancel()
    running = await app.send("hold", [20], job_id=f"{prefix}-r")
    async with asyncio.timeout(LIMIT_S):
        async for status in running.watch():
            if status.state == "running":
                break
    await running.cancel()
    with contextlib.suppress(JobEndedError):
        await running.result(timeout=LIMIT_S)


async def letters(app: Mesh, prefix: str) -> None:
    """Read dead letters."""
    dead = app.dead_letters
    found = [letter.job_id async for letter in dead.find()]
    assert [letter.job_id async for letter in dead.find(newest_first=False)] == found[::-1]
    await dead.get(f"{prefix}-1")
    assert len(await dead.body(await dead.get(f"{prefix}-4"))) > 1_000_000
    await anyio.to_thread.run_sync(_first_letter, app)


def _first_letter(app: Mesh) -> None:
    letters = app.sync.dead_letters.find()
    next(letters)
    letters.close()  # type: ignore[attr-defined] # It is a generator.
    app.sync.close()


async def replay(app: Mesh, prefix: str) -> None:
    """Replay dead letters, with and without changes."""
    mended = (Changes(args=["a"], kwargs=_MENDED), Changes(args=[LARGE], kwargs=_MENDED))
    for number, changes in zip((3, 5), mended, strict=True):
        with contextlib.suppress(DeadLetterNotFoundError):
            await app.dead_letters.replay(f"{prefix}-{number}", changes)
    anew = [letter async for letter in app.dead_letters.replay_all(task="fail", until="0.1s")]
    for job_id in [f"{prefix}-3-r1", f"{prefix}-5-r1", *(done.new_job_id for done in anew)]:
        with contextlib.suppress(JobEndedError):
            await app.job(job_id).result(timeout=LIMIT_S)


async def bury(app: Mesh, prefix: str) -> None:
    """Purge dead letters, one and all."""
    with contextlib.suppress(DeadLetterNotFoundError):
        await app.dead_letters.purge(f"{prefix}-1")
    async for _letter in app.dead_letters.purge_all():
        pass


async def operate(app: Mesh, prefix: str) -> None:
    """Look at a queue that nobody serves yet, and clear it."""
    queue = app.queue(prefix)
    for number in range(3):
        await app.send("plain", job_id=f"{prefix}-q{number}", queue=prefix)
    client = await app.client()
    subject = client.names.job(prefix, "normal", f"{prefix}-again")
    block = frames.header_block(
        [(headers.MESSAGE_ID, f"{prefix}-again"), (headers.ATTEMPT, "2")]
    )
    await client.publisher.publish(subject, block, b'{"task":"plain"}')
    await queue.status()
    await app.queue_statuses()
    await queue.move(to_priority="low")
    with contextlib.suppress(JobNotEditableError):  # The try before this one purged it.
        await app.job(f"{prefix}-q0").edit(args=[LARGE], priority="high")
        await app.job(f"{prefix}-q0").edit(args=["small"])
    await queue.purge()


async def control(app: Mesh, prefix: str) -> None:
    """Pause, purge, wake and limit a queue."""
    queue = app.queue(prefix)
    # The first moment is over before the request arrives, as on a far-away server.
    mesh.client.lanes._WAKE_TRIES_MS = (0, 500, 2000)
    await queue.pause("20s")
    await app.send("plain", job_id=f"{prefix}-k", queue=prefix)
    await queue.purge()
    await queue.resume()
    await queue.limit(5)
    await queue.limit(None)
    await queue.status()


async def read_ledger(app: Mesh, prefix: str) -> None:
    """Read the ledger in every way, and list jobs."""
    job = await app.send("slow", [0.5], job_id=f"{prefix}-e")
    async for _line in job.logs(follow=True):
        pass
    async with contextlib.aclosing(app.events(job=job.id, since="1h")) as events:
        async for event in events:
            if event.name == "job.completed":
                break
    with anyio.move_on_after(0.3):
        async for _event in app.events(job=f"{prefix}-never"):
            pass
    assert await job.history()
    nobody = app.job(f"{prefix}-never")
    with contextlib.suppress(JobNotFoundError):
        await nobody.history()
    with contextlib.suppress(JobNotFoundError):
        async for _line in nobody.logs():
            pass
    assert job.id in [status.job_id async for status in app.find_jobs(limit=0)]


async def put_right(app: Mesh, prefix: str) -> None:
    """Retry a job that failed, and delete jobs that have ended."""
    for task in ("fail", "large"):
        job = await app.send(task, job_id=f"{prefix}-{task}")
        # The try before this one may have removed some of it.
        with contextlib.suppress(JobEndedError, JobNotFoundError, PayloadMissingError):
            await job.result(timeout=LIMIT_S)
        if task == "fail":
            with contextlib.suppress(DeadLetterNotFoundError):
                await job.retry("paper is in")
        with contextlib.suppress(JobNotFoundError):
            await job.delete("a test")


async def set_up(app: Mesh, prefix: str) -> None:
    """Set a namespace up, change it, and tear it down."""
    url = app.settings.url
    for most in (1000, 2000):
        async with Mesh(url, namespace=prefix, limits={"max_jobs": most}) as fresh:
            await fresh.setup(["extra"])
    async with Mesh(url, namespace=prefix) as last:
        client = await last.client()
        await client.provisioner.tear_down()


async def command(app: Mesh, prefix: str) -> None:
    """Look at the workers and tell one to run more at once; look at all that is there."""

    async def is_seen() -> bool:
        return bool(await app.workers.list())

    await until(is_seen, "a worker is seen", LIMIT_S)
    live = (await app.workers.list())[-1].worker
    nobody = f"{prefix}-nobody"
    with contextlib.suppress(WorkerNotFoundError):  # It may just have been replaced.
        await app.workers.get(live)
    with contextlib.suppress(WorkerNotFoundError):
        await app.workers.set(live, concurrency=50)
    for tell in (app.workers.drain, app.workers.stop):
        with contextlib.suppress(WorkerNotFoundError):
            await tell(nobody)
    await app.send("plain", job_id=f"{prefix}-o", delay="1s")
    client = await app.client()
    await client.publisher.publish(client.names.dead(prefix, "x"), b"", b"{}")
    exporter = Exporter(app.client, registry=CollectorRegistry())
    await exporter.look()
    await client.connection.api(
        f"STREAM.PURGE.{client.names.dead_stream}", {"filter": client.names.dead(prefix, "x")}
    )
    await app.job(f"{prefix}-o").result(timeout=LIMIT_S)


ACTS: dict[str, Act] = {
    act.__name__: act
    for act in (
        enqueue,
        enqueue_many,
        enqueue_atomically,
        follow,
        cancel,
        letters,
        replay,
        bury,
        operate,
        control,
        read_ledger,
        put_right,
        set_up,
        command,
    )
}
