"""The blocking twins: a background thread with its own loop and connection answers for them."""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import inspect
import logging
import os
import threading
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, TypeVar

from mesh.client.happenings import LedgerEvent
from mesh.client.job import Job
from mesh.client.status import JobStatus
from mesh.contract.events import LogLine
from mesh.durations import Duration
from mesh.errors import BlockingCallError

log: logging.Logger = logging.getLogger("mesh.client")

R_co = TypeVar("R_co", covariant=True)
V = TypeVar("V")

_STOP_LIMIT_S = 10.0


class Portal:
    """One background loop of an app; starts with the first blocking call.

    Safe from any thread, from within a running loop (which it blocks for as long as the call
    takes), and after a fork, where the child gets a loop of its own.
    """

    def __init__(self, on_stop: Callable[[], Awaitable[None]]) -> None:
        self._on_stop = on_stop
        self._thread: _LoopThread | None = None
        self.renew_lock()
        _portals.add(self)

    def renew_lock(self) -> None:
        """Make a new lock: in a forked child the old one may be held for ever."""
        self._lock = threading.Lock()

    def call(self, work: Awaitable[V]) -> V:
        """Have the background loop do something and wait for it.

        Raises:
            BlockingCallError: The call came from the background loop itself, or the app was
                closed while it waited.
        """
        try:
            future = self._submit(work)
        except BaseException:
            if inspect.iscoroutine(work):
                work.close()
            raise
        try:
            return future.result()
        except concurrent.futures.CancelledError as error:
            message = "the app was closed while this call waited for it"
            raise BlockingCallError(message) from error
        except BaseException:
            future.cancel()  # An interrupted caller leaves nothing running behind.
            raise

    def stop(self) -> None:
        """Close the connection and end the thread; the next call starts both again.

        Raises:
            BlockingCallError: The call came from the background loop itself.
        """
        with self._lock:
            thread = self._thread
            if thread is None or not thread.is_alive:
                return
            thread.check_caller()
            self._thread = None
            atexit.unregister(self.stop)
            closing = asyncio.run_coroutine_threadsafe(_awaited(self._on_stop()), thread.loop)
        try:
            closing.result(_STOP_LIMIT_S)
        except TimeoutError:
            log.warning("the connection of blocking calls did not close in time; it is dropped")
        finally:
            thread.end()

    def _submit(self, work: Awaitable[V]) -> concurrent.futures.Future[V]:
        with self._lock:  # Held until the call is queued: a loop that is stopped takes no more.
            if self._thread is None or not self._thread.is_alive:
                self._thread = _LoopThread()
                atexit.register(self.stop)
            self._thread.check_caller()
            return asyncio.run_coroutine_threadsafe(_awaited(work), self._thread.loop)


class _LoopThread:
    """A thread that runs a loop until it is told to end."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._pid = os.getpid()
        # A daemon, or a script that never says goodbye would hang at its end.
        self._thread = threading.Thread(target=self._run, name="mesh-blocking", daemon=True)
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, and in this process: a forked child has no copy of it."""
        return self._pid == os.getpid() and self._thread.is_alive()

    def check_caller(self) -> None:
        """Raise if this very thread is the one that calls."""
        if threading.current_thread() is self._thread:
            message = (
                "a blocking call inside the loop that must answer it would wait for ever; use "
                "the async method of the same name"
            )
            raise BlockingCallError(message)

    def end(self) -> None:
        """Cancel what still runs, and wait for the thread to be gone."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(_STOP_LIMIT_S)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self.loop) as runner:
            runner.get_loop().run_forever()  # Leaving the runner cancels what is left.


async def _awaited(work: Awaitable[V]) -> V:
    return await work


def _renew_locks() -> None:
    for portal in _portals:
        portal.renew_lock()


_portals: weakref.WeakSet[Portal] = weakref.WeakSet()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_locks)


class BlockingJob(Generic[R_co]):
    """The blocking twin of ``Job``: the same names, safe from any thread.

    Attributes:
        id: The job's id.
        is_duplicate: Whether the job was there already when it was enqueued here.
    """

    __slots__ = ("_job", "_portal", "id", "is_duplicate")

    id: str
    is_duplicate: bool

    def __init__(self, job: Job[R_co], portal: Portal) -> None:
        self.id = job.id
        self.is_duplicate = job.is_duplicate
        self._job = job
        self._portal = portal

    def status(self) -> JobStatus:
        """Say where the job is; see ``Job.status``."""
        return self._portal.call(self._job.status())

    def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the job to end and return what its task returned; see ``Job.result``."""
        return self._portal.call(self._job.result(timeout))

    def watch(self) -> Iterator[JobStatus]:
        """Follow the job until it has ended; see ``Job.watch``."""
        return stepped(self._portal, self._job.watch())

    def cancel(self, reason: str = "") -> bool:
        """Cancel the job wherever it is; see ``Job.cancel``."""
        return self._portal.call(self._job.cancel(reason))

    def run_now(self) -> bool:
        """Have the job run now instead of waiting for its time; see ``Job.run_now``."""
        return self._portal.call(self._job.run_now())

    def reschedule(self, *, delay: Duration | None = None, eta: datetime | None = None) -> None:
        """Have the job run at another time; see ``Job.reschedule``."""
        self._portal.call(self._job.reschedule(delay=delay, eta=eta))

    def history(self) -> list[LedgerEvent]:
        """Read the job's life from the ledger; see ``Job.history``."""
        return self._portal.call(self._job.history())

    def logs(self, *, attempt: int | None = None, follow: bool = False) -> Iterator[LogLine]:
        """Yield the lines that the job's attempts logged; see ``Job.logs``."""
        return stepped(self._portal, self._job.logs(attempt=attempt, follow=follow))

    def edit(
        self,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: str | None = None,
        reason: str = "",
    ) -> None:
        """Change the job, as long as no worker was given it; see ``Job.edit``."""
        self._portal.call(
            self._job.edit(
                args=args, kwargs=kwargs, queue=queue, priority=priority, reason=reason
            )
        )

    def delete(self, reason: str = "") -> None:
        """Remove what is kept of a job that has ended; see ``Job.delete``."""
        self._portal.call(self._job.delete(reason))

    def retry(self, reason: str = "") -> BlockingJob[R_co]:
        """Run a job that failed for good again; see ``Job.retry``."""
        return BlockingJob(self._portal.call(self._job.retry(reason)), self._portal)

    def __repr__(self) -> str:
        """Show the id."""
        return f"<BlockingJob {self.id}>"


def stepped(portal: Portal, steps: AsyncIterator[V]) -> Iterator[V]:
    """Step an async generator from outside its loop; it is closed when nobody steps on."""
    end: Any = object()
    try:
        while (step := portal.call(_next_or(steps, end))) is not end:
            yield step
    finally:
        portal.call(_closed(steps))


async def _next_or(steps: AsyncIterator[V], end: V) -> V:
    return await anext(steps, end)


async def _closed(steps: Any) -> None:
    await steps.aclose()
