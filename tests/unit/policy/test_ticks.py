"""The ticks of timetables: intervals, moments, bounds, jitter."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.contract.timetable import Timetable
from mesh.errors import TimetableError
from mesh.policy.ticks import LAST_MS, due_ms, next_ticks, ticks_between

HOUR = 3_600_000
DAY = 24 * HOUR


def test_an_interval_counts_from_its_start() -> None:
    """Every ten seconds from the third on, the first tick at the start itself."""
    table = Timetable(every_s=10, start_ms=3000)

    assert next_ticks(table, -5000, limit=3) == (3000, 13_000, 23_000)
    assert next_ticks(table, 13_000, limit=2) == (23_000, 33_000)


def test_an_interval_without_a_start_counts_from_the_epoch() -> None:
    """Whoever calculates it, and whenever, finds the same ticks."""
    table = Timetable(every_s=1.5)

    assert next_ticks(table, 3001, limit=3) == (4500, 6000, 7500)


def test_moments_come_in_order_and_once() -> None:
    """Moments may be given in any order, and twice."""
    table = Timetable(at_ms=(9000, 3000, 9000, 6000))

    assert next_ticks(table, 3000, limit=9) == (6000, 9000)


def test_no_tick_is_outside_start_and_end() -> None:
    """Start and end themselves belong to it."""
    table = Timetable(cron="0 * * * *", start_ms=2 * HOUR, end_ms=4 * HOUR)

    assert next_ticks(table, 0, limit=9) == (2 * HOUR, 3 * HOUR, 4 * HOUR)


def test_what_is_after_excludes_and_until_includes() -> None:
    """A tick belongs to the span that ends with it."""
    table = Timetable(cron="0 * * * *")

    assert list(ticks_between(table, HOUR, 3 * HOUR)) == [2 * HOUR, 3 * HOUR]


@pytest.mark.parametrize(
    "table",
    [
        Timetable(cron="* * * * * *"),
        Timetable(cron="0 0 1 1 *", zone="Pacific/Auckland"),
        Timetable(cron="*/5 * * * *", zone="America/New_York"),
        Timetable(every_s=86_400),
        Timetable(at_ms=(253_402_300_799_999,)),
    ],
)
def test_time_ends_with_the_year_9999(table: Timetable) -> None:
    """The last ticks of all come to an end and do not run over."""
    assert all(
        tick <= LAST_MS for tick in islice(ticks_between(table, LAST_MS - DAY, LAST_MS), 99_999)
    )
    assert next_ticks(table, LAST_MS, limit=1) == ()


def test_ticks_that_are_always_leapt_over_end_in_nothing() -> None:
    """At half past two on the day the clock leaps over it, every year: there is none."""
    table = Timetable(cron="30 2 * 3 0L", zone="Europe/Berlin", dst_gap="skip")

    assert next_ticks(table, 1_767_225_600_000, limit=1, until_ms=4_000_000_000_000) == ()


@pytest.mark.parametrize(
    ("table", "part"),
    [
        (Timetable(), "timetable"),
        (Timetable(cron="@daily", every_s=9), "timetable"),
        (Timetable(every_s=0.5), "every"),
        (Timetable(every_s=9, jitter_s=90_000), "jitter"),
        (Timetable(every_s=9, start_ms=9, end_ms=8), "end"),
        (Timetable(every_s=9, zone="Mars"), "zone"),
        (Timetable(cron="0 0 30 2 *"), "cron"),
    ],
)
def test_a_timetable_that_cannot_be_is_refused(table: Timetable, part: str) -> None:
    """The error names the part that is wrong."""
    with pytest.raises(TimetableError) as refusal:
        next_ticks(table, 0, limit=1)

    assert refusal.value.part == part


@given(tick=st.integers(0, LAST_MS), schedule=st.text("abc-", min_size=1, max_size=9))
def test_jitter_is_the_same_for_everybody_and_stays_in_bounds(tick: int, schedule: str) -> None:
    """A tick is late by a part of the jitter that depends on schedule and tick alone."""
    table = Timetable(every_s=60, jitter_s=30)

    due = due_ms(table, schedule, tick)

    assert 0 <= due - tick <= 30_000
    assert due == due_ms(table, schedule, tick)


def test_jitter_spreads_the_schedules_of_one_tick() -> None:
    """A hundred schedules of one minute do not fire all at once."""
    table = Timetable(every_s=60, jitter_s=30)

    lateness = {due_ms(table, f"s{number}", 0) for number in range(100)}

    assert len(lateness) > 90
    assert due_ms(Timetable(every_s=60), "s1", 7) == 7


@settings(max_examples=40, deadline=None)
@given(
    table=st.builds(
        Timetable,
        cron=st.sampled_from(["*/7 * * * *", "30 2 * * *", "0 0 L * *", "15 1-3 * * 1"]),
        zone=st.sampled_from(["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"]),
        dst_gap=st.sampled_from(["shift", "skip"]),
        dst_overlap=st.sampled_from(["first", "second", "both"]),
    ),
    after=st.integers(0, 2_000_000_000_000),
    cut=st.integers(1, 19),
)
def test_ticks_are_the_same_from_wherever_one_starts(
    table: Timetable, after: int, cut: int
) -> None:
    """Each tick is later than the one before, and the search may be broken off and resumed."""
    ticks = next_ticks(table, after, limit=20)

    assert all(before < later for before, later in pairwise(ticks))
    assert next_ticks(table, ticks[cut - 1], limit=20 - cut) == ticks[cut:]
