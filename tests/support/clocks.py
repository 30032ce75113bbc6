"""A clock that tests set by hand."""

from __future__ import annotations


class HandClock:
    """Tells the time it was set to.

    Attributes:
        ms: Wall-clock time in milliseconds since the epoch.
    """

    def __init__(self, ms: int = 1_900_000_000_000) -> None:
        self.ms = ms

    def now_ms(self) -> int:
        """The time it was set to."""
        return self.ms

    def monotonic(self) -> float:
        """The same, in seconds."""
        return self.ms / 1000
