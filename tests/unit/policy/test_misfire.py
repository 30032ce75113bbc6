"""What becomes of ticks that nobody armed, that meet an earlier one, or fall into a pause."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from msgspec import Raw

from mesh.contract.schedules import Misfire, Pause, RunOverlap, Schedule
from mesh.contract.timetable import Timetable
from mesh.policy.misfire import Entrance, entrance, missed_ticks, runs_left
from mesh.policy.schedule_ticks import is_paused, schedule_ticks, tick_job, tick_job_id

HOUR = 3_600_000
HOURLY = Schedule("report", Timetable(cron="0 * * * *"), "mail", args=Raw(b"[1]"))


def changed(schedule: Schedule, **fields: object) -> Schedule:
    """The same schedule but for some fields."""
    return msgspec.structs.replace(schedule, **fields)


@pytest.mark.parametrize(
    ("misfire", "made_up", "dropped"),
    [("skip", (), 4), ("fire_once", (5,), 3), ("fire_all", (2, 3, 4, 5), 0)],
)
def test_missed_ticks_are_made_up_for_as_the_rule_says(
    misfire: Misfire, made_up: tuple[int, ...], dropped: int
) -> None:
    """After an outage over four ticks: none of them, the last one, or all."""
    missed = missed_ticks(changed(HOURLY, misfire=misfire), HOUR, 5 * HOUR + 9)

    assert missed.made_up == tuple(hour * HOUR for hour in made_up)
    assert missed.dropped == dropped


def test_the_most_recent_ticks_are_made_up_for_within_limit_and_window() -> None:
    """`catchup_limit` and `catchup_s` leave the oldest ones out."""
    all_of_them = changed(HOURLY, misfire="fire_all")

    limited = missed_ticks(changed(all_of_them, catchup_limit=2), 0, 9 * HOUR)
    recent = missed_ticks(changed(all_of_them, catchup_s=7200.0), 0, 9 * HOUR)

    assert limited.made_up == (8 * HOUR, 9 * HOUR)
    assert recent.made_up == (7 * HOUR, 8 * HOUR, 9 * HOUR)


def test_ticks_before_a_schedules_time_are_none_of_its_own() -> None:
    """A schedule that was just made or resumed has missed nothing."""
    fresh = changed(HOURLY, misfire="fire_all", since_ms=4 * HOUR)

    assert missed_ticks(fresh, 0, 5 * HOUR).made_up == (4 * HOUR, 5 * HOUR)


def test_a_pause_has_no_ticks() -> None:
    """Until it is over by itself, or for ever if nobody resumes."""
    for_ever = changed(HOURLY, pause=Pause(1))
    for_a_while = changed(HOURLY, pause=Pause(1, 3 * HOUR))

    assert list(schedule_ticks(for_ever, 0, 9 * HOUR)) == []
    assert list(schedule_ticks(for_a_while, 0, 4 * HOUR)) == [3 * HOUR, 4 * HOUR]
    assert is_paused(for_ever, 99 * HOUR)
    assert is_paused(for_a_while, 3 * HOUR - 1)
    assert not is_paused(for_a_while, 3 * HOUR)
    assert not is_paused(HOURLY, HOUR)


@pytest.mark.parametrize(("most", "had", "left"), [(0, 9, None), (3, 1, 2), (3, 5, 0)])
def test_runs_are_counted_down(most: int, had: int, left: int | None) -> None:
    """`max_runs` says how many ticks there are, all told; 0 says nothing."""
    assert runs_left(changed(HOURLY, max_runs=most), had) == left


def test_a_tick_that_meets_an_earlier_one_does_as_the_rule_says() -> None:
    """Beside it, not at all, after it, or in its place; and it starts if it meets none."""
    rules: tuple[RunOverlap, ...] = get_args(RunOverlap)

    assert {rule: entrance(rule, has_earlier=True) for rule in rules} == {
        "allow": Entrance.START,
        "skip": Entrance.SKIP,
        "queue": Entrance.WAIT,
        "cancel_running": Entrance.CANCEL_EARLIER,
    }
    assert {entrance(rule, has_earlier=False) for rule in rules} == {Entrance.START}


@pytest.mark.parametrize(
    ("tick_ms", "expected"),
    [
        (1_767_340_800_000, "report-20260102T080000Z"),
        (1_767_340_800_500, "report-20260102T080000-500Z"),
        (0, "report-19700101T000000Z"),
    ],
)
def test_the_job_of_a_tick_is_named_after_it(tick_ms: int, expected: str) -> None:
    """Schedule and moment, in UTC, so that everybody makes the same id of them."""
    assert tick_job_id("report", tick_ms) == expected


def test_the_job_of_a_tick_says_what_the_schedule_says() -> None:
    """Arguments, limits from when it is due, its schedule and its tick."""
    schedule = changed(HOURLY, expires_s=60.0, deadline_s=90.0, created_at_ms=5, edition=3)

    job = tick_job("report", schedule, 4 * HOUR, now_ms=HOUR)

    assert (job.queue, job.priority, job.due_ms) == ("mail", "normal", 4 * HOUR)
    assert job.message_id == "report-19700101T040000Z.5.3"
    assert bytes(job.envelope.args) == b"[1]"
    assert job.envelope.schedule == "report"
    assert job.envelope.scheduled_for_ms == 4 * HOUR
    assert job.envelope.expires_at_ms == 4 * HOUR + 60_000
    assert job.envelope.deadline_ms == 4 * HOUR + 90_000


def test_limits_of_a_tick_that_is_made_up_for_run_from_now() -> None:
    """A tick of an hour ago does not expire before it can start."""
    job = tick_job("report", changed(HOURLY, expires_s=60.0), HOUR, now_ms=2 * HOUR)

    assert job.envelope.expires_at_ms == 2 * HOUR + 60_000
    assert job.envelope.scheduled_for_ms == HOUR
