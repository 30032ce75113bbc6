"""Bad input ends in a clear recorded error; the worker lives, nothing loops or is lost."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobFailedError, Mesh, Retry
from mesh.contract.records import DeadLetter, read_dead_letter
from mesh.errors import (
    ArgumentsError,
    InvalidNameError,
    NotSerializableError,
    PayloadTooLargeError,
)
from mesh.transport.buckets import Shelf

Declare = Callable[[Mesh], None]


def declare(app: Mesh) -> None:
    """Register tasks that misbehave, and one that does not."""

    @app.task
    async def add(a: int, b: int) -> int:
        return a + b

    @app.task(retry=0)
    async def leaves() -> None:
        raise SystemExit(3)

    @app.task(retry=0)
    async def interrupts() -> None:
        raise KeyboardInterrupt

    @app.task(retry=0)
    async def swears() -> None:
        raise BaseException("plain")  # noqa: TRY002 - the point of this task

    @app.task(retry=0)
    def leaves_a_thread() -> None:
        raise SystemExit(4)

    @app.task(retry=0)
    async def answers_nonsense() -> object:
        return lambda: None

    @app.task(retry=0)
    async def breaks_its_message() -> None:
        class Broken(Exception):  # noqa: N818 - named for what it is
            def __str__(self) -> str:
                raise RuntimeError("no message for you")

        raise Broken


async def failure_of(mesh: RunningApp, job_id: str) -> JobFailedError:
    """Wait for a job to fail, and see that it is dead, unqueued, and the worker still works."""
    with pytest.raises(JobFailedError) as caught:
        await mesh.app.job(job_id).result(timeout=30)
    letter = await dead_letter(mesh, job_id)
    assert letter.error.type == caught.value.error_type
    assert await mesh.count("jobs_stream") == 0
    healthy = await mesh.app.send("add", [1, 2])
    assert await healthy.result(timeout=30) == 3
    return caught.value


async def dead_letter(mesh: RunningApp, job_id: str) -> DeadLetter:
    """Read the dead letter of a job, once it is there."""
    client = await mesh.client()
    shelf = Shelf(client.connection, client.names.dead_stream)
    subject = client.names.dead("default", job_id)

    async def is_there() -> bool:
        return await shelf.last(subject) is not None

    await until(is_there, "the dead letter is kept")
    entry = await shelf.last(subject)
    assert entry is not None
    return read_dead_letter(entry.headers["Mesh-Dead-Letter"])


@pytest.mark.parametrize(
    ("body", "error_type", "words"),
    [
        (b"{not json", "mesh.errors.MalformedJobError", "not-json"),
        (b"\xff\xfe\x00", "mesh.errors.MalformedJobError", "not-json"),
        (b"", "mesh.errors.MalformedJobError", "not-json"),
        (b"[1, 2]", "mesh.errors.MalformedJobError", "bad-shape"),
        (b'{"args": [1]}', "mesh.errors.MalformedJobError", "bad-shape"),
        (b'{"task": "add", "v": 99}', "mesh.errors.MalformedJobError", "unknown-version"),
        (b'{"task": "add", "args": {"a": 1}}', "mesh.errors.ArgumentsError", "add"),
        (b'{"task": "add", "args": [1]}', "mesh.errors.ArgumentsError", "'b'"),
        (b'{"task": "add", "args": [1, "x"]}', "mesh.errors.ArgumentsError", "int"),
        (b'{"task": "add", "args": [1, 2, 3]}', "mesh.errors.ArgumentsError", "add"),
        (b'{"task": "add", "kwargs": {"a": 1, "c": 2}}', "mesh.errors.ArgumentsError", "'c'"),
    ],
)
async def test_a_bad_message_becomes_a_failed_record_and_a_dead_letter(
    mesh: RunningApp, body: bytes, error_type: str, words: str
) -> None:
    """Whatever a foreign producer sends is refused with a reason, once."""
    declare(mesh.app)
    client = await mesh.client()
    async with mesh.worker():
        await mesh.publish(client.names.job("default", "normal", "bad-1"), body)

        failure = await failure_of(mesh, "bad-1")

    assert failure.error_type == error_type
    assert words in failure.error_message


async def test_an_unknown_task_is_handed_back_and_fails_after_the_grace_time(
    mesh: RunningApp,
) -> None:
    """A newer worker may know the task, so it fails only when nobody took it for a while."""
    declare(mesh.app)
    async with mesh.worker(worker__unknown_task_grace_s=1.5):
        job = await mesh.app.send("ad", [1, 2])

        failure = await failure_of(mesh, job.id)

    assert failure.error_type == "mesh.errors.UnknownTaskError"
    assert "did you mean 'add'" in failure.error_message


async def test_an_unknown_task_is_run_by_a_worker_that_knows_it(mesh: RunningApp) -> None:
    """A job of a task that only a newer worker knows is neither lost nor failed."""
    async with mesh.worker() as _old:
        job = await mesh.app.send("add", [1, 2])
        await until(lambda: mesh_handed_back(mesh, job.id), "the old worker hands it back")
        declare(mesh.app)

        assert await job.result(timeout=30) == 3


async def mesh_handed_back(mesh: RunningApp, job_id: str) -> bool:
    """Whether the job lies in the queue and was delivered before."""
    client = await mesh.client()
    info = await client.connection.api(
        f"CONSUMER.INFO.{client.names.jobs_stream}.default-normal"
    )
    return bool(job_id) and info["num_redelivered"] + info["num_ack_pending"] > 0


@pytest.mark.parametrize(
    ("task", "error_type", "words"),
    [
        ("leaves", "SystemExit", "3"),
        ("interrupts", "KeyboardInterrupt", ""),
        ("swears", "BaseException", "plain"),
        ("leaves_a_thread", "SystemExit", "4"),
        ("answers_nonsense", "mesh.errors.NotSerializableError", "function"),
        ("breaks_its_message", "Broken", "RuntimeError in __str__"),
    ],
)
async def test_a_task_that_misbehaves_is_recorded_and_the_worker_lives(
    mesh: RunningApp, task: str, error_type: str, words: str
) -> None:
    """Neither SystemExit nor a strange result nor a broken exception ends the worker."""
    declare(mesh.app)
    async with mesh.worker():
        job = await mesh.app.send(task)

        failure = await failure_of(mesh, job.id)

    assert failure.error_type.endswith(error_type)
    assert words in failure.error_message


async def test_arguments_are_checked_when_a_job_is_enqueued(mesh: RunningApp) -> None:
    """The producer hears of wrong arguments at once, and nothing is published."""
    await mesh.app.setup()

    @mesh.app.task
    async def add(a: int, b: int) -> int:
        return a + b

    wrong: list[tuple[list[Any], dict[str, Any]]] = [
        (["1", 2], {}),
        ([1], {}),
        ([1, 2, 3], {}),
        ([1], {"c": 2}),
    ]
    for args, kwargs in wrong:
        with pytest.raises(ArgumentsError, match="'add'"):
            await add.enqueue(*args, **kwargs)
    with pytest.raises(NotSerializableError, match=r"lambda|function"):
        await mesh.app.send("add", [lambda: None])
    assert await mesh.count("jobs_stream") == 0


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "*", ">", "a\x00b", "a\nb", "ü", "x" * 129, "a/b"]
)
async def test_names_outside_the_grammar_are_refused_at_the_producer(
    mesh: RunningApp, name: str
) -> None:
    """Job ids, queues and task names are checked before anything is published."""
    refusals: list[Callable[[], Awaitable[Any]]] = [
        lambda: mesh.app.send("add", job_id=name),
        lambda: mesh.app.send("add", queue=name),
    ]
    for refusal in refusals:
        with pytest.raises(InvalidNameError, match="is refused"):
            await refusal()
    with pytest.raises(InvalidNameError):
        mesh.app.job(name)


async def test_a_job_too_large_for_the_server_is_refused_before_it_is_sent(
    mesh: RunningApp,
) -> None:
    """Without room in the payload bucket a huge job is a clear error, not a cut connection."""
    mesh.app.override({"limits.payload_inline_bytes": 100_000_000})
    await mesh.app.setup()

    with pytest.raises(PayloadTooLargeError, match="server accepts"):
        await mesh.app.send("add", ["x" * 2_000_000])
    assert await mesh.count("jobs_stream") == 0


async def test_a_result_too_large_for_a_message_travels_all_the_same(mesh: RunningApp) -> None:
    """Large arguments and results go through the object bucket without anybody asking."""

    @mesh.app.task
    async def double(text: str) -> str:
        return text + text

    async with mesh.worker():
        job = await double.enqueue("äb" * 1_500_000)

        assert await job.result(timeout=30) == "äb" * 3_000_000
        # The arguments are gone with the job, the result waits for its time to live.
        client = await mesh.client()
        payloads = await client.connection.api(
            f"STREAM.INFO.OBJ_{client.names.payloads_bucket}"
        )
        assert payloads["state"]["messages"] == 0


async def test_a_failure_keeps_its_cause_notes_and_traceback(mesh: RunningApp) -> None:
    """What went wrong is kept as data: type, message, cause, notes and traceback."""

    @mesh.app.task(retry=Retry(max_retries=1, delay_s=0.05))
    async def fails() -> None:
        try:
            json.loads("{")
        except ValueError as error:
            failure = RuntimeError("cannot read the order")
            failure.add_note("order 7")
            raise failure from error

    async with mesh.worker():
        job = await fails.enqueue()
        with pytest.raises(JobFailedError, match="cannot read the order") as caught:
            await job.result(timeout=30)
        status = await job.status()

    assert status.attempt == 2
    assert status.error is not None
    assert status.error.notes == ("order 7",)
    assert status.error.cause is not None
    assert status.error.cause.type == "json.decoder.JSONDecodeError"
    assert "json.loads" in caught.value.traceback
