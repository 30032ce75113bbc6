"""Keep the leases of running jobs: write their running records again and again.

Everything here happens on the heartbeat's loop, over its connection: user code that blocks
the worker's own loop cannot let a lease pass. Most jobs end before the first look, and cost
nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from concurrent.futures import Future

from mesh.errors import BrokerError
from mesh.worker.attempt import Attempt
from mesh.worker.fence import Fence
from mesh.worker.news import News
from mesh.worker.recording import Recorder

log = logging.getLogger("mesh.worker")

TICK_S = 0.1
_FIRST_RECORD_S = 0.2
_PROGRESS_EVERY_S = 0.2
_GONE = frozenset({"cancelled", "lost"})


class LeaseKeeper:
    """Writes the running records of one worker's attempts, and says which leases are lost.

    Args:
        fence: Writes them, over the heartbeat's connection.
        recorder: Encodes them.
        news: Tells the ledger, over the same connection, of jobs that run for longer.
        heartbeat_s: How often a lease is renewed.
        lease_s: How long a lease lasts.
        on_lost: Called, on the heartbeat's loop, with an attempt whose job is another's now.
    """

    def __init__(
        self,
        fence: Fence,
        recorder: Recorder,
        news: News,
        *,
        heartbeat_s: float,
        lease_s: float,
        on_lost: Callable[[Attempt], None],
    ) -> None:
        self._fence = fence
        self._recorder = recorder
        self._news = news
        self._heartbeat_s = heartbeat_s
        self._lease_s = lease_s
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._writes: set[asyncio.Task[None]] = set()

    def tick(self, attempts: Iterable[Attempt]) -> None:
        """Look at every attempt once."""
        now = self._loop.time()
        for attempt in attempts:
            if not attempt.started_ms or attempt.is_settling or attempt.stop_reason in _GONE:
                continue
            if attempt.is_exclusive and now - attempt.confirmed_s > self._lease_s:
                # From now on another worker may start it: only one may ever run.
                self._lose(attempt, "its lease could not be renewed in time")
            elif self._is_due(attempt, now):
                self._renew(attempt, now)
            if attempt.log is not None:
                self._news.logged(attempt)

    async def close(self) -> None:
        """Give up the writes that are on their way."""
        for write in list(self._writes):
            write.cancel()
        await asyncio.gather(*self._writes, return_exceptions=True)

    def _is_due(self, attempt: Attempt, now: float) -> bool:
        if attempt.writing is not None:
            return False
        if not attempt.record_due_s:  # Set at the first tick that sees it run.
            attempt.record_due_s = now + _FIRST_RECORD_S - TICK_S
            return False
        if attempt.has_news:
            return now >= attempt.record_due_s - self._heartbeat_s + _PROGRESS_EVERY_S
        return now >= attempt.record_due_s

    def _renew(self, attempt: Attempt, now: float) -> None:
        attempt.record_due_s = now + self._heartbeat_s
        attempt.has_record = True
        attempt.writing = Future()
        # In this order: whoever settles it sets is_settling first and then looks at has_record,
        # so that one of the two threads surely sees the other.
        if attempt.is_settling:
            _written(attempt)
            return
        self._news.started(attempt)
        if attempt.has_news:
            attempt.has_news = False
            self._news.progressed(attempt)
        write = self._loop.create_task(self._write(attempt, now))
        self._writes.add(write)
        write.add_done_callback(self._writes.discard)

    async def _write(self, attempt: Attempt, now: float) -> None:
        try:
            if await self._fence.write(attempt, self._recorder.running(attempt)):
                attempt.confirmed_s = now
            else:
                self._lose(attempt, "another worker has it, or its record is gone")
        except BrokerError as error:
            # Nothing is known: the next renewal tells, and settling asks for itself.
            log.debug("a lease was not renewed: %s", error, extra={"job": attempt.job_id})
        finally:
            _written(attempt)

    def _lose(self, attempt: Attempt, why: str) -> None:
        if attempt.stop_reason not in _GONE:
            log.warning("lost a job: %s", why, extra={"job": attempt.job_id})
            self._on_lost(attempt)


def _written(attempt: Attempt) -> None:
    writing, attempt.writing = attempt.writing, None
    if writing is not None:
        writing.set_result(None)
