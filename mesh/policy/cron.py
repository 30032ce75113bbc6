"""Cron expressions: which wall times they mean. Time zones are no concern of theirs.

croniter reads the fields and says what is wrong with them. The days are matched here, because
its own search for the next match has faults (docs/decisions/0013).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final, Literal

from croniter import CroniterError, croniter
from msgspec import Struct

from mesh.errors import TimetableError
from mesh.policy.zones import DAY_S

ALIASES: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
"""Names for common expressions."""

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_LAST_YEAR = 9999
_LENGTHS = {2: (28, 29), 4: (30,), 6: (30,), 9: (30,), 11: (30,)}
_LAST_WEEKDAY = re.compile(r"([0-7]|sun|mon|tue|wed|thu|fri|sat)l", re.IGNORECASE)
_NAMED_LAST = re.compile(r"l(sun|mon|tue|wed|thu|fri|sat)", re.IGNORECASE)
_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")

Token = int | Literal["*", "l"]
Weeks = Mapping[Any, Collection[Any]]
"""For a weekday, of which weeks it is: from 1, or ``l`` for the last."""


class Cron(Struct, frozen=True):
    """A cron expression, read.

    Attributes:
        seconds: The seconds it matches, in order.
        minutes: The minutes.
        hours: The hours.
        months: The months, from 1.
        days: The days it matches in a month of so many days whose first is such a weekday
            (0: Monday).
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    days: dict[tuple[int, int], tuple[int, ...]]

    @property
    def is_steady(self) -> bool:
        """Whether it matches in every hour: it means a pace and no time of day."""
        return len(self.hours) == 24

    def walls(self, start_s: int) -> Iterator[int]:
        """Yield the wall times it matches, from one on, in order, to the end of 9999."""
        start_day, start_time = divmod(start_s, DAY_S)
        first = date.fromordinal(start_day + _EPOCH_DAY)
        for month_day, days in self._months(first.year, first.month):
            for number in days:
                day = month_day + number
                if day > start_day:
                    yield from (day * DAY_S + time for time in self._times(0))
                elif day == start_day:
                    yield from (day * DAY_S + time for time in self._times(start_time))

    def _months(self, year: int, month: int) -> Iterator[tuple[int, tuple[int, ...]]]:
        """Yield for each month the day before it, since the epoch, and its matching days."""
        while year <= _LAST_YEAR:
            if month in self.months:
                first = date(year, month, 1)
                days = self.days[_length(year, month), first.weekday()]
                yield first.toordinal() - _EPOCH_DAY - 1, days
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)

    def _times(self, start_s: int) -> Iterator[int]:
        """Yield the matching seconds of a day, from one on."""
        for hour in self.hours:
            if (hour + 1) * 3600 <= start_s:
                continue
            for minute in self.minutes:
                time = hour * 3600 + minute * 60
                if time + 60 <= start_s:
                    continue
                for second in self.seconds:
                    if time + second >= start_s:
                        yield time + second


@lru_cache(maxsize=4096)
def read_cron(expression: str) -> Cron:
    """Read a cron expression.

    Args:
        expression: Five fields, six with the seconds in front, or an alias such as ``@daily``.

    Raises:
        TimetableError: It cannot be read, or no day ever matches it.
    """
    fields = ALIASES.get(expression.strip().lower(), expression).split()
    if len(fields) not in (5, 6):
        known = ", ".join(ALIASES)
        raise _refused(
            expression, f"it has {len(fields)} fields; give 5, or 6 with the seconds in front,"
            f" or one of {known}"
        )  # fmt: skip
    *_, month_days, _, weekdays = fields
    fields[-1] = _weekdays(expression, weekdays)
    _check_shapes(expression, fields)
    try:
        tokens, weeks = croniter.expand(" ".join(fields), second_at_beginning=True)
    except (CroniterError, ValueError, KeyError, IndexError) as error:
        raise _refused(expression, str(error)) from error
    minutes, hours, _, months, _, *seconds = tokens
    cron = Cron(
        seconds=_values(seconds[0], 0, 59) if seconds else (0,),
        minutes=_values(minutes, 0, 59),
        hours=_values(hours, 0, 23),
        months=_values(months, 1, 12),
        days=_days(_Days(tokens[2], tokens[4], weeks, month_days[0], weekdays[0])),
    )
    if not any(
        cron.days[length, first]
        for month in cron.months
        for length in _LENGTHS.get(month, (31,))
        for first in range(7)
    ):
        raise _refused(expression, "there is no such day in any year")
    return cron


