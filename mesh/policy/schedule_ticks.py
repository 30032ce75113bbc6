"""The ticks of a schedule, and the job that each of them is: pure, and the same for everybody.

Whoever makes the job of a tick makes the same one under the same id, so that two schedulers at
once, or a backfill beside them, cannot run it twice.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from mesh.contract.envelope import Envelope
from mesh.contract.schedules import Schedule
from mesh.policy.ticks import LAST_MS, due_ms, ticks_between

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class TickJob(NamedTuple):
    """The job of one tick.

    Attributes:
        job_id: Its id, made of schedule and tick.
        message_id: Names this edition of it, for the server's window of duplicates: the job of
            an older edition is replaced and no duplicate.
        queue: Its queue.
        priority: Its priority.
        due_ms: When it is due, in milliseconds since the epoch: the tick with its jitter.
        envelope: Its body.
    """

    job_id: str
    message_id: str
    queue: str
    priority: str
    due_ms: int
    envelope: Envelope


def schedule_ticks(schedule: Schedule, after_ms: int, until_ms: int = LAST_MS) -> Iterator[int]:
    """Yield the ticks of a schedule, pauses left out, in order.

    Args:
        schedule: The schedule.
        after_ms: Ticks after this moment, in milliseconds since the epoch.
        until_ms: Ticks up to this moment, itself included.

    Raises:
        TimetableError: Its timetable says what cannot be.
    """
    after_ms = max(after_ms, schedule.since_ms - 1)
    if schedule.pause is not None:
        if not schedule.pause.until_ms:
            return iter(())
        after_ms = max(after_ms, schedule.pause.until_ms - 1)
    return ticks_between(schedule.timetable, after_ms, until_ms)


def is_paused(schedule: Schedule, now_ms: int) -> bool:
    """Whether a schedule rests at a moment."""
    pause = schedule.pause
    return pause is not None and (not pause.until_ms or now_ms < pause.until_ms)


def tick_job_id(schedule_id: str, tick_ms: int) -> str:
    """Name the job of a tick: ``report-20260102T080000Z``."""
    moment = _EPOCH + timedelta(milliseconds=tick_ms)
    thousandths = tick_ms % 1000
    fraction = f"-{thousandths:03}" if thousandths else ""
    return f"{schedule_id}-{moment:%Y%m%dT%H%M%S}{fraction}Z"


def tick_job(schedule_id: str, schedule: Schedule, tick_ms: int, now_ms: int) -> TickJob:
    """Make the job of a tick.

    Args:
        schedule_id: The schedule's id.
        schedule: The schedule.
        tick_ms: The tick, in milliseconds since the epoch.
        now_ms: The present, in milliseconds since the epoch.
    """
    job_id = tick_job_id(schedule_id, tick_ms)
    due = due_ms(schedule.timetable, schedule_id, tick_ms)
    return TickJob(
        job_id,
        f"{job_id}.{schedule.created_at_ms}.{schedule.edition}",
        schedule.queue,
        schedule.priority,
        due,
        envelope_of(schedule_id, schedule, tick_ms, ready_ms=max(due, now_ms)),
    )


def envelope_of(
    schedule_id: str, schedule: Schedule, tick_ms: int, *, ready_ms: int
) -> Envelope:
    """Make the body of one of a schedule's jobs.

    Args:
        schedule_id: The schedule's id.
        schedule: The schedule.
        tick_ms: What the task is told it was scheduled for.
        ready_ms: When the job is due. Armed long before, it counts as enqueued then: all its
            limits run from there.
    """
    return Envelope(
        schedule.task,
        schedule.args,
        schedule.kwargs,
        enqueued_at_ms=ready_ms,
        timeout_s=schedule.timeout_s,
        retry=schedule.retry,
        result_ttl_s=schedule.result_ttl_s,
        failure_ttl_s=schedule.failure_ttl_s,
        expires_at_ms=_later(ready_ms, schedule.expires_s),
        tags=schedule.tags,
        meta=schedule.meta,
        soft_timeout_s=schedule.soft_timeout_s,
        deadline_ms=_later(ready_ms, schedule.deadline_s),
        schedule=schedule_id,
        scheduled_for_ms=tick_ms,
    )


def _later(moment_ms: int, seconds: float | None) -> int | None:
    return None if seconds is None else moment_ms + round(seconds * 1000)
