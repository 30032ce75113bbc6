"""Count the signals that ask a program to stop: the first drains, the second hurries."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from mesh.worker.exits import Exit

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """Counts SIGTERM and SIGINT while entered; use it in the main thread.

    Plain handlers, not the loop's own: they are called even while a task blocks the loop.

    Args:
        exit_at: End the process at once when so many signals have come; None: never.

    Attributes:
        count: How many came so far.
    """

    def __init__(self, *, exit_at: int | None = None) -> None:
        self.count = 0
        self._exit_at = exit_at
        self._loop: asyncio.AbstractEventLoop | None = None
        self._action: Callable[[int], None] | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        """Take the signals over."""
        self._before = {number: signal.signal(number, self._heard) for number in _SIGNALS}
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def tell(self, action: Callable[[int], None]) -> None:
        """Call a plain function in the running loop for each signal, those before included.

        Args:
            action: Receives how many signals have come; may be told the same number twice.
        """
        self._loop = asyncio.get_running_loop()
        self._action = action
        if self.count:
            action(self.count)

    def _heard(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1
        if self._exit_at is not None and self.count >= self._exit_at:
            os._exit(Exit.FAILED)
        loop = self._loop
        if loop is not None and self._action is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._action, self.count)
