"""The blocking twins: a background thread with its own loop and connection answers for them."""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

from mesh.client.job import Job
from mesh.client.status import JobStatus
from mesh.durations import Duration
from mesh.errors import BlockingCallError

R = TypeVar("R")
V = TypeVar("V")

_STOP_LIMIT_S = 5.0


class Portal:
    """One background loop of an app; starts with the first blocking call.

    Safe from any thread, from within a running loop (which it blocks for as long as the call
    takes), and after a fork, where the child gets a loop of its own.
    """

    def __init__(self, on_stop: Callable[[], Awaitable[None]]) -> None:
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = 0

    def call(self, work: Awaitable[V]) -> V:
        """Have the background loop do something and wait for it.

        Raises:
            BlockingCallError: The call came from the background loop itself.
        """
        loop = self._running()
        if threading.current_thread() is self._thread:
            raise BlockingCallError(
                "a blocking call inside the loop that must answer it would wait for ever; use the "
                "async method of the same name"
            )
        future = asyncio.run_coroutine_threadsafe(_awaited(work), loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()  # An interrupted caller leaves nothing running behind.
            raise

    def stop(self) -> None:
        """Close the connection and end the thread; the next call starts both again."""
        with self._lock:
            loop, thread = self._loop, self._thread
            self._loop = self._thread = None
        if loop is None or thread is None or self._pid != os.getpid() or not thread.is_alive():
            return
        closing = asyncio.run_coroutine_threadsafe(_awaited(self._on_stop()), loop)
        try:
            closing.result(_STOP_LIMIT_S)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(_STOP_LIMIT_S)

    def _running(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None or self._pid != os.getpid():
                self._start()
            assert self._loop is not None
            return self._loop

    def _start(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        # A daemon, or a script that never says goodbye would hang at its end.
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="mesh-blocking", daemon=True
        )
        self._thread.start()
        atexit.register(self.stop)


async def _awaited(work: Awaitable[V]) -> V:
    return await work


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


class BlockingJob(Generic[R]):
    """The blocking twin of ``Job``: the same names, safe from any thread.

    Attributes:
        id: The job's id.
    """

    __slots__ = ("_job", "_portal", "id")

    def __init__(self, job: Job[R], portal: Portal) -> None:
        self.id = job.id
        self._job = job
        self._portal = portal

    def status(self) -> JobStatus:
        """Say where the job is; see ``Job.status``."""
        return self._portal.call(self._job.status())

    def result(self, timeout: Duration | None = None) -> R:
        """Wait for the job to end and return what its task returned; see ``Job.result``."""
        return self._portal.call(self._job.result(timeout))

    def watch(self) -> Iterator[JobStatus]:
        """Follow the job until it has ended; see ``Job.watch``."""
        changes = self._job.watch()
        end: Any = object()
        try:
            while (status := self._portal.call(_next_or(changes, end))) is not end:
                yield status
        finally:
            self._portal.call(_closed(changes))

    def cancel(self, reason: str = "") -> bool:
        """Cancel the job wherever it is; see ``Job.cancel``."""
        return self._portal.call(self._job.cancel(reason))

    def __repr__(self) -> str:
        """Show the id."""
        return f"<BlockingJob {self.id}>"


async def _next_or(changes: Any, end: V) -> JobStatus | V:
    status: JobStatus | V = await anext(changes, end)
    return status


async def _closed(changes: Any) -> None:
    await changes.aclose()
