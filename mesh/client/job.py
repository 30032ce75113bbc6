"""The handle of one job: ask for its status, wait for its result, follow it, cancel it."""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Mapping,
    Sequence,
)
from contextlib import aclosing
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Raw

from mesh.client.client import Client
from mesh.client.dead_letters import DeadLetters
from mesh.client.editing import Edit, Editor
from mesh.client.feed import Feed
from mesh.client.happenings import LedgerEvent
from mesh.client.removal import delete_job
from mesh.client.status import JobStatus
from mesh.contract.events import LogLine
from mesh.durations import Duration, seconds
from mesh.tasks.definition import TaskDefinition
from mesh.tasks.options import due_options

R_co = TypeVar("R_co", covariant=True)

GetClient = Callable[[], Awaitable[Client]]


class Job(Generic[R_co]):
    """A job that was enqueued, or one looked up by its id.

    Attributes:
        id: The job's id.
        is_duplicate: Whether the job was there already when it was enqueued here: with the same
            id, or with the same unique key.
    """

    __slots__ = ("_client", "_definition", "_is_known", "id", "is_duplicate")

    id: str
    is_duplicate: bool

    def __init__(
        self,
        job_id: str,
        client: GetClient,
        definition: TaskDefinition | None = None,
        *,
        is_known: bool = False,
        is_duplicate: bool = False,
    ) -> None:
        self.id = job_id
        self._client = client
        self._definition = definition
        self._is_known = is_known
        self.is_duplicate = is_duplicate

    async def status(self) -> JobStatus:
        """Say where the job is.

        Raises:
            ResultExpiredError: It ended, and its record has passed its time to live.
            JobNotFoundError: It is not known here.
        """
        client = await self._client()
        return await client.status(self.id)

    async def result(self, timeout: Duration | None = None) -> R_co:
        """Wait for the job to end and return what its task returned.

        Args:
            timeout: How long to wait, for example ``30`` or ``"5m"``; None: as long as it
                takes.

        Raises:
            ResultTimeoutError: It had not ended in time; it goes on.
            JobFailedError: It failed for good.
            JobCancelledError: It was cancelled.
            JobExpiredError: It was not started in time.
            JobNotFoundError: It is not known here.
            ResultTypeError: The result does not fit the task's return annotation.
        """
        client = await self._client()
        limit = None if timeout is None else seconds(timeout)
        value = await client.result(self.id, limit, is_known=self._is_known)
        result: R_co = self._read(value)
        return result

    async def watch(self) -> AsyncIterator[JobStatus]:
        """Follow the job: its status now and after every change, until it has ended.

        Raises:
            JobNotFoundError: It is not known here.
        """
        client = await self._client()
        async for status in client.watch(self.id):
            yield status

    async def cancel(self, reason: str = "") -> bool:
        """Cancel the job wherever it is.

        Args:
            reason: Kept in its record, for people.

        Returns:
            True if it is cancelled; False if it had ended in another way before.

        Raises:
            JobNotFoundError: It is not known here.
        """
        client = await self._client()
        return await client.cancel(self.id, reason)

    async def run_now(self) -> bool:
        """Have the job run now instead of waiting for its time.

        It may be delayed, or wait for its next attempt. It runs once, whatever happens at this
        very moment.

        Returns:
            True if its wait is over; False if it was before: it is ready, or runs.

        Raises:
            JobNotDelayedError: It has ended, or is tried again in a few seconds.
            JobNotFoundError: It is not known here.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        client = await self._client()
        return await client.delays.run_now(self.id)

    async def reschedule(
        self, *, delay: Duration | None = None, eta: datetime | None = None
    ) -> None:
        """Have the job run at another time; give ``delay`` or ``eta``.

        Args:
            delay: How much later than now, for example ``30`` or ``"2h"``.
            eta: When, as a datetime with a time zone.

        Raises:
            OptionError: Neither or both are given, ``eta`` has no time zone, or the job's
                deadline would have passed by then.
            JobNotDelayedError: It does not wait for its time, or not any more.
            JobNotFoundError: It is not known here.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        options = due_options(delay, eta)
        client = await self._client()
        await client.delays.reschedule(self.id, options)

    async def history(self) -> list[LedgerEvent]:
        """Read the job's life from the ledger: what happened to it, in order; logs left out.

        Raises:
            JobNotFoundError: It is not known here.
            NotProvisionedError: Events are switched off.
        """
        return await Feed(await self._client()).history(self.id)

    async def logs(
        self, *, attempt: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine]:
        """Yield the lines that the job's attempts logged, in order.

        Args:
            attempt: Only this attempt; None: all.
            follow: Go on with the lines that come, until the job has ended.

        Raises:
            JobNotFoundError: It is not known here.
            NotProvisionedError: Events are switched off.
        """
        feed = Feed(await self._client())
        async with aclosing(feed.logs(self.id, attempt=attempt, follow=follow)) as lines:
            async for line in lines:
                yield line

    async def edit(
        self,
        *,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        queue: str | None = None,
        priority: str | None = None,
        reason: str = "",
    ) -> None:
        """Change the job, as long as no worker was given it; what is left out stays.

        Its due time is changed with ``reschedule``. A unique key stays what it was.

        Args:
            args: New arguments by position; arguments are replaced as a whole.
            kwargs: New arguments by name; arguments are replaced as a whole.
            queue: Another queue.
            priority: Another priority.
            reason: Why; kept in the ledger, for people.

        Raises:
            OptionError: Nothing is to be different.
            InvalidNameError: It cannot be a queue, or there is no such priority.
            JobNotEditableError: A worker was given it, or it has ended.
            JobNotFoundError: It is not known here.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        change = Edit(args=args, kwargs=kwargs, queue=queue, priority=priority)
        await Editor(await self._client()).edit(self.id, change, reason)

    async def delete(self, reason: str = "") -> None:
        """Remove what is kept of a job that has ended: record, result, dead letter, arguments.

        Its events stay in the ledger for their time.

        Args:
            reason: Why; kept in the ledger, for people.

        Raises:
            JobNotEndedError: It has not ended: cancel it first.
            JobNotFoundError: It is not known here.
        """
        await delete_job(await self._client(), self.id, reason)

    async def retry(self, reason: str = "") -> Job[R_co]:
        """Run a job that failed for good again, under a new id.

        Args:
            reason: Why; kept in the ledger, for people.

        Returns:
            The new job.

        Raises:
            DeadLetterNotFoundError: It has no dead letter.
            NotReplayableError: Its body cannot be read, or another job has the new id.
        """
        done = await DeadLetters(self._client).replay(self.id, reason=reason)
        return Job(done.new_job_id, self._client, self._definition, is_known=True)

    def _read(self, value: Raw) -> Any:
        if self._definition is not None:
            return self._definition.signature.decode_result(value)
        return msgspec.json.decode(value)

    def __repr__(self) -> str:
        """Show the id."""
        return f"<Job {self.id}>"
