"""The process pool: tasks run in children that may crash, hang or be told to stop."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import psutil
import pytest
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobCancelledError, JobFailedError, Mesh, State
from mesh.client.job import Job
from mesh.clock import SYSTEM_CLOCK
from mesh.server.process import EmbeddedServer
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

REFERENCE = f"{APPS / 'children.py'}:app"


class Pool:
    """An app in a file, with a worker that gives its tasks to child processes."""

    def __init__(self, app: Mesh, reference: str) -> None:
        self.app = app
        self._reference = reference

    @asynccontextmanager
    async def worker(self, *, size: int = 1, grace_s: float = 5.0) -> AsyncGenerator[Worker]:
        """Run a worker in this process with a pool of that size."""
        await self.app.close()
        self.app.override({"worker.process_pool": size, "worker.shutdown_grace_s": grace_s})
        await self.app.setup()
        registry = CollectorRegistry()
        async with Worker(self.app, app_reference=self._reference, registry=registry) as worker:
            yield worker

    async def run(self, task: str, *args: object) -> object:
        """Enqueue a job and wait for its result."""
        job = await self.app.send(task, args)
        return await job.result(timeout=30)


def open_pool(reference: str, server: EmbeddedServer, namespace: str) -> Pool:
    """Load an app from its file for the server under test."""
    app = load_app(reference)
    app.override({"url": server.url, "namespace": namespace})
    return Pool(app, reference)


@pytest.fixture
async def pool(server: EmbeddedServer, namespace: str) -> AsyncGenerator[Pool]:
    """The app of these tests, torn down afterwards."""
    pool = open_pool(REFERENCE, server, namespace)
    yield pool
    await RunningApp(pool.app).tear_down()


def is_running(pid: int) -> bool:
    """Whether a process is there and not a zombie, down to its last thread."""
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1
    except psutil.NoSuchProcess:
        return False


async def pids_in(note: Path) -> list[int]:
    """Read the process ids that a held task notes down."""
    await until(note.exists, "the task runs in its child")
    text = await anyio.Path(note).read_text(encoding="utf-8")
    return [int(pid) for pid in text.split()]


async def failure(job: Job[object]) -> JobFailedError:
    """Wait until a job fails."""
    with pytest.raises(JobFailedError) as caught:
        await job.result(timeout=30)
    return caught.value


async def test_a_task_runs_in_another_process_that_stays(pool: Pool) -> None:
    """Two jobs, one after the other, are run by one and the same child."""
    async with pool.worker():
        first = await pool.run("pid")
        second = await pool.run("pid")

    assert first == second != os.getpid()


async def test_children_are_started_as_they_are_needed(pool: Pool) -> None:
    """A worker without work for its pool has no child, and one job needs one child."""
    before = {child.pid for child in psutil.Process().children()}

    async with pool.worker(size=4):
        idle = {child.pid for child in psutil.Process().children()} - before
        await pool.run("pid")
        after_one = {child.pid for child in psutil.Process().children()} - before

    assert (len(idle), len(after_one)) == (0, 1)


async def test_a_coroutine_in_a_child_knows_its_job(pool: Pool) -> None:
    """current_job() says in a child what it says in the worker."""
    async with pool.worker() as worker:
        job = await pool.app.send("who_am_i", ["ü"])
        told = await job.result(timeout=30)

    assert told == ["ü", job.id, "who_am_i", "default", worker.id]


async def test_context_variables_of_one_job_are_not_seen_by_the_next(pool: Pool) -> None:
    """Each job of a child starts with fresh context variables."""
    async with pool.worker():
        counts = [await pool.run("count_in_context") for _ in range(3)]

    assert counts == [1, 1, 1]


async def test_large_arguments_and_results_pass_through(pool: Pool) -> None:
    """Two megabytes go into a child, and six come out of it."""
    text = "mesh" * 500_000

    async with pool.worker():
        result = await pool.run("repeat", text, 3)

    assert result == text * 3


@pytest.mark.parametrize("code", [0, 3])
async def test_a_child_that_exits_is_a_lost_worker(pool: Pool, code: int) -> None:
    """A task that leaves its process fails, whatever the code, and its neighbours do not."""
    async with pool.worker(size=2):
        neighbour = await pool.app.send("take", [0.5])
        error = await failure(await pool.app.send("leave", [code]))
        took = await neighbour.result(timeout=30)
        next_pid = await pool.run("pid")

    assert error.error_type == "mesh.errors.WorkerLostError"
    assert f"exit code {code}" in error.error_message
    assert took == 0.5
    assert isinstance(next_pid, int)


async def test_a_child_that_is_killed_is_a_lost_worker(pool: Pool) -> None:
    """The failure of a job whose process was killed names the signal."""
    async with pool.worker():
        error = await failure(await pool.app.send("shoot_itself"))

    assert error.error_type == "mesh.errors.WorkerLostError"
    assert "SIGKILL" in error.error_message


async def test_an_idle_child_that_dies_is_replaced(pool: Pool) -> None:
    """A child that is killed between two jobs costs neither of them anything."""
    async with pool.worker():
        first = await pool.run("pid")
        assert isinstance(first, int)
        psutil.Process(first).kill()
        await until(lambda: not is_running(first), "the child is dead")
        second = await pool.app.send("pid")
        other = await second.result(timeout=30)
        status = await second.status()

    assert other != first
    assert status.attempt == 1


async def test_system_exit_is_a_failure_and_not_the_end_of_the_child(pool: Pool) -> None:
    """A task that calls sys.exit() fails, and its child goes on."""
    async with pool.worker():
        before = await pool.run("pid")
        error = await failure(await pool.app.send("exit_politely"))
        after = await pool.run("pid")

    assert (error.error_type, error.error_message) == ("SystemExit", "7")
    assert before == after


async def test_an_error_comes_back_whole(pool: Pool) -> None:
    """Type, message, traceback, notes and cause of an error travel from child to record."""
    async with pool.worker():
        job = await pool.app.send("refuse", ["cake"])
        error = await failure(job)
        status = await job.status()

    assert (error.error_type, error.error_message) == ("ValueError", "no cake here")
    assert "in refuse\n    raise error from KeyError(word)" in error.traceback
    assert status.error is not None
    assert status.error.notes == ("look elsewhere",)
    assert status.error.cause is not None
    assert status.error.cause.type == "KeyError"


async def test_a_result_that_cannot_travel_is_a_final_failure(pool: Pool) -> None:
    """The work is done, so the job is not tried again."""
    async with pool.worker():
        job = await pool.app.send("unsendable", retry=5)
        error = await failure(job)
        status = await job.status()

    assert error.error_type == "mesh.errors.NotSerializableError"
    assert status.attempt == 1


async def test_progress_is_seen_while_the_task_runs(pool: Pool, tmp_path: Path) -> None:
    """What a task in a child reports shows in the job's status before the task ends."""
    gate = tmp_path / "gate"
    async with pool.worker():
        job = await pool.app.send("halve", [str(gate)])

        status = await job.status()
        async for status in job.watch():
            if status.current is not None:
                break
        gate.touch()
        result = await job.result(timeout=30)

    assert (status.current, status.total, status.message) == (1, 2, "half of it")
    assert (status.state, result) == (State.RUNNING, "whole")


