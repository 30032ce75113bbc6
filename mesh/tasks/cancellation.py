"""Tell a running task that it was told to stop; for those that nobody can interrupt."""

from __future__ import annotations

from collections.abc import Callable


class AttemptStopped(BaseException):
    """The attempt was told to stop: what the task returns now is dropped.

    No ``Exception``: an ``except Exception`` around a task's work must not go on with it.
    ``finally`` and ``with`` clean up as always.
    """


class Cancelled:
    """Whether the attempt that runs here was told to stop; true once, it stays true.

    It may be asked from any thread and as often as you like: asking costs next to nothing.

    Args:
        reason: Returns why it was told so, or nothing.
    """

    __slots__ = ("_reason",)

    def __init__(self, reason: Callable[[], str]) -> None:
        self._reason = reason

    @property
    def reason(self) -> str:
        """Why: ``cancelled``, ``timeout``, ``deadline``, ``shutdown``, ``lost``; or nothing."""
        return self._reason()

    def is_set(self) -> bool:
        """Whether the attempt was told to stop."""
        return bool(self._reason())

    def __bool__(self) -> bool:
        """Whether the attempt was told to stop."""
        return bool(self._reason())

    def raise_if_set(self) -> None:
        """Leave the task if the attempt was told to stop.

        Raises:
            AttemptStopped: It was.
        """
        reason = self._reason()
        if reason:
            message = f"the attempt was told to stop: {reason}"
            raise AttemptStopped(message)

    def __repr__(self) -> str:
        """Show why."""
        return f"<Cancelled {self._reason() or 'not'}>"


NEVER_CANCELLED = Cancelled(str)
"""For tasks that nobody can tell to stop: those of a child process are killed instead."""
