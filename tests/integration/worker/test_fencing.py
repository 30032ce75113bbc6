"""A worker that has lost a job finds out, and says nothing more about it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, JobStatus, Mesh, State
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers, records
from mesh.contract.records import ProgressRecord
from mesh.server.process import EmbeddedServer
from mesh.transport import frames
from mesh.worker.worker import Worker

SHORT = {"worker.ack_wait_s": 1.0, "worker.heartbeat_s": 0.2}
REFERENCE = f"{APPS / 'effects.py'}:app"


class Ears:
    """Hears every acknowledgement that is sent for jobs of an app."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []

    async def listen(self, client: Client) -> None:
        """Begin to listen."""
        subject = f"$JS.ACK.{client.names.jobs_stream}.>"
        await client.connection.link.listen(subject, self._hear)

    def _hear(self, _subject: bytes, _reply: bytes, data: bytes, _headers: bytes) -> None:
        if data != b"+WPI":
            self.heard.append(data)


async def rewrite(client: Client, job_id: str, record: ProgressRecord) -> None:
    """Put a running record in the place of whatever is there."""
    block = frames.header_block([(headers.STATE, str(record.state))])
    await client.publisher.publish(client.names.progress(job_id), block, records.encode(record))


async def record_of(client: Client, job_id: str) -> ProgressRecord:
    """The running record, once there is one."""

    async def exists() -> bool:
        return await client.records.progress(job_id) is not None

    await until(exists, "the running record is written")
    found = await client.records.progress(job_id)
    assert found is not None
    return found[0]


@pytest.mark.timeout(180)
@pytest.mark.parametrize("wakes", ["while the other runs", "after the other has ended"])
async def test_a_worker_that_wakes_up_late_neither_stores_nor_acknowledges(
    mesh: RunningApp, tmp_path: Path, wakes: str
) -> None:
    """Frozen for longer than its lease, it finds another worker's record or result."""
    app, effects = mesh.app, tmp_path / "effects"
    effects.touch()
    environment = {
        "EFFECTS": str(effects),
        "MESH_WORKER_ACK_WAIT": "1s",
        "MESH_WORKER_HEARTBEAT": "0.2s",
    }
    app.override(SHORT)
    await app.setup(["effects"])
    client, ears = await app.client(), Ears()
    await ears.listen(client)

    def starts() -> int:
        return effects.read_text().count("start 1\n")

    async with worker_process(app, REFERENCE, tmp_path, **environment) as first:
        job = await app.send("work", [1, 3.0], queue="effects")
        stale = await record_of(client, job.id)
        os.kill(first.process.pid, signal.SIGSTOP)
        async with worker_process(app, REFERENCE, tmp_path, **environment) as second:
            await until(lambda: starts() == 2, "the other worker has taken it over", 30)
            if wakes.startswith("after"):
                await job.result(timeout=30)
                await until(lambda: bool(ears.heard), "the other one acknowledges")
            os.kill(first.process.pid, signal.SIGCONT)
            assert await job.result(timeout=30) == 1
            await until(
                lambda: "lost a job" in first.log or effects.read_text().count("end 1\n") == 2,
                "the first one has found out or come to the end",
            )
            status: JobStatus = await job.status()
            assert second.stop() == 0
            assert await (await app.send("work", [2, 0.0], queue="effects")).result(30) == 2
            assert first.stop() == 0

    await until(lambda: len(ears.heard) >= 2, "both jobs are acknowledged")
    assert status.worker not in {"", stale.worker}
    assert ears.heard == [b"+ACK", b"+ACK"], "one for each job"
    assert await mesh.count("jobs_stream") == 0
    assert starts() == 2


async def test_a_job_whose_record_names_another_worker_is_stopped_and_left_alone(
    mesh: RunningApp,
) -> None:
    """The lease is gone: the task is cancelled, and nothing is stored or said of it."""
    stopped: list[str] = []
    registry = CollectorRegistry()

    @mesh.app.task
    async def work(ctx: JobContext) -> int:
        try:
            if not stopped:
                await anyio.sleep_forever()
        except BaseException:
            stopped.append(ctx.worker)
            raise
        return ctx.attempt

    mesh.app.override(SHORT)
    await mesh.app.setup()
    client, ears = await mesh.client(), Ears()
    async with Worker(mesh.app, registry=registry):
        await ears.listen(client)
        job = await work.enqueue()
        running = await record_of(client, job.id)
        lease_until_ms = SYSTEM_CLOCK.now_ms() + 2000
        other = replace(running, worker="another", lease_until_ms=lease_until_ms)
        await rewrite(client, job.id, other)
        await until(lambda: bool(stopped), "the task is stopped")
        assert (await job.status()).worker == "another"
        assert ears.heard == []

        # The other one never comes back, so its lease passes and the job is taken over.
        assert await job.result(timeout=30) == 1

    assert SYSTEM_CLOCK.now_ms() >= lease_until_ms
    assert registry.get_sample_value("mesh_jobs_taken_over_total") == 1


async def test_a_renewal_whose_answer_was_lost_is_no_lost_lease(mesh: RunningApp) -> None:
    """The record has moved on, but it is still this attempt's."""
    release = anyio.Event()

    @mesh.app.task
    async def work(ctx: JobContext) -> str:
        await release.wait()
        return ctx.worker

    mesh.app.override(SHORT)
    await mesh.app.setup()
    client = await mesh.client()
    async with Worker(mesh.app, registry=CollectorRegistry()) as worker:
        job = await work.enqueue()
        running = await record_of(client, job.id)
        await rewrite(client, job.id, replace(running, message="stored, but not answered"))

        async def goes_on() -> bool:
            return (await record_of(client, job.id)).message == ""

        await until(goes_on, "the lease is renewed over it")
        release.set()
        assert await job.result(timeout=30) == worker.id


