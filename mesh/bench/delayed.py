"""Measure how punctual delayed jobs are: on an idle worker, and when the server was away.

What the jobs did is read from a file that they write themselves, with the time at which they
were started.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import anyio
from anyio import to_thread

from mesh.app import Mesh
from mesh.bench import app as measured
from mesh.bench.lane import MeasuredLane
from mesh.bench.main import plain_settings, worker_command
from mesh.bench.processes import BenchError, Drainer
from mesh.bench.report import DelayedReport, OutageReport, percentile
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.server.process import EmbeddedServer

JOBS = 1_000
OUTAGE_JOBS = 10_000
OUTAGE_S = 5.0
_SPREAD_S = 1.0
_FIRST_IN_S = 2.0
_ENQUEUED_PER_S = 4_000
_LIMIT_S = 60.0
_POLL_S = 0.05
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def run(*, jobs: int = JOBS, on_step: Callable[[str], None]) -> DelayedReport:
    """Measure how late delayed jobs start, on a server of its own, with one idle worker.

    Args:
        jobs: How many are due within one second, evenly spread.
        on_step: Called with a few words before each step.

    Raises:
        BenchError: It could not be measured.
        ServerStartError: The server cannot be started.
    """
    on_step("starting a server")
    with EmbeddedServer() as server, plain_settings(server) as environment:
        return asyncio.run(_Delayed(server, environment, on_step).punctuality(jobs))


def run_outage(
    *,
    jobs: int = OUTAGE_JOBS,
    outage_s: float = OUTAGE_S,
    on_step: Callable[[str], None],
) -> OutageReport:
    """Kill the server, have jobs come due while it is away, and see when each one ran.

    Args:
        jobs: How many are due meanwhile, evenly spread.
        outage_s: How long it is away at least.
        on_step: Called with a few words before each step.

    Raises:
        BenchError: It could not be measured.
        ServerStartError: The server cannot be started.
    """
    on_step("starting a server")
    with EmbeddedServer() as server, plain_settings(server) as environment:
        return asyncio.run(_Delayed(server, environment, on_step).outage(jobs, outage_s))


class _Delayed:
    """One server, one worker, and jobs that are due at times known to the millisecond."""

    def __init__(
        self,
        server: EmbeddedServer,
        environment: Mapping[str, str],
        on_step: Callable[[str], None],
    ) -> None:
        self._server = server
        self._arrivals = Arrivals(server.store_dir / "arrivals")
        effects = {measured.EFFECTS: str(self._arrivals.path)}
        log_path = server.store_dir / "worker.log"
        self._worker = Drainer(worker_command(), {**environment, **effects}, log_path)
        self._on_step = on_step

    async def punctuality(self, count: int) -> DelayedReport:
        """Have jobs come due while nothing else happens."""
        async with measured.app as app:
            await app.setup()
            with self._worker as worker:
                self._on_step("a worker starts")
                await _lane(app, await app.client()).until_asked(worker.check)
                self._on_step(f"{count:,} delayed jobs are enqueued")
                dues = await _enqueue(app, count, _SPREAD_S)
                self._on_step("they come due")
                await self._until_started(count, worker.check)
        late_ms = [at_ms - dues[number] for number, at_ms in self._arrivals.first().items()]
        return DelayedReport(
            lateness_p50_ms=round(percentile(late_ms, 50), 2),
            lateness_p99_ms=round(percentile(late_ms, 99), 2),
            lateness_max_ms=round(max(late_ms), 2),
            early=sum(late < 0 for late in late_ms),
            missing=count - len(late_ms),
            jobs=count,
        )

    async def outage(self, count: int, outage_s: float) -> OutageReport:
        """Have jobs come due while the server is away."""
        async with measured.app as app:
            await app.setup()
            lane = _lane(app, await app.client())
            with self._worker as worker:
                self._on_step("a worker starts")
                await lane.until_asked(worker.check)
                self._on_step(f"{count:,} delayed jobs are enqueued")
                dues = await _enqueue(app, count, outage_s)
                # The timer lets go of the first a moment before it is due.
                await _sleep_until(dues[0] - 500)
                if self._arrivals.first():
                    msg = (
                        "jobs were due before the server was killed; is the machine overloaded?"
                    )
                    raise BenchError(msg)
                self._on_step("the server is killed")
                killed_ms = SYSTEM_CLOCK.now_ms()
                await to_thread.run_sync(self._server.kill)
                await _sleep_until(dues[-1])
                self._on_step("the server is started again")
                await self._server.start_async()
                away_s = (SYSTEM_CLOCK.now_ms() - killed_ms) / 1000
                await self._until_started(count, worker.check)
                await lane.until_empty()
        started = self._arrivals.first()
        worst_ms = max(at_ms - dues[number] for number, at_ms in started.items())
        return OutageReport(
            outage_s=round(away_s, 2),
            excess_s=round(worst_ms / 1000 - away_s, 2),
            missing=count - len(started),
            doubled=self._arrivals.doubled(),
            jobs=count,
        )

    async def _until_started(self, count: int, check: Callable[[], None]) -> None:
        with anyio.move_on_after(_LIMIT_S):
            while len(self._arrivals.first()) < count:
                check()
                await anyio.sleep(_POLL_S)
        if not self._arrivals.first():
            msg = f"no job was started within {_LIMIT_S:g} s"
            raise BenchError(msg)


class Arrivals:
    """The file in which the measured task says when it was started.

    Args:
        path: The file.

    Attributes:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def first(self) -> dict[int, float]:
        """When each job was started first, in milliseconds since the epoch."""
        found: dict[int, float] = {}
        for number, at_ms in self._lines():
            found.setdefault(number, at_ms)
        return found

    def doubled(self) -> int:
        """How many jobs were started more than once."""
        starts = Counter(number for number, _ in self._lines())
        return sum(count > 1 for count in starts.values())

    def _lines(self) -> list[tuple[int, float]]:
        if not self.path.exists():
            return []
        # Without a line's end it is still being written.
        lines = self.path.read_text(encoding="utf-8").splitlines(keepends=True)
        words = [line.split() for line in lines if line.endswith("\n")]
        return [(int(number), int(at_ns) / 1e6) for number, at_ns in words]


async def _enqueue(app: Mesh, count: int, spread_s: float) -> list[int]:
    """Enqueue jobs that are due evenly spread; say when each is, in epoch milliseconds."""
    first_ms = SYSTEM_CLOCK.now_ms() + round((_FIRST_IN_S + count / _ENQUEUED_PER_S) * 1000)
    dues = [first_ms + round(number * spread_s * 1000 / count) for number in range(count)]
    await app.enqueue_many(
        [
            measured.arrive.options(eta=_EPOCH + timedelta(milliseconds=due_ms)).s(number)
            for number, due_ms in enumerate(dues)
        ]
    )
    if SYSTEM_CLOCK.now_ms() > first_ms - 1_000:
        msg = f"it took too long to enqueue {count:,} jobs; is the machine overloaded?"
        raise BenchError(msg)
    return dues


async def _sleep_until(at_ms: int) -> None:
    await anyio.sleep(max(0, at_ms - SYSTEM_CLOCK.now_ms()) / 1000)


def _lane(app: Mesh, client: Client) -> MeasuredLane:
    defaults = app.settings.job_defaults
    return MeasuredLane(client, defaults.queue, defaults.priority)