async def test_a_flood_of_reports_hinders_nobody(pool: Pool) -> None:
    """50,000 reports of a kilobyte each neither block the task nor get in the answer's way."""
    async with pool.worker():
        result = await pool.run("chatter", 50_000)

    assert result == 50_000


@pytest.mark.alone
async def test_cancelling_kills_the_child_and_all_it_started(
    pool: Pool, tmp_path: Path
) -> None:
    """Within a second of the cancellation neither the child nor its own child is left."""
    note = tmp_path / "note"
    async with pool.worker():
        job = await pool.app.send("hold", [str(note), str(tmp_path / "never")])
        pids = await pids_in(note)

        assert await job.cancel("no longer needed")
        await until(lambda: not any(map(is_running, pids)), "both are gone", timeout_s=1.0)
        with pytest.raises(JobCancelledError):
            await job.result(timeout=30)
        next_pid = await pool.run("pid")

    assert next_pid not in pids


@pytest.mark.alone
async def test_a_timeout_kills_the_child(pool: Pool, tmp_path: Path) -> None:
    """A task that takes too long is killed, and its job fails with a timeout."""
    note = tmp_path / "note"
    async with pool.worker():
        await pool.run("pid")  # The child is started: its start does not count here.
        job = await pool.app.send("hold", [str(note), str(tmp_path / "never")], timeout=2.0)
        error = await failure(job)
        pids = await pids_in(note)
        await until(lambda: not any(map(is_running, pids)), "both are gone", timeout_s=1.0)

    assert error.error_type == "mesh.errors.JobTimeoutError"


