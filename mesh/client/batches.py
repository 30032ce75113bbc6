"""Enqueue an atomic batch in which some calls may be there already: then none is stored."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from mesh.client.admission import Encode, Enqueued, at_once
from mesh.client.claims import Claim, Claims
from mesh.client.conflicts import JobConflictError
from mesh.client.messages import Message, choose_id
from mesh.client.records import Records
from mesh.errors import BrokerError, EnqueueUnknownError, MeshError
from mesh.tasks.definition import Call
from mesh.transport.faults import DUPLICATE_IN_BATCH, WRONG_LAST_SEQUENCE, ApiError

Publish = Callable[[Sequence[Message]], Awaitable[None]]
"""Publishes messages as one atomic batch."""


class Batches:
    """Admits atomic batches: whatever its calls' rules say, a duplicate among them is an error.

    Args:
        records: Where jobs are looked up.
        claims: Claims unique keys.
        encode: Makes a call into a message.
        publish: Publishes a batch.
    """

    def __init__(
        self, records: Records, claims: Claims, encode: Encode, publish: Publish
    ) -> None:
        self._records = records
        self._claims = claims
        self._encode = encode
        self._publish = publish

    async def admit(self, calls: Sequence[Call[Any]]) -> list[Enqueued]:
        """Enqueue all calls or none.

        Raises:
            ValueError: There are too many, or a delayed one among them.
            JobConflictError: One has the id or the unique key of another job.
            EnqueueUnknownError: The batch was never confirmed.
            BrokerError: The server refused it, and stored none.
        """
        ids = [choose_id(call) for call in calls]
        chosen = [call.options.job_id for call in calls if call.options.job_id is not None]
        _check_no_two(calls, ids)
        await self._check_new(chosen)
        claims: dict[str, Claim] = {}
        try:
            await self._claim(calls, ids, claims)
            messages = [
                await self._encode(
                    call, job_id, claims[job_id].claim if job_id in claims else None
                )
                for call, job_id in zip(calls, ids, strict=True)
            ]
            await self._store(messages, chosen)
        except EnqueueUnknownError:  # The batch may be there, so its jobs keep their keys.
            raise
        except (MeshError, ValueError):
            await at_once(self._claims.release, list(claims.values()))
            raise
        return [Enqueued(job_id) for job_id in ids]

    async def _claim(
        self, calls: Sequence[Call[Any]], ids: Sequence[str], claims: dict[str, Claim]
    ) -> None:
        """Claim the keys one by one; what was claimed is noted even if one is refused."""
        for call, job_id in zip(calls, ids, strict=True):
            if call.unique is not None:
                claims[job_id] = await self._claims.claim(
                    call.unique, call.task, job_id, replaces=False
                )

    async def _store(self, messages: Sequence[Message], chosen: Sequence[str]) -> None:
        try:
            await self._publish(messages)
        except ApiError as fault:
            if fault.err_code not in (WRONG_LAST_SEQUENCE, DUPLICATE_IN_BATCH):
                raise
            await self._check_new(chosen)  # The server does not say which.
            msg = "a job id of the batch was enqueued before; none of it is stored"
            raise BrokerError(msg) from fault

    async def _check_new(self, job_ids: Sequence[str]) -> None:
        """Raise if one of the jobs is there."""
        for job_id, found in zip(
            job_ids, await at_once(self._records.find, job_ids), strict=True
        ):
            if isinstance(found, MeshError):
                raise found
            if found is not None:
                why = "a job of this id was enqueued before; none of the batch is stored"
                raise JobConflictError(job_id, why)


def _check_no_two(calls: Sequence[Call[Any]], ids: Sequence[str]) -> None:
    """Refuse a batch that would stand in its own way."""
    seen: dict[str, str] = {}
    for call, job_id in zip(calls, ids, strict=True):
        names = [job_id] if call.unique is None else [job_id, f"unique {call.unique.digest}"]
        for name in names:
            if name in seen:
                why = "the batch holds another of the same id or unique key; none is stored"
                raise JobConflictError(seen[name], why)
            seen[name] = job_id
