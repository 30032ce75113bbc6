"""Delayed jobs: never early, in no slot while they wait, kept by whoever is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
import pytest
from support.processes import worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh, State
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.contract.envelope import Envelope
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.worker.worker import Worker

REFERENCE = f"{Path(__file__).parents[2] / 'apps' / 'effects.py'}:app"


def at(due_ms: int) -> datetime:
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=due_ms)


def held_by(worker: Worker) -> int:
    """How many jobs wait in a worker's memory until they are due."""
    return len(worker._consumer._early)


async def test_a_job_never_starts_before_it_is_due(mesh: RunningApp) -> None:
    """Whether the server held it, or it was due too soon for that."""
    started: dict[int, int] = {}

    @mesh.app.task
    async def work(due_ms: int) -> None:
        started[due_ms] = SYSTEM_CLOCK.now_ms()

    async with mesh.worker():
        now_ms = SYSTEM_CLOCK.now_ms()
        dues = [now_ms + 40 * number for number in range(1, 31)]
        jobs = await mesh.app.enqueue_many([work.options(eta=at(due)).s(due) for due in dues])
        for job in jobs:
            await job.result(timeout=20)

    assert sorted(started) == dues
    assert all(started[due] >= due for due in dues)


async def test_jobs_that_are_not_due_take_no_slot(mesh: RunningApp) -> None:
    """The only slot of a worker runs another job meanwhile, and each runs once."""
    runs: list[str] = []

    @mesh.app.task
    async def work(name: str) -> None:
        runs.append(name)

    async with mesh.worker(worker__concurrency=1) as worker:
        soon = [await work.options(delay=1.5).enqueue(f"soon {n}") for n in range(5)]
        await until(lambda: held_by(worker) == 5, "all are held", 20)
        await (await work.enqueue("now")).result(timeout=20)
        for job in soon:
            await job.result(timeout=20)

    assert sorted(runs) == ["now", *(f"soon {n}" for n in range(5))]


async def hold_one(mesh: RunningApp, worker: Worker, job_id: str) -> None:
    """Have a worker hold a job that is due in a minute, as if its clock were right."""
    client = await mesh.client()
    due_ms = SYSTEM_CLOCK.now_ms() + 1_900
    block = frames.header_block([(headers.DUE, str(due_ms))])
    subject = client.names.job("default", "normal", job_id)
    await client.publisher.publish(subject, block, b'{"task":"work"}')
    await until(lambda: held_by(worker) == 1, "the job is held", 20)


async def test_a_job_can_be_cancelled_while_a_worker_holds_it(mesh: RunningApp) -> None:
    """Its time comes, and it does not run."""
    runs: list[int] = []

    @mesh.app.task(name="work")
    async def work() -> None:
        runs.append(1)

    async with mesh.worker() as worker:
        await hold_one(mesh, worker, "held")
        assert await mesh.app.job("held").cancel()
        await until(lambda: not worker._consumer.in_hand, "it is let go", 20)

        assert (await mesh.app.job("held").status()).state is State.CANCELLED
        assert await mesh.count("jobs_stream") == 0
    assert not runs


async def test_a_worker_that_stops_hands_back_what_it_holds(mesh: RunningApp) -> None:
    """At once, unspent; another one runs it."""
    attempts: list[int] = []

    @mesh.app.task(name="work")
    async def work() -> None:
        attempts.append(1)

    async with mesh.worker() as first:
        await hold_one(mesh, first, "held")
    assert not first.was_cut_short
    assert not attempts

    async with mesh.worker():
        await mesh.app.job("held").result(timeout=20)
    assert attempts == [1]


async def test_a_job_that_is_held_by_a_worker_that_dies_runs_elsewhere(
    mesh: RunningApp, tmp_path: Path
) -> None:
    """The server gives it to another one when the ack wait is over."""
    await mesh.app.setup()
    client = await mesh.client()
    quick = {"MESH_WORKER_ACK_WAIT": "1.5s", "MESH_WORKER_HEARTBEAT": "0.3s"}
    effects = {"EFFECTS": str(tmp_path / "effects")}
    async with worker_process(mesh.app, REFERENCE, tmp_path, **quick, **effects) as doomed:
        due_ms = SYSTEM_CLOCK.now_ms() + 1_900
        block = frames.header_block([(headers.DUE, str(due_ms))])
        subject = client.names.job("effects", "normal", "held")
        await client.publisher.publish(subject, block, b'{"task":"work","args":[7,0]}')

        async def is_given() -> bool:
            lane = f"CONSUMER.INFO.{client.names.jobs_stream}.effects-normal"
            return (await client.connection.api(lane))["num_ack_pending"] == 1

        await until(is_given, "the worker was given it", 20)
        doomed.kill()
    async with worker_process(mesh.app, REFERENCE, tmp_path, **quick, **effects):
        await mesh.app.job("held").result(timeout=20)

    assert (tmp_path / "effects").read_text().count("start 7") == 1


