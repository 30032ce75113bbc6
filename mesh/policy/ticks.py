"""The ticks of a timetable: a pure calculus from a timetable and a moment to moments.

Ticks are nominal: jitter moves a tick's due time and never its name.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from functools import lru_cache
from itertools import dropwhile, islice, takewhile
from typing import Final

from mesh.contract.timetable import Timetable
from mesh.errors import TimetableError
from mesh.policy.cron import read_cron
from mesh.policy.zones import DAY_S, LAST_S, WallClock, zone_named

LAST_MS: Final = LAST_S * 1000
"""No tick is after this moment, near the end of the year 9999."""

_FIRST_LOOK_BACK_MS = 60_000
_SHORTEST_INTERVAL_S = 1.0
_LONGEST_JITTER_S = 86_400.0


def next_ticks(
    timetable: Timetable, after_ms: int, *, limit: int, until_ms: int = LAST_MS
) -> tuple[int, ...]:
    """Calculate the next ticks: after one moment, up to another and no later, in order.

    Args:
        timetable: The timetable.
        after_ms: Ticks after this moment, in milliseconds since the epoch.
        limit: At most so many.
        until_ms: Ticks up to this moment, itself included.

    Raises:
        TimetableError: The timetable says what cannot be.
    """
    return tuple(islice(ticks_between(timetable, after_ms, until_ms), limit))


def ticks_between(timetable: Timetable, after_ms: int, until_ms: int) -> Iterator[int]:
    """Yield the ticks after one moment, up to another and no later, in order.

    Args:
        timetable: The timetable.
        after_ms: Ticks after this moment, in milliseconds since the epoch.
        until_ms: Ticks up to this moment, itself included.

    Raises:
        TimetableError: The timetable says what cannot be.
    """
    check_timetable(timetable)
    after_ms = max(after_ms, timetable.start_ms - 1, -1)
    until_ms = min(until_ms, timetable.end_ms or LAST_MS, LAST_MS)
    if after_ms >= until_ms:
        return iter(())
    ticks = dropwhile(lambda tick: tick <= after_ms, _all(timetable, after_ms, until_ms))
    return takewhile(lambda tick: tick <= until_ms, ticks)


def last_ticks(
    timetable: Timetable, until_ms: int, since_ms: int, *, limit: int
) -> tuple[int, ...]:
    """Calculate the last ticks up to one moment, back to another, in order.

    Args:
        timetable: The timetable.
        until_ms: Ticks up to this moment, itself included, in milliseconds since the epoch.
        since_ms: Ticks from this moment on.
        limit: At most so many, the last ones.

    Raises:
        TimetableError: The timetable says what cannot be.
    """
    width_ms = _FIRST_LOOK_BACK_MS
    while True:  # Ticks are found forward only: look back further and further.
        after_ms = max(until_ms - width_ms, since_ms - 1)
        found = deque(ticks_between(timetable, after_ms, until_ms), maxlen=limit)
        if len(found) == limit or after_ms < since_ms:
            return tuple(found)
        width_ms *= 8


def due_ms(timetable: Timetable, schedule: str, tick_ms: int) -> int:
    """Say when a tick is due: at its moment, or later by its share of the jitter.

    Whoever calculates it finds the same share.

    Args:
        timetable: The timetable.
        schedule: The schedule's id.
        tick_ms: The tick.
    """
    most = round(timetable.jitter_s * 1000)
    if not most:
        return tick_ms
    digest = hashlib.sha256(f"{schedule}\0{tick_ms}".encode()).digest()
    return tick_ms + int.from_bytes(digest[:8], "big") % (most + 1)


@lru_cache(maxsize=4096)
def check_timetable(timetable: Timetable) -> None:
    """Check what a timetable says.

    Raises:
        TimetableError: It says what cannot be.
    """
    given = [bool(timetable.cron), bool(timetable.every_s), bool(timetable.at_ms)]
    if sum(given) != 1:
        raise TimetableError(part="timetable", why="give exactly one of cron, every and at")
    zone_named(timetable.zone)
    if timetable.cron:
        read_cron(timetable.cron)
    if 0 < timetable.every_s < _SHORTEST_INTERVAL_S:
        raise TimetableError(
            part="every", why=f"{timetable.every_s:g} s is shorter than a second"
        )
    if timetable.jitter_s > _LONGEST_JITTER_S:
        raise TimetableError(
            part="jitter", why=f"{timetable.jitter_s:g} s is longer than a day"
        )
    if 0 < timetable.end_ms < timetable.start_ms:
        raise TimetableError(part="end", why="it lies before the start")


def _all(timetable: Timetable, after_ms: int, until_ms: int) -> Iterator[int]:
    """Yield ticks in order, from some time before the first one that is wanted."""
    if timetable.cron:
        moments = _cron_moments(timetable, after_ms // 1000, until_ms // 1000)
        return (moment * 1000 for moment in moments)
    if timetable.at_ms:
        return iter(sorted(set(timetable.at_ms)))
    return _interval_ticks(timetable, after_ms)


def _interval_ticks(timetable: Timetable, after_ms: int) -> Iterator[int]:
    step = max(1, round(timetable.every_s * 1000))
    number = max(0, (after_ms - timetable.start_ms) // step)
    while (tick := timetable.start_ms + number * step) <= LAST_MS:
        yield tick
        number += 1


def _cron_moments(timetable: Timetable, after_s: int, until_s: int) -> Iterator[int]:
    """Yield the moments of a cron expression, in order, each once.

    Wall times come in order and their moments do not: in an hour that comes twice, the second
    moments wait until the wall times have passed them.
    """
    cron = read_cron(timetable.cron)
    zone = zone_named(timetable.zone)
    # What recurs every hour means a pace: it goes on through both of the same hours, and
    # nothing needs to stand in for those that were leapt over.
    gap, overlap = timetable.dst_gap, timetable.dst_overlap
    clock = WallClock(zone, "skip", "both") if cron.is_steady else WallClock(zone, gap, overlap)
    last = -1
    waiting: list[int] = []
    for wall in cron.walls(max(0, clock.earliest_wall(after_s))):
        if wall > until_s + DAY_S:  # No wall clock is further ahead of UTC.
            break
        moments = clock.moments(wall)
        if not moments:
            continue
        while waiting and waiting[0] <= moments[0]:
            last = waiting.pop(0)
            yield last
        if moments[0] > last:
            last = moments[0]
            yield last
        waiting += moments[1:]
    yield from waiting
