"""The jobs of a schedule: enqueue one now or those of past ticks, and look up the last."""

from __future__ import annotations

from typing import cast

from mesh.client.admission import at_once
from mesh.client.client import Client
from mesh.client.schedule_book import Stored
from mesh.client.schedule_views import Backfilled, ScheduleRun, run_found
from mesh.contract import envelope as envelopes
from mesh.contract import headers
from mesh.contract.envelope import Envelope
from mesh.contract.schedules import Schedule
from mesh.errors import EnqueueUnknownError, MeshError, OptionError
from mesh.identifiers import new_job_id
from mesh.policy.schedule_ticks import envelope_of, tick_job_id
from mesh.policy.ticks import last_ticks, next_ticks
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.receipts import NoAnswerError

_MOST_BACKFILLED = 10_000


async def enqueue_now(
    client: Client, schedule_id: str, schedule: Schedule, *, now_ms: int
) -> str:
    """Enqueue a job of a schedule that is for no tick, and name it.

    Raises:
        EnqueueUnknownError: The server never confirmed it.
        BrokerError: The server refused.
    """
    job_id = f"{schedule_id}-now-{new_job_id()}"
    body = envelope_of(schedule_id, schedule, now_ms, ready_ms=now_ms)
    await _publish(client, job_id, schedule, body)
    return job_id


async def backfill(
    client: Client, stored: Stored, start_ms: int, end_ms: int, now_ms: int
) -> Backfilled:
    """Enqueue the jobs of past ticks, each unless it is there already.

    Args:
        client: The connection.
        stored: The schedule.
        start_ms: Ticks from this moment on, in milliseconds since the epoch.
        end_ms: Ticks up to this moment, itself included.
        now_ms: The present.

    Raises:
        OptionError: There are more than 10,000 ticks.
        ExceptionGroup: Some jobs were not stored, or may not be; to do it again is safe.
    """
    schedule_id, schedule, _ = stored
    most = _MOST_BACKFILLED
    ticks = next_ticks(schedule.timetable, start_ms - 1, limit=most + 1, until_ms=end_ms)
    if len(ticks) > most:
        option = "start"
        raise OptionError(option, f"there are more than {most:,} ticks; take a shorter time")

    async def fill(tick_ms: int) -> tuple[str, bool]:
        job_id = tick_job_id(schedule_id, tick_ms)
        if await client.records.find(job_id) is not None:
            return job_id, False
        body = envelope_of(schedule_id, schedule, tick_ms, ready_ms=now_ms)
        return job_id, await _publish(client, job_id, schedule, body)

    done = await at_once(fill, ticks)
    if errors := [outcome for outcome in done if isinstance(outcome, MeshError)]:
        message = f"{len(errors):,} of {len(done):,} jobs were not confirmed"
        raise ExceptionGroup(message, errors)
    sure = cast("list[tuple[str, bool]]", done)
    return Backfilled(
        tuple(job_id for job_id, is_new in sure if is_new),
        tuple(job_id for job_id, is_new in sure if not is_new),
    )


async def last_runs(
    client: Client, stored: Stored, now_ms: int, *, limit: int
) -> list[ScheduleRun]:
    """Look up the jobs of the last ticks since the schedule was made, the newest first.

    Args:
        client: The connection.
        stored: The schedule.
        now_ms: The present.
        limit: How many ticks.
    """
    schedule_id, schedule, _ = stored
    ticks = last_ticks(schedule.timetable, now_ms, schedule.created_at_ms, limit=limit)

    async def look_up(tick_ms: int) -> ScheduleRun:
        job_id = tick_job_id(schedule_id, tick_ms)
        return run_found(tick_ms, job_id, await client.records.find(job_id))

    found = await at_once(look_up, ticks)
    return [
        ScheduleRun(tick, tick_job_id(schedule_id, tick), error=str(run))
        if isinstance(run, MeshError)
        else run
        for tick, run in zip(reversed(ticks), reversed(found), strict=True)
    ]


async def _publish(client: Client, job_id: str, schedule: Schedule, body: Envelope) -> bool:
    """Publish a job unless one of its id is pending; say whether this one was stored."""
    names = client.names
    pairs = [
        (headers.MESSAGE_ID, job_id),
        (headers.TASK, schedule.task),
        # It may have ended between the look and this: the worker asks the records.
        (headers.REPEAT, "1"),
        (headers.EXPECTED_LAST, "0"),
        (headers.EXPECTED_LAST_SUBJECT, names.job_anywhere(job_id)),
    ]
    subject = names.job(schedule.queue, schedule.priority, job_id)
    try:
        receipt = await client.publisher.publish(
            subject, frames.header_block(pairs), envelopes.encode(body)
        )
    except NoAnswerError as error:
        raise EnqueueUnknownError(job_id, str(error)) from error
    except ApiError as fault:
        if fault.err_code != WRONG_LAST_SEQUENCE:
            raise
        return fault.was_resent
    return not receipt.is_duplicate
