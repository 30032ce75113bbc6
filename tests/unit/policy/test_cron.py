"""Cron expressions: which wall times they mean, and which are refused."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import islice

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.errors import TimetableError
from mesh.policy.cron import ALIASES, read_cron

START = datetime(2026, 1, 1, tzinfo=UTC)


def times(expression: str, count: int = 3, start: datetime = START) -> list[str]:
    """The first wall times of an expression."""
    walls = islice(read_cron(expression).walls(round(start.timestamp())), count)
    return [f"{datetime.fromtimestamp(wall, UTC):%Y-%m-%d %H:%M:%S}" for wall in walls]


def days(expression: str, count: int = 3) -> list[str]:
    """The first days of an expression that means midnight."""
    return [time.removesuffix(" 00:00:00") for time in times(expression, count)]


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 L * *", ["2026-01-31", "2026-02-28", "2026-03-31"]),
        ("0 0 * * 5#2", ["2026-01-09", "2026-02-13", "2026-03-13"]),
        ("0 0 * * fri#2", ["2026-01-09", "2026-02-13", "2026-03-13"]),
        ("0 0 * * 5L", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 * * LFri", ["2026-01-30", "2026-02-27", "2026-03-27"]),
        ("0 0 * * 1#1,3#1", ["2026-01-05", "2026-01-07", "2026-02-02"]),
        ("0 0 * JAN,mar mon-fri", ["2026-01-01", "2026-01-02", "2026-01-05"]),
        ("0 0 * * 7", ["2026-01-04", "2026-01-11", "2026-01-18"]),
        ("0 0 29 2 *", ["2028-02-29", "2032-02-29", "2036-02-29"]),
        ("0 0 1,L * ?", ["2026-01-01", "2026-01-31", "2026-02-01"]),
    ],
)
def test_days_are_matched(expression: str, expected: list[str]) -> None:
    """Names, lists, ranges, `L`, `#` and both Sundays mean the days they say."""
    assert days(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 13 * 5", ["2026-01-02", "2026-01-09", "2026-01-13"]),
        ("0 0 29 * 1#5", ["2026-01-29", "2026-03-29", "2026-03-30"]),
        ("0 0 */2 * 1", ["2026-01-05", "2026-01-19", "2026-02-09"]),
        ("0 0 */1 * 5", ["2026-01-02", "2026-01-09", "2026-01-16"]),
    ],
)
def test_two_fields_of_days_are_alternatives_unless_one_has_a_star(
    expression: str, expected: list[str]
) -> None:
    """The 13th or any Friday; but of the odd days only the Mondays, as cron itself has it."""
    assert days(expression) == expected


def test_six_fields_begin_with_the_seconds() -> None:
    """The seconds stand in front of the five fields, as they do on the server."""
    assert times("*/20 59 23 * * *") == [
        "2026-01-01 23:59:00",
        "2026-01-01 23:59:20",
        "2026-01-01 23:59:40",
    ]


@pytest.mark.parametrize("alias", ALIASES)
def test_an_alias_means_its_expression(alias: str) -> None:
    """`@daily` and the like, in capitals too, are names of expressions."""
    assert times(alias.upper()) == times(ALIASES[alias])


@pytest.mark.parametrize(
    ("expression", "why"),
    [
        ("0 0 30 2 *", "no such day in any year"),
        ("0 0 31 2,4,6 *", "no such day in any year"),
        ("* * * *", "4 fields"),
        ("0 0 1 1 * 0 2030", "7 fields"),
        ("", "0 fields"),
        ("@reboot", "1 fields"),
        ("61 * * * *", "out of range"),
        ("0 0 * * 1#6", "day_of_week"),
        ("0 0 * * 5L,3", "stand alone"),
        ("0 0 * * 1#1,1", "stand alone"),
        ("50-10/7 * * * *", "wraps"),
        ("H 0 * * *", "chance"),
        ("0 r(0-3) * * *", "chance"),
        ("0 0 15W * *", "nearest weekday"),
        ("*/0 * * * *", "step '0'"),
        ("a b c d e", "not acceptable"),
        ("5- * * * *", "not acceptable"),
    ],
)
def test_what_no_day_or_reader_can_meet_is_refused(expression: str, why: str) -> None:
    """An expression that cannot be read, or never comes, is an error at once and no loop."""
    with pytest.raises(TimetableError, match=why) as refusal:
        read_cron(expression)

    assert refusal.value.part == "cron"


def numbers(least: int, most: int) -> st.SearchStrategy[str]:
    """A field of a cron expression, without wrapping ranges."""
    one = st.integers(least, most)
    ranges = st.tuples(one, one).filter(lambda ends: ends[0] < ends[1])
    parts = one.map(str) | ranges.map(lambda ends: f"{ends[0]}-{ends[1]}")
    stepped = st.integers(2, most).map(lambda step: f"*/{step}")
    return st.just("*") | stepped | st.lists(parts, min_size=1, max_size=3).map(",".join)


@settings(max_examples=60, deadline=None)
@given(
    minute=numbers(0, 59),
    hour=numbers(0, 23),
    month=numbers(1, 12),
    day=st.tuples(numbers(1, 28), st.just("*")) | st.tuples(st.just("*"), numbers(0, 6)),
    after=st.integers(0, 4_000_000_000),
)
def test_croniter_finds_the_same_where_it_finds_all(
    minute: str, hour: str, month: str, day: tuple[str, str], after: int
) -> None:
    """Without zones and without two fields of days, croniter's search agrees with ours."""
    expression = f"{minute} {hour} {day[0]} {month} {day[1]}"
    theirs = croniter(expression, after)

    expected = [round(theirs.get_next(float)) for _ in range(5)]

    assert list(islice(read_cron(expression).walls(after + 1), 5)) == expected


@settings(max_examples=60, deadline=None)
@given(expression=st.text("0123456789*/-,?#LlWHR@ mon\n", max_size=30) | st.text(max_size=20))
def test_any_text_is_read_or_refused(expression: str) -> None:
    """No text gets past as anything but an expression or a refusal."""
    try:
        cron = read_cron(expression)
    except TimetableError:
        return
    assert next(cron.walls(0)) >= 0
