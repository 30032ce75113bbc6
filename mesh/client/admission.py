"""Enqueue calls that may be there already: those with an id of the caller's, and unique ones.

The server refuses a second job of an id while the first is there; one that was there before is
looked up, so that the caller is told. A unique key is claimed before its job is published.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import anyio

from mesh.client.claims import Claim, Claims
from mesh.client.conflicts import JobConflictError
from mesh.client.messages import Message, choose_id, is_delayed
from mesh.client.records import Records
from mesh.contract.envelope import UniqueClaim
from mesh.errors import (
    BrokerError,
    EnqueueUnknownError,
    MeshError,
    UnreadableRecordError,
)
from mesh.tasks.definition import Call
from mesh.tasks.unique import Uniqueness
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.publisher import Publisher
from mesh.transport.receipts import NoAnswerError

Encode = Callable[[Call[Any], str, UniqueClaim | None], Awaitable[Message]]
"""Makes a call into a message; its large arguments are stored first."""

T = TypeVar("T")
V = TypeVar("V")

_AT_ONCE = 64


class Enqueued(NamedTuple):
    """What an enqueue led to.

    Attributes:
        job_id: The job.
        is_duplicate: Whether the job was there already.
    """

    job_id: str
    is_duplicate: bool = False


def may_be_there(call: Call[Any]) -> bool:
    """Whether a call may be there already: most cannot, and are just published."""
    return call.unique is not None or call.options.job_id is not None


class Admission:
    """Admits such calls.

    Args:
        publisher: Publishes them.
        records: Where jobs are looked up.
        claims: Claims unique keys.
        encode: Makes a call into a message.
    """

    def __init__(
        self, publisher: Publisher, records: Records, claims: Claims, encode: Encode
    ) -> None:
        self._publisher = publisher
        self._records = records
        self._claims = claims
        self._encode = encode

    async def admit(self, call: Call[Any]) -> Enqueued:
        """Enqueue a call, or find the job that it would repeat.

        Raises:
            JobConflictError: Its unique key belongs to another job, and its rule rejects it.
            EnqueueUnknownError: The server never confirmed it.
            UnreadableRecordError: A record of that id is not mesh's.
            BrokerError: The server refused it.
        """
        job_id = choose_id(call)
        try:
            return await self._admit(call, job_id)
        except NoAnswerError as error:
            raise EnqueueUnknownError(job_id, str(error)) from error

    async def _admit(self, call: Call[Any], job_id: str) -> Enqueued:
        if call.options.job_id is not None and await self._is_there(call, job_id):
            return Enqueued(job_id, is_duplicate=True)
        if call.unique is None:
            return await self._publish(call, job_id)
        try:
            claimed = await self._claim(call.unique, call.task, job_id)
        except JobConflictError as conflict:
            if call.unique.rule.on_conflict != "return":
                raise
            return Enqueued(conflict.job_id, is_duplicate=True)
        try:
            return await self._publish(call, job_id, claimed.claim)
        except NoAnswerError:  # The job may be there, so it keeps its key.
            raise
        except MeshError:
            await self._claims.release(claimed)
            raise

    async def admit_many(self, calls: Sequence[Call[Any]]) -> list[Enqueued | MeshError]:
        """Enqueue many calls, some of them at once; each one's outcome, in order."""
        return await at_once(self.admit, calls)

    async def _is_there(self, call: Call[Any], job_id: str) -> bool:
        """Look for a job where the publish that follows does not: each question costs."""
        if is_delayed(call.options):
            return await self._records.find(job_id) is not None
        return await self._records.is_elsewhere(job_id)

    async def _claim(self, unique: Uniqueness, task: str, job_id: str) -> Claim:
        replaces = unique.rule.on_conflict == "replace"
        return await self._claims.claim(unique, task, job_id, replaces=replaces)

    async def _publish(
        self, call: Call[Any], job_id: str, claim: UniqueClaim | None = None
    ) -> Enqueued:
        message = await self._encode(call, job_id, claim)
        try:
            receipt = await self._publisher.publish(
                message.subject, message.block, message.body
            )
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            is_there = True
        else:
            is_there = receipt.is_duplicate
        # An id that was made up here is nobody else's: only the first answer was lost.
        return Enqueued(job_id, is_there and call.options.job_id is not None)


async def at_once(
    action: Callable[[T], Awaitable[V]], items: Sequence[T]
) -> list[V | MeshError]:
    """Do something with each item, with some of them at once; results or errors, in order."""
    outcomes: dict[int, V | MeshError] = {}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def act(index: int, item: T) -> None:
        async with limiter:
            try:
                outcomes[index] = await action(item)
            except (BrokerError, UnreadableRecordError) as error:
                outcomes[index] = error

    async with anyio.create_task_group() as group:
        for index, item in enumerate(items):
            group.start_soon(act, index, item)
    return [outcomes[index] for index in range(len(items))]
