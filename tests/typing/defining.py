"""What a type checker knows of a task from its function."""

from __future__ import annotations

from collections.abc import Awaitable
from datetime import timedelta
from typing import Any, assert_type

import anyio.to_thread

from mesh import JobContext, Mesh, Retry, Task

app = Mesh()


@app.task
async def add(a: int, b: int = 2) -> int:
    return a + b


@app.task
def shout(words: str) -> bytes:
    return words.upper().encode()


@app.task(queue="mail", timeout="5m", retry=Retry(max_retries=5), tags=["a"], name="post")
async def send(to: str, *, urgent: bool = False) -> None: ...


@app.task(pool="process", expires=timedelta(hours=1), priority="low", retry=False)
def crunch(*numbers: float, **weights: float) -> list[float]:
    return [*numbers, *weights.values()]


@app.task
async def report(ctx: JobContext, size: int) -> str:
    return f"{ctx.job_id} {size}"


@app.task(result_ttl=60)
def report_plainly(ctx: JobContext, size: int) -> str:
    return f"{ctx.job_id} {size}"


@app.task
async def maybe_report(ctx: JobContext | None = None, size: int = 1) -> str:
    return f"{ctx} {size}"


@app.task
def store(value: Any, key: str) -> int:
    return len(f"{value}{key}")


@app.task()
async def show(value: object) -> int:
    return len(f"{value}")


@app.task
def later(number: int) -> Awaitable[str]:
    return anyio.to_thread.run_sync(str, number)


async def parameters_and_results_are_those_of_the_function() -> None:
    """Async or plain, with or without parentheses; what an async one returns is awaited."""
    assert_type(await (await add.enqueue(1)).result(), int)
    assert_type(await (await shout.enqueue("a")).result(), bytes)
    assert_type(await (await send.enqueue("ada", urgent=True)).result(), None)
    assert_type(await (await crunch.enqueue(1, 2.5, a=1)).result(), list[float])
    assert_type(await (await later.enqueue(1)).result(), str)


async def the_context_is_no_parameter() -> None:
    """The worker gives it."""
    assert_type(await (await report.enqueue(5)).result(), str)
    assert_type(await (await report_plainly.enqueue(size=5)).result(), str)
    assert_type(await (await maybe_report.enqueue(5)).result(), str)
    await report.enqueue()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await report.enqueue(5, 6)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await report.enqueue("5")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


async def a_parameter_that_takes_anything_is_not_mistaken_for_the_context() -> None:
    """Its task takes any arguments, as far as the type checker can tell."""
    stored: int = await (await store.enqueue({"a": 1}, key="x")).result()
    stored += await (await store.enqueue(value=5, key="x")).result()
    assert_type(await (await show.enqueue("x")).result(), int)
    assert_type(await (await show.enqueue(value="x")).result(), int)


def a_task_can_be_passed_on() -> None:
    """With its parameters and its result; one that returns more fits where less is asked."""

    def needs_a_number(task: Task[[int], object]) -> None: ...

    needs_a_number(report)
    needs_a_number(shout)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def options_are_checked() -> None:
    """Each keyword has its type, and there are no others."""
    app.task(queue="mail", result_ttl=timedelta(days=1), failure_ttl="7d", retry=True)
    app.task(queue=5)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    app.task(timeout=[])  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    app.task(qeue="mail")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    app.task(delay=5)  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    app.task("mail")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue, reportArgumentType]
