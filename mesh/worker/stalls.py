"""Notice when the worker's event loop does not turn, and say which job keeps it from turning.

A job that blocks the loop keeps every other job of its process waiting, cancellations and
timeouts included. Nothing on the loop can tell of that while it lasts, so another thread does.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import Callable

# Python has no public way to see where another thread is.
from sys import _current_frames  # pyright: ignore[reportPrivateUsage]
from types import FrameType

from mesh.clock import Clock
from mesh.worker.attempt import Attempt

log = logging.getLogger("mesh.worker")

LOOK_EVERY_S = 0.25
BLOCKED_AFTER_S = 1.0


class LoopWatch:
    """Watches the loop that it is made on; one warning when it is blocked, one when it goes on.

    Args:
        in_hand: Returns the attempts in hand; called from the thread that looks.
        clock: The time.
    """

    def __init__(self, in_hand: Callable[[], list[Attempt]], clock: Clock) -> None:
        self._in_hand = in_hand
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._thread_id = threading.get_ident()
        self._asked_s = 0.0
        self._looked_s = 0.0
        self._answered_s: float | None = 0.0
        self._silent_s = 0.0
        self._blamed: dict[str, str] | None = None

    def look(self) -> None:
        """Ask the loop for an answer, or see how long it owes one; from another thread."""
        now = self._clock.monotonic()
        # A process that was frozen as a whole, looks included, was not blocked by a job.
        self._silent_s += min(now - self._looked_s, 2 * LOOK_EVERY_S)
        self._looked_s = now
        answered_s = self._answered_s
        if answered_s is not None:
            self._report_end(answered_s)
            self._ask(now)
        elif self._blamed is None and self._silent_s >= BLOCKED_AFTER_S:
            self._report_start()

    def _ask(self, now: float) -> None:
        self._asked_s, self._answered_s, self._silent_s = now, None, 0.0
        try:
            self._loop.call_soon_threadsafe(self._answer)
        except RuntimeError:  # The loop is closed: nothing runs on it any more.
            self._answered_s = now

    def _answer(self) -> None:
        self._answered_s = self._clock.monotonic()

    def _report_start(self) -> None:
        blamed = self._blame()
        if self._answered_s is not None:
            return  # It went on meanwhile: what was seen may be innocent.
        self._blamed = blamed
        log.warning(
            "the event loop is blocked, so no other job goes on: await what takes time, or "
            "make the task a plain function, which runs in a thread",
            extra={**blamed, "blocked_s": self._so_far()},
        )

    def _report_end(self, answered_s: float) -> None:
        if self._blamed is None:
            return
        blamed, self._blamed = self._blamed, None
        lasted_s = round(answered_s - self._asked_s, 2)
        log.warning("the event loop goes on", extra={**blamed, "blocked_s": lasted_s})

    def _so_far(self) -> float:
        return round(self._clock.monotonic() - self._asked_s, 2)

    def _blame(self) -> dict[str, str]:
        """Say what runs on the loop now: its place, and the job and task, if it is one."""
        current = asyncio.current_task(self._loop)
        fields: dict[str, str] = {}
        if current is not None:
            for attempt in self._in_hand():
                if attempt.coroutine is current:
                    fields |= {"job": attempt.job_id, "task": attempt.task_name}
        frame = _current_frames().get(self._thread_id)
        if frame is not None:
            fields |= {"at": _place(_innermost_coroutine(frame)), "inside": _place(frame)}
        return fields


def _innermost_coroutine(frame: FrameType) -> FrameType:
    """The line of the task that calls what blocks; what is called may be anybody's code."""
    outer: FrameType | None = frame
    while outer is not None:
        if outer.f_code.co_flags & inspect.CO_COROUTINE:
            return outer
        outer = outer.f_back
    return frame


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_name}"