async def test_the_wait_for_a_free_child_does_not_count_as_running(pool: Pool) -> None:
    """Five jobs share one child; the last starts after its timeout, and succeeds."""
    async with pool.worker(size=1):
        await pool.run("pid")
        started = SYSTEM_CLOCK.monotonic()
        jobs = [await pool.app.send("take", [0.6], timeout=2.0) for _ in range(5)]
        results = [await job.result(timeout=30) for job in jobs]
        took_s = SYSTEM_CLOCK.monotonic() - started

    assert results == [0.6] * 5
    assert took_s > 2.4


async def test_a_job_that_waits_for_a_child_can_be_cancelled(
    pool: Pool, tmp_path: Path
) -> None:
    """A job that was cancelled while all children were busy never runs."""
    first_note, second_note, gate = tmp_path / "first", tmp_path / "second", tmp_path / "gate"
    async with pool.worker(size=1):
        first = await pool.app.send("hold", [str(first_note), str(gate)])
        await pids_in(first_note)
        second = await pool.app.send("hold", [str(second_note), str(gate)])

        assert await second.cancel()
        gate.touch()
        result = await first.result(timeout=30)
        await pool.run("pid")

    assert result == "let go"
    assert not second_note.exists()


async def test_a_shutdown_hands_back_what_does_not_finish(pool: Pool, tmp_path: Path) -> None:
    """A worker that stops kills the child after the grace; the next worker runs the job."""
    note, gate = tmp_path / "note", tmp_path / "gate"
    async with pool.worker(grace_s=0.1):
        job = await pool.app.send("hold", [str(note), str(gate)])
        pids = await pids_in(note)

    assert not any(map(is_running, pids))
    gate.touch()
    async with pool.worker():
        assert await job.result(timeout=30) == "let go"
    status = await job.status()
    assert status.attempt == 1


async def test_a_worker_that_is_killed_takes_its_children_along(
    pool: Pool, tmp_path: Path
) -> None:
    """A child and what it started are gone soon after a kill -9 of their worker."""
    note = tmp_path / "note"
    await pool.app.setup()
    async with worker_process(pool.app, REFERENCE, tmp_path) as worker:
        await pool.app.send("hold", [str(note), str(tmp_path / "never")])
        pids = await pids_in(note)

        worker.kill()

        await until(lambda: not any(map(is_running, pids)), "both are gone")


async def test_an_app_that_breaks_under_a_running_worker_says_how(
    server: EmbeddedServer, namespace: str, tmp_path: Path
) -> None:
    """A syntax error in the child's app fails the job; once it is mended, the next job runs."""
    file = tmp_path / "shop.py"
    good = "from mesh import Mesh\napp = Mesh()\n@app.task(pool='process', retry=False)\n"
    good += "def sell() -> str: return 'sold'\n"
    file.write_text(good, encoding="utf-8")
    pool = open_pool(f"{file}:app", server, namespace)

    async with pool.worker():
        file.write_text(good + "def oops(:\n", encoding="utf-8")
        error = await failure(await pool.app.send("sell"))
        file.write_text(good, encoding="utf-8")
        result = await pool.run("sell")

    await RunningApp(pool.app).tear_down()
    assert error.error_type == "SyntaxError"
    assert f'File "{file}", line 5' in error.traceback
    assert result == "sold"


async def test_a_worker_that_does_not_know_where_its_app_is_says_so(
    server: EmbeddedServer, namespace: str
) -> None:
    """A job for the process pool of a worker without app reference fails once and clearly."""
    pool = open_pool(REFERENCE, server, namespace)
    async with Pool(pool.app, "").worker():
        job = await pool.app.send("pid")
        error = await failure(job)
        status = await job.status()

    await RunningApp(pool.app).tear_down()
    assert "app_reference" in error.error_message
    assert status.attempt == 1
