"""The lane that is measured: hold it, let it go, see how far it is drained."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import anyio

from mesh.bench.processes import BenchError
from mesh.client.client import Client
from mesh.client.lanes import WAKE_AFTER_MS
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.subjects import consumer_name, kv_stream
from mesh.transport import frames
from mesh.transport.buckets import Bucket, Entry, Shelf
from mesh.transport.puller import Delivery, Puller

_POLL_S = 0.01
_READY_LIMIT_S = 30.0
# Longer than a job of a dead or stuck worker takes to come back.
_STALLED_AFTER_S = 30.0
_PAUSED_UNTIL = "2100-01-01T00:00:00Z"
_READ_BATCH = 1000
_READ_LIMIT_S = 30.0


class MeasuredLane:
    """One queue at one priority, and the records of its jobs.

    Args:
        client: A connection to the server.
        queue: The queue.
        priority: The priority.

    Attributes:
        consumer: The lane's durable consumer.
        stream: The job stream.
    """

    def __init__(self, client: Client, queue: str, priority: str) -> None:
        self._client = client
        self._api = client.connection.api
        self.stream = client.names.jobs_stream
        self.consumer = consumer_name(queue, priority)
        self._jobs = Shelf(client.connection, self.stream)
        self._bucket = Bucket(client.connection, client.names.results_bucket)
        self._results = kv_stream(client.names.results_bucket)

    async def pause(self) -> None:
        """Have the server deliver nothing."""
        await self._api(
            f"CONSUMER.PAUSE.{self.stream}.{self.consumer}", {"pause_until": _PAUSED_UNTIL}
        )

    async def resume(self) -> float:
        """Have it deliver again; return when it will, on ``time.perf_counter``.

        A pause that is lifted at once leaves waiting pulls asleep until they are renewed;
        one that runs out wakes them.
        """
        now_ms = SYSTEM_CLOCK.now_ms()
        start = time.perf_counter() + WAKE_AFTER_MS / 1000
        until = datetime.fromtimestamp((now_ms + WAKE_AFTER_MS) / 1000, UTC).isoformat()
        await self._api(f"CONSUMER.PAUSE.{self.stream}.{self.consumer}", {"pause_until": until})
        return start

    async def record(self, job_id: str) -> Entry | None:
        """Read the terminal record of a job."""
        return await self._bucket.read(job_id)

    async def recorded(self) -> int:
        """Count the terminal records."""
        return await self._bucket.count()

    async def is_asked(self) -> bool:
        """Whether a drainer waits for jobs of this lane."""
        info = await self._api(f"CONSUMER.INFO.{self.stream}.{self.consumer}")
        return int(info["num_waiting"]) > 0

    async def until_asked(self, check: Callable[[], None]) -> None:
        """Wait until a drainer is ready.

        Args:
            check: Raises if the drainer has died.

        Raises:
            BenchError: It was not ready in time.
        """
        with anyio.move_on_after(_READY_LIMIT_S):
            while not await self.is_asked():
                check()
                await anyio.sleep(_POLL_S)
            return
        msg = f"no drainer asked {self.consumer} for jobs within {_READY_LIMIT_S:g} s"
        raise BenchError(msg)

    async def drain(self, jobs: int, check: Callable[[], None]) -> float:
        """Let the lane go and wait until so many jobs have a record.

        Args:
            jobs: How many there are.
            check: Raises if the drainer has died.

        Returns:
            How many had one in a second; of a drain that stalled, as far as it came.
        """
        before = await self._bucket.count()
        start = last_progress = await self.resume()
        stored = 0
        while stored < jobs:
            now_stored = await self._bucket.count() - before
            now = time.perf_counter()
            if now_stored > stored:
                stored, last_progress = now_stored, now
            elif now - last_progress > _STALLED_AFTER_S:
                break
            else:
                check()
            if stored < jobs:
                await anyio.sleep(_POLL_S)
        return stored / max(last_progress - start, _POLL_S)

    async def until_empty(self) -> None:
        """Wait until every job is acknowledged, but not for ever."""
        with anyio.move_on_after(_STALLED_AFTER_S):
            while True:
                if not await self._jobs.count():
                    return
                await anyio.sleep(_POLL_S)

    async def succeeded(self) -> set[str]:
        """Read the id of every job that has a record which says so."""
        name = "bench-reader"
        config = {"durable_name": name, "ack_policy": "none", "headers_only": True}
        answer = await self._api(
            f"CONSUMER.DURABLE.CREATE.{self._results}.{name}",
            {"stream_name": self._results, "config": config},
        )
        left = int(answer["num_pending"])
        found: set[str] = set()
        page = anyio.Event()

        def read(delivery: Delivery) -> None:
            nonlocal left
            left -= 1
            if frames.read_headers(delivery.headers).get(headers.STATE) == State.SUCCEEDED:
                found.add(delivery.subject.rsplit(b".", 1)[1].decode())
            if not left % _READ_BATCH:
                page.set()

        puller = Puller(
            self._client.connection,
            self._results,
            name,
            on_delivery=read,
            on_end=lambda _missing, _status: None,
        )
        await puller.start()
        try:
            with anyio.fail_after(_READ_LIMIT_S):
                while left:
                    page = anyio.Event()
                    puller.ask(left % _READ_BATCH or _READ_BATCH)
                    await page.wait()
        finally:
            await puller.stop()
            await self._api(f"CONSUMER.DELETE.{self._results}.{name}")
        return found

    async def clear(self) -> None:
        """Forget every job and every record: all drains start from the same state."""
        names = self._client.names
        for stream in (self.stream, self._results, names.events_stream, names.dead_stream):
            await self._api(f"STREAM.PURGE.{stream}")
