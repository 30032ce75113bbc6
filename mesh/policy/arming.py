"""Which ticks of a schedule are armed now: a pure decision, the same for every leader."""

from __future__ import annotations

from itertools import islice
from typing import Final, NamedTuple

from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.policy.misfire import missed_ticks, runs_left
from mesh.policy.schedule_ticks import schedule_ticks

MOST_AT_ONCE: Final = 5_000
"""So many ticks of one schedule are armed in one go at most; the others follow."""

_MORE = 1.25
_LOOK_BACK_MS: Final = (60_000, 3_600_000, 86_400_000, 32 * 86_400_000, 400 * 86_400_000)


class Reach(NamedTuple):
    """How far ahead ticks are armed, and how late they may be.

    Attributes:
        ahead_ms: So far ahead, at least.
        grace_ms: A tick that is late by no more than this has not been missed.
    """

    ahead_ms: int
    grace_ms: int


class Arming(NamedTuple):
    """What is to be armed of one schedule.

    Attributes:
        ticks: The ticks, in order.
        until_ms: All ticks up to this moment are armed, or over, when these are.
        missed: How many ticks were missed and are not made up for.
    """

    ticks: tuple[int, ...]
    until_ms: int
    missed: int


def is_of_record(schedule: Schedule, status: ScheduleStatus | None) -> bool:
    """Whether a status is about this record, and not about an earlier one of the same id."""
    return status is not None and status.created_at_ms == schedule.created_at_ms


def is_current(schedule: Schedule, status: ScheduleStatus | None) -> bool:
    """Whether the ticks that are armed are those of this edition of the record."""
    return (
        status is not None
        and is_of_record(schedule, status)
        and status.edition == schedule.edition
    )


def armed_so_far(schedule: Schedule, status: ScheduleStatus | None, now_ms: int) -> int:
    """Until when nothing is to be armed any more, in milliseconds since the epoch.

    What is armed of an older edition counts up to the change: its later ticks are withdrawn.
    """
    if status is None or not is_of_record(schedule, status):
        return schedule.since_ms - 1 if schedule.since_ms else now_ms
    if status.edition == schedule.edition:
        return status.armed_until_ms
    return min(status.armed_until_ms, schedule.updated_at_ms or now_ms)


def arming(
    schedule: Schedule, status: ScheduleStatus | None, now_ms: int, reach: Reach, *, runs: int
) -> Arming | None:
    """Decide what to arm now; None: enough is armed.

    Args:
        schedule: The schedule.
        status: How far it was; None: nobody has armed anything yet.
        now_ms: The present, in milliseconds since the epoch.
        reach: How far ahead.
        runs: How many of its ticks were armed so far.

    Raises:
        TimetableError: Its timetable says what cannot be.
    """
    done_ms = armed_so_far(schedule, status, now_ms)
    if is_current(schedule, status) and done_ms >= now_ms + reach.ahead_ms:
        return None
    late_ms = now_ms - reach.grace_ms
    made_up: tuple[int, ...] = ()
    dropped = 0
    if done_ms < late_ms:
        made_up, dropped = missed_ticks(schedule, done_ms, late_ms)
        done_ms = late_ms
    # A little more than is needed, so that it is not done again at once.
    until_ms = now_ms + round(reach.ahead_ms * _MORE)
    coming = schedule_ticks(schedule, done_ms, until_ms)
    ticks = (*made_up, *islice(coming, MOST_AT_ONCE))
    if len(ticks) - len(made_up) == MOST_AT_ONCE:
        until_ms = ticks[-1]
    elif not ticks or ticks[-1] <= now_ms:
        # Nothing in reach: the next one all the same, however far it is.
        following = tuple(islice(schedule_ticks(schedule, max(done_ms, until_ms)), 1))
        ticks += following
        until_ms = max(until_ms, *following) if following else until_ms
    left = runs_left(schedule, runs)
    return Arming(ticks if left is None else ticks[:left], until_ms, dropped)


def last_tick(schedule: Schedule, after_ms: int, now_ms: int) -> int:
    """The last tick of a schedule that has come; 0: none, or none that counts any more.

    Args:
        schedule: The schedule.
        after_ms: Only ticks after this moment count.
        now_ms: The present, in milliseconds since the epoch.

    Raises:
        TimetableError: Its timetable says what cannot be.
    """
    for width_ms in _LOOK_BACK_MS:  # Ticks are counted forwards: first where few are.
        start_ms = max(after_ms, now_ms - width_ms)
        found = max(schedule_ticks(schedule, start_ms, now_ms), default=0)
        if found or start_ms == after_ms:
            return found
    return 0