@pytest.mark.parametrize("extra", [[], [(headers.DUE, "tomorrow")]])
async def test_a_foreign_delay_is_as_exact_as_the_server(
    mesh: RunningApp, extra: list[tuple[str, str]]
) -> None:
    """A client that does not say when the job is due has it run when the server lets go."""

    @mesh.app.task(name="work")
    async def work() -> int:
        return SYSTEM_CLOCK.now_ms()

    async with mesh.worker():
        client = await mesh.client()
        due_ms = SYSTEM_CLOCK.now_ms() + 500
        block = frames.header_block(
            [
                (headers.SCHEDULE, f"@at {at(due_ms).isoformat(timespec='milliseconds')}"),
                (headers.SCHEDULE_TARGET, client.names.due("default", "normal", "later")),
                *extra,
            ]
        )
        await client.publisher.publish(client.names.delayed("later"), block, b'{"task":"work"}')
        status = await mesh.app.job("later").status()
        assert (status.state, status.due_at_ms) == (State.SCHEDULED, due_ms)
        assert await mesh.app.job("later").result(timeout=20) >= due_ms


async def test_delayed_jobs_cost_no_process_anything(mesh: RunningApp) -> None:
    """With a thousand of them far away, a worker hears nothing, holds nothing, asks nothing."""

    @mesh.app.task
    async def work(number: int) -> int:
        return number

    async with mesh.worker() as worker:
        calls = [work.options(delay="1h").s(number) for number in range(1000)]
        await mesh.app.enqueue_many(calls)
        link = (await mesh.client()).connection.link
        before = link.stats["in_msgs"]
        await (await work.options(queue="default").enqueue(1)).result(timeout=20)

        # One job, its records, its acknowledgement, a few beats: nothing for each delayed one.
        assert link.stats["in_msgs"] - before < 100
        assert (held_by(worker), len(worker._consumer.in_hand)) == (0, 0)
        assert await mesh.count("delayed_stream") == 1000


async def test_jobs_that_come_due_while_the_server_is_away_run_once_each() -> None:
    """It was killed: all run when it is back, none twice, none is missing."""
    runs: dict[int, int] = {}
    with EmbeddedServer() as server:
        app = Mesh(server.url, publish={"deadline_s": 20})
        running = RunningApp(app)

        @app.task
        async def work(number: int) -> None:
            runs[number] = runs.get(number, 0) + 1

        async with running.worker():
            first_ms = SYSTEM_CLOCK.now_ms() + 3_000
            calls = [work.options(eta=at(first_ms + number)).s(number) for number in range(500)]
            await app.enqueue_many(calls)
            server.kill()
            over_ms = first_ms + 500
            await until(lambda: SYSTEM_CLOCK.now_ms() > over_ms, "all are overdue", 20)
            assert not runs
            await server.start_async()
            await until(lambda: len(runs) == 500, "all have run", 40)

            async def is_over() -> bool:
                streams = ("jobs_stream", "delayed_stream")
                return not any([await running.count(stream) for stream in streams])

            await until(is_over, "all is acknowledged", 40)
        await app.close()

    assert runs == dict.fromkeys(range(500), 1)


async def test_a_job_is_armed_once_whoever_does_it(mesh: RunningApp) -> None:
    """Two that arm the same job at the same moment, and one that comes when it has run."""
    runs: list[int] = []

    @mesh.app.task(name="tick")
    async def tick() -> None:
        runs.append(1)

    async with mesh.worker():
        delays = (await mesh.client()).delays
        job = Envelope("tick")
        due_ms = SYSTEM_CLOCK.now_ms() + 400
        armed: list[bool] = []

        async def arm() -> None:
            armed.append(
                await delays.arm("tick-1", job, queue="default", priority="high", due_ms=due_ms)
            )

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(arm)
        await mesh.app.job("tick-1").result(timeout=20)
        await arm()

    assert sorted(armed) == [False, False, False, True]
    assert runs == [1]
