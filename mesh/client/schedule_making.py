"""Make the record of a schedule from what people say: keywords, a call, the app's defaults."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypedDict, cast, get_args

import msgspec
from msgspec import Raw
from msgspec.structs import replace

from mesh.contract.schedules import Misfire, Origin, RunOverlap, Schedule
from mesh.contract.timetable import DstGap, DstOverlap, Timetable
from mesh.durations import Duration, seconds
from mesh.errors import OptionError, PayloadTooLargeError
from mesh.policy.ticks import check_timetable
from mesh.settings.model import Settings
from mesh.tasks.definition import Call
from mesh.tasks.options import TaskOptions

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


class TimetableKeywords(TypedDict, total=False):
    """When a schedule is due; exactly one of ``cron``, ``every`` and ``at`` is given.

    Attributes:
        cron: Five fields, six with the seconds in front, or an alias such as ``@daily``.
        every: An interval, counted from ``start``, or from the epoch without one.
        at: One moment or several: datetimes with a time zone, or texts in ISO 8601.
        tz: The IANA name of the time zone of ``cron``; without one it is UTC.
        start: No tick is before this moment.
        end: No tick is after this moment.
        jitter: Each tick is late by a part of this, the same part whoever calculates it.
        dst_gap: A time of day that the clock leaps over: ``shift`` to the first moment behind
            the leap (the default), or ``skip`` it.
        dst_overlap: A time of day that the clock shows twice: the ``first`` (the default), the
            ``second`` or ``both``.
    """

    cron: str
    every: Duration
    at: datetime | str | Sequence[datetime | str]
    tz: str
    start: datetime | str
    end: datetime | str
    jitter: Duration
    dst_gap: DstGap
    dst_overlap: DstOverlap


class RuleKeywords(TypedDict, total=False):
    """What becomes of ticks.

    Attributes:
        misfire: Of ticks that no scheduler armed in time: ``skip``, ``fire_once`` (the default)
            or ``fire_all``.
        catchup: Only ticks so recent are made up for; a day, if nothing is said.
        catchup_limit: At most so many; 100, if nothing is said.
        overlap: Of a tick that comes while the job of an earlier one has not ended: ``allow``
            (the default), ``skip``, ``queue`` or ``cancel_running``.
        max_runs: How many ticks there are, all told; 0: no limit.
        about: What the schedule is for, for people.
    """

    misfire: Misfire
    catchup: Duration
    catchup_limit: int
    overlap: RunOverlap
    max_runs: int
    about: str


class ScheduleKeywords(TimetableKeywords, RuleKeywords, total=False):
    """Keywords of ``app.schedules.upsert(...)``: when, and what becomes of ticks."""


class CronKeywords(RuleKeywords, total=False):
    """Keywords of ``@app.cron(...)``: those of a schedule, less ``cron``, ``every``, ``at``."""

    tz: str
    start: datetime | str
    end: datetime | str
    jitter: Duration
    dst_gap: DstGap
    dst_overlap: DstOverlap


class Declared(NamedTuple):
    """A schedule as it is declared: in the code, in a file, or in a call of the API.

    Attributes:
        schedule_id: Its id.
        call: What it runs.
        keywords: When, and what becomes of ticks.
        origin: Where it is declared.
    """

    schedule_id: str
    call: Call[Any]
    keywords: ScheduleKeywords
    origin: Origin


def make_timetable(keywords: Mapping[str, Any]) -> Timetable:
    """Read a timetable.

    Raises:
        OptionError: A keyword is unknown, or its value cannot be.
        TimetableError: The timetable says what cannot be.
    """
    table = Timetable(**_read(keywords, _TIMETABLE))
    check_timetable(table)
    return table


def make_schedule(declared: Declared, settings: Settings, now_ms: int) -> Schedule:
    """Make the record of a schedule that is new.

    Args:
        declared: The schedule.
        settings: What holds for jobs that say nothing else.
        now_ms: The present.

    Raises:
        OptionError: A keyword is unknown, or its value or that of an option cannot be.
        TimetableError: The timetable says what cannot be.
        PayloadTooLargeError: The arguments are too large to be kept in a schedule.
    """
    keywords: dict[str, Any] = dict(declared.keywords)
    times = {name: keywords.pop(name) for name in [*keywords] if name in _TIMETABLE}
    rules = _read(keywords, _RULES)
    call = declared.call
    _check_call(call, settings)
    own = TaskOptions() if call.definition is None else call.definition.options
    given, defaults = call.options, settings.job_defaults
    return Schedule(
        call.task,
        make_timetable(times),
        queue=given.queue or own.queue or defaults.queue,
        priority=str(given.priority or own.priority or defaults.priority),
        args=Raw(call.args),
        kwargs=Raw(call.kwargs),
        timeout_s=given.timeout_s,
        soft_timeout_s=given.soft_timeout_s,
        retry=given.retry,
        result_ttl_s=given.result_ttl_s,
        failure_ttl_s=given.failure_ttl_s,
        expires_s=own.expires_s if given.expires_s is None else given.expires_s,
        deadline_s=own.deadline_s if given.deadline_s is None else given.deadline_s,
        tags=own.tags if given.tags is None else given.tags,
        meta=given.meta or {},
        since_ms=now_ms,
        origin=declared.origin,
        created_at_ms=now_ms,
        updated_at_ms=now_ms,
        **rules,
    )


def merged(old: Schedule, new: Schedule) -> Schedule:
    """Carry over what a new declaration does not say: pause, age and edition.

    Returns:
        The old one itself, if the new one says nothing new.
    """
    is_as_before = old.timetable == new.timetable
    kept = replace(
        new,
        pause=old.pause,
        since_ms=old.since_ms if is_as_before else new.since_ms,
        edition=old.edition,
        created_at_ms=old.created_at_ms,
        updated_at_ms=old.updated_at_ms,
    )
    if msgspec.json.encode(kept) == msgspec.json.encode(old):
        return old
    return replace(kept, edition=old.edition + 1, updated_at_ms=new.updated_at_ms)


def moment_ms(option: str, when: object) -> int:
    """Read a moment: a datetime with a time zone, or a text in ISO 8601 with an offset.

    Raises:
        OptionError: It is none, or nobody can tell when that is.
    """
    example = "give it a time zone: datetime(2030, 1, 31, 9, tzinfo=ZoneInfo('Europe/Berlin'))"
    read = when
    if isinstance(when, str):
        example = "write it like 2030-01-31T09:00:00+01:00"
        try:
            read = datetime.fromisoformat(when)
        except ValueError as error:
            raise OptionError(option, f"{when!r} is no time; {example}") from error
    if not isinstance(read, datetime):
        raise OptionError(option, f"{when!r} is no datetime; {example}")
    if read.tzinfo is None:
        raise OptionError(option, f"{str(when)!r} has no time zone; {example}")
    millis = (read - _EPOCH) // _MILLISECOND
    if millis < 0:
        raise OptionError(option, f"{str(when)!r} lies before 1970")
    return millis


def _read(
    keywords: Mapping[str, Any], readers: Mapping[str, tuple[str, Callable[[Any], Any]]]
) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for option, value in keywords.items():
        if option not in readers:
            near = difflib.get_close_matches(option, [*_TIMETABLE, *_RULES], n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(readers)}"
            raise OptionError(option, f"there is no such option; {hint}")
        field, read = readers[option]
        try:
            values[field] = read(value)
        except OptionError:
            raise
        except ValueError as error:
            raise OptionError(option, str(error)) from error
    return values


def _check_call(call: Call[Any], settings: Settings) -> None:
    given = call.options
    for option, is_given in {
        "delay": given.delay_s is not None or given.eta_ms is not None,
        "job_id": given.job_id is not None,
        "deadline": given.deadline_ms is not None,
    }.items():
        if is_given:
            why = "a schedule has many jobs, and each tick says when its own is due"
            raise OptionError(option, why)
    if given.unique:
        option = "unique"
        raise OptionError(option, "a tick has one job anyway; say overlap='skip' instead")
    size, most = len(call.args) + len(call.kwargs), settings.limits.payload_inline_bytes
    if size > most:
        message = (
            f"the arguments have {size:,} bytes and would travel with each tick; a schedule "
            f"keeps at most {most:,}: store them elsewhere and pass where they are"
        )
        raise PayloadTooLargeError(message)


def _choice(kind: object) -> Callable[[object], object]:
    choices = get_args(kind)

    def read(value: object) -> object:
        if value not in choices:
            message = f"{value!r} is not one of {', '.join(choices)}"
            raise ValueError(message)
        return value

    return read


def _text(value: object) -> str:
    if not isinstance(value, str):
        message = f"{value!r} is no text"
        raise ValueError(message)  # noqa: TRY004 - options are refused with ValueError
    return value


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 10**9:
        message = f"{value!r} is no whole number from 0 on"
        raise ValueError(message)
    return value


def _moments(value: object) -> tuple[int, ...]:
    if isinstance(value, str | datetime):
        return (moment_ms("at", value),)
    if not isinstance(value, Sequence) or not value:
        message = f"{value!r} is neither a moment nor a list of them"
        raise ValueError(message)
    given = cast("Sequence[object]", value)
    return tuple(sorted({moment_ms("at", moment) for moment in given}))


def _start(value: object) -> int:
    return moment_ms("start", value)


def _end(value: object) -> int:
    return moment_ms("end", value)


_TIMETABLE: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "cron": ("cron", _text),
    "every": ("every_s", seconds),
    "at": ("at_ms", _moments),
    "tz": ("zone", _text),
    "start": ("start_ms", _start),
    "end": ("end_ms", _end),
    "jitter": ("jitter_s", seconds),
    "dst_gap": ("dst_gap", _choice(DstGap)),
    "dst_overlap": ("dst_overlap", _choice(DstOverlap)),
}
_RULES: Mapping[str, tuple[str, Callable[[Any], Any]]] = {
    "misfire": ("misfire", _choice(Misfire)),
    "catchup": ("catchup_s", seconds),
    "catchup_limit": ("catchup_limit", _count),
    "overlap": ("overlap", _choice(RunOverlap)),
    "max_runs": ("max_runs", _count),
    "about": ("about", _text),
}
"""For each keyword the field it fills and what reads it."""

TIMETABLE_WORDS = tuple(_TIMETABLE)
"""Every keyword of a timetable."""

SCHEDULE_WORDS = (*_TIMETABLE, *_RULES)
"""Every keyword of a schedule."""
