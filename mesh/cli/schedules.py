"""How schedules, their ticks and their runs are shown to people and to programs."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from mesh.cli.output import Output, table

if TYPE_CHECKING:
    from mesh.client.schedule_views import ScheduleRun, ScheduleView
    from mesh.contract.schedules import Schedule
    from mesh.contract.timetable import Timetable

_HEAD = ("id", "task", "due", "zone", "next", "last", "outcome")
_RUNS = ("tick", "job", "state", "attempt", "started", "took")


def show_all(output: Output, views: Sequence[ScheduleView]) -> None:
    """Print schedules as a table."""
    rows = [_row(view) for view in views]
    text = table(_HEAD, rows) if rows else "No schedules."
    output.show({"schedules": [values(view) for view in views]}, text)


def show(output: Output, view: ScheduleView) -> None:
    """Print one schedule."""
    schedule = view.schedule
    zoned = schedule.timetable
    rows = [
        ("schedule", view.id),
        ("about", schedule.about),
        ("task", schedule.task),
        ("queue", f"{schedule.queue} ({schedule.priority})"),
        ("due", _due(zoned)),
        ("zone", zoned.zone),
        ("next", _next(view)),
        ("last", _last(view)),
        ("paused", _paused(view)),
        ("misfire", f"{schedule.misfire}, at most {schedule.catchup_limit:,}"),
        ("overlap", schedule.overlap),
        ("max runs", f"{schedule.max_runs:,}" if schedule.max_runs else ""),
        ("armed until", _armed(view)),
        ("declared in", schedule.origin),
        ("edition", schedule.edition),
    ]
    text = "\n".join(f"{key:12} {value}".rstrip() for key, value in rows if value)
    output.show(values(view), text)


def show_runs(output: Output, schedule: Schedule, runs: Sequence[ScheduleRun]) -> None:
    """Print the last runs of a schedule."""
    from mesh.client.schedule_views import in_zone

    rows = [
        (
            _moment(in_zone(schedule.timetable, run.tick_ms)),
            run.job_id,
            run.state or "not known",
            run.attempt or "-",
            "-"
            if not run.started_at_ms
            else _moment(in_zone(schedule.timetable, run.started_at_ms)),
            _took(run),
        )
        for run in runs
    ]
    output.show({"runs": list(runs)}, table(_RUNS, rows) if rows else "No tick has come yet.")


def show_ticks(output: Output, ticks: Sequence[datetime]) -> None:
    """Print ticks, one a line."""
    lines = [f"{_moment(tick)}  {tick:%a}" for tick in ticks]
    shown = {"ticks": [tick.isoformat() for tick in ticks]}
    output.show(shown, "\n".join(lines) if lines else "There are no more ticks.")


def values(view: ScheduleView) -> dict[str, Any]:
    """A schedule as a program reads it."""
    import msgspec

    from mesh.client.schedule_views import in_zone

    # By way of JSON, for the arguments are JSON already.
    told: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(view))
    times = {"next": view.next_ms, "last_tick": view.last.tick_ms if view.last else None}

    return told | {
        name: None if ms is None else in_zone(view.schedule.timetable, ms).isoformat()
        for name, ms in times.items()
    }


def _row(view: ScheduleView) -> tuple[object, ...]:
    schedule, last = view.schedule, view.last
    return (
        view.id,
        schedule.task,
        _due(schedule.timetable),
        schedule.timetable.zone,
        "paused" if view.is_paused else _next(view),
        "-" if last is None else _at(schedule.timetable, last.tick_ms),
        "-" if last is None else last.state or "not known",
    )


def _due(timetable: Timetable) -> str:
    from mesh.settings.describing import format_duration

    if timetable.cron:
        return timetable.cron
    if timetable.every_s:
        return f"every {format_duration(timetable.every_s)}"
    moments = [_at(timetable, moment) for moment in timetable.at_ms]
    return moments[0] if len(moments) == 1 else f"{moments[0]} and {len(moments) - 1:,} more"


def _next(view: ScheduleView) -> str:
    return "-" if view.next_ms is None else _at(view.schedule.timetable, view.next_ms)


def _last(view: ScheduleView) -> str:
    if view.last is None:
        return ""
    tick = _at(view.schedule.timetable, view.last.tick_ms)
    why = f": {view.last.error}" if view.last.error else ""
    return f"{tick} {view.last.state or 'not known'} ({view.last.job_id}){why}"


def _paused(view: ScheduleView) -> str:
    pause = view.schedule.pause
    if pause is None or not view.is_paused:
        return ""
    end = _at(view.schedule.timetable, pause.until_ms) if pause.until_ms else "it is resumed"
    by = f" by {pause.by}" if pause.by else ""
    return f"until {end}{by}{f': {pause.note}' if pause.note else ''}"


def _armed(view: ScheduleView) -> str:
    if view.status is None or not view.status.armed_until_ms:
        return "no scheduler has seen it yet"
    return _at(view.schedule.timetable, view.status.armed_until_ms)


def _took(run: ScheduleRun) -> str:
    if not run.started_at_ms or not run.finished_at_ms:
        return "-"
    return f"{(run.finished_at_ms - run.started_at_ms) / 1000:,.3f} s"


def _at(timetable: Timetable, moment_ms: int) -> str:
    from mesh.client.schedule_views import in_zone

    return _moment(in_zone(timetable, moment_ms))


def _moment(moment: datetime) -> str:
    return moment.isoformat(sep=" ", timespec="seconds")
