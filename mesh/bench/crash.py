"""Kill a worker in the middle of its jobs, and measure how they come back.

What the jobs did is read from a file that they write themselves: the books of mesh are not
trusted with the question whether mesh keeps its books.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import anyio

from mesh.bench import app as measured
from mesh.bench.lane import MeasuredLane
from mesh.bench.main import plain_settings, worker_command
from mesh.bench.processes import BenchError, Drainer
from mesh.bench.report import CrashReport
from mesh.client.client import Client
from mesh.client.job import Job
from mesh.server.process import EmbeddedServer

JOBS = 50
JOB_S = 1.0
LIMIT_S = 60.0
_NEXT_WORKER_AFTER_S = 1.0
_POLL_S = 0.01
_RUNNING_LIMIT_S = 30.0


def run(
    *,
    jobs: int = JOBS,
    job_s: float = JOB_S,
    limit_s: float = LIMIT_S,
    settings: Mapping[str, str] | None = None,
    on_step: Callable[[str], None],
) -> CrashReport:
    """Measure on a server of its own; everything is stopped when this returns or raises.

    Args:
        jobs: How many jobs run when their worker is killed, not more than it runs at once.
        job_s: How long each takes; the worker is killed when half of that is over.
        limit_s: How long after the kill a job without a record counts as lost.
        settings: Variables such as ``MESH_WORKER_ACK_WAIT``; all others have their defaults.
        on_step: Called with a few words before each step.

    Raises:
        BenchError: It could not be measured.
        ServerStartError: The server cannot be started.
    """
    on_step("starting a server")
    with EmbeddedServer() as server, plain_settings(server, settings) as environment:
        return asyncio.run(_Crash(server, environment, on_step).measure(jobs, job_s, limit_s))


class _Crash:
    """One worker killed, and another that takes over."""

    def __init__(
        self,
        server: EmbeddedServer,
        environment: Mapping[str, str],
        on_step: Callable[[str], None],
    ) -> None:
        self._folder = server.store_dir
        self._effects = Effects(server.store_dir / "effects")
        self._environment = {**environment, measured.EFFECTS: str(self._effects.path)}
        self._on_step = on_step

    async def measure(self, count: int, job_s: float, limit_s: float) -> CrashReport:
        """Kill a worker that runs so many jobs, and wait for their records."""
        async with measured.app as app:
            await app.setup()
            client = await app.client()
            defaults = app.settings.job_defaults
            lane = MeasuredLane(client, defaults.queue, defaults.priority)
            with self._worker("first") as worker:
                self._on_step("a worker starts")
                await lane.until_asked(worker.check)
                calls = [measured.tell.s(number, job_s) for number in range(count)]
                jobs = await app.enqueue_many(calls)
                await self._until_running(count, worker.check)
                await anyio.sleep(job_s / 2)
                os.kill(worker.pid, signal.SIGKILL)
                killed_s = time.perf_counter()
            self._effects.check_none_ended()
            self._on_step("the worker is killed; another one starts")
            await anyio.sleep(_NEXT_WORKER_AFTER_S)
            with self._worker("second") as worker:
                last_s = await self._until_recorded(
                    lane, count, killed_s + limit_s, worker.check
                )
                lost = [job.id for job in jobs if await lane.record(job.id) is None]
                if not lost:
                    self._on_step("every acknowledgement is waited for")
                    await lane.until_empty()
            doubled = await recorded_twice(client, jobs) | {
                jobs[number].id for number in self._effects.ran_again()
            }
        recovered_s = round((last_s or killed_s + limit_s) - killed_s, 2)
        return CrashReport(recovered_s, len(lost), len(doubled))

    async def _until_running(self, count: int, check: Callable[[], None]) -> None:
        try:
            with anyio.fail_after(_RUNNING_LIMIT_S):
                while self._effects.started() < count:
                    check()
                    await anyio.sleep(_POLL_S)
        except TimeoutError as error:
            started = self._effects.started()
            msg = (
                f"{started} of {count} jobs ran at once after {_RUNNING_LIMIT_S:g} s; "
                "a worker runs no more at once than its concurrency"
            )
            raise BenchError(msg) from error

    async def _until_recorded(
        self, lane: MeasuredLane, count: int, until_s: float, check: Callable[[], None]
    ) -> float | None:
        """Wait until every job has a record; say when the newest came, or None if none did."""
        stored, last_s = 0, None
        while stored < count and time.perf_counter() < until_s:
            check()
            now_stored = await lane.recorded()
            if now_stored > stored:
                stored, last_s = now_stored, time.perf_counter()
            else:
                await anyio.sleep(_POLL_S)
        return last_s

    def _worker(self, name: str) -> Drainer:
        return Drainer(worker_command(), self._environment, self._folder / f"{name}.log")


class Effects:
    """The file in which the measured task says what it does.

    Args:
        path: The file.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def started(self) -> int:
        """How many jobs were started at least once."""
        return len({number for word, number in self._lines() if word == measured.STARTED})

    def check_none_ended(self) -> None:
        """Make sure that the kill came in time.

        Raises:
            BenchError: A job had ended before.
        """
        ended = sum(word == measured.ENDED for word, _ in self._lines())
        if ended:
            msg = f"{ended} jobs ended before the worker was killed; is the machine overloaded?"
            raise BenchError(msg)

    def ran_again(self) -> set[int]:
        """The jobs that were started again after they had ended."""
        ended: set[int] = set()
        again: set[int] = set()
        for word, number in self._lines():
            if word == measured.ENDED:
                ended.add(number)
            elif number in ended:
                again.add(number)
        return again

    def _lines(self) -> Iterable[tuple[str, int]]:
        if not self.path.exists():
            return
        # Without a line's end it is still being written.
        for line in self.path.read_text(encoding="utf-8").splitlines(keepends=True):
            if line.endswith("\n"):
                word, number = line.split()
                yield word, int(number)


async def recorded_twice(client: Client, jobs: Iterable[Job[int]]) -> set[str]:
    """The jobs of which more than one terminal record was stored.

    The results bucket keeps the newest only, but the server announces each one it stores.
    """
    names = client.names
    answer = await client.connection.api(
        f"STREAM.INFO.{names.events_stream}", {"subjects_filter": names.event("finished", "*")}
    )
    stored: dict[str, int] = answer["state"].get("subjects") or {}
    return {job.id for job in jobs if stored.get(names.event("finished", job.id), 0) > 1}