class _Days:
    """The rule for days: of the month, of the week, or both."""

    def __init__(
        self, month_days: list[Token], weekdays: list[Token], weeks: Weeks, *starts: str
    ) -> None:
        self._numbers = set(_values(month_days, 1, 31))
        self._has_last = "l" in month_days
        self._weekdays = set(_values(weekdays, 0, 6))
        self._weeks = weeks
        # As in cron itself: a field that begins with a star narrows the other one down, two
        # others are alternatives.
        self._needs_both = any(start in "*?" for start in starts)

    def matches(self, day: int, weekday: int, length: int) -> bool:
        """Whether a day of a month matches; Sunday is weekday 0."""
        in_month = day in self._numbers or (self._has_last and day == length)
        in_week = weekday in self._weekdays
        if in_week and self._weeks:
            weeks = self._weeks[weekday]
            in_week = (day - 1) // 7 + 1 in weeks or ("l" in weeks and day + 7 > length)
        return in_month and in_week if self._needs_both else in_month or in_week


def _days(rule: _Days) -> dict[tuple[int, int], tuple[int, ...]]:
    return {
        (length, first): tuple(
            day for day in range(1, length + 1) if rule.matches(day, (first + day) % 7, length)
        )
        for length in (28, 29, 30, 31)
        for first in range(7)
    }


def _weekdays(expression: str, field: str) -> str:
    """Write each last weekday as croniter reads it, and refuse a mixture that it misreads."""
    parts = [_LAST_WEEKDAY.sub(r"L\1", part) for part in field.split(",")]
    parts = [
        _NAMED_LAST.sub(lambda name: f"L{_WEEKDAYS.index(name[1].lower())}", part)
        for part in parts
    ]
    special = [part for part in parts if "#" in part or part.lower().startswith("l")]
    if special and len(special) < len(parts):
        raise _refused(
            expression, "weekdays of one week (1#2, 5L) stand alone, without other weekdays"
        )
    return ",".join(parts)


def _check_shapes(expression: str, fields: list[str]) -> None:
    """Refuse what croniter reads in a way that nobody expects."""
    for field in fields:
        for part in field.split(","):
            if part[:1].lower() in ("h", "r"):
                raise _refused(expression, f"{part!r} leaves it to chance; use a jitter")
            if part[:-1].isdigit() and part[-1:].lower() == "w":
                raise _refused(expression, f"{part!r}: the nearest weekday is not supported")
            low, dash, rest = part.partition("-")
            high, slash, _ = rest.partition("/")
            if dash and slash and low.isdigit() and high.isdigit() and int(low) > int(high):
                raise _refused(
                    expression,
                    f"{part!r} is a step through a range that wraps; write it as a list",
                )


def _values(tokens: list[Token], least: int, most: int) -> tuple[int, ...]:
    if "*" in tokens:
        return tuple(range(least, most + 1))
    return tuple(sorted(token for token in tokens if isinstance(token, int)))


def _length(year: int, month: int) -> int:
    lengths = _LENGTHS.get(month, (31,))
    is_leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return lengths[-1] if is_leap else lengths[0]


def _refused(expression: str, why: str) -> TimetableError:
    return TimetableError(part="cron", why=f"{expression!r} cannot be: {why}")
