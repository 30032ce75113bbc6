"""Time zones: what the wall clock shows at a moment, and which moments show a given time.

Moments are seconds since the epoch. A wall time is counted likewise, as if the zone were UTC.
"""

from __future__ import annotations

import difflib
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from mesh.contract.timetable import DstGap, DstOverlap
from mesh.errors import TimetableError

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NAIVE_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a wall time has no zone, that is its point

DAY_S: Final = 86_400
LAST_S: Final = 253_402_214_400
"""The last moment that is calculated with: the day before the last day of the year 9999."""


@lru_cache(maxsize=256)
def zone_named(name: str) -> ZoneInfo:
    """Find a time zone by its IANA name.

    Raises:
        TimetableError: There is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):  # Unknown; not a relative path; a folder.
        near = difflib.get_close_matches(name, available_timezones(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "give an IANA name: 'Europe/Berlin'"
        raise TimetableError(part="zone", why=f"there is no zone {name!r}; {hint}") from None


class WallClock:
    """The wall clock of one zone, under one policy for its leaps.

    Args:
        zone: The time zone.
        gap: What a time of day becomes that the clock leaps over.
        overlap: Which of the two moments count that show the same time of day.
    """

    __slots__ = ("_gap", "_overlap", "_zone")

    def __init__(self, zone: ZoneInfo, gap: DstGap, overlap: DstOverlap) -> None:
        self._zone = zone
        self._gap = gap
        self._overlap = overlap

    def earliest_wall(self, after_s: int) -> int:
        """A wall time that no moment after this one goes below."""
        samples = (after_s + step for step in (0, DAY_S // 8, DAY_S))
        return after_s + min(self.offset(min(moment, LAST_S)) for moment in samples)

    def moments(self, wall_s: int) -> tuple[int, ...]:
        """The moments that stand for a wall time, in order; none, one or two."""
        wall = _NAIVE_EPOCH + timedelta(seconds=wall_s)
        before = _whole(self._zone.utcoffset(wall))
        behind = _whole(self._zone.utcoffset(wall.replace(fold=1)))
        if before == behind:
            return (wall_s - before,)
        if before < behind:
            if self._gap == "skip":
                return ()
            return (self._leap(wall_s - behind, wall_s - before),)
        first, second = wall_s - before, wall_s - behind
        if self._overlap == "both":
            return (first, second)
        return (first,) if self._overlap == "first" else (second,)

    def offset(self, moment_s: int) -> int:
        """By how many seconds the wall clock is ahead of UTC at a moment."""
        moment = _EPOCH + timedelta(seconds=moment_s)
        return _whole(moment.astimezone(self._zone).utcoffset())

    def _leap(self, before_s: int, after_s: int) -> int:
        """The first moment with another offset than ``before_s``, at most ``after_s``."""
        old = self.offset(before_s)
        while after_s - before_s > 1:
            middle = (before_s + after_s) // 2
            if self.offset(middle) == old:
                before_s = middle
            else:
                after_s = middle
        return after_s


def _whole(offset: timedelta | None) -> int:
    # A ZoneInfo answers None for no moment; only times without a date are asked in vain.
    return 0 if offset is None else int(offset.total_seconds())
