"""Have delayed jobs run now, or at another time: each runs once, and never too early."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio.to_thread
import msgspec
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh import Job, JobContext, JobNotDelayedError, JobNotFoundError, Mesh, State
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.errors import OptionError
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.worker import settlement

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FAR = datetime(2500, 1, 1, tzinfo=UTC)


async def body_of(app: Mesh, job_id: str) -> dict[str, Any]:
    """The body that the server holds."""
    client = await app.client()
    shelf = Shelf(client.connection, client.names.delayed_stream)
    entry = await shelf.last(client.names.delayed(job_id))
    assert entry is not None
    decode = (
        msgspec.msgpack.decode
        if entry.headers.get(headers.CONTENT_TYPE) == headers.MSGPACK
        else msgspec.json.decode
    )
    body: dict[str, Any] = decode(entry.value)
    return body


async def test_a_job_of_the_far_future_runs_now(mesh: RunningApp) -> None:
    """Whoever asks twice is told that it did not wait any more."""

    @mesh.app.task
    async def work(number: int) -> int:
        return number

    async with mesh.worker():
        job = await work.options(eta=FAR).enqueue(7)
        assert (await job.status()).state is State.SCHEDULED

        assert await job.run_now()
        assert await job.result(timeout=20) == 7
        with pytest.raises(JobNotDelayedError, match="has succeeded; enqueue it anew"):
            await job.run_now()


async def test_a_job_is_moved_there_and_back(mesh: RunningApp) -> None:
    """Later and earlier, as often as one likes; it runs at the last time, not before."""
    runs: list[int] = []

    @mesh.app.task
    async def work() -> None:
        runs.append(SYSTEM_CLOCK.now_ms())

    async with mesh.worker():
        job = await work.options(delay="1h").enqueue()
        await job.reschedule(eta=FAR)
        assert (await job.status()).due_at_ms == round(FAR.timestamp() * 1000)
        await job.reschedule(delay=0.8)
        due_ms = (await job.status()).due_at_ms
        await job.result(timeout=20)

    assert len(runs) == 1
    assert runs[0] >= due_ms
    assert await mesh.count("delayed_stream") == 0


async def test_the_blocking_twins_move_jobs_too(mesh: RunningApp) -> None:
    """The same names, from a thread."""

    @mesh.app.task
    async def work() -> int:
        return 1

    def move() -> int:
        job = work.options(delay="1h").sync.enqueue()
        job.reschedule(delay="2h")
        assert job.run_now()
        return job.result(timeout=20)

    async with mesh.worker():
        assert await anyio.to_thread.run_sync(move) == 1


async def test_a_long_wait_for_a_retry_is_cut_short(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt keeps its number, and the status says when it is due."""
    monkeypatch.setattr(settlement, "LONGEST_NAK_S", 0.1)
    attempts: list[int] = []

    @mesh.app.task
    async def work(ctx: JobContext) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            raise ctx.retry(3600)
        return ctx.attempt

    async with mesh.worker():
        job = await work.enqueue()

        async def is_held() -> bool:
            return await mesh.count("delayed_stream") == 1

        await until(is_held, "it waits in the delayed stream", 20)
        await job.reschedule(eta=FAR)
        status = await job.status()
        assert (status.state, status.attempt) == (State.RETRYING, 1)
        assert status.due_at_ms == round(FAR.timestamp() * 1000)
        assert await job.run_now()
        assert await job.result(timeout=20) == 2

    assert attempts == [1, 2]


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (State.PENDING, "it is ready"),
        (State.RUNNING, "it runs; cancel it"),
        (State.CANCELLED, "it was cancelled"),
        (State.SCHEDULED, "on its way already"),
    ],
)
async def test_a_job_that_waits_for_no_time_is_not_moved(
    mesh: RunningApp, state: State, words: str
) -> None:
    """The error says what it does instead; a job that is ready or runs is just left alone."""
    release = anyio.Event()

    @mesh.app.task
    async def work() -> None:
        await release.wait()

    async with mesh.worker():
        queue = "nobody" if state is State.PENDING else "default"
        delay = {State.CANCELLED: 3600, State.SCHEDULED: 0.6}.get(state, 0)
        job = await work.options(queue=queue, delay=delay).enqueue()
        if state is State.CANCELLED:
            await job.cancel()
        elif state is State.RUNNING:
            async for status in job.watch():
                if status.state is state:
                    break

        with pytest.raises(JobNotDelayedError, match=words) as caught:
            await job.reschedule(delay="1h")
        assert (caught.value.job_id, caught.value.state) == (job.id, state)
        if state in {State.PENDING, State.RUNNING}:
            assert not await job.run_now()
        release.set()
        if state is State.SCHEDULED:
            await job.result(timeout=20)
        await job.cancel()


