"""Measure the archive: a full ledger into a database, and the writer by itself."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from statistics import median
from typing import Final

import anyio
from msgspec import Struct

from mesh.archive.archiver import BATCH, Archiver, Options
from mesh.archive.decoding import Batch
from mesh.archive.opening import open_database
from mesh.archive.rows import EventRow, JobRow
from mesh.archive.schema import migrate
from mesh.archive.store import Keep, Store
from mesh.bench import app as measured
from mesh.bench.lane import MeasuredLane
from mesh.bench.main import plain_settings, worker_command
from mesh.bench.processes import BenchError, Drainer
from mesh.client.client import Client
from mesh.server.process import EmbeddedServer

JOBS: Final = 20_000
"""How many jobs the ledger has; each has two events."""

_EVENTS_PER_JOB = 2
_POLL_S = 0.01
_FILL_LIMIT_S = 300.0
_ARCHIVE_LIMIT_S = 300.0
_FOR_EVER = Keep(0, 0)
_NOON_MS = 1_800_000_000_000


class ArchiveReport(Struct, frozen=True):
    """How fast the archive is; rates are the median of the rounds.

    Attributes:
        archive_per_s: Events a second from a full ledger into the database, the reading of each
            job's record included.
        archive_cpu_us: Processor time of the archiving process for each of these events, in
            microseconds; a machine that is busy with other things changes it less.
        writer_per_s: Events a second that the writer alone puts into the database, with the
            rows of their jobs.
        writer_cpu_us: Processor time of that for each event, in microseconds.
        bytes_per_event: How large an SQLite file is for each event; 0: another database.
        events: How many events were archived in each round.
        missing: Events and jobs that were not in the database afterwards; 0, or something is
            wrong.
    """

    archive_per_s: float
    archive_cpu_us: float
    writer_per_s: float
    writer_cpu_us: float
    bytes_per_event: float
    events: int
    missing: int


class _Round(Struct, frozen=True):
    """One measurement: events a second, and processor time for each."""

    per_s: float
    cpu_us: float


def run(
    *, jobs: int = JOBS, rounds: int = 3, url: str | None = None, on_step: Callable[[str], None]
) -> ArchiveReport:
    """Measure on a server of its own; everything is stopped when this returns or raises.

    Args:
        jobs: How many jobs the ledger has.
        rounds: How often it is archived.
        url: A PostgreSQL database whose schema ``mesh_archive`` is made anew for each round and
            removed at the end; None: SQLite in a temporary folder.
        on_step: Called with a few words before each step.

    Raises:
        BenchError: Something could not be measured.
        ArchiveError: The database fails, or holds an archive already.
        ServerStartError: The server cannot be started.
    """
    on_step("starting a server")
    with EmbeddedServer() as server, plain_settings(server) as environment:
        places = _Places(server.store_dir, url)
        places.check_unused()
        try:
            bench = _Bench(server, environment, places, jobs, on_step)
            return asyncio.run(bench.measure(rounds))
        finally:
            places.clear()


class _Places:
    """Where each round's archive lies; an empty one each time."""

    def __init__(self, folder: Path, url: str | None) -> None:
        self._folder = folder
        self._url = url
        self._count = 0

    def check_unused(self) -> None:
        """Make sure that no archive of somebody is in the way."""
        if self._url is None:
            return
        database = open_database(self._url)
        try:
            found = database.rows("SELECT to_regclass('mesh_archive.about')")[0][0]
        finally:
            database.close()
        if found is not None:
            msg = "that database holds an archive, which would be removed; name another one"
            raise BenchError(msg)

    def next(self) -> str:
        """The address of a new one."""
        self.clear()
        self._count += 1
        url = self._url or str(self._folder / f"archive-{self._count}.db")
        database = open_database(url)
        try:
            migrate(database)
        finally:
            database.close()
        return url

    def clear(self) -> None:
        """Remove what was made in PostgreSQL; files go with their folder."""
        if self._url is not None and self._count:
            database = open_database(self._url)
            try:
                database.execute("DROP SCHEMA IF EXISTS mesh_archive CASCADE")
            finally:
                database.close()


