"""Hold jobs that came a moment before they are due: in memory, in no slot, to the millisecond.

The server's timer is coarse, so delayed jobs are armed to come early and their exact time
travels along. A job that is held is in hand like one that runs: the heartbeat keeps it, and a
worker that dies loses none, for the server gives it to another one.
"""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable, Iterator

from mesh.clock import Clock
from mesh.contract import headers
from mesh.transport import frames
from mesh.transport.puller import Delivery
from mesh.worker.attempt import Attempt

MOST_HELD = 1_000
"""How many jobs one worker holds; further ones wait at the server."""

_LONGEST_HOLD_MS = 2_000
_LONGEST_ABSENCE_MS = 3_600_000
_DUE = headers.DUE.encode()
_MOST_DIGITS = 15


class Early:
    """The jobs of one worker that are not due yet.

    Args:
        clock: The time.
        on_due: Called with each attempt when its job is due; never before.
        most: How many it holds at once.
    """

    def __init__(
        self, clock: Clock, on_due: Callable[[Attempt], None], most: int = MOST_HELD
    ) -> None:
        self._clock = clock
        self._on_due = on_due
        self._most = most
        self._held: list[tuple[int, int, Attempt]] = []
        self._count = 0
        self._timer: asyncio.TimerHandle | None = None
        self._wakes_ms = 0
        self._loop = asyncio.get_running_loop()

    def __len__(self) -> int:
        """How many jobs are held."""
        return len(self._held)

    def left_ms(self, delivery: Delivery) -> int:
        """How long a delivery is too early, in milliseconds; 0: it may run now.

        It is never kept for longer than it was early when the server stored it: a worker whose
        clock is behind does not wait for its clock.
        """
        if _DUE not in delivery.headers:
            return 0
        due = frames.last_header(delivery.headers, headers.DUE)
        if not due.isdecimal() or len(due) > _MOST_DIGITS:  # A foreign producer wrote it.
            return 0
        due_ms = int(due)
        return max(0, min(due_ms - self._clock.now_ms(), due_ms - delivery.stored_at_ms))

    def hold(self, attempt: Attempt, left_ms: int) -> float | None:
        """Hold an attempt until its job is due.

        Returns:
            None if it is held; else for how many seconds the server should keep the job: there
            are too many already, or it came far too early.
        """
        if left_ms > _LONGEST_HOLD_MS or len(self._held) >= self._most:
            return min(left_ms, _LONGEST_ABSENCE_MS) / 1000
        due_ms = self._clock.now_ms() + left_ms
        self._count += 1
        heapq.heappush(self._held, (due_ms, self._count, attempt))
        if self._timer is None or due_ms < self._wakes_ms:
            self._arm()
        return None

    def release(self) -> None:
        """Let go of every job that is due, in the order in which they are."""
        self._timer = None
        while self._held and self._held[0][0] <= self._clock.now_ms():
            self._on_due(heapq.heappop(self._held)[2])
        self._arm()

    def drain(self) -> Iterator[Attempt]:
        """Take out every job that is held, to be handed back; safe to call twice."""
        while self._held:
            yield heapq.heappop(self._held)[2]
        self._arm()

    def _arm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._held:
            self._wakes_ms = self._held[0][0]
            # Looked at again then: the wall clock may have been set meanwhile.
            left_s = max(0, self._wakes_ms - self._clock.now_ms()) / 1000
            self._timer = self._loop.call_later(left_s, self.release)
