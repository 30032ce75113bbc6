"""What the page about clients promises, done by hand with bare messages."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import msgspec
import pytest
from support.client_page import calculator, value_of
from support.running import RunningApp
from support.waiting import until
from support.wire import Wire, wire

from mesh import State
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.envelope import PayloadRef
from mesh.contract.records import ResultRecord, read_progress, read_result
from mesh.contract.subjects import Names

ADD = b'{"task": "add", "args": [40, 2]}'
MESSAGE_ID = "Nats-Msg-Id"
GUARD = "Nats-Expected-Last-Subject-Sequence"


@asynccontextmanager
async def producer(mesh: RunningApp) -> AsyncGenerator[tuple[Wire, Names]]:
    """A connection without mesh, and the names of the namespace."""
    names = (await mesh.client()).names
    async with wire(mesh.app.settings.url) as connection:
        yield connection, names


async def ask(connection: Wire, subject: str, body: bytes, *headers: tuple[str, str]) -> Any:
    """Send a request and read its JSON answer."""
    return json.loads(await connection.request(subject.encode(), body, *headers) or b"null")


async def stored(connection: Wire, subject: str, bucket: str) -> bytes | None:
    """Read the last message of a key, as the page says."""
    request = json.dumps({"last_by_subj": subject}).encode()
    answer = await ask(connection, f"$JS.API.STREAM.MSG.GET.KV_{bucket}", request)
    if "error" in answer:
        assert answer["error"]["err_code"] == 10037
        return None
    return base64.b64decode(answer["message"]["data"])


async def result_of(connection: Wire, names: Names, job_id: str) -> ResultRecord:
    """Wait for a result without mesh."""
    found: list[bytes] = []

    async def is_there() -> bool:
        record = await stored(connection, names.result(job_id), names.results_bucket)
        if record is not None:
            found.append(record)
        return record is not None

    await until(is_there, "the record of the job is there")
    return read_result(found[0])


async def test_a_body_with_a_task_and_arguments_alone_is_a_job(mesh: RunningApp) -> None:
    """Without any header a JSON object of two fields runs, and nothing of it is left."""
    async with calculator(mesh), producer(mesh) as (connection, names):
        answer = await ask(connection, names.job("default", "low", "order-9"), ADD)
        record = await result_of(connection, names, "order-9")

        assert answer == {"stream": names.jobs_stream, "seq": 1}
        assert value_of(record) == 42
        assert record.priority == "low"
        assert record.enqueued_at_ms > 0
        await until(lambda: is_empty(mesh), "the job stream is empty")


async def is_empty(mesh: RunningApp) -> bool:
    return await mesh.count("jobs_stream") == 0


async def test_a_body_in_msgpack_is_a_job(mesh: RunningApp) -> None:
    """A header says that the body is msgpack, and the arguments mean the same."""
    body = msgspec.msgpack.encode({"task": "repeat", "args": [{"größe": [1, 2.5, None]}]})

    async with calculator(mesh), producer(mesh) as (connection, names):
        subject = names.job("default", "normal", "packed")
        await ask(connection, subject, body, ("Mesh-Content-Type", "msgpack"))
        record = await result_of(connection, names, "packed")

    assert value_of(record) == {"größe": [1, 2.5, None]}


async def test_a_repeated_publish_is_told_to_be_a_duplicate(mesh: RunningApp) -> None:
    """With the same message id the job is stored once, and the answer says so."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        subject = names.job("default", "high", "order-9")
        first = await ask(connection, subject, ADD, (MESSAGE_ID, "order-9"))
        second = await ask(connection, subject, ADD, (MESSAGE_ID, "order-9"))

    assert "duplicate" not in first
    assert second == first | {"duplicate": True}
    assert await mesh.count("jobs_stream") == 1


