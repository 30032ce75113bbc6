"""Options that say when a schedule is due, and what becomes of its ticks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from mesh.cli.options import duration, instant

R = TypeVar("R")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

_TIMETABLE: tuple[Decorator, ...] = (
    click.option(
        "--cron", metavar="EXPRESSION", help="5 fields, 6 with seconds in front, @daily."
    ),
    click.option("--every", type=duration, metavar="DURATION", help="From tick to tick."),
    click.option("--at", type=instant, multiple=True, metavar="TIME", help="May be repeated."),
    click.option("--tz", metavar="ZONE", help="IANA name of the time zone of --cron.  [UTC]"),
    click.option("--start", type=instant, metavar="TIME", help="No tick before."),
    click.option("--end", type=instant, metavar="TIME", help="No tick after."),
    click.option("--jitter", type=duration, metavar="DURATION", help="At most so late."),
    click.option(
        "--dst-gap",
        type=click.Choice(("shift", "skip")),
        help="A time of day that the clock leaps over.  [shift]",
    ),
    click.option(
        "--dst-overlap",
        type=click.Choice(("first", "second", "both")),
        help="A time of day that comes twice.  [first]",
    ),
)
_RULES: tuple[Decorator, ...] = (
    click.option(
        "--misfire",
        type=click.Choice(("skip", "fire_once", "fire_all")),
        help="Ticks that no scheduler armed in time.  [fire_once]",
    ),
    click.option("--catchup", type=duration, metavar="DURATION", help="How far back.  [1d]"),
    click.option("--catchup-limit", type=click.IntRange(min=0), help="At most so many.  [100]"),
    click.option(
        "--overlap",
        type=click.Choice(("allow", "skip", "queue", "cancel_running")),
        help="A tick while an earlier one's job runs.  [allow]",
    ),
    click.option("--max-runs", type=click.IntRange(min=0), help="So many ticks in all."),
    click.option("--about", metavar="TEXT", help="What it is for."),
)


_TIMETABLE_NAMES = (
    "cron",
    "every",
    "at",
    "tz",
    "start",
    "end",
    "jitter",
    "dst_gap",
    "dst_overlap",
)
_RULE_NAMES = ("misfire", "catchup", "catchup_limit", "overlap", "max_runs", "about")


def with_timetable(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options of a timetable; it receives those given as ``times``."""

    @functools.wraps(command)
    def with_times(**given: Any) -> R:
        return command(times=_taken(given, _TIMETABLE_NAMES), **given)

    return _decorated(with_times, _TIMETABLE)


def with_rules(command: Callable[..., R]) -> Callable[..., R]:
    """Give a command the options for ticks; it receives those given as ``rules``."""

    @functools.wraps(command)
    def with_rules(**given: Any) -> R:
        return command(rules=_taken(given, _RULE_NAMES), **given)

    return _decorated(with_rules, _RULES)


def _decorated(command: Callable[..., R], options: Sequence[Decorator]) -> Callable[..., R]:
    for option in reversed(options):
        command = option(command)
    return command


def _taken(given: dict[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Take some options out, and leave away those that nobody gave."""
    own = {name: given.pop(name) for name in names}
    return {name: value for name, value in own.items() if value is not None and value != ()}
