"""Go through the jobs of a lane that no worker has been given yet, while none is given out."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import anyio

from mesh.client.client import Client
from mesh.client.lanes import LaneControl, LaneState, read_time
from mesh.errors import BrokerError
from mesh.transport import frames
from mesh.transport.faults import MESSAGE_NOT_FOUND, ApiError

_AT_ONCE = 200
_HOLD_MS = 30_000


class Found(NamedTuple):
    """A job message in the stream.

    Attributes:
        sequence: Where it lies.
        subject: Its subject.
        headers: Its headers.
        stored_at_ms: When the server stored it.
        body: Its body.
    """

    sequence: int
    subject: str
    headers: dict[str, str]
    stored_at_ms: int
    body: bytes


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
        base64.b64decode(message.get("data", "")),
    )


async def take_away(client: Client, job: Found) -> None:
    """Remove a job's message from the stream.

    Raises:
        BrokerError: The server refused.
    """
    # Unlike a delete by its place, this may find the message gone.
    await client.connection.api(
        f"STREAM.PURGE.{client.names.jobs_stream}",
        {"filter": job.subject, "seq": job.sequence + 1},
    )


class Sweep:
    """Does something with each pending job of one lane.

    Nothing is delivered from the lane meanwhile, so that no job starts while it is dealt with.
    If this process dies the lane goes on by itself after half a minute.

    Args:
        client: A connection.
        queue: The queue.
        priority: The priority.
        deal: Deals with one job; says whether it counts.
        on_progress: Called with the number of jobs dealt with since it was last called.
    """

    def __init__(
        self,
        client: Client,
        queue: str,
        priority: str,
        deal: Callable[[Found], Awaitable[bool]],
        on_progress: Callable[[int], None],
    ) -> None:
        self._client = client
        self._lane_subject = client.names.lane(queue, priority)
        self._lane = LaneControl(client, queue, priority)
        self._deal = deal
        self._on_progress = on_progress
        self._held_until_ms = 0

    async def run(self) -> int:
        """Deal with what is pending now; return how many jobs counted.

        Raises:
            BrokerError: The server refused or went away; what was not dealt with is kept.
        """
        before = await self._lane.state()
        if before is None or not before.pending:
            return 0
        try:
            held = await self._hold(before)
            return await self._sweep_from(held.delivered + 1)
        finally:
            with anyio.move_on_after(5, shield=True):
                await self._let_go(before)

    async def one(self, sequence: int) -> bool:
        """Deal with a single job, unless a worker was given it; say whether it counted.

        Raises:
            BrokerError: The server refused or went away.
        """
        before = await self._lane.state()
        if before is None:
            return False
        try:
            held = await self._hold(before)
            if sequence <= held.delivered:
                return False
            found = await first_from(self._client, self._lane_subject, sequence)
            return found is not None and found.sequence == sequence and await self._deal(found)
        finally:
            with anyio.move_on_after(5, shield=True):
                await self._let_go(before)

    async def _sweep_from(self, sequence: int) -> int:
        api = self._client.connection.api
        info = await api(f"STREAM.INFO.{self._client.names.jobs_stream}")
        last = int(info["state"]["last_seq"])  # Producers may go on: what comes later stays.
        counted = 0
        while page := await self._page(sequence, last):
            sequence = page[-1].sequence + 1
            done: list[bool] = []
            errors: list[BrokerError] = []
            async with anyio.create_task_group() as group:
                for job in page:
                    group.start_soon(self._one, job, done, errors)
            counted += sum(done)
            self._on_progress(sum(done))
            if errors:
                raise errors[0]
            state = await self._lane.state()
            if state is not None:
                await self._hold(state)
        return counted

    async def _page(self, sequence: int, last: int) -> list[Found]:
        page: list[Found] = []
        while len(page) < _AT_ONCE and sequence <= last:
            found = await first_from(self._client, self._lane_subject, sequence)
            if found is None or found.sequence > last:
                break
            page.append(found)
            sequence = found.sequence + 1
        return page

    async def _one(self, job: Found, done: list[bool], errors: list[BrokerError]) -> None:
        try:
            done.append(await self._deal(job))
        except BrokerError as error:
            errors.append(error)

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
