"""Measure mesh beside a bare loop: one server, one run, by turns; the medians of all rounds."""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import anyio
import msgspec

from mesh.bench import app as measured
from mesh.bench import raw
from mesh.bench.lane import MeasuredLane
from mesh.bench.processes import BenchError, Drainer, memory_mib
from mesh.bench.raw import DrainPlan, RawJob
from mesh.bench.report import Pace, Report, Round, WorkerFacts, summarise
from mesh.client.messages import MessageMaker
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.identifiers import new_job_id
from mesh.server.process import EmbeddedServer
from mesh.settings.sources import CONFIG_VARIABLE
from mesh.transport import frames
from mesh.transport.buckets import Entry

ROUND_TRIPS = 500
# Safe path: a folder here that is called like a library must not hide it.
_PYTHON = (sys.executable, "-P", "-m")
_NAMESPACE = "bench"
_STARTUP_LIMIT_S = 30.0
_ROUND_TRIPS_LIMIT_S = 60.0
_PUBLISH_LIMIT_S = 60.0


def run(*, jobs: int = 20_000, rounds: int = 3, on_step: Callable[[str], None]) -> Report:
    """Measure on a server of its own; everything is stopped when this returns or raises.

    Args:
        jobs: How many jobs each drain has.
        rounds: How often everything is measured.
        on_step: Called with a few words before each step.

    Raises:
        BenchError: Something could not be measured.
        ServerStartError: The server cannot be started.
        ValueError: There is nothing to measure.
    """
    if jobs < 1 or rounds < 1:
        msg = f"a measurement needs jobs and rounds, not {jobs} and {rounds}"
        raise ValueError(msg)
    on_step("starting a server")
    with EmbeddedServer() as server, plain_settings(server) as environment:
        return asyncio.run(_Bench(server, environment, jobs, on_step).measure(rounds))