async def test_a_guarded_publish_is_refused_while_the_id_is_pending(mesh: RunningApp) -> None:
    """The two guard headers refuse a second job of an id in whatever queue it lies."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        guard = (GUARD, "0"), (f"{GUARD}-Subject", names.job_anywhere("order-9"))
        first = await ask(connection, names.job("mail", "high", "order-9"), ADD, *guard)
        second = await ask(connection, names.job("other", "low", "order-9"), ADD, *guard)

    assert first["seq"] == 1
    assert second["error"]["err_code"] == 10071


@pytest.mark.parametrize(
    "header",
    [
        ("Nats-TTL", "60s"),
        ("Nats-Rollup", "all"),
        ("Nats-Schedule", "@at 2030-01-01T08:00:00Z"),
    ],
    ids=lambda header: header[0],
)
async def test_the_job_stream_refuses_headers_that_would_harm_it(
    mesh: RunningApp, header: tuple[str, str]
) -> None:
    """A job may neither vanish by itself, nor wipe the stream, nor be a schedule."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        subject = names.job("default", "high", "order-9")
        await ask(connection, names.job("default", "high", "before"), ADD)
        answer = await ask(connection, subject, ADD, header)

    assert "error" in answer
    assert await mesh.count("jobs_stream") == 1


async def test_nobody_answers_for_a_priority_that_does_not_exist(mesh: RunningApp) -> None:
    """A publish to an unknown priority is answered with no responders."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        answer = await ask(connection, names.job("default", "urgent", "order-9"), ADD)

    assert answer is None


async def test_a_delayed_job_runs_when_it_is_due(mesh: RunningApp) -> None:
    """Two headers have the server hold a job and hand it over in time."""
    due = datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000, UTC) + timedelta(seconds=2)
    async with calculator(mesh), producer(mesh) as (connection, names):
        headers = (
            (MESSAGE_ID, "later"),
            ("Nats-Schedule", f"@at {due:%Y-%m-%dT%H:%M:%SZ}"),
            ("Nats-Schedule-Target", names.due("default", "high", "later")),
        )
        await ask(connection, names.delayed("later"), ADD, *headers)
        before = await stored(connection, names.result("later"), names.results_bucket)
        record = await result_of(connection, names, "later")

    assert before is None
    assert value_of(record) == 42
    assert record.priority == "high"


async def test_a_schedule_without_a_target_is_refused(mesh: RunningApp) -> None:
    """The server does not take a delayed job that could never fire."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        header = ("Nats-Schedule", "@at 2030-01-01T08:00:00Z")
        answer = await ask(connection, names.delayed("later"), ADD, header)

    assert "error" in answer


async def test_a_result_is_read_directly_too(mesh: RunningApp) -> None:
    """A direct read answers with the record itself, and with nothing if there is none."""
    async with calculator(mesh), producer(mesh) as (connection, names):
        direct = f"$JS.API.DIRECT.GET.KV_{names.results_bucket}.{names.result('order-9')}"
        before = await connection.request(direct.encode(), b"")
        await ask(connection, names.job("default", "high", "order-9"), ADD)
        await result_of(connection, names, "order-9")
        after = await connection.request(direct.encode(), b"")

    assert before is None
    assert after is not None
    assert value_of(read_result(after)) == 42


async def test_progress_is_read_while_a_job_runs(mesh: RunningApp) -> None:
    """The running record tells what the task reports, and is gone when the job has ended."""
    reported, done = anyio.Event(), anyio.Event()

    @mesh.app.task
    async def climb() -> str:
        from mesh import current_job

        current_job().progress(3, 10, "on the way")
        reported.set()
        await done.wait()
        return "there"

    async with mesh.worker(), producer(mesh) as (connection, names):
        await ask(connection, names.job("default", "high", "tour"), b'{"task": "climb"}')
        await reported.wait()
        seen: list[bytes] = []

        async def shows() -> bool:
            record = await stored(connection, names.progress("tour"), names.progress_bucket)
            seen.extend([record] if record is not None else [])
            return bool(seen) and b"on the way" in seen[-1]

        await until(shows, "the running record shows the progress")
        done.set()
        await result_of(connection, names, "tour")

        progress = read_progress(seen[-1])
        assert (progress.current, progress.total) == (3, 10)
        await until(lambda: is_gone(connection, names), "the running record is gone")


