"""What people are shown of schedules: where one is, its runs, what a call has changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from mesh.client.status import JobStatus
from mesh.contract.lifecycle import State
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.contract.timetable import Timetable
from mesh.policy.misfire import runs_left
from mesh.policy.schedule_ticks import is_paused, schedule_ticks
from mesh.policy.zones import zone_named

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class ScheduleRun(Struct, frozen=True):
    """One tick that has come, and its job.

    Times are milliseconds since the epoch; 0: there is none.

    Attributes:
        tick_ms: The tick.
        job_id: Its job.
        state: The job's state; None: there is no job of it, or its record has expired.
        attempt: Number of its newest attempt; 0: it was never started.
        started_at_ms: When that attempt started.
        finished_at_ms: When the job ended.
        error: Why it failed, in one line; empty: it did not.
    """

    tick_ms: int
    job_id: str
    state: State | None = None
    attempt: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    error: str = ""


class ScheduleView(Struct, frozen=True):
    """A schedule, and how far it is.

    Attributes:
        id: Its id.
        schedule: What it says.
        is_paused: Whether it rests now.
        next_ms: Its next tick, in milliseconds since the epoch; None: there is none.
        last: The last tick that has come, and its job; None: none has, or nobody knows.
        status: What the scheduler that leads says of it; None: no scheduler has seen it yet.
    """

    id: str
    schedule: Schedule
    is_paused: bool
    next_ms: int | None
    last: ScheduleRun | None
    status: ScheduleStatus | None


class Backfilled(Struct, frozen=True):
    """What a backfill has done.

    Attributes:
        enqueued: The jobs it has enqueued, in the order of their ticks.
        skipped: The jobs that were there already: their ticks have run, or wait.
    """

    enqueued: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()


class SyncReport(Struct, frozen=True):
    """What bringing the stored schedules in line with the declared ones has changed.

    Attributes:
        created: Those that were new.
        updated: Those that said something else.
        unchanged: Those that were as they should be.
        removed: Those that were declared nowhere any more, with ``prune``.
    """

    created: tuple[str, ...] = ()
    updated: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()


def view(
    schedule_id: str,
    schedule: Schedule,
    status: ScheduleStatus | None,
    last: ScheduleRun | None,
    now_ms: int,
) -> ScheduleView:
    """Put together what is known of a schedule."""
    return ScheduleView(
        schedule_id,
        schedule,
        is_paused(schedule, now_ms),
        _next(schedule, status, now_ms),
        last,
        status,
    )


def run_told(status: ScheduleStatus | None) -> ScheduleRun | None:
    """The last run as the scheduler tells it."""
    if status is None or not status.last_tick_ms:
        return None
    return ScheduleRun(
        status.last_tick_ms,
        status.last_job_id,
        State(status.last_state) if status.last_state else None,
        finished_at_ms=status.last_finished_at_ms,
    )


def run_found(tick_ms: int, job_id: str, status: JobStatus | None) -> ScheduleRun:
    """A run as the records of its job tell it."""
    if status is None:
        return ScheduleRun(tick_ms, job_id)
    error = "" if status.error is None else f"{status.error.type}: {status.error.message}"
    return ScheduleRun(
        tick_ms,
        job_id,
        status.state,
        status.attempt,
        status.started_at_ms,
        status.finished_at_ms,
        error,
    )


def in_zone(timetable: Timetable, moment_ms: int) -> datetime:
    """A moment as the wall clock of the timetable's zone shows it."""
    moment = _EPOCH + timedelta(milliseconds=moment_ms)
    return moment.astimezone(zone_named(timetable.zone))


def _next(schedule: Schedule, status: ScheduleStatus | None, now_ms: int) -> int | None:
    tick = next(schedule_ticks(schedule, now_ms), None)
    if tick is None or status is None:
        return tick
    is_armed = tick <= status.armed_until_ms
    return tick if is_armed or runs_left(schedule, status.runs) != 0 else None
