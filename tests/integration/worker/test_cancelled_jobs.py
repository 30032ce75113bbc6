"""A cancelled job never runs again, and a running one learns of it, whatever else fails."""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from pathlib import Path

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobCancelledError, JobContext, Mesh, Retry, State
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.records import ResultRecord
from mesh.server.process import EmbeddedServer
from mesh.tasks.cancellation import AttemptStopped
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

REFERENCE = f"{APPS / 'limited.py'}:app"
CANCELLED = ResultRecord(State.CANCELLED, "work", "default", "normal", reason="half done")


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each start of a task leaves a line."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    return path


@pytest.fixture
async def app(server: EmbeddedServer, namespace: str, effects: Path) -> AsyncGenerator[Mesh]:
    """The app in a file, torn down afterwards."""
    del effects  # Its tasks need the file.
    app = load_app(REFERENCE)
    app.override(
        {
            "url": server.url,
            "namespace": namespace,
            "worker.ack_wait_s": 2.0,
            "worker.heartbeat_s": 0.5,
            "worker.shutdown_grace_s": 5.0,
            "worker.process_pool": 1,
        }
    )
    await app.setup()
    yield app
    await RunningApp(app).tear_down()


def lines(effects: Path) -> list[str]:
    """What the tasks noted."""
    return effects.read_text(encoding="utf-8").splitlines()


async def passes(seconds: float) -> None:
    """Wait until something that must not happen would have happened."""
    over_ms = SYSTEM_CLOCK.now_ms() + seconds * 1000
    await until(lambda: SYSTEM_CLOCK.now_ms() > over_ms, "the time is over", seconds + 5)


@pytest.mark.parametrize("way", ["kill", "restart"])
async def test_a_cancellation_outlives_a_restart_of_the_server(way: str) -> None:
    """Scheduled, pending, running and retrying jobs: none of them runs again."""
    runs: list[str] = []
    stopped = anyio.Event()
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        running = RunningApp(app)

        @app.task(retry=Retry(5, "fixed", 3.0, jitter=0.0))
        async def work(name: str) -> None:
            runs.append(name)
            if name == "running":
                try:
                    await anyio.sleep_forever()
                finally:
                    stopped.set()
            message = "again"
            raise ValueError(message)

        async with running.worker():
            long = Retry(5, "fixed", 5.5, jitter=0.0)
            jobs = {
                State.SCHEDULED: await work.options(delay=4.0).enqueue("scheduled"),
                State.PENDING: await work.options(queue="idle").enqueue("pending"),
                State.RUNNING: await work.enqueue("running"),
            }
            retrying = [
                await work.enqueue("soon"),
                await work.options(retry=long).enqueue("later"),
            ]
            places = [*jobs.items(), *((State.RETRYING, job) for job in retrying)]
            for state, job in places:

                async def is_there(state: State = state, job_id: str = job.id) -> bool:
                    return (await app.job(job_id).status()).state is state

                await until(is_there, f"a job is {state}")
            for _, job in places:
                assert await job.cancel(), job
            before = sorted(runs)

            if way == "kill":
                server.kill()
                await server.start_async()
            else:
                await server.restart_async()

            with anyio.fail_after(30):
                await stopped.wait()
            worker = Worker(app, queues=["default", "idle"], registry=CollectorRegistry())
            async with worker:
                await passes(6.5)
                for queue in ("default", "idle"):
                    await work.options(queue=queue, retry=0).enqueue(f"probe {queue}")
                await until(lambda: len(runs) == len(before) + 2, "both lanes work")
            for _, job in places:
                assert (await job.status()).state is State.CANCELLED
        await app.close()

    assert sorted(runs[: len(before)]) == before == ["later", "running", "soon"]


@pytest.mark.parametrize("when", ["before the worker dies", "after the worker has died"])
async def test_a_cancelled_job_of_a_dead_worker_does_not_run_again(
    app: Mesh, effects: Path, tmp_path: Path, when: str
) -> None:
    """Its message would come again when the ack wait is over; its record says that it ended."""
    async with worker_process(app, REFERENCE, tmp_path) as first:
        job = await app.send("wait_in_loop", ["a", str(tmp_path / "gate")])
        await until(lambda: lines(effects) == ["start a"], "it runs")
        if when == "before the worker dies":
            first.process.send_signal(signal.SIGSTOP)  # It cannot hear of it.
            assert await job.cancel()
            first.process.send_signal(signal.SIGCONT)
            first.kill()
        else:
            first.kill()
            assert await job.cancel()
    (tmp_path / "gate").touch()
    async with worker_process(app, REFERENCE, tmp_path):
        await passes(3.0)
        probe = await app.send("wait_in_loop", ["probe", str(tmp_path / "gate")])
        assert await probe.result(timeout=30) == "probe"

    assert lines(effects) == ["start a", "start probe"]
    with pytest.raises(JobCancelledError):
        await job.result(timeout=30)


