"""Whether a tick that was armed still counts when its job starts: decided without a server."""

from __future__ import annotations

from msgspec.structs import replace

from mesh.contract.schedules import Pause, Schedule
from mesh.contract.timetable import Timetable
from mesh.policy.turns import why_void

START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
HOUR = 3_600_000
HOURLY = Schedule("report", Timetable(cron="0 * * * *"), "default", since_ms=START)


def test_a_tick_of_the_timetable_counts() -> None:
    """Nothing has changed since it was armed."""
    assert why_void(HOURLY, START + HOUR) == ""


def test_a_tick_of_a_schedule_that_is_gone_does_not_count() -> None:
    """It was removed while no scheduler lived to withdraw its ticks."""
    assert why_void(None, START) == "its schedule was removed"


def test_a_tick_in_a_pause_does_not_count() -> None:
    """Ticks before the pause and after it do."""
    rests = replace(HOURLY, pause=Pause(START + HOUR, START + 3 * HOUR))

    words = [why_void(rests, START + hour * HOUR) for hour in range(5)]

    assert words == ["", "its schedule rests", "its schedule rests", "", ""]


def test_a_pause_without_end_lets_nothing_through() -> None:
    """However late the tick is."""
    assert why_void(replace(HOURLY, pause=Pause(START)), START + 999 * HOUR)


def test_a_tick_of_another_timetable_does_not_count() -> None:
    """Unless it is from before the change: then it was right when it was armed."""
    changed = replace(HOURLY, timetable=Timetable(cron="30 * * * *"), since_ms=START + HOUR)

    assert why_void(changed, START) == ""
    assert why_void(changed, START + HOUR) == "its schedule has another timetable now"
    assert why_void(changed, START + HOUR + HOUR // 2) == ""


def test_a_timetable_that_cannot_be_read_keeps_nothing_back() -> None:
    """It was right when the tick was armed."""
    broken = replace(HOURLY, timetable=Timetable(cron="never"))

    assert why_void(broken, START + HOUR) == ""
