"""What the scheduler arms, and when: decided without a server."""

from __future__ import annotations

from typing import Any

from mesh.contract.schedules import Pause, Schedule, ScheduleStatus
from mesh.contract.timetable import Timetable
from mesh.policy.arming import MOST_AT_ONCE, Arming, Reach, arming, last_tick

HOUR = 3_600_000
MINUTE = 60_000
START = 1_767_225_600_000  # 2026-01-01T00:00:00Z
REACH = Reach(ahead_ms=HOUR, grace_ms=10_000)


def schedule(cron: str = "*/10 * * * *", **more: Any) -> Schedule:
    """A schedule that was made at the start of 2026."""
    more = {"since_ms": START, "created_at_ms": START, "updated_at_ms": START} | more
    return Schedule("report", Timetable(cron=cron), "default", **more)


def status(until_ms: int, *, edition: int = 1, created_at_ms: int = START) -> ScheduleStatus:
    """What a leader wrote when it had armed all ticks up to a moment."""
    return ScheduleStatus(edition, created_at_ms, until_ms)


def plan(
    of: Schedule, known: ScheduleStatus | None, now_ms: int, runs: int = 0
) -> Arming | None:
    """Decide with the default reach."""
    return arming(of, known, now_ms, REACH, runs=runs)


def ticks(found: Arming | None) -> list[int]:
    """The minutes of the ticks since the start."""
    assert found is not None
    return [(tick - START) // MINUTE for tick in found.ticks]


def test_a_new_schedule_is_armed_for_more_than_an_hour() -> None:
    """The ticks of the next seventy-five minutes are armed, that of the present one too."""
    found = plan(schedule(), None, START)

    assert ticks(found) == [0, 10, 20, 30, 40, 50, 60, 70]


def test_nothing_is_done_while_an_hour_is_armed() -> None:
    """Only when less than the reach is left is there something to do."""
    armed = status(START + HOUR + MINUTE)

    assert plan(schedule(), armed, START) is None
    assert ticks(plan(schedule(), armed, START + 2 * MINUTE)) == [70]


def test_the_next_tick_is_armed_however_far_it_is() -> None:
    """A yearly schedule has its next tick armed, and nothing more is done until then."""
    yearly = schedule("0 0 1 7 *")

    found = plan(yearly, None, START)

    assert found is not None
    assert len(found.ticks) == 1
    assert found.until_ms == found.ticks[0]
    assert plan(yearly, status(found.until_ms), START + 24 * HOUR) is None


def test_a_tick_within_the_grace_is_late_and_not_missed() -> None:
    """A schedule that lets missed ticks be is not robbed of one that is late by seconds."""
    rule = schedule(misfire="skip")

    found = plan(rule, status(START + 5 * MINUTE), START + 10 * MINUTE + 3_000)

    assert ticks(found)[0] == 10


def test_missed_ticks_follow_the_rule_of_the_schedule() -> None:
    """After an outage of an hour none, the last one, or all of them are made up for."""
    now = START + 65 * MINUTE
    armed = status(START + 5 * MINUTE)
    made_up: dict[str, list[int]] = {}
    dropped: dict[str, int] = {}

    for rule in ("skip", "fire_once", "fire_all"):
        found = plan(schedule(misfire=rule, catchup_limit=4), armed, now)
        made_up[rule] = [tick for tick in ticks(found) if tick <= 65]
        assert found is not None
        dropped[rule] = found.missed

    assert made_up == {"skip": [], "fire_once": [60], "fire_all": [30, 40, 50, 60]}
    assert dropped == {"skip": 6, "fire_once": 5, "fire_all": 2}


def test_an_edition_is_armed_anew_from_its_change_on() -> None:
    """What is armed of the edition before counts only up to the change."""
    changed = schedule(edition=2, updated_at_ms=START + 15 * MINUTE)

    found = plan(changed, status(START + HOUR), START + 15 * MINUTE)

    assert ticks(found)[:2] == [20, 30]


def test_a_schedule_made_anew_under_an_old_id_starts_anew() -> None:
    """The status of a record that was removed says nothing about the next one."""
    anew = schedule(created_at_ms=START + HOUR, since_ms=START + HOUR)

    found = plan(anew, status(START + 9 * HOUR), START + HOUR)

    assert ticks(found)[0] == 60


def test_a_schedule_that_rests_for_a_time_is_armed_for_afterwards() -> None:
    """Nobody need be alive when the pause ends."""
    rests = schedule(pause=Pause(START, START + 35 * MINUTE), edition=2)

    assert ticks(plan(rests, status(START + HOUR), START + MINUTE))[0] == 40


def test_a_schedule_that_rests_without_end_has_nothing_to_arm() -> None:
    """It is settled until its record changes."""
    found = plan(schedule(pause=Pause(START), edition=2), status(START), START + MINUTE)

    assert found is not None
    assert found.ticks == ()


def test_no_more_runs_are_armed_than_a_schedule_may_have() -> None:
    """Of three runs two were armed."""
    found = plan(schedule(max_runs=3), status(START + MINUTE), START + MINUTE, runs=2)

    assert ticks(found) == [10]


def test_a_dense_schedule_is_armed_in_parts() -> None:
    """With two hours of seconds ahead, the rest follows in the next go."""
    dense = schedule("* * * * * *")
    reach = Reach(2 * HOUR, 10_000)

    found = arming(dense, None, START, reach, runs=0)

    assert found is not None
    assert len(found.ticks) == MOST_AT_ONCE
    assert found.until_ms == found.ticks[-1]
    more = arming(dense, status(found.until_ms), START, reach, runs=0)
    assert more is not None
    assert more.ticks[0] == found.until_ms + 1000


def test_the_last_tick_is_found_close_by_and_far_back() -> None:
    """Whether a schedule is due every second or once a month."""
    now = START + 40 * 24 * HOUR

    assert last_tick(schedule("* * * * * *"), START, now) == now
    assert last_tick(schedule("0 0 1 * *"), START, now) == START + 31 * 24 * HOUR
    assert last_tick(schedule("0 0 1 7 *"), START, now) == 0