async def test_a_job_handed_back_by_a_drain_and_then_cancelled_does_not_run_again(
    mesh: RunningApp,
) -> None:
    """The next worker finds nothing to do."""
    runs: list[str] = []
    gate = anyio.Event()

    @mesh.app.task
    async def work(name: str) -> None:
        runs.append(name)
        if name == "a":
            await gate.wait()

    async with mesh.worker(worker__shutdown_grace_s=0.1):
        job = await work.enqueue("a")
        await until(lambda: runs == ["a"], "it runs")
    assert await job.cancel()
    gate.set()
    async with mesh.worker():
        await (await work.enqueue("probe")).result(timeout=30)

    assert runs == ["a", "probe"]
    assert await mesh.count("jobs_stream") == 0


@pytest.mark.parametrize("task", ["wait_in_loop", "wait_in_thread", "wait_in_process"])
async def test_a_running_job_is_cancelled_in_every_pool(
    app: Mesh, effects: Path, task: str
) -> None:
    """Its end is recorded at once, its slot is free, and a thread learns why it should stop."""
    async with Worker(app, app_reference=REFERENCE, registry=CollectorRegistry()) as worker:
        job = await app.send(task, ["a", "/never"])
        await until(lambda: "start a" in lines(effects), "it runs", 30)
        assert await job.cancel("not needed")
        with pytest.raises(JobCancelledError, match="not needed"):
            await job.result(timeout=30)
        await until(lambda: worker.running == 0, "its slot is free")
        if task == "wait_in_thread":
            await until(lambda: "stopped a: cancelled" in lines(effects), "the thread ends")

    assert lines(effects).count("start a") == 1


# --- Half a cancellation ----------------------------------------------------------------------


@pytest.mark.parametrize("place", ["pending", "scheduled", "running"])
async def test_cancelling_again_finishes_what_another_has_begun(
    mesh: RunningApp, place: str
) -> None:
    """The record was stored, but nothing else was done: no message and no run is left."""
    runs: list[int] = []
    stopped = anyio.Event()

    @mesh.app.task
    async def work() -> None:
        runs.append(1)
        try:
            await anyio.sleep_forever()
        finally:
            stopped.set()

    await mesh.app.setup()
    records = (await mesh.client()).records
    job = await work.options(delay=60 if place == "scheduled" else 0).enqueue()
    if place != "running":
        assert await records.finish(job.id, CANCELLED)
        assert await job.cancel("again")
    else:
        async with mesh.worker():
            await until(lambda: bool(runs), "it runs")
            assert await records.finish(job.id, CANCELLED)
            assert await job.cancel("again")
            with anyio.fail_after(30):
                await stopped.wait()

    assert await mesh.count("jobs_stream") == 0
    assert await mesh.count("delayed_stream") == 0
    assert await records.progress(job.id) is None
    assert (await job.status()).message == "half done"


