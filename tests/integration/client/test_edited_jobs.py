"""A job that waits can be changed: its arguments, its queue, its priority."""

from __future__ import annotations

import base64

import anyio
import msgspec
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import JobNotEditableError, JobNotFoundError, State
from mesh.contract import headers
from mesh.contract.subjects import object_stream
from mesh.errors import OptionError
from mesh.transport import frames

LARGE = "x" * 50_000


async def _has_no_payload(mesh: RunningApp) -> bool:
    client = await mesh.client()
    stream = object_stream(client.names.payloads_bucket)
    info = await client.connection.api(f"STREAM.INFO.{stream}")
    return int(info["state"]["messages"]) == 0


async def test_a_pending_job_runs_once_as_it_was_changed(mesh: RunningApp) -> None:
    """It goes to another queue with other arguments, and whoever waits gets the new result."""

    @mesh.app.task(queue="mail")
    async def join(*words: str, end: str = ".") -> str:
        return " ".join(words) + end

    await mesh.app.setup(["parcels"])
    job = await join.enqueue("old")
    other = await join.enqueue("left", "alone")

    await job.edit(args=["new"], kwargs={"end": "!"}, queue="parcels", priority="high")

    status = await job.status()
    queues = [(await mesh.app.queue(name).status()).pending for name in ("mail", "parcels")]
    async with mesh.worker(worker__queues=["mail", "parcels"]):
        assert await job.result(timeout=30) == "new!"
        assert await other.result(timeout=30) == "left alone."
    assert (status.state, status.queue, status.priority) == (State.PENDING, "parcels", "high")
    assert [sum(pending.values()) for pending in queues] == [1, 1]


async def test_a_delayed_job_is_changed_in_its_place(mesh: RunningApp) -> None:
    """It keeps its time, takes large arguments, and leaves none behind."""

    @mesh.app.task(queue="mail")
    async def measure(text: str) -> int:
        return len(text)

    await mesh.app.setup()
    job = await measure.options(delay="1h").enqueue("short")
    due_ms = (await job.status()).due_at_ms

    await job.edit(args=[LARGE])
    await job.edit(priority="critical", reason="it is urgent")

    status = await job.status()
    await job.run_now()
    async with mesh.worker():
        assert await job.result(timeout=30) == len(LARGE)
        await until(lambda: _has_no_payload(mesh), "its arguments are gone")
    assert (status.due_at_ms, status.priority) == (due_ms, "critical")
    told = [event for event in await job.history() if event.name == "job.edited"]
    assert [event.message for event in told] == ["", "it is urgent"]


async def test_a_job_of_another_program_keeps_what_mesh_does_not_know(
    mesh: RunningApp,
) -> None:
    """A msgpack body stays msgpack, with fields of a later version."""
    await mesh.app.setup()
    client = await mesh.client()
    subject = client.names.job("mail", "normal", "foreign")
    pairs = [(headers.MESSAGE_ID, "foreign"), (headers.CONTENT_TYPE, headers.MSGPACK)]
    body = msgspec.msgpack.encode({"task": "t", "args": [1], "later": {"a": 2}})
    await client.publisher.publish(subject, frames.header_block(pairs), body)

    await mesh.app.job("foreign").edit(kwargs={"b": 3})

    found = await client.connection.api(
        f"STREAM.MSG.GET.{client.names.jobs_stream}", {"last_by_subj": subject}
    )
    now = msgspec.msgpack.decode(base64.b64decode(found["message"]["data"]))
    assert now == {"task": "t", "later": {"a": 2}, "args": [], "kwargs": {"b": 3}}


async def test_a_job_that_runs_or_has_ended_is_left_alone(mesh: RunningApp) -> None:
    """The error says why, and the job goes on as it was."""
    release = anyio.Event()
    seen: list[str] = []

    @mesh.app.task
    async def hold(word: str) -> str:
        seen.append(word)
        await release.wait()
        return word

    async with mesh.worker():
        job = await hold.enqueue("as it was")
        await until(lambda: bool(seen), "it runs")
        with pytest.raises(JobNotEditableError, match="cannot be changed any more"):
            await job.edit(args=["changed"])
        release.set()
        assert await job.result(timeout=30) == "as it was"
        with pytest.raises(JobNotEditableError, match="has ended"):
            await job.edit(args=["changed"])

    with pytest.raises(JobNotFoundError):
        await mesh.app.job("nobody").edit(priority="high")
    with pytest.raises(OptionError, match="changes nothing"):
        await job.edit()
