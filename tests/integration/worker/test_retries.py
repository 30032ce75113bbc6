"""Which failures are tried again, when, and what a task may ask for itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from support.processes import APPS
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, JobFailedError, Mesh, Retry, State
from mesh.contract.records import ErrorInfo
from mesh.server.process import EmbeddedServer
from mesh.worker.loading import load_app
from mesh.worker.worker import Worker

REFERENCE = f"{APPS / 'crashes.py'}:app"
# The module of the app is loaded once for all tests: others override these.
DEFAULTS = {
    "worker.ack_wait_s": 10.0,
    "worker.heartbeat_s": 2.0,
    "worker.shutdown_grace_s": 5.0,
}
POOLS = ["ask_in_loop", "ask_in_thread", "ask_in_process"]


@pytest.fixture
def effects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file in which each start of a task leaves a line."""
    path = tmp_path / "effects"
    path.touch()
    monkeypatch.setenv("EFFECTS", str(path))
    return path


@pytest.fixture
async def app(server: EmbeddedServer, namespace: str) -> AsyncGenerator[Mesh]:
    """The app in a file, torn down afterwards."""
    app = load_app(REFERENCE)
    app.override(
        {"url": server.url, "namespace": namespace, "worker.process_pool": 1, **DEFAULTS}
    )
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
    ("error", "starts"),
    [(ConnectionResetError, 2), (FileNotFoundError, 1), (ValueError, 1)],
)
async def test_a_rule_says_on_which_errors_to_try_again(
    mesh: RunningApp, error: type[Exception], starts: int
) -> None:
    """Types derived from a named one count, giving up is stronger, others fail at once."""
    runs: list[int] = []
    rule = Retry(1, "fixed", 0.0, on=(OSError,), give_up_on=(FileNotFoundError,))

    @mesh.app.task
    async def work() -> None:
        runs.append(1)
        raise error

    async with mesh.worker():
        job = await work.options(retry=rule).enqueue()  # The rule travels with the job.
        with pytest.raises(JobFailedError):
            await job.result(timeout=30)

    assert len(runs) == starts


@pytest.mark.parametrize(("kind", "starts"), [("stock", 2), ("key", 1), ("value", 1)])
async def test_a_rule_knows_the_bases_of_an_error_raised_in_a_child(
    app: Mesh, effects: Path, kind: str, starts: int
) -> None:
    """A child process says from which types its error derives."""
    async with worker_of(app):
        with pytest.raises(JobFailedError):
            await (await app.send("pick", [kind])).result(timeout=30)

    assert lines(effects) == ["start"] * starts


async def test_a_timeout_is_an_error_a_rule_can_name(mesh: RunningApp) -> None:
    """A job that runs too long is tried again if the rule names TimeoutError."""
    runs: list[int] = []

    @mesh.app.task(timeout=0.2, retry=Retry(1, "fixed", 0.0, on=(TimeoutError,)))
    async def work(ctx: JobContext) -> int:
        runs.append(1)
        await until(lambda: ctx.attempt == 2, "it is the second attempt")
        return ctx.attempt

    async with mesh.worker():
        assert await (await work.enqueue()).result(timeout=30) == 2

    assert len(runs) == 2


async def test_a_policy_decides_for_its_task(mesh: RunningApp) -> None:
    """A function sees attempt and error, names the waits, and says when to give up."""
    asked: list[tuple[int, str]] = []

    def policy(attempt: int, error: ErrorInfo) -> float | None:
        asked.append((attempt, error.message))
        return 0.01 if attempt < 3 else None

    @mesh.app.task(retry=policy)
    async def work(ctx: JobContext) -> None:
        message = f"attempt {ctx.attempt}"
        raise ValueError(message)

    async with mesh.worker():
        with pytest.raises(JobFailedError, match="attempt 3"):
            await (await work.enqueue()).result(timeout=30)
        with pytest.raises(JobFailedError, match="attempt 1"):
            await (await work.options(retry=0).enqueue()).result(timeout=30)

    assert asked == [(1, "attempt 1"), (2, "attempt 2"), (3, "attempt 3")]


