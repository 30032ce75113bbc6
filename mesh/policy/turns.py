"""Whether an armed tick still counts when its job is about to start: a pure decision."""

from __future__ import annotations

from mesh.contract.schedules import Schedule
from mesh.errors import TimetableError
from mesh.policy.schedule_ticks import schedule_ticks


def why_void(schedule: Schedule | None, tick_ms: int) -> str:
    """Say why an armed tick counts no more; empty: it does.

    Ticks from before the record's last change of timetable are taken at their word: they were
    right when they were armed.

    Args:
        schedule: The schedule as it is now; None: there is none.
        tick_ms: The tick, in milliseconds since the epoch.
    """
    if schedule is None:
        return "its schedule was removed"
    pause = schedule.pause
    if pause is not None:
        if tick_ms < pause.since_ms:
            return ""
        if not pause.until_ms or tick_ms < pause.until_ms:
            return "its schedule rests"
    if tick_ms < schedule.since_ms:
        return ""
    try:
        is_tick = any(schedule_ticks(schedule, tick_ms - 1, tick_ms))
    except TimetableError:
        return ""
    return "" if is_tick else "its schedule has another timetable now"