async def test_nobody_moves_a_job_that_is_not_there(mesh: RunningApp) -> None:
    """It is said as for its status."""
    await mesh.app.setup()

    with pytest.raises(JobNotFoundError):
        await mesh.app.job("nosuch").run_now()
    with pytest.raises(JobNotFoundError):
        await mesh.app.job("nosuch").reschedule(delay=5)


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ({}, "nothing says when"),
        ({"delay": 1, "eta": FAR}, "'delay' is given too"),
        ({"eta": FAR.replace(tzinfo=None)}, "no datetime with a time zone"),
        ({"delay": "soon"}, "is not a duration"),
        ({"delay": "2h"}, "its deadline has passed"),
    ],
)
async def test_a_time_that_cannot_be_is_refused(
    mesh: RunningApp, when: dict[str, Any], why: str
) -> None:
    """The job stays where it was."""
    await mesh.app.setup()
    job = await mesh.app.send("work", delay="30m", deadline="1h")
    before = await job.status()

    with pytest.raises(OptionError, match=why):
        await job.reschedule(**when)

    assert await job.status() == before


@pytest.mark.parametrize("form", [headers.JSON, headers.MSGPACK])
async def test_a_job_that_is_moved_has_as_long_to_start_as_before(
    mesh: RunningApp, form: str
) -> None:
    """Its time to start moves along; what else its producer wrote is left as it is."""
    await mesh.app.setup()
    client = await mesh.client()
    due_ms = SYSTEM_CLOCK.now_ms() + 3_600_000
    body = {"task": "work", "expires_at_ms": due_ms + 5000, "unknown": [1, {"a": None}]}
    encode = msgspec.msgpack.encode if form == headers.MSGPACK else msgspec.json.encode
    at = datetime.fromtimestamp(due_ms / 1000, UTC).isoformat(timespec="milliseconds")
    lines = [
        (headers.SCHEDULE, f"@at {at}"),
        (headers.SCHEDULE_TARGET, client.names.due("default", "normal", "j")),
        (headers.CONTENT_TYPE, form),
        ("X-Mine", "kept"),
    ]
    block = frames.header_block(lines)
    await client.publisher.publish(client.names.delayed("j"), block, encode(body))

    await mesh.app.job("j").reschedule(
        eta=datetime.fromtimestamp(due_ms / 1000, UTC) + timedelta(hours=1)
    )

    assert await body_of(mesh.app, "j") == body | {"expires_at_ms": due_ms + 3_605_000}
    shelf = Shelf(client.connection, client.names.delayed_stream)
    entry = await shelf.last(client.names.delayed("j"))
    assert entry is not None
    assert entry.headers["X-Mine"] == "kept"
    assert entry.headers[headers.DUE] == str(due_ms + 3_600_000)


class Movers:
    """Move, release and cancel jobs, one after the other.

    Attributes:
        moved: For each job that was moved the time that it was moved to.
        cancelled: The jobs that were cancelled.
    """

    def __init__(self) -> None:
        self.moved: dict[int, int] = {}
        self.cancelled: set[int] = set()

    async def act(self, number: int, job: Job[None]) -> None:
        try:
            if number % 3 == 0:
                new_ms = SYSTEM_CLOCK.now_ms() + 1200
                await job.reschedule(eta=EPOCH + timedelta(milliseconds=new_ms))
                self.moved[number] = new_ms
            elif number % 3 == 1:
                await job.run_now()
            elif await job.cancel():
                self.cancelled.add(number)
        except JobNotDelayedError:
            pass  # The server was faster, and it is said so.


async def test_jobs_that_are_moved_at_the_very_moment_run_once_and_never_early(
    mesh: RunningApp,
) -> None:
    """While they come due they are moved, released and cancelled: the answers are true."""
    runs: dict[int, list[int]] = {}

    @mesh.app.task
    async def work(number: int) -> None:
        runs.setdefault(number, []).append(SYSTEM_CLOCK.now_ms())

    movers = Movers()
    async with mesh.worker():
        start_ms = SYSTEM_CLOCK.now_ms()
        calls = [work.options(delay=1.5 + n / 600).s(n) for n in range(300)]
        jobs = await mesh.app.enqueue_many(calls)
        for batch in range(0, 300, 15):
            act_ms = start_ms + 500 + 5 * batch  # From long before they are due to long after.
            await until(lambda at=act_ms: SYSTEM_CLOCK.now_ms() >= at, "it is time", 20)
            numbers = range(batch, batch + 15)
            await asyncio.gather(*(movers.act(number, jobs[number]) for number in numbers))
        for number, job in enumerate(jobs):
            if number not in movers.cancelled:
                await job.result(timeout=20)

        async def is_over() -> bool:
            streams = ("jobs_stream", "delayed_stream")
            return not any([await mesh.count(stream) for stream in streams])

        await until(is_over, "nothing is left", 20)

    assert {number for number, starts in runs.items() if len(starts) > 1} == set()
    assert set(range(300)) - movers.cancelled <= set(runs)
    early = {n for n, new_ms in movers.moved.items() if runs[n][0] < new_ms}
    assert early == set()
    assert movers.moved
    assert movers.cancelled
