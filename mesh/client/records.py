"""The stored records of jobs: read them, await them without polling, write the last one."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Generator

import msgspec
from msgspec.structs import replace

from mesh.client.status import JobStatus, due_of, ended, pending, scheduled, under_way
from mesh.contract import headers, records
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import ResultRecord
from mesh.contract.subjects import Names
from mesh.errors import (
    JobNotFoundError,
    NotProvisionedError,
    ResultExpiredError,
    ResultTimeoutError,
    UnreadableRecordError,
)
from mesh.transport import frames
from mesh.transport.buckets import Bucket, Shelf
from mesh.transport.connection import Connection
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.publisher import Publisher
from mesh.transport.receipts import NoAnswerError

RECHECK_S = 5.0
"""Pushes may be lost in a reconnect: a waiting reader looks for itself this often."""

_FIRST_CHECK_S = 0.5


class Records:
    """The records of one namespace.

    Attributes:
        publisher: Set when the connection is open; writes go through it.
    """

    publisher: Publisher

    def __init__(self, connection: Connection, names: Names, *, has_replicas: bool) -> None:
        self._connection = connection
        self._link = connection.link
        self._names = names
        self._results = Bucket(connection, names.results_bucket, has_replicas=has_replicas)
        self._progress = Bucket(connection, names.progress_bucket)
        self._jobs = Shelf(connection, names.jobs_stream)
        self._delayed = Shelf(connection, names.delayed_stream)
        self._events = Shelf(connection, names.events_stream)

    async def result(self, job_id: str) -> ResultRecord | None:
        """Read the terminal record; None if the job has not ended, or the record expired."""
        value = await self._results.value(job_id, self.publisher)
        if value is None:
            return None
        with _readable(job_id):
            return records.read_result(value)

    async def progress(self, job_id: str) -> tuple[records.ProgressRecord, int] | None:
        """Read the running record and its revision; None if there is none."""
        entry = await self._progress.read(job_id, self.publisher)
        if entry is None:
            return None
        with _readable(job_id):
            return records.read_progress(entry.value), entry.revision

    async def status(self, job_id: str) -> JobStatus:
        """Put together what is known of a job.

        Raises:
            ResultExpiredError: It ended, and its record has passed its time to live.
            JobNotFoundError: It is not known here.
        """
        status = await self._find(job_id)
        if status is None:
            # It may have moved from one place to another between two looks.
            status = await self._find(job_id)
        if status is not None:
            return status
        if await self.has_ended(job_id):
            raise ResultExpiredError(job_id)
        raise JobNotFoundError(job_id)

    async def find(self, job_id: str) -> JobStatus | None:
        """Look for a job everywhere; None: it is not known, or its record has expired.

        The places are looked at in the order in which a job moves through them, so that it
        cannot slip past between two looks; the last one that knows it says where it is.

        Raises:
            UnreadableRecordError: A record of it is not mesh's.
            BrokerError: The records could not be read.
        """
        names, publisher = self._names, self.publisher
        waiting = await self._delayed.last(names.delayed(job_id), publisher)
        fired = await self._delayed.last(names.due("*", "*", job_id), publisher)
        queued = await self._jobs.last(names.job_anywhere(job_id), publisher)
        running = await self.progress(job_id)
        record = await self.result(job_id)
        if record is not None:
            return ended(job_id, record)
        if running is not None:
            return under_way(job_id, running[0])
        if queued is not None:
            return pending(job_id, queued)
        if waiting is not None:
            return scheduled(job_id, waiting)
        return None if fired is None else pending(job_id, fired)

    async def is_elsewhere(self, job_id: str) -> bool:
        """Whether a job is where a guarded publish to the queues does not see it.

        Raises:
            UnreadableRecordError: Its record is not mesh's.
            BrokerError: The records could not be read.
        """
        names, publisher = self._names, self.publisher
        if await self._delayed.last(names.delayed(job_id), publisher) is not None:
            return True
        fired = await self._delayed.last(names.due("*", "*", job_id), publisher)
        return fired is not None or await self.result(job_id) is not None

    async def has_ended(self, job_id: str) -> bool:
        """Whether an event says that a job has ended, though its record may have expired.

        Raises:
            BrokerError: The events could not be read.
        """
        # A record with a time to live takes the event of its end along; another came before it.
        kinds = (EventKind.FINISHED, EventKind.EXPIRING)
        try:
            for kind in kinds:
                if await self._events.last(self._names.event(kind, job_id)) is not None:
                    return True
        except NotProvisionedError:  # Events are switched off.
            return False
        return False

    async def wait(
        self, job_id: str, timeout_s: float | None, *, is_known: bool
    ) -> ResultRecord:
        """Wait for the terminal record: subscribe, read, then wait for the push.

        Raises:
            ResultTimeoutError: The job had not ended in time.
            JobNotFoundError: It is not known here.
        """
        try:
            async with asyncio.timeout(timeout_s):
                return await self._wait(job_id, _FIRST_CHECK_S if is_known else 0.0)
        except TimeoutError:
            raise ResultTimeoutError(job_id, timeout_s or 0.0) from None

    async def _wait(self, job_id: str, check_after_s: float) -> ResultRecord:
        with self._hints(self._names.event("finished", job_id)) as hint:
            while True:
                # An outage does not end the wait: the job may go on all the same.
                with contextlib.suppress(NoAnswerError):
                    record = await self.result(job_id)
                    if record is not None:
                        return record
                    if not await hint.wait(check_after_s):
                        await self.status(job_id)  # Is there still something to wait for?
                check_after_s = RECHECK_S

    async def watch(self, job_id: str) -> AsyncIterator[JobStatus]:
        """Yield the status now and after every change, until the job has ended."""
        finished = self._names.event("finished", job_id)
        with self._hints(finished, self._names.progress(job_id)) as hint:
            last: JobStatus | None = None
            while True:
                status = await self.status(job_id)
                if status != last:
                    yield status
                if status.is_finished:
                    return
                last = status
                await hint.wait(RECHECK_S)

    async def finish(self, job_id: str, record: ResultRecord) -> bool:
        """Write the terminal record if there is none; say whether this one is it."""
        pairs = [
            (headers.EXPECTED_LAST, "0"),
            (headers.STATE, record.state),
            (headers.QUEUE, record.queue),
            (headers.TASK, record.task),
        ]
        block = frames.header_block(pairs)
        try:
            await self.publisher.publish(
                self._names.result(job_id), block, records.encode(record)
            )
        except ApiError as fault:
            if fault.err_code == WRONG_LAST_SEQUENCE:
                return False
            raise
        return True

    async def withdraw(self, job_id: str) -> None:
        """Take a job out of the streams and tell the worker that may be running it."""
        await self.clear(job_id)
        self._link.post(frames.signal(self._names.cancel_signal(job_id).encode(), b""))
        await self._connection.flush()  # No worker that hears of it later may start the job.

    async def clear(self, job_id: str) -> None:
        """Remove what is left of a job that has ended: its messages and its running record."""
        await self._delayed.remove(self._names.delayed(job_id))
        await self._delayed.remove(self._names.due_anywhere(job_id))
        # Last, for it is where a job comes to that is due.
        await self._jobs.remove(self._names.job_anywhere(job_id))
        await self._progress.remove(job_id)

    async def is_over(self, job_id: str) -> bool:
        """Whether the job has its terminal record, whatever it says."""
        return await self._results.value(job_id, self.publisher) is not None

    async def forget_progress(self, job_id: str) -> None:
        """Remove the running record of a job that has ended."""
        await self._progress.remove(job_id)

    async def forget_result(self, job_id: str) -> None:
        """Remove the terminal record of a job; whoever asks is told that it has expired."""
        await self._results.remove(job_id)

    async def forget_due(self, job_id: str) -> None:
        """Remove what the delayed stream still has of a job that came from there and has ended.

        The server removes it when the job stream has confirmed it, which takes a while, and not
        at all if it was killed meanwhile.
        """
        await self._delayed.remove(self._names.due_anywhere(job_id))

    async def _find(self, job_id: str) -> JobStatus | None:
        record = await self.result(job_id)
        if record is not None:
            return ended(job_id, record)
        running = await self.progress(job_id)
        if running is not None:
            return await self._as_moved(under_way(job_id, running[0]))
        queued = await self._jobs.last(self._names.job_anywhere(job_id))
        if queued is not None:
            return pending(job_id, queued)
        waiting = await self._delayed.last(self._names.delayed(job_id))
        if waiting is not None:
            return scheduled(job_id, waiting)
        # It is due, and the job stream has no room for it yet.
        due = await self._delayed.last(self._names.due_anywhere(job_id))
        return None if due is None else pending(job_id, due)

    async def _as_moved(self, status: JobStatus) -> JobStatus:
        """Correct when the next attempt is due: it may have been moved since that was noted."""
        if status.state is not State.RETRYING:
            return status
        waiting = await self._delayed.last(self._names.delayed(status.job_id))
        return status if waiting is None else replace(status, due_at_ms=due_of(waiting))

    @contextlib.contextmanager
    def _hints(self, *subjects: str) -> Generator[_Hint]:
        hint = _Hint()
        taps = [self._link.tap(subject, hint.give) for subject in subjects]
        try:
            yield hint
        finally:
            for tap in taps:
                self._link.untap(tap)


class _Hint:
    """Says that something may have changed; only a record says what."""

    def __init__(self) -> None:
        self._was_given = False
        self._waiter: asyncio.Future[None] | None = None

    def give(self, _subject: bytes, _reply: bytes, _data: bytes, _headers: bytes) -> None:
        self._was_given = True
        _wake(self._waiter)

    async def wait(self, limit_s: float) -> bool:
        """Wait for a hint; say whether one came in time."""
        if not self._was_given:
            loop = asyncio.get_running_loop()
            self._waiter = waiter = loop.create_future()
            timer = loop.call_later(limit_s, _wake, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        was_given, self._was_given = self._was_given, False
        return was_given


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)


@contextlib.contextmanager
def _readable(job_id: str) -> Generator[None]:
    try:
        yield
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableRecordError(job_id, str(error)) from error
