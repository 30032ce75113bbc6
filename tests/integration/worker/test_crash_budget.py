"""Processes die under their jobs: crashes are counted apart from failures, and are bounded."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, JobFailedError, Mesh, State
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import records
from mesh.contract.records import ProgressRecord
from mesh.server.process import EmbeddedServer
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

REFERENCE = f"{APPS / 'crashes.py'}:app"
SHORT = {"worker.ack_wait_s": 1.0, "worker.heartbeat_s": 0.3}
# The module of the app is loaded once for all tests: what one overrides, the next must reset.
DEFAULTS = {
    "worker.process_pool": 2,
    "worker.max_crashes": 3,
    "worker.shutdown_grace_s": 5.0,
    "worker.ack_wait_s": 10.0,
    "worker.heartbeat_s": 2.0,
}


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each start of a task leaves a line."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    return path


@pytest.fixture
async def app(server: EmbeddedServer, namespace: str) -> AsyncGenerator[Mesh]:
    """The app whose tasks die, torn down afterwards."""
    app = load_app(REFERENCE)
    app.override({"url": server.url, "namespace": namespace, **DEFAULTS})
    await app.setup()
    yield app
    await RunningApp(app).tear_down()


def worker_of(app: Mesh) -> Worker:
    """A worker in this process, with child processes."""
    return Worker(app, app_reference=REFERENCE, registry=CollectorRegistry())


def lines(effects: Path) -> list[str]:
    """What the tasks noted."""
    return effects.read_text().splitlines()


@pytest.mark.parametrize(
    ("how", "words"),
    [("exit", "exit code 7"), ("segfault", "SIGSEGV"), ("kill", "SIGKILL")],
)
async def test_a_poison_job_is_given_up_and_harms_no_other(
    app: Mesh, effects: Path, how: str, words: str
) -> None:
    """One of 100 jobs kills its process: it starts three times, and the others succeed."""
    async with worker_of(app):
        poison = await app.send("poison", [how])
        jobs = [await app.send("good", [number]) for number in range(99)]
        results = [await job.result(timeout=30) for job in jobs]
        with pytest.raises(JobFailedError) as caught:
            await poison.result(timeout=30)
        again = await (await app.send("good", [100])).result(timeout=30)

    assert results == list(range(99))
    assert again == 100
    assert lines(effects) == ["start"] * 3
    assert caught.value.error_type == "mesh.errors.WorkerLostError"
    assert words in caught.value.error_message
    assert "died 3 times" in caught.value.error_message
    assert await RunningApp(app).count("dead_stream") == 1
    assert await RunningApp(app).count("jobs_stream") == 0
    assert (await poison.status()).attempt == 1


async def test_the_crash_budget_can_be_set(app: Mesh, effects: Path) -> None:
    """With a budget of one crash the first is the last."""
    app.override({"worker.max_crashes": 1})

    async with worker_of(app):
        with pytest.raises(JobFailedError, match="died once"):
            await (await app.send("poison", ["kill"])).result(timeout=30)

    assert lines(effects) == ["start"]


async def test_crashes_use_up_no_attempt(app: Mesh, effects: Path) -> None:
    """A job with one retry survives two crashes and one failure."""
    async with worker_of(app):
        starts = await (await app.send("troubled", [])).result(timeout=30)

    assert starts == 4
    assert lines(effects) == ["attempt 1"] * 3 + ["attempt 2"]


async def test_a_hand_back_uses_up_no_crash_and_keeps_the_count(
    app: Mesh, effects: Path
) -> None:
    """A worker that shuts down under a job leaves one crash and no attempt in the record."""
    app.override({"worker.shutdown_grace_s": 0.1})
    async with worker_of(app):
        job = await app.send("die_then_hold", [])
        await until(lambda: len(lines(effects)) == 2, "it runs again after a crash")
    found = await (await app.client()).records.progress(job.id)

    assert found is not None
    assert (found[0].state, found[0].attempt, found[0].crashes) == (State.RETRYING, 0, 1)


@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("after_s", "starts"), [(0.6, 3), (0.0, 4)], ids=["with a record", "at once"]
)
async def test_a_job_that_kills_its_workers_is_given_up(
    app: Mesh, effects: Path, tmp_path: Path, after_s: float, starts: int
) -> None:
    """Three crashes are counted; a first one before there is a record leaves no trace."""
    environment = {"MESH_WORKER_ACK_WAIT": "1s", "MESH_WORKER_HEARTBEAT": "0.3s"}
    await app.close()
    app.override(SHORT)
    await app.setup(["workers"])
    job = await app.send("shoot_worker", [after_s], queue="workers")
    for number in range(1, starts + 1):
        async with worker_process(
            app, REFERENCE, tmp_path, "-q", "workers", **environment, EFFECTS=str(effects)
        ) as worker:
            process = worker.process
            await until(lambda: process.poll() is not None, "the worker dies", 20)  # noqa: B023
        assert len(lines(effects)) == number

    async with worker_process(
        app, REFERENCE, tmp_path, "-q", "workers", **environment, EFFECTS=str(effects)
    ) as last:
        with pytest.raises(JobFailedError) as caught:
            await job.result(timeout=30)
        assert last.stop() == 0

    assert len(lines(effects)) == starts
    assert "died or froze in attempt 1" in caught.value.error_message
    assert "died 3 times" in caught.value.error_message
    status = await job.status()
    assert (status.task, status.attempt) == ("shoot_worker", 1)
    assert await RunningApp(app).count("dead_stream") == 1


async def test_a_job_another_worker_holds_is_left_alone_until_its_lease_ends(
    mesh: RunningApp,
) -> None:
    """The other worker's record is not touched; once its lease ran out, that is a crash."""
    crashes: list[int] = []
    states: list[tuple[str, str]] = []

    @mesh.app.task
    async def work(ctx: JobContext) -> int:
        found = await (await mesh.client()).records.progress(ctx.job_id)
        crashes.append(found[0].crashes if found else -1)
        return ctx.attempt

    await mesh.app.setup()
    client = await mesh.client()
    lease = SYSTEM_CLOCK.now_ms() + 1500
    other = ProgressRecord(
        State.RUNNING, "work", "default", "normal", 1, "w-other", 1, lease_until_ms=lease
    )
    subject = client.names.progress("held")
    await client.publisher.publish(subject, b"", records.encode(other))
    # As a worker that puts off a retry would publish it: not as a first delivery.
    block = b"NATS/1.0\r\nMesh-Attempt: 1\r\n\r\n"
    where = client.names.job("default", "normal", "held")
    await client.publisher.publish(where, block, b'{"task":"work"}')

    async with mesh.worker():

        async def has_started() -> bool:
            found = await (await mesh.client()).records.progress("held")
            if found is not None:
                states.append((found[0].worker, found[0].state))
            return bool(crashes)

        await until(has_started, "it runs when the lease has ended")
        assert await mesh.app.job("held").result(timeout=30) == 1

    assert SYSTEM_CLOCK.now_ms() >= lease
    assert crashes == [1]
    assert {state for worker, state in states if worker == "w-other"} == {State.RUNNING}
    assert not [state for _, state in states if state == State.RETRYING]
