"""Ticks around each leap of seven wall clocks in three years, against a scan by minutes."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple, get_args
from zoneinfo import ZoneInfo

import pytest

from mesh.contract.timetable import DstGap, DstOverlap, Timetable
from mesh.errors import TimetableError
from mesh.policy.ticks import next_ticks, ticks_between
from mesh.policy.zones import zone_named

ZONES = (
    "Europe/Berlin",
    "America/New_York",
    "Australia/Lord_Howe",  # Half an hour.
    "Pacific/Chatham",  # At a quarter to three.
    "Antarctica/Troll",  # Two hours.
    "America/Santiago",  # At midnight.
    "Africa/Casablanca",  # By the moon, and backwards.
)
POLICIES: list[tuple[DstGap, DstOverlap]] = [
    (gap, overlap) for gap in get_args(DstGap) for overlap in get_args(DstOverlap)
]
HOUR = timedelta(hours=1)
MINUTE = timedelta(minutes=1)
START = datetime(2025, 1, 1, tzinfo=UTC)
HOURS = (datetime(2028, 1, 1, tzinfo=UTC) - START) // HOUR


class Expression(NamedTuple):
    """A cron expression, and the hours and minutes that it means."""

    cron: str
    hours: Container[int]
    minutes: Container[int]
    is_steady: bool = False

    def matches(self, wall: datetime) -> bool:
        return wall.minute in self.minutes and wall.hour in self.hours


EXPRESSIONS = (
    Expression("30 2 * * *", (2,), (30,)),
    Expression("45 1,2 * * *", (1, 2), (45,)),
    Expression("0 0 * * *", (0,), (0,)),
    Expression("15 */2 * * *", range(0, 24, 2), (15,)),
    Expression("*/20 0-3 * * *", range(4), (0, 20, 40)),
    Expression("*/5 * * * *", range(24), range(0, 60, 5), is_steady=True),
    Expression("10 * * * *", range(24), (10,), is_steady=True),
)


def wall_at(moment: datetime, zone: ZoneInfo) -> datetime:
    """What the wall clock shows."""
    return moment.astimezone(zone).replace(tzinfo=None)


def leaps(zone: ZoneInfo) -> list[datetime]:
    """The hours of three years in which the wall clock leaps."""
    hours = [START + number * HOUR for number in range(HOURS)]
    offsets = [hour.astimezone(zone).utcoffset() for hour in hours]
    return [hours[n] for n in range(1, HOURS) if offsets[n] != offsets[n - 1]]


def scan(zone: ZoneInfo, around: datetime) -> dict[datetime, list[datetime]]:
    """Every minute of a day and more, by what the wall clock shows then."""
    shown: dict[datetime, list[datetime]] = {}
    for number in range(-20 * 60, 20 * 60):
        moment = around + number * MINUTE
        shown.setdefault(wall_at(moment, zone), []).append(moment)
    return shown


def found_by_scan(
    shown: dict[datetime, list[datetime]], walls: list[datetime], *, gap: str, overlap: str
) -> set[datetime]:
    """The ticks of some wall times, as the words of the policy have them."""
    ticks: set[datetime] = set()
    for wall in walls:
        moments = shown.get(wall, [])
        if moments:
            chosen = {"first": moments[:1], "second": moments[-1:], "both": moments}
            ticks |= set(chosen[overlap])
        elif gap == "shift":
            ticks.add(min(first for when, (first, *_) in shown.items() if when > wall))
    return ticks


@pytest.mark.parametrize("name", ZONES)
def test_each_leap_of_a_wall_clock_is_passed_as_the_policy_says(name: str) -> None:
    """Around each leap, all policies give the ticks that a scan of each minute finds."""
    zone = ZoneInfo(name)
    around = leaps(zone)

    assert len(around) >= 6
    for leap in around:
        shown = scan(zone, leap)
        first = min(shown)
        minutes = [first + n * MINUTE for n in range((max(shown) - first) // MINUTE)]
        begin, end = leap - 16 * HOUR, leap + 16 * HOUR
        for expression in EXPRESSIONS:
            walls = [wall for wall in minutes if expression.matches(wall)]
            for gap, overlap in POLICIES:
                words = {"gap": gap, "overlap": overlap}
                if expression.is_steady:
                    words = {"gap": "skip", "overlap": "both"}
                expected = found_by_scan(shown, walls, **words)
                table = Timetable(
                    cron=expression.cron, zone=name, dst_gap=gap, dst_overlap=overlap
                )

                ticks = ticks_between(table, millis(begin), millis(end))

                assert [moment(tick) for tick in ticks] == sorted(
                    tick for tick in expected if begin < tick <= end
                ), (expression.cron, gap, overlap, leap)


@pytest.mark.parametrize("name", ZONES)
def test_every_day_of_three_years_has_its_tick_at_eight(name: str) -> None:
    """Summer and winter, `0 8 * * *` is at eight by the wall clock, once a day."""
    zone = ZoneInfo(name)
    table = Timetable(cron="0 8 * * *", zone=name)

    ticks = next_ticks(table, millis(START), limit=1095)

    walls = [wall_at(moment(tick), zone) for tick in ticks]
    assert {(wall.hour, wall.minute) for wall in walls} == {(8, 0)}
    assert [wall - walls[0] for wall in walls] == [timedelta(days=n) for n in range(1095)]


def test_a_pace_goes_on_through_a_leap() -> None:
    """`*/5 * * * *` fires every five minutes, however the clock is put."""
    table = Timetable(cron="*/5 * * * *", zone="Europe/Berlin", dst_overlap="second")
    for day in (datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        ticks = next_ticks(table, millis(day), limit=100)

        assert {after - before for before, after in pairwise(ticks)} == {300_000}


def test_a_day_that_never_was_is_made_up_for_at_its_end() -> None:
    """On the 30th of December 2011 Samoa leapt over a whole day."""
    table = Timetable(cron="0 12 30 12 *", zone="Pacific/Apia")
    before = datetime(2011, 12, 1, tzinfo=UTC)

    (tick,) = next_ticks(table, millis(before), limit=1)

    assert wall_at(moment(tick), ZoneInfo("Pacific/Apia")).isoformat() == "2011-12-31T00:00:00"


@pytest.mark.parametrize(
    "name", ["", "Mars/Olympus", "../etc/passwd", "/etc", "Europe", "a\0b"]
)
def test_what_is_no_zone_is_refused(name: str) -> None:
    """An unknown zone, a path or a folder is an error that says so."""
    with pytest.raises(TimetableError, match="there is no zone"):
        zone_named(name)


def test_a_slip_in_a_zones_name_is_told() -> None:
    """The error names the zone that was meant."""
    with pytest.raises(TimetableError, match="did you mean 'Europe/Berlin'"):
        zone_named("Europe/Berln")


def millis(when: datetime) -> int:
    """A moment, in milliseconds since the epoch."""
    return round(when.timestamp() * 1000)


def moment(tick: int) -> datetime:
    """A tick as a datetime."""
    return datetime.fromtimestamp(tick / 1000, UTC)