class _Bench:
    """One run of the measurement."""

    def __init__(
        self,
        server: EmbeddedServer,
        environment: dict[str, str],
        jobs: int,
        on_step: Callable[[str], None],
    ) -> None:
        self._server = server
        self._environment = environment
        self._jobs = jobs
        self._round_trips = min(ROUND_TRIPS, jobs)
        self._on_step = on_step
        self._app = measured.app
        self._lane: MeasuredLane
        self._maker: MessageMaker
        self._sample: Entry | None = None
        self._round = ""

    async def measure(self, rounds: int) -> Report:
        """Measure everything so many times."""
        async with self._app:
            await self._app.setup()
            client = await self._app.client()
            defaults = self._app.settings.job_defaults
            self._lane = MeasuredLane(client, defaults.queue, defaults.priority)
            self._maker = MessageMaker(self._app.settings, client.names, SYSTEM_CLOCK)
            measured_rounds: list[Round] = []
            for number in range(1, rounds + 1):
                self._round = f"round {number} of {rounds}"
                # Who goes second finds a warmer machine: they change places.
                measured_rounds.append(
                    await self._mesh_first() if number % 2 else await self._raw_first()
                )
        return summarise(self._jobs, measured_rounds)

    async def _mesh_first(self) -> Round:
        pace, facts = await self._measure_mesh()
        return Round(pace, facts, await self._measure_raw())

    async def _raw_first(self) -> Round:
        raw_pace = await self._measure_raw()
        return Round(*await self._measure_mesh(), raw_pace)

    async def _measure_mesh(self) -> tuple[Pace, WorkerFacts]:
        """Measure mesh: its startup, its round trips, its enqueue, its drain."""
        self._say("mesh: a worker starts and runs its first job")
        first = await measured.noop.enqueue(self._jobs)
        start = time.perf_counter()
        with self._drainer("worker", *worker_command()) as worker:
            with _limit(_STARTUP_LIMIT_S, "the worker's first job", worker):
                await first.result()
            startup_s = time.perf_counter() - start
            self._sample = await self._lane.record(first.id)
            await self._lane.until_asked(worker.check)

            self._say(f"mesh: {self._round_trips:,} jobs, one after the other")
            with _limit(_ROUND_TRIPS_LIMIT_S, "the round trips of mesh", worker):
                trips, ids = await self._mesh_round_trips()

            self._say(f"mesh: {self._jobs:,} jobs are enqueued")
            await self._lane.pause()
            gc.collect()
            start = time.perf_counter()
            jobs = await self._app.enqueue_many([measured.noop.s(i) for i in range(self._jobs)])
            enqueue_per_s = self._jobs / (time.perf_counter() - start)
            ids |= {first.id, *(job.id for job in jobs)}
            del jobs

            self._say(f"mesh: {self._jobs:,} jobs are drained")
            await self._lane.until_asked(worker.check)
            drain_per_s = await self._lane.drain(self._jobs, worker.check)
            await self._lane.until_empty()
            rss_mib = memory_mib(worker.pid)
        missing = len(ids - await self._lane.succeeded())
        await self._lane.clear()
        pace = Pace(enqueue_per_s, drain_per_s, trips)
        return pace, WorkerFacts(startup_s, rss_mib, missing)

    async def _mesh_round_trips(self) -> tuple[list[float], set[str]]:
        took_s: list[float] = []
        ids: set[str] = set()
        for number in range(self._round_trips):
            start = time.perf_counter()
            job = await measured.noop.enqueue(number)
            await job.result()
            took_s.append(time.perf_counter() - start)
            ids.add(job.id)
        return took_s, ids

    async def _measure_raw(self) -> Pace:
        """Measure the bare loops: their round trips, their publish, their drain."""
        url = self._server.url
        plan = self._drain_plan()
        command = (*_PYTHON, "mesh.bench.raw", msgspec.json.encode(plan).decode())
        with self._drainer("raw", *command) as drainer:
            await self._lane.until_asked(drainer.check)

            self._say(f"bare loop: {self._round_trips:,} jobs, one after the other")
            with _limit(_ROUND_TRIPS_LIMIT_S, "the round trips of the bare loop", drainer):
                trips = await raw.round_trips(
                    url, self._raw_jobs(self._round_trips), plan.results_prefix
                )

            self._say(f"bare loop: {self._jobs:,} jobs are published")
            await self._lane.pause()
            jobs = self._raw_jobs(self._jobs)
            gc.collect()
            window = self._app.settings.publish.window
            with _limit(_PUBLISH_LIMIT_S, "the publish of the bare loop", drainer):
                took_s = await raw.publish_all(url, jobs, window)
            enqueue_per_s = self._jobs / took_s
            del jobs

            self._say(f"bare loop: {self._jobs:,} jobs are drained")
            await self._lane.until_asked(drainer.check)
            drain_per_s = await self._lane.drain(self._jobs, drainer.check)
            await self._lane.until_empty()
        await self._lane.clear()
        return Pace(enqueue_per_s, drain_per_s, trips)

    def _raw_jobs(self, count: int) -> list[RawJob]:
        """Encode jobs as mesh would, before the clock starts."""
        messages = (
            self._maker.make(measured.noop.s(number), new_job_id()) for number in range(count)
        )
        return [RawJob(m.subject, frames.read_headers(m.block), m.body) for m in messages]

    def _drain_plan(self) -> DrainPlan:
        """Have the bare loop write what mesh wrote for its first job, header for header."""
        sample = self._sample
        if sample is None:
            msg = "mesh stored no record for its first job, so there is nothing to compare with"
            raise BenchError(msg)
        prefix = sample.subject.rpartition(".")[0] + "."
        body = sample.value.decode()
        block = {headers.EXPECTED_LAST: "0"} | sample.headers
        return DrainPlan(
            self._server.url, self._lane.stream, self._lane.consumer, prefix, block, body
        )

    def _drainer(self, name: str, *command: str) -> Drainer:
        log_path = self._server.store_dir / f"{name}.log"
        return Drainer(command, self._environment, log_path)

    def _say(self, step: str) -> None:
        self._on_step(f"{self._round}: {step}")


def worker_command() -> tuple[str, ...]:
    """How an unmodified worker of the measured app is started."""
    return (*_PYTHON, "mesh", "worker", f"{Path(measured.__file__)}:app")


@contextmanager
def _limit(seconds: float, what: str, drainer: Drainer) -> Generator[None]:
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        drainer.check()
        msg = f"{what} took longer than {seconds:g} s; is the machine overloaded?"
        raise BenchError(msg) from error


@contextmanager
def plain_settings(
    server: EmbeddedServer, others: Mapping[str, str] | None = None
) -> Generator[dict[str, str]]:
    """Have this process and its children see the defaults, whatever the user has set.

    Args:
        server: The server to use.
        others: Variables that are set all the same.
    """
    file = server.store_dir / "bench.toml"
    file.touch()
    ours = {
        "MESH_URL": server.url,
        "MESH_NAMESPACE": _NAMESPACE,
        CONFIG_VARIABLE: str(file),
        **(others or {}),
    }
    theirs = {name: value for name, value in os.environ.items() if name.startswith("MESH_")}
    try:
        for name in theirs:
            del os.environ[name]
        os.environ.update(ours)
        measured.app.override({})  # Settings of an earlier run are read anew.
        yield dict(os.environ)
    finally:
        for name in ours:
            del os.environ[name]
        os.environ.update(theirs)