async def is_gone(connection: Wire, names: Names) -> bool:
    return await stored(connection, names.progress("tour"), names.progress_bucket) is None


async def cancel(connection: Wire, names: Names, job_id: str) -> Any:
    """Cancel a job by the three steps of the page; the answer to the first."""
    record = {"state": "cancelled", "task": "", "queue": "", "priority": ""}
    body = json.dumps(record | {"finished_at_ms": 1}).encode()
    headers = (GUARD, "0"), ("Mesh-State", "cancelled")
    answer = await ask(connection, names.result(job_id), body, *headers)
    if "error" not in answer:
        for stream, subject in (
            (names.jobs_stream, names.job_anywhere(job_id)),
            (names.delayed_stream, names.delayed(job_id)),
            (f"KV_{names.progress_bucket}", names.progress(job_id)),
        ):
            purge = json.dumps({"filter": subject}).encode()
            assert (await ask(connection, f"$JS.API.STREAM.PURGE.{stream}", purge))["success"]
        await connection.publish(names.cancel_signal(job_id).encode())
    return answer


async def test_a_pending_job_is_cancelled_by_hand(mesh: RunningApp) -> None:
    """After the three steps the job is gone from its queue and counts as cancelled."""
    await mesh.app.setup()
    async with producer(mesh) as (connection, names):
        await ask(connection, names.job("default", "high", "order-9"), ADD)
        await cancel(connection, names, "order-9")

    status = await mesh.app.job("order-9").status()
    assert status.state is State.CANCELLED
    assert await mesh.count("jobs_stream") == 0


async def test_a_running_job_is_cancelled_by_hand(mesh: RunningApp) -> None:
    """The signal stops the attempt, and the record of the canceller is the one that counts."""
    started, stopped = anyio.Event(), anyio.Event()

    @mesh.app.task
    async def wait() -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    async with mesh.worker(), producer(mesh) as (connection, names):
        await ask(connection, names.job("default", "high", "order-9"), b'{"task": "wait"}')
        await started.wait()
        await cancel(connection, names, "order-9")
        with anyio.fail_after(30):
            await stopped.wait()

        assert (await result_of(connection, names, "order-9")).state is State.CANCELLED
        await until(lambda: is_empty(mesh), "the job stream is empty")


async def test_a_job_that_has_ended_cannot_be_cancelled_by_hand(mesh: RunningApp) -> None:
    """The first step is refused with the error that the page names."""
    async with calculator(mesh), producer(mesh) as (connection, names):
        await ask(connection, names.job("default", "high", "order-9"), ADD)
        await result_of(connection, names, "order-9")

        answer = await cancel(connection, names, "order-9")

        assert answer["error"]["err_code"] == 10071
        assert value_of(await result_of(connection, names, "order-9")) == 42


async def test_large_arguments_and_results_travel_as_objects(mesh: RunningApp) -> None:
    """Arguments come from an object of the payload bucket, which is removed afterwards."""
    text = "x" * 2_000_000
    arguments = json.dumps({"args": [text], "kwargs": {}}).encode()
    async with calculator(mesh), producer(mesh) as (connection, names):
        js = (await mesh.client()).connection.js
        payloads = await js.object_store(names.payloads_bucket)
        await payloads.put("order-9.arguments", arguments)
        ref = {
            "bucket": names.payloads_bucket,
            "name": "order-9.arguments",
            "size": len(arguments),
        }
        body = json.dumps({"task": "repeat", "args_ref": ref}).encode()
        await ask(connection, names.job("default", "high", "order-9"), body)
        record = await result_of(connection, names, "order-9")

        assert isinstance(record.result_ref, PayloadRef)
        outputs = await js.object_store(record.result_ref.bucket)
        value = (await outputs.get(record.result_ref.name)).data
        assert json.loads(value or b"null") == text
        await until(lambda: has_no_object(mesh), "the arguments are removed")


async def has_no_object(mesh: RunningApp) -> bool:
    client = await mesh.client()
    stream = f"OBJ_{client.names.payloads_bucket}"
    answer = await client.connection.api(f"STREAM.INFO.{stream}")
    return answer["state"]["messages"] == 0
