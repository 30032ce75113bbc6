"""The clock: milliseconds since the epoch, and seconds that never go back."""

from __future__ import annotations

import time
from itertools import pairwise

from mesh.clock import SYSTEM_CLOCK, Clock, SystemClock


def test_the_wall_clock_tells_the_time_of_the_machine() -> None:
    """Milliseconds since the epoch, as the system says."""
    before = time.clock_gettime_ns(time.CLOCK_REALTIME)
    now = SYSTEM_CLOCK.now_ms()
    after = time.clock_gettime_ns(time.CLOCK_REALTIME)

    assert before // 1_000_000 <= now <= after // 1_000_000


def test_the_other_clock_never_goes_back() -> None:
    """Only its differences mean anything, and none is negative."""
    readings = [SYSTEM_CLOCK.monotonic() for _ in range(1000)]

    assert all(later >= earlier for earlier, later in pairwise(readings))


def test_the_systems_clock_is_a_clock() -> None:
    """It fits the protocol that tests stand in for."""
    clock: Clock = SystemClock()

    assert isinstance(clock.now_ms(), int)
    assert isinstance(clock.monotonic(), float)
