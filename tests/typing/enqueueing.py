"""What a type checker knows of enqueueing: arguments are checked, results have their type."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from mesh import Job, JobStatus, Mesh, Retry, Unique
from mesh.client.blocking import BlockingJob
from mesh.tasks.definition import Call

app = Mesh()


@app.task
async def add(a: int, b: int = 2) -> int:
    return a + b


@app.task
def shout(words: str, *, times: int = 1) -> bytes:
    return (words * times).upper().encode()


def total(a: int, b: int = 2) -> int:
    return a + b


async def arguments_are_checked() -> None:
    """As if the function were called."""
    await add.enqueue(1)
    await add.enqueue(1, 2)
    await add.enqueue(1, b=2)
    await add.enqueue(a=1)
    await add.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await add.enqueue("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await add.enqueue(1, b="2")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await add.enqueue(1, 2, 3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await add.enqueue(1, c=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await shout.enqueue("a", 2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def a_job_knows_its_result() -> None:
    """From the handle that comes back, and from no other."""
    job = await add.enqueue(1)

    assert_type(job, Job[int])
    assert_type(await job.result(), int)
    assert_type(await job.result(timeout="5m"), int)
    assert_type(job.is_duplicate, bool)
    assert_type(await job.status(), JobStatus)
    assert_type(await job.cancel("not needed"), bool)
    assert_type([status async for status in job.watch()], list[JobStatus])
    assert_type(await app.job("order-9").result(), Any)
    await job.result(timeout=[])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def options_are_checked() -> None:
    """Each keyword has its type, there are no others, and the parameters stay known."""
    urgent = add.options(
        queue="mail",
        priority="high",
        timeout=30,
        retry=Retry(max_retries=1),
        result_ttl="1d",
        failure_ttl=timedelta(days=7),
        expires=60,
        soft_timeout="20s",
        deadline=datetime(2030, 1, 31, tzinfo=UTC),
        delay=0.5,
        job_id="order-9",
        unique=Unique(key=total, until="5m", on_conflict="reject"),
        tags=("a",),
        meta={"tenant": "a"},
    )

    assert_type(await urgent.enqueue(1), Job[int])
    assert_type(urgent.s(1, b=2), Call[int])
    await urgent.enqueue("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    add.options(eta=datetime(2030, 1, 31, tzinfo=UTC))
    add.options(unique=True, idempotency_key="order-9")
    add.options(unique="a")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    Unique(on_conflict="queue")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    add.options(eta="noon")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    add.options(delay=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    add.options(dealy=5)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    add.options(meta={"a": 1})  # type: ignore[dict-item]  # pyright: ignore[reportArgumentType]
    add.options("mail")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def many_jobs_keep_their_types() -> None:
    """Calls of one task give jobs of one type; mixed ones give what they have in common."""
    calls = [add.s(number) for number in range(10)]

    assert_type(calls, list[Call[int]])
    assert_type(await app.enqueue_many(calls), list[Job[int]])
    assert_type(await app.enqueue_many([shout.s("a")], atomic=True), list[Job[bytes]])
    mixed: list[Job[int | bytes]] = await app.enqueue_many([add.s(1), shout.s("a")])
    assert_type(await mixed[0].result(), int | bytes)
    add.s("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.enqueue_many(add.s(1))  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.enqueue_many([1])  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def one_call_can_be_enqueued_too() -> None:
    """By the app, with the task's result type; by name alone there is none."""
    assert_type(await app.enqueue(add.s(1)), Job[int])
    assert_type(await app.send("add", [1], {"b": 2}, queue="mail"), Job[Any])
    await app.send("add", 5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await app.send("add", qeue="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def blocking_twins_know_the_same() -> None:
    """Arguments are checked, results have their type."""
    job = add.sync.enqueue(1, b=2)

    assert_type(job, BlockingJob[int])
    assert_type(job.result(30), int)
    assert_type(job.status(), JobStatus)
    assert_type(job.cancel(), bool)
    assert_type(list(job.watch()), list[JobStatus])
    assert_type(shout.options(delay=5).sync.enqueue("a").result(), bytes)
    assert_type(app.sync.enqueue_many([add.s(1)]), list[BlockingJob[int]])
    assert_type(app.sync.send("add", [1]), BlockingJob[Any])
    assert_type(app.sync.job("order-9").result(), Any)
    add.sync.enqueue("1")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    add.sync.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    add.options(delay=5).sync.enqueue(c=1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