async def test_a_retry_whose_answer_was_lost_is_not_given_up(mesh: RunningApp) -> None:
    """The same for the record of a job that waits for its next attempt."""
    attempts: list[int] = []

    @mesh.app.task(retry=1)
    async def work(ctx: JobContext) -> int:
        attempts.append(ctx.attempt)
        if ctx.attempt == 1:
            client = await mesh.client()
            running = await record_of(client, ctx.job_id)
            await rewrite(client, ctx.job_id, replace(running, message="not answered"))
            message = "no"
            raise ValueError(message)
        return ctx.attempt

    # No renewal comes in between.
    mesh.app.override({"worker.heartbeat_s": 5.0, "job_defaults.retry_delay_s": 0.1})
    await mesh.app.setup()
    async with Worker(mesh.app, registry=CollectorRegistry()):
        assert await (await work.enqueue()).result(timeout=30) == 2

    assert attempts == [1, 2]


async def test_a_lease_is_renewed_while_the_loop_is_blocked(mesh: RunningApp) -> None:
    """Whoever looks at the record meanwhile sees a lease that is valid."""

    @mesh.app.task
    async def blocks(ctx: JobContext) -> list[int]:
        seen: list[int] = []
        with anyio.from_thread.start_blocking_portal() as portal:
            url, namespace = mesh.app.settings.url, mesh.app.settings.namespace
            seen += portal.call(_leases, url, namespace, ctx.job_id, 3.0)
        return seen

    mesh.app.override(SHORT)
    await mesh.app.setup()
    async with Worker(mesh.app, registry=CollectorRegistry()):
        left_ms = await (await blocks.enqueue()).result(timeout=30)

    assert len(left_ms) > 10
    assert min(left_ms) > 0, "the lease had passed while the job ran"


async def _leases(url: str, namespace: str, job_id: str, for_s: float) -> list[int]:
    """How long the job's lease still lasted, looked at again and again, in milliseconds."""
    app = Mesh(url, namespace=namespace)
    left: list[int] = []
    async with app:
        client = await app.client()
        await record_of(client, job_id)
        until_s = anyio.current_time() + for_s

        async def looked() -> bool:
            record = await record_of(client, job_id)
            left.append(record.lease_until_ms - SYSTEM_CLOCK.now_ms())
            return anyio.current_time() > until_s

        await until(looked, "it was looked at for three leases")
    return left


async def test_an_exclusive_job_has_its_record_before_it_starts(mesh: RunningApp) -> None:
    """Even one that takes no time at all is claimed, and leaves no record behind."""

    @mesh.app.task(exclusive=True)
    async def work(ctx: JobContext, number: int) -> tuple[str, str]:
        found = await (await mesh.client()).records.progress(ctx.job_id)
        assert found is not None
        assert number == 7
        return found[0].state, found[0].worker

    async with mesh.worker() as worker:
        job = await work.enqueue(7)
        assert await job.result(timeout=30) == (State.RUNNING, worker.id)
        await until(lambda: _is_empty(mesh), "it is acknowledged")
        assert await (await mesh.client()).records.progress(job.id) is None


async def test_an_exclusive_job_that_another_worker_runs_waits_for_it(mesh: RunningApp) -> None:
    """A first delivery of an exclusive job asks the records before it starts."""
    runs: list[int] = []

    @mesh.app.task(exclusive=True)
    async def work() -> None:
        runs.append(SYSTEM_CLOCK.now_ms())

    mesh.app.override(SHORT)
    await mesh.app.setup()
    client = await mesh.client()
    lease_until_ms = SYSTEM_CLOCK.now_ms() + 1500
    record = ProgressRecord(
        State.RUNNING, "work", "default", "normal", 1, "another", 1, lease_until_ms
    )
    await rewrite(client, "mine", record)
    async with Worker(mesh.app, registry=CollectorRegistry()):
        await work.options(job_id="mine").enqueue()
        await mesh.app.job("mine").result(timeout=30)

    assert len(runs) == 1
    assert runs[0] >= lease_until_ms


@pytest.mark.parametrize("exclusive", [True, False])
async def test_only_an_exclusive_job_is_stopped_when_its_lease_cannot_be_renewed(
    *, exclusive: bool
) -> None:
    """While the server is away nobody else can have a job; one that must be alone stops."""
    ends: list[str] = []
    release = anyio.Event()
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        app.override(SHORT)

        @app.task(exclusive=exclusive)
        async def work() -> str:
            try:
                if not ends:
                    await release.wait()
            finally:
                ends.append("released" if release.is_set() else "stopped")
            return "done"

        async with RunningApp(app).worker():
            job = await work.enqueue()
            await record_of(await app.client(), job.id)
            server.kill()
            gone = anyio.current_time() + 2.0
            await until(
                lambda: bool(ends) or anyio.current_time() > gone, "the lease has passed"
            )
            release.set()
            await server.start_async()
            assert await job.result(timeout=30) == "done"
        await app.close()

    assert ends == (["stopped", "released"] if exclusive else ["released"])


async def _is_empty(mesh: RunningApp) -> bool:
    return await mesh.count("jobs_stream") == 0
