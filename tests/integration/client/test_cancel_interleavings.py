"""Every order in which the steps of a cancellation and those of a job can come."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, Iterable, Iterator
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp
from support.waiting import until

from mesh import JobContext, JobNotFoundError, Mesh, Retry, State
from mesh.client.job import Job
from mesh.client.records import Records
from mesh.client.status import JobStatus
from mesh.contract.records import ResultRecord
from mesh.worker.attempt import Attempt
from mesh.worker.executor import Executor
from mesh.worker.outcomes import Outcome
from mesh.worker.settlement import Settlement
from mesh.worker.worker import Worker

OF_CANCEL = ("status", "record", "withdraw")
OF_JOB = ("enqueue", "deliver", "start", "end")
OF_PUTTING_OFF = ("enqueue", "end", "reschedule", "look")
ENDINGS = ("succeed", "fail", "retry", "retry much later", "snooze")


class Gate:
    """Where something waits until the test lets it go on."""

    def __init__(self) -> None:
        self.is_reached = False
        self._opened = asyncio.Event()

    async def pass_through(self) -> None:
        """Say that the gate is reached, and wait for it to be opened."""
        self.is_reached = True
        await self._opened.wait()

    def open(self) -> None:
        """Let through whoever waits, or comes."""
        self._opened.set()


class Stage:
    """What one job and its canceller do, step by step.

    Attributes:
        starts: How often the job was started.
        answer: What the canceller was told; None: that there is no such job.
        is_answered: Whether he was told anything.
        starts_before: How often the job had been started then.
    """

    def __init__(self, steps: Iterable[str]) -> None:
        self._gates = {step: Gate() for step in steps}
        self.starts = 0
        self.answer: bool | None = None
        self.is_answered = False
        self.starts_before = 0

    async def reach(self, step: str) -> None:
        """Wait at the gate before a step, if there is one."""
        if step in self._gates:
            await self._gates[step].pass_through()

    def open(self, step: str) -> None:
        """Let a step be taken."""
        self._gates[step].open()

    def is_at(self, *steps: str) -> bool:
        """Whether one of these steps is held up now."""
        return any(self._gates[step].is_reached for step in steps)

    async def cancel(self, job: Job[Any]) -> None:
        """Cancel the job and note the answer."""
        with contextlib.suppress(JobNotFoundError):
            self.answer = await job.cancel()
        self.is_answered = True
        self.starts_before = self.starts


class StepByStep(Records):
    """The records as a canceller sees them, with a gate before each step.

    Attributes:
        stage: Whose gates.
    """

    stage: Stage

    async def status(self, job_id: str) -> JobStatus:
        """Wait at the gate, once, then look."""
        await self.stage.reach("status")
        return await super().status(job_id)

    async def finish(self, job_id: str, record: ResultRecord) -> bool:
        """Wait at the gate, then write."""
        await self.stage.reach("record")
        return await super().finish(job_id, record)

    async def withdraw(self, job_id: str) -> None:
        """Wait at the gate, then withdraw."""
        await self.stage.reach("withdraw")
        await super().withdraw(job_id)


def orders(of_job: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """All ways to lay the steps of a canceller between those of a job."""
    count = len(OF_CANCEL) + len(of_job)
    for places in itertools.combinations(range(count), len(OF_CANCEL)):
        cancel, job = iter(OF_CANCEL), iter(of_job)
        yield tuple(next(cancel) if place in places else next(job) for place in range(count))


class Theatre:
    """One worker and one canceller, each with a connection of its own.

    Attributes:
        stage: The steps of the job of which it is now the turn.
        worker: The worker.
    """

    worker: Worker

    def __init__(self, mesh: RunningApp, canceller: Mesh, records: StepByStep) -> None:
        self.stage = Stage(())
        self._mesh = mesh
        self._app = mesh.app
        self._queue = self._app.queue("default")
        self._canceller = canceller
        self._records = records

    async def play(self, number: int, ending: str, steps: tuple[str, ...]) -> None:
        """Take the steps in their order, then check what became of the job."""
        self.stage = self._records.stage = stage = Stage(steps)
        job = self._app.job(f"job-{number}")
        if "deliver" in steps:
            await self._queue.pause()
        async with anyio.create_task_group() as group:
            group.start_soon(stage.cancel, self._canceller.job(job.id))
            await until(lambda: stage.is_at("status"), "the canceller is there")
            for step in steps:
                stage.open(step)
                if step == "enqueue":
                    await self._app.send("work", [ending], job_id=job.id)
                elif step == "deliver":
                    await self._queue.resume()
                await self._taken(job.id, step, steps)
        await self._check(job.id, ending)

    async def _taken(self, job_id: str, step: str, steps: tuple[str, ...]) -> None:
        """Wait until a step is taken and the next one held up, or nothing more will come."""
        stage = self.stage
        following = steps[steps.index(step) + 1 :]
        if step in OF_CANCEL:
            ahead = [later for later in following if later in OF_CANCEL]
            await until(lambda: stage.is_answered or stage.is_at(*ahead), f"{step} is taken")
            return
        ahead = [later for later in following if later not in OF_CANCEL]

        async def is_taken() -> bool:
            if stage.is_at(*ahead) or ahead[:1] == ["deliver"]:
                return True
            return not await self._mesh.count("jobs_stream") and not self._is_in_hand(job_id)

        await until(is_taken, f"{step} is taken")

    def _is_in_hand(self, job_id: str) -> bool:
        return job_id in self.worker._consumer.in_hand  # pyright: ignore[reportPrivateUsage]

    async def _check(self, job_id: str, ending: str) -> None:
        stage, job = self.stage, self._app.job(job_id)
        if stage.answer is None and ending == "retry much later":
            # He did not know it, so it waits for its next attempt.
            assert (await job.status()).state is State.RETRYING
            assert await job.cancel()
            return

        async def is_over() -> bool:
            return (await job.status()).is_finished

        await until(is_over, "the job has ended")
        assert ((await job.status()).state is State.CANCELLED) == (stage.answer is True)
        if stage.answer:
            assert stage.starts == stage.starts_before, "it was started after the answer"
            assert await self._mesh.count("jobs_stream") == 0
            assert await self._mesh.count("delayed_stream") == 0
            assert await (await self._mesh.client()).records.progress(job_id) is None


@pytest.fixture
async def theatre(mesh: RunningApp, monkeypatch: pytest.MonkeyPatch) -> AsyncGenerator[Theatre]:
    """A worker whose steps are held up, and a canceller on another connection."""
    settings = mesh.app.settings
    canceller = Mesh(settings.url, namespace=settings.namespace)
    client = await canceller.client()
    records = StepByStep(client.connection, client.names, has_replicas=False)
    records.publisher = client.publisher
    client.records = records
    theatre = Theatre(mesh, canceller, records)
    execute = Executor.execute

    async def held_up(executor: Executor, attempt: Attempt) -> Outcome:
        await theatre.stage.reach("start")
        return await execute(executor, attempt)

    reschedule, look = Settlement._reschedule, Records.is_over  # pyright: ignore[reportPrivateUsage]

    async def put_off(settlement: Settlement, *told: Any) -> None:
        await theatre.stage.reach("reschedule")
        await reschedule(settlement, *told)

    async def is_over(records: Records, job_id: str) -> bool:
        await theatre.stage.reach("look")
        return await look(records, job_id)

    monkeypatch.setattr(Executor, "execute", held_up)
    monkeypatch.setattr(Settlement, "_reschedule", put_off)
    monkeypatch.setattr(Records, "is_over", is_over)

    @mesh.app.task(retry=Retry(3, "fixed", 0.0))
    async def work(ctx: JobContext, ending: str) -> str:
        theatre.stage.starts += 1
        await theatre.stage.reach("end")
        if ending == "fail":
            raise ctx.discard("it was of no use")
        if theatre.stage.starts == 1 and ending == "retry":
            raise ctx.retry(0)
        if theatre.stage.starts == 1 and ending == "retry much later":
            raise ctx.retry("1h")
        if theatre.stage.starts == 1 and ending == "snooze":
            raise ctx.snooze(0)
        return ending

    await mesh.app.setup()
    theatre.worker = Worker(mesh.app, registry=CollectorRegistry())
    async with theatre.worker:
        yield theatre
    await canceller.close()


@pytest.mark.parametrize("ending", ENDINGS)
async def test_a_cancellation_and_a_job_agree_in_every_order(
    theatre: Theatre, ending: str
) -> None:
    """True means cancelled and nothing else does, and nothing starts after it was said."""
    for number, steps in enumerate(orders(OF_JOB)):
        await theatre.play(number, ending, steps)


async def test_a_job_that_is_put_off_meanwhile_is_cancelled_whole(theatre: Theatre) -> None:
    """Whatever the worker writes last, nothing of the job is left when both are done."""
    for number, steps in enumerate(orders(OF_PUTTING_OFF)):
        await theatre.play(number, "retry much later", steps)


def test_all_orders_are_there() -> None:
    """Thirty-five, and no two alike."""
    assert len(set(orders(OF_JOB))) == 35
