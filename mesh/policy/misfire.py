"""What becomes of ticks that nobody armed in time, and of those that meet an earlier one."""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from typing import NamedTuple

from mesh.contract.schedules import RunOverlap, Schedule
from mesh.policy.schedule_ticks import schedule_ticks


class Missed(NamedTuple):
    """What to do about ticks that nobody armed in time.

    Attributes:
        made_up: The ticks to run now, in order.
        dropped: How many others there were in the catch-up window; they never run.
    """

    made_up: tuple[int, ...]
    dropped: int


def missed_ticks(schedule: Schedule, done_until_ms: int, now_ms: int) -> Missed:
    """Decide about the ticks between the last one that was armed and now.

    Args:
        schedule: The schedule.
        done_until_ms: Ticks up to this moment were armed, in milliseconds since the epoch.
        now_ms: The present, in milliseconds since the epoch.

    Raises:
        TimetableError: Its timetable says what cannot be.
    """
    oldest = max(done_until_ms, now_ms - round(schedule.catchup_s * 1000) - 1)
    limits = {"skip": 0, "fire_once": 1, "fire_all": schedule.catchup_limit}
    latest: deque[int] = deque(maxlen=limits[schedule.misfire])
    count = 0
    for tick in schedule_ticks(schedule, oldest, now_ms):
        latest.append(tick)
        count += 1
    return Missed(tuple(latest), count - len(latest))


def runs_left(schedule: Schedule, runs: int) -> int | None:
    """How many more ticks a schedule has; None: as many as its timetable.

    Args:
        schedule: The schedule.
        runs: How many it has had.
    """
    return max(0, schedule.max_runs - runs) if schedule.max_runs else None


class Entrance(StrEnum):
    """What a tick's job does when it is about to start."""

    START = "start"
    SKIP = "skip"
    WAIT = "wait"
    CANCEL_EARLIER = "cancel_earlier"


_UPON_ANOTHER = {
    "allow": Entrance.START,
    "skip": Entrance.SKIP,
    "queue": Entrance.WAIT,
    "cancel_running": Entrance.CANCEL_EARLIER,
}


def entrance(overlap: RunOverlap, *, has_earlier: bool) -> Entrance:
    """Decide what a tick's job does when it is about to start.

    Args:
        overlap: The schedule's rule.
        has_earlier: Whether the job of an earlier tick has started and not ended.
    """
    return _UPON_ANOTHER[overlap] if has_earlier else Entrance.START