async def test_a_policy_that_fails_gives_up_and_says_so(mesh: RunningApp) -> None:
    """The job fails with its own error, and a note names the policy's."""

    def policy(attempt: int, error: ErrorInfo) -> float:
        return attempt / len(error.notes)

    @mesh.app.task(retry=policy)
    async def work() -> None:
        message = "its own"
        raise ValueError(message)

    async with mesh.worker():
        job = await work.enqueue()
        with pytest.raises(JobFailedError, match="its own"):
            await job.result(timeout=30)
        error = (await job.status()).error

    assert error is not None
    assert error.notes == ("its retry policy failed: ZeroDivisionError: division by zero",)


@pytest.mark.parametrize("task", POOLS)
async def test_a_task_asks_for_another_attempt(app: Mesh, effects: Path, task: str) -> None:
    """It uses up an attempt and waits as long as the task says, not as its rule does."""
    async with worker_of(app):
        assert await (await app.send(task, ["retry"])).result(timeout=30) == 2

    assert lines(effects) == ["attempt 1", "attempt 2"]


@pytest.mark.parametrize("task", POOLS)
async def test_a_task_snoozes(app: Mesh, effects: Path, task: str) -> None:
    """It is run again as the same attempt."""
    async with worker_of(app):
        assert await (await app.send(task, ["snooze"])).result(timeout=30) == 1

    assert lines(effects) == ["attempt 1"] * 2


@pytest.mark.parametrize("task", POOLS)
async def test_a_task_discards_its_job(app: Mesh, effects: Path, task: str) -> None:
    """The job fails at once with the reason given, and becomes a dead letter."""
    async with worker_of(app):
        with pytest.raises(JobFailedError) as caught:
            await (await app.send(task, ["discard"])).result(timeout=30)

    assert caught.value.error_type == "mesh.tasks.context.JobDiscarded"
    assert caught.value.error_message == "no such user"
    assert lines(effects) == ["attempt 1"]
    assert await RunningApp(app).count("dead_stream") == 1


async def test_asking_for_attempts_ends_with_the_rule(mesh: RunningApp) -> None:
    """After the last attempt the job fails with the error for which the task asked."""
    runs: list[int] = []

    @mesh.app.task(retry=Retry(2, give_up_on=(Exception,)))
    async def work(ctx: JobContext) -> None:
        runs.append(ctx.attempt)
        try:
            int("many")
        except ValueError as error:
            raise ctx.retry(0) from error

    async with mesh.worker():
        with pytest.raises(JobFailedError) as caught:
            await (await work.enqueue()).result(timeout=30)

    assert runs == [1, 2, 3]
    assert caught.value.error_type == "ValueError"


async def test_snoozes_have_no_limit(mesh: RunningApp) -> None:
    """A job that may not be retried snoozes as often as it likes."""
    runs: list[int] = []

    @mesh.app.task(retry=False)
    async def work(ctx: JobContext) -> int:
        runs.append(ctx.attempt)
        if len(runs) < 12:
            raise ctx.snooze(0)
        return len(runs)

    async with mesh.worker():
        assert await (await work.enqueue()).result(timeout=30) == 12

    assert runs == [1] * 12
    assert await mesh.count("jobs_stream") == 0


async def test_long_snoozes_wait_in_the_delayed_stream(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twice in a row, as the same attempt and with its priority; then the job runs."""
    monkeypatch.setattr("mesh.worker.settlement.LONGEST_NAK_S", 0.05)
    runs: list[tuple[int, str]] = []

    @mesh.app.task(retry=False, priority="high")
    async def work(ctx: JobContext) -> str:
        runs.append((ctx.attempt, ctx.priority))
        if len(runs) < 3:
            raise ctx.snooze(0.8)
        return "done"

    async with mesh.worker():
        job = await work.enqueue()

        async def waits() -> bool:
            return await mesh.count("delayed_stream") > 0 and not await mesh.count(
                "jobs_stream"
            )

        await until(waits, "only the delayed stream holds it")
        status = await job.status()
        assert await job.result(timeout=30) == "done"

    assert status.state is State.RETRYING
    assert status.attempt == 0
    assert runs == [(1, "high")] * 3
