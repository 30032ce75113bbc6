"""Cancel the jobs of a lane that no worker has been given yet, each with its own record."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import NamedTuple

import anyio

from mesh.client.client import Client
from mesh.client.lanes import LaneControl, LaneState, read_time
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.records import ResultRecord
from mesh.errors import BrokerError, InvalidNameError
from mesh.transport import frames
from mesh.transport.faults import MESSAGE_NOT_FOUND, ApiError

REASON = "purged"
_AT_ONCE = 200
_HOLD_MS = 30_000


class Found(NamedTuple):
    """A job message in the stream.

    Attributes:
        sequence: Where it lies.
        subject: Its subject.
        headers: Its headers.
        stored_at_ms: When the server stored it.
    """

    sequence: int
    subject: str
    headers: dict[str, str]
    stored_at_ms: int


async def first_from(client: Client, filter_subject: str, sequence: int) -> Found | None:
    """Find the first job of a lane at or after a place in the stream.

    Raises:
        BrokerError: The stream could not be read.
    """
    try:
        answer = await client.connection.api(
            f"STREAM.MSG.GET.{client.names.jobs_stream}",
            {"seq": sequence, "next_by_subj": filter_subject},
        )
    except ApiError as fault:
        if fault.err_code == MESSAGE_NOT_FOUND:
            return None
        raise
    message = answer["message"]
    block = base64.b64decode(message.get("hdrs", ""))
    return Found(
        message["seq"],
        message["subject"],
        frames.read_headers(block),
        read_time(message["time"]),
    )


class Purge:
    """Purges one lane.

    Nothing is delivered from the lane meanwhile, so that no job starts while it is cancelled.
    If this process dies the lane goes on by itself after half a minute.

    Args:
        client: A connection.
        queue: The queue.
        priority: The priority.
        on_progress: Called with the number of jobs cancelled since it was last called.
        clock: The time.
    """

    def __init__(
        self,
        client: Client,
        queue: str,
        priority: str,
        on_progress: Callable[[int], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._queue = queue
        self._priority = priority
        self._lane = LaneControl(client, queue, priority)
        self._on_progress = on_progress
        self._clock = clock
        self._held_until_ms = 0

    async def run(self) -> int:
        """Cancel what is pending now; return how many jobs that were.

        Raises:
            BrokerError: The server refused or went away; what was not cancelled is kept.
        """
        before = await self._lane.state()
        if before is None or not before.pending:
            return 0
        try:
            held = await self._hold(before)
            return await self._cancel_from(held.delivered + 1)
        finally:
            with anyio.move_on_after(5, shield=True):
                await self._let_go(before)

    async def _cancel_from(self, sequence: int) -> int:
        api = self._client.connection.api
        info = await api(f"STREAM.INFO.{self._client.names.jobs_stream}")
        last = int(info["state"]["last_seq"])  # Producers may go on: what comes later stays.
        cancelled = 0
        while page := await self._page(sequence, last):
            sequence = page[-1].sequence + 1
            errors: list[BrokerError] = []
            async with anyio.create_task_group() as group:
                for job in page:
                    group.start_soon(self._end, job, errors)
            cancelled += len(page) - len(errors)
            self._on_progress(len(page) - len(errors))
            if errors:
                raise errors[0]
            state = await self._lane.state()
            if state is not None:
                await self._hold(state)
        return cancelled

    async def _page(self, sequence: int, last: int) -> list[Found]:
        lane = self._client.names.lane(self._queue, self._priority)
        page: list[Found] = []
        while len(page) < _AT_ONCE and sequence <= last:
            found = await first_from(self._client, lane, sequence)
            if found is None or found.sequence > last:
                break
            page.append(found)
            sequence = found.sequence + 1
        return page

    async def _end(self, job: Found, errors: list[BrokerError]) -> None:
        """Write the record, then remove the message: a crash in between loses nothing."""
        try:
            await self._record(job)
            # Unlike a delete by its place, this may find the message gone.
            await self._client.connection.api(
                f"STREAM.PURGE.{self._client.names.jobs_stream}",
                {"filter": job.subject, "seq": job.sequence + 1},
            )
        except BrokerError as error:
            errors.append(error)

    async def _record(self, job: Found) -> None:
        try:
            job_id = self._client.names.read_job(job.subject).job_id
        except InvalidNameError:
            return  # Nobody could ask for a record under such an id.
        attempt = job.headers.get(headers.ATTEMPT, "")
        record = ResultRecord(
            State.CANCELLED,
            job.headers.get(headers.TASK, ""),
            self._queue,
            self._priority,
            # A producer may write anything: more than nine digits are no attempt.
            attempt=max(0, int(attempt[:9]) - 1) if attempt.isdecimal() else 0,
            finished_at_ms=self._clock.now_ms(),
            reason=REASON,
        )
        records = self._client.records
        # If the job has ended already, its record stays as it is and the message is a leftover.
        await records.finish(job_id, record)
        if attempt:
            await records.forget_progress(job_id)

    async def _hold(self, state: LaneState) -> LaneState:
        """Pause the lane a little longer, unless somebody paused it for longer."""
        until_ms = state.now_ms + _HOLD_MS
        if state.paused_until_ms >= until_ms:
            return state
        self._held_until_ms = until_ms
        await self._lane.pause_until(until_ms)
        return await self._lane.state() or state

    async def _let_go(self, before: LaneState) -> None:
        """Leave the lane as it was, unless somebody paused or resumed it meanwhile."""
        state = await self._lane.state()
        if state is None or state.paused_until_ms != self._held_until_ms:
            return
        if before.paused_until_ms > state.now_ms:
            await self._lane.pause_until(before.paused_until_ms)
        else:
            await self._lane.wake()