class _Bench:
    """One run of the measurement."""

    def __init__(
        self,
        server: EmbeddedServer,
        environment: dict[str, str],
        places: _Places,
        jobs: int,
        on_step: Callable[[str], None],
    ) -> None:
        self._server = server
        self._environment = environment
        self._places = places
        self._jobs = jobs
        self._on_step = on_step

    async def measure(self, rounds: int) -> ArchiveReport:
        """Fill a ledger, then measure so many times."""
        events, missing, size = self._jobs * _EVENTS_PER_JOB, 0, 0.0
        whole: list[_Round] = []
        alone: list[_Round] = []
        async with measured.app as app:
            await app.setup()
            client = await app.client()
            self._on_step(f"{self._jobs:,} jobs are run, to fill the ledger")
            await self._fill(client)
            for number in range(1, rounds + 1):
                self._on_step(f"round {number} of {rounds}: the ledger is archived")
                url = self._places.next()
                whole.append(await _archive(client, url, f"archive-{number}", events))
                missing += _missing(url, events, self._jobs)
                size = _bytes(url) / events
                self._on_step(f"round {number} of {rounds}: the writer by itself")
                alone.append(_write(self._places.next(), self._jobs))
        return ArchiveReport(
            round(median(one.per_s for one in whole), 1),
            round(median(one.cpu_us for one in whole), 2),
            round(median(one.per_s for one in alone), 1),
            round(median(one.cpu_us for one in alone), 2),
            round(size, 1),
            events,
            missing,
        )

    async def _fill(self, client: Client) -> None:
        defaults = client.settings.job_defaults
        lane = MeasuredLane(client, defaults.queue, defaults.priority)
        log = self._server.store_dir / "worker.log"
        with Drainer(worker_command(), self._environment, log) as worker:
            calls = [measured.noop.s(number) for number in range(self._jobs)]
            await measured.app.enqueue_many(calls)

            async def are_done() -> bool:
                worker.check()
                return await lane.recorded() >= self._jobs

            await _until(are_done, _FILL_LIMIT_S)


async def _archive(client: Client, url: str, consumer: str, events: int) -> _Round:
    archiver = Archiver(client, Options(url, consumer, _FOR_EVER))
    start, used = time.perf_counter(), time.process_time()
    took_s = cpu_s = 0.0
    async with anyio.create_task_group() as group:
        group.start_soon(archiver.run)
        await _until(lambda: archiver.events >= events, _ARCHIVE_LIMIT_S)
        took_s, cpu_s = time.perf_counter() - start, time.process_time() - used
        archiver.stop()
    return _Round(events / took_s, cpu_s / events * 1e6)


async def _until(condition: Callable[[], bool | Awaitable[bool]], limit_s: float) -> None:
    try:
        with anyio.fail_after(limit_s):
            while True:
                answer = condition()
                if answer is True or (answer is not False and await answer):
                    return
                await anyio.sleep(_POLL_S)
    except TimeoutError as error:
        msg = f"that took longer than {limit_s:g} s; is the machine overloaded?"
        raise BenchError(msg) from error


def _write(url: str, jobs: int) -> _Round:
    """Have the writer store what a ledger of so many jobs turns into."""
    store = Store(url)
    try:
        stream = store.enter("bench", "BENCH_EVENTS", "now").stream
        batches = [
            _made_up(stream, first, min(BATCH // _EVENTS_PER_JOB, jobs - first))
            for first in range(0, jobs, BATCH // _EVENTS_PER_JOB)
        ]
        start, used = time.perf_counter(), time.process_time()
        for batch in batches:
            store.add(stream, batch, 0)
        took_s, cpu_s = time.perf_counter() - start, time.process_time() - used
    finally:
        store.close()
    events = jobs * _EVENTS_PER_JOB
    return _Round(events / took_s, cpu_s / events * 1e6)


def _made_up(stream: int, first: int, count: int) -> Batch:
    events: list[EventRow] = []
    jobs: list[JobRow] = []
    for number in range(first, first + count):
        at_ms, seq = _NOON_MS + number // 30, number * _EVENTS_PER_JOB + 1
        job_id = f"{at_ms:011x}a1b2c3d4e5f6{number:05x}"
        events += [
            EventRow(stream, seq, at_ms, "enqueued", job_id, "", None),
            EventRow(stream, seq + 1, at_ms + 5, "finished", job_id, "succeeded", None),
        ]
        row = JobRow("bench", job_id, "succeeded", "noop", "default", "normal", attempts=1)
        jobs.append(
            row._replace(
                enqueued_ms=at_ms,
                started_ms=at_ms + 3,
                finished_ms=at_ms + 5,
                duration_ms=2,
                worker="host-1234-a1b2c3",
                changed_ms=at_ms + 5,
                told_ms=at_ms,
                ready_ms=at_ms,
                rank=(at_ms + 5) << 20,
            )
        )
    return Batch(events, jobs, events[-1].seq)


def _missing(url: str, events: int, jobs: int) -> int:
    database = open_database(url)
    try:
        stored = database.rows("SELECT COUNT(*) FROM events")[0][0]
        succeeded = database.rows(
            "SELECT COUNT(*) FROM jobs WHERE state = 'succeeded' AND started_ms > 0"
        )[0][0]
    finally:
        database.close()
    return abs(events - int(stored)) + abs(jobs - int(succeeded))


def _bytes(url: str) -> int:
    file = Path(url)
    return file.stat().st_size if file.exists() else 0