async def test_a_canceller_who_was_not_told_that_his_record_is_stored_goes_on(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The repeated write is refused by his own record: the job is cancelled all the same."""
    await mesh.app.setup()
    job = await mesh.app.send("anything")
    records = (await mesh.client()).records
    finish = type(records).finish

    async def twice(records: object, job_id: str, record: ResultRecord) -> bool:
        await finish(records, job_id, record)  # type: ignore[arg-type]
        return await finish(records, job_id, record)  # type: ignore[arg-type]

    monkeypatch.setattr(type(records), "finish", twice)

    assert await job.cancel()
    assert await mesh.count("jobs_stream") == 0


async def test_a_job_that_comes_due_after_it_was_cancelled_does_not_run(
    mesh: RunningApp,
) -> None:
    """Its canceller found it in neither stream, and the worker gets it as a first delivery."""
    runs: list[str] = []

    @mesh.app.task
    async def work(name: str) -> None:
        runs.append(name)

    async with mesh.worker():
        job = await work.options(delay=0.5).enqueue("cancelled")
        assert await (await mesh.client()).records.finish(job.id, CANCELLED)
        await (await work.options(delay=1.0).enqueue("probe")).result(timeout=30)
        await until(lambda: _is_empty(mesh), "the message is acknowledged")

    assert runs == ["probe"]


async def _is_empty(mesh: RunningApp) -> bool:
    return await mesh.count("jobs_stream") == 0


async def test_a_job_that_is_due_and_in_neither_stream_is_still_known(
    mesh: RunningApp,
) -> None:
    """On its way from one stream to the other it is pending, and can be cancelled."""

    @mesh.app.task
    async def work() -> None:
        """Do nothing."""

    await mesh.app.setup()
    job = await work.options(delay=0.3).enqueue()

    async def is_due() -> bool:
        return await mesh.count("jobs_stream") == 1

    await until(is_due, "it has come to the job stream")
    await mesh.purge("jobs_stream")  # As if it were not there yet.
    status = await job.status()

    assert (status.state, status.queue, status.priority) == (State.PENDING, "default", "normal")
    assert await job.cancel()
    assert (await job.status()).state is State.CANCELLED
    assert await mesh.count("delayed_stream") == 0


async def test_a_running_job_learns_of_a_cancellation_whose_signal_was_lost(
    mesh: RunningApp,
) -> None:
    """Signals are not stored: the records tell, within a moment after they first could."""
    reasons: list[str] = []
    started, stopped = anyio.Event(), anyio.Event()

    @mesh.app.task
    async def work(ctx: JobContext) -> None:
        started.set()
        try:
            await anyio.sleep_forever()
        finally:
            reasons.append(ctx.cancelled.reason)
            stopped.set()

    async with mesh.worker():
        job = await work.enqueue()
        await started.wait()
        assert await (await mesh.client()).records.finish(job.id, CANCELLED)
        with anyio.fail_after(30):
            await stopped.wait()
        await until(lambda: _is_empty(mesh), "the message is acknowledged")

    assert reasons == ["cancelled"]


async def test_a_signal_that_was_missed_in_an_outage_is_made_up_for() -> None:
    """After it is connected again a worker asks the records what became of its jobs."""
    stopped = anyio.Event()
    with EmbeddedServer() as server:
        app = Mesh(server.url)
        running = RunningApp(app)

        @app.task
        async def work() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                stopped.set()

        # So long that no write of its running record tells the worker before.
        async with running.worker(worker__ack_wait_s=60.0, worker__heartbeat_s=20.0):
            job = await work.enqueue()
            client = await app.client()

            async def has_record() -> bool:
                return await client.records.progress(job.id) is not None

            await until(has_record, "its running record is stored")
            await passes(0.5)
            assert await client.records.finish(job.id, CANCELLED)
            assert not stopped.is_set()
            server.kill()
            await until(lambda: not client.connection.is_connected, "the server is away")
            await server.start_async()
            with anyio.fail_after(30):
                await stopped.wait()
        await app.close()


async def test_an_old_signal_does_not_cancel_a_new_job_of_that_name(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker remembers a signal only as long as the job may still be on its way to it."""
    monkeypatch.setattr("mesh.worker.cancellations._REMEMBERED_S", 0.2)

    @mesh.app.task
    async def work() -> str:
        return "done"

    async with mesh.worker():
        client = await mesh.client()
        await client.records.withdraw("order-9")
        await passes(0.5)
        job = await work.options(job_id="order-9").enqueue()
        assert await job.result(timeout=30) == "done"


async def test_leaving_a_task_when_it_was_told_to_stop_is_no_failure(mesh: RunningApp) -> None:
    """raise_if_set() ends a thread without a word; nothing but the cancellation is recorded."""
    left = anyio.Event()

    @mesh.app.task
    def work(ctx: JobContext) -> None:
        try:
            while True:
                ctx.cancelled.raise_if_set()
        except AttemptStopped:
            anyio.from_thread.run_sync(left.set)
            raise

    async with mesh.worker():
        job = await work.enqueue()

        async def runs() -> bool:
            return (await job.status()).state is State.RUNNING

        await until(runs, "it runs")
        assert await job.cancel()
        with anyio.fail_after(30):
            await left.wait()
        with pytest.raises(JobCancelledError):
            await job.result(timeout=30)
