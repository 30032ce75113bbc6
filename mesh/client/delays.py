"""Jobs that wait for their time: arm them, move them, let them run now.

The server holds one message for each such job, and lets go of it by itself. Whoever moves it
puts another one in its place and says which one he means, so that there is never a second copy:
whatever the server has let go of already takes along what is in its place.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from mesh.client.messages import delayed_block, due_at, due_headers
from mesh.client.records import Records
from mesh.client.status import JobStatus, due_of, scheduled
from mesh.clock import Clock
from mesh.contract import envelope, headers
from mesh.contract.envelope import Envelope
from mesh.contract.lifecycle import State
from mesh.contract.subjects import Names
from mesh.errors import MeshError, OptionError
from mesh.tasks.options import CallOptions
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.connection import Connection
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.publisher import Publisher

_SERVERS_OWN = "nats-"
_ON_ITS_WAY_MS = 500
"""So long before the server lets go of it a job is not moved any more."""


class JobNotDelayedError(MeshError):
    """The job waits for no time that could be moved: it is ready, runs, or has ended.

    Attributes:
        job_id: The job.
        state: Its state.
    """

    job_id: str
    state: State

    def __init__(self, status: JobStatus) -> None:
        self.job_id = status.job_id
        self.state = status.state
        super().__init__(f"job {self.job_id!r} cannot be moved: {_WHY[self.state]}")


_WHY = {
    State.SCHEDULED: "it is due within a second, so that it may be on its way already",
    State.AWAITING: "it waits for other jobs, not for a time",
    State.PENDING: "it is ready, and starts when a worker has room",
    State.RUNNING: "it runs; cancel it and enqueue it anew to have it run later",
    State.RETRYING: "it is about to be tried again, in a few seconds at most",
    State.SUCCEEDED: "it has succeeded; enqueue it anew to have it run again",
    State.FAILED: "it has failed for good; replay its dead letter to have it run again",
    State.CANCELLED: "it was cancelled; enqueue it anew to have it run after all",
    State.EXPIRED: "it has expired; enqueue it anew to have it run after all",
}


class Delays:
    """The delayed jobs of one namespace.

    Args:
        connection: The way to the server.
        publisher: Writes go through it.
        names: The names of the namespace.
        records: Where it is looked up what became of a job.
        clock: The time.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        names: Names,
        records: Records,
        clock: Clock,
    ) -> None:
        self._delayed = Shelf(connection, names.delayed_stream)
        self._publisher = publisher
        self._names = names
        self._records = records
        self._clock = clock

    async def arm(
        self, job_id: str, job: Envelope, *, queue: str, priority: str, due_ms: int
    ) -> bool:
        """Have the server hold a job until it is due; safe to repeat, also by somebody else.

        Args:
            job_id: The job's id, which says that two armings mean the same job.
            job: Its body.
            queue: Its queue.
            priority: Its priority.
            due_ms: When it is due, in milliseconds since the epoch; in the past: at once.

        Returns:
            Whether it was armed; False if a job of that id is there, or was, as far as its
            records go back.

        Raises:
            NoAnswerError: The server never confirmed it; arm it again.
            BrokerError: The server refused it.
        """
        if await self._records.find(job_id) is not None:
            return False
        target = self._names.due(queue, priority, job_id)
        # An arming that comes late may meet a job that runs: its worker asks the records.
        guard = [(headers.REPEAT, "1"), (headers.EXPECTED_LAST, "0")]
        block = delayed_block(job_id, job.task, target, due_ms, guard)
        body = envelope.encode(job)
        try:
            receipt = await self._publisher.publish(self._names.delayed(job_id), block, body)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return not receipt.is_duplicate

    async def run_now(self, job_id: str) -> bool:
        """Have a job that waits for its time run now.

        Returns:
            True if its wait is over; False if it was before: it is ready, or runs.

        Raises:
            JobNotDelayedError: It has ended, or is tried again in a few seconds.
            JobNotFoundError: It is not known here.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        try:
            await self.move(job_id, self._clock.now_ms())
        except JobNotDelayedError as error:
            if error.state in {State.PENDING, State.RUNNING}:
                return False
            raise
        return True

    async def reschedule(self, job_id: str, when: CallOptions) -> None:
        """Have a job that waits for its time be due at another; see ``move``.

        Args:
            job_id: The job.
            when: Options with a delay or an eta.
        """
        now_ms = self._clock.now_ms()
        await self.move(job_id, due_at(when, now_ms) or now_ms)

    async def move(self, job_id: str, due_ms: int) -> None:
        """Have a job that waits for its time be due at another; the last to move it wins.

        Args:
            job_id: The job.
            due_ms: When it is due, in milliseconds since the epoch.

        Raises:
            JobNotDelayedError: It does not wait for its time, or not any more.
            JobNotFoundError: It is not known here.
            OptionError: Its deadline would have passed by then.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        while True:
            entry = await self.held(job_id)
            if entry is None or await self._records.is_over(job_id):
                raise JobNotDelayedError(await self._records.status(job_id))
            is_later = due_ms > self._clock.now_ms() + headers.LEAD_MS
            if is_later and self.is_on_its_way(entry):
                raise JobNotDelayedError(scheduled(job_id, entry))
            target = entry.headers.get(headers.SCHEDULE_TARGET, "")
            message_id = f"{job_id}:moved:{entry.revision}:{due_ms}"
            body = _postponed(entry, due_ms)
            if await self.replace(entry, body, target, due_ms, message_id=message_id):
                return

    async def held(self, job_id: str) -> Entry | None:
        """Read the message that the server holds for a job; None if it holds none.

        Raises:
            BrokerError: The server could not be asked.
        """
        return await self._delayed.last(self._names.delayed(job_id), self._publisher)

    def is_on_its_way(self, entry: Entry) -> bool:
        """Whether the server is about to let go of a message, or may have done so."""
        return _fires_ms(entry) <= self._clock.now_ms() + _ON_ITS_WAY_MS

    async def replace(
        self, entry: Entry, body: bytes, target: str, due_ms: int, *, message_id: str
    ) -> bool:
        """Put another message in the place of the one that is held; say whether it still is.

        Args:
            entry: The message that is held.
            body: The job's new body.
            target: The subject on which it becomes ready.
            due_ms: When it is due, in milliseconds since the epoch.
            message_id: Tells a repeat of this replacement from another one.

        Raises:
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        pairs = [
            (name, value)
            for name, value in entry.headers.items()
            if not name.lower().startswith(_SERVERS_OWN) and name != headers.DUE
        ]
        pairs += [
            (headers.MESSAGE_ID, message_id),
            (headers.EXPECTED_LAST, str(entry.revision)),
            *due_headers(target, due_ms),
        ]
        try:
            await self._publisher.publish(entry.subject, frames.header_block(pairs), body)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True


def _fires_ms(entry: Entry) -> int:
    """When the server lets go of a message, in milliseconds since the epoch."""
    return due_of(entry) - (headers.LEAD_MS if headers.DUE in entry.headers else 0)


def _postponed(entry: Entry, due_ms: int) -> bytes:
    """The body of a job that is moved: it has as long to start as before, from then on.

    Raises:
        OptionError: Its deadline would have passed.
    """
    is_json = entry.headers.get(headers.CONTENT_TYPE, headers.JSON) == headers.JSON
    form: Any = msgspec.json if is_json else msgspec.msgpack
    try:
        fields: dict[str, Raw] = form.decode(entry.value, type=dict[str, Raw])
        deadline_ms = form.decode(fields.get("deadline_ms", b"null" if is_json else b"\xc0"))
        expires_ms = form.decode(fields.get("expires_at_ms", b"null" if is_json else b"\xc0"))
    except (msgspec.DecodeError, UnicodeDecodeError):
        return entry.value  # No job, which its worker says better.
    if isinstance(deadline_ms, int) and deadline_ms <= due_ms:
        option = "deadline"
        raise OptionError(option, "the job would be due only when its deadline has passed")
    was_due_ms = due_of(entry)
    if not isinstance(expires_ms, int) or not was_due_ms:
        return entry.value
    fields["expires_at_ms"] = Raw(form.encode(max(0, expires_ms + due_ms - was_due_ms)))
    moved: bytes = form.encode(fields)
    return moved
