"""Decide, before a job of a schedule starts, whether it may: is its tick valid, is one running?

Ticks are armed ahead and fire by themselves, so what has become of their schedule since, and of
the job of the tick before, can only be asked now. Jobs that are of no schedule never come here.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec

from mesh.client.client import Client
from mesh.contract import headers, leases, records, schedules
from mesh.contract.leases import Turn
from mesh.contract.lifecycle import State
from mesh.contract.schedules import Schedule
from mesh.contract.subjects import kv_stream
from mesh.errors import JobNotFoundError, NotProvisionedError, UnreadableRecordError
from mesh.policy.misfire import Entrance, entrance
from mesh.policy.turns import why_void
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.worker.attempt import Attempt
from mesh.worker.outcomes import Ended, HandBack, Outcome

log = logging.getLogger("mesh.worker")

_SOURCE = headers.SOURCE.encode()
_TRIES = 3
_SOON_S = 0.1
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 10.0


class _Held(NamedTuple):
    """Whose turn it was found to be; None: nobody's, or what only other programs can read."""

    turn: Turn | None
    revision: int


class Turns:
    """Checks the jobs of schedules for one worker."""

    def __init__(self, client: Client) -> None:
        names = client.names
        self._client = client
        self._names = names
        self._schedules = Shelf(client.connection, kv_stream(names.schedules_bucket))
        self._locks = Shelf(client.connection, kv_stream(names.locks_bucket))

    async def check(self, attempt: Attempt) -> Outcome | None:
        """Say whether the job may start; None: it may, or it is of no schedule.

        Raises:
            BrokerError: The schedule, or another of its jobs, could not be looked up.
        """
        schedule_id = attempt.envelope.schedule
        if not schedule_id:
            return None
        try:
            schedule = await self._schedule(schedule_id)
        except UnreadableRecordError as error:
            log.warning("schedule %s does not count: %s", schedule_id, error)
            return None
        # Only what the scheduler has armed: a run that somebody asked for is wanted anyhow.
        if _SOURCE in attempt.delivery.headers and not attempt.ran_before:
            why = why_void(schedule, attempt.envelope.scheduled_for_ms)
            if why:
                return Ended(State.CANCELLED, why)
        if schedule is None or schedule.overlap == "allow":
            return None
        return await self._take_turn(attempt, schedule)

    async def _schedule(self, schedule_id: str) -> Schedule | None:
        try:
            entry = await self._schedules.last(
                self._names.schedule(schedule_id), self._client.publisher
            )
        except NotProvisionedError:  # A namespace that was set up before there were schedules.
            return None
        if entry is None or not entry.value:
            return None
        try:
            return schedules.read_schedule(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UnreadableRecordError(schedule_id, str(error)) from error

    async def _take_turn(self, attempt: Attempt, schedule: Schedule) -> Outcome | None:
        """Note that it is this job's turn, if its schedule's rule lets it be."""
        own = Turn(attempt.job_id, attempt.envelope.scheduled_for_ms)
        for _ in range(_TRIES):
            held = await self._held(attempt.envelope.schedule)
            if held.turn is not None and held.turn.job_id == own.job_id:
                return None
            other = held.turn if await self._is_active(held.turn) else None
            if other is not None:
                ended = await self._upon(attempt, schedule, other)
                if ended is not None:
                    return ended
            if await self._write(attempt.envelope.schedule, own, held.revision):
                return None
        return HandBack(_SOON_S, "another job of its schedule started this very moment")

    async def _upon(self, attempt: Attempt, schedule: Schedule, other: Turn) -> Outcome | None:
        """Say what becomes of a job while another of its schedule has not ended."""
        match entrance(schedule.overlap, has_earlier=True):
            case Entrance.SKIP:
                return Ended(State.CANCELLED, f"skipped: job {other.job_id} has not ended")
            case Entrance.WAIT:
                delay_s = _FIRST_WAIT_S * 2.0 ** min(attempt.delivery.deliveries - 1, 10)
                why = f"job {other.job_id} of its schedule has not ended"
                return HandBack(min(delay_s, _LONGEST_WAIT_S), why)
            case Entrance.CANCEL_EARLIER:
                if other.scheduled_for_ms > attempt.envelope.scheduled_for_ms:
                    return Ended(State.CANCELLED, f"superseded by job {other.job_id}")
                try:
                    await self._client.cancel(
                        other.job_id, f"superseded by job {attempt.job_id}"
                    )
                except JobNotFoundError:  # It has ended, and its record has expired meanwhile.
                    return None
                return None
            case Entrance.START:
                return None

    async def _is_active(self, turn: Turn | None) -> bool:
        """Whether the job whose turn it is has yet to end."""
        if turn is None:
            return False
        try:
            status = await self._client.records.find(turn.job_id)
        except UnreadableRecordError:
            return False
        return status is not None and not status.is_finished

    async def _held(self, schedule_id: str) -> _Held:
        entry = await self._locks.last(self._names.turn(schedule_id), self._client.publisher)
        if entry is None:
            return _Held(None, 0)
        try:
            return _Held(leases.read_turn(entry.value), entry.revision)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return _Held(None, entry.revision)

    async def _write(self, schedule_id: str, own: Turn, revision: int) -> bool:
        """Write whose turn it is over the revision that was seen; say whether it was there."""
        block = frames.header_block(
            [(headers.EXPECTED_LAST, str(revision)), (headers.ROLLUP, "sub")]
        )
        try:
            await self._client.publisher.publish(
                self._names.turn(schedule_id), block, records.encode(own)
            )
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True
