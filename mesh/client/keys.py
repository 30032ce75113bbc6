"""The unique keys of a namespace: read, claim, hand over and remove them."""

from __future__ import annotations

import contextlib
import logging
import math
from typing import NamedTuple

import msgspec

from mesh.client.records import Records
from mesh.client.uniqueness import Standing, Whereabouts, standing, whereabouts
from mesh.clock import Clock
from mesh.contract import headers, records
from mesh.contract.envelope import Until
from mesh.contract.records import UniqueKey
from mesh.contract.subjects import Names, kv_stream
from mesh.errors import BrokerError, UnreadableRecordError
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.transport.connection import Connection
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.publisher import Publisher

log = logging.getLogger("mesh.client")

_SKEW_MS = 1000


class Held(NamedTuple):
    """What was found under a key.

    Attributes:
        key: What it says; None: nothing that mesh wrote, such as the mark of a deletion.
        revision: Its revision, to take it over by; 0: there is none.
    """

    key: UniqueKey | None
    revision: int

    @property
    def owner(self) -> str:
        """The job that it names; empty if it names none."""
        return "" if self.key is None else self.key.job_id


NOTHING = Held(None, 0)
"""What is found where no key is."""


class UniqueKeys:
    """The unique keys of one namespace.

    Args:
        connection: The way to the server.
        publisher: Writes go through it.
        names: The names of the namespace.
        records: Where the jobs are looked up that keys name.
        clock: The time.
        publish_deadline_s: How long a publish may take.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        names: Names,
        records: Records,
        *,
        clock: Clock,
        publish_deadline_s: float,
    ) -> None:
        self._shelf = Shelf(connection, kv_stream(names.locks_bucket))
        self._publisher = publisher
        self._names = names
        self._records = records
        self._clock = clock
        # The claim may take as long as the publish that follows.
        self._grace_ms = int(2000 * publish_deadline_s) + _SKEW_MS

    @property
    def grace_s(self) -> float:
        """How long after its claim a job may still be published, in seconds."""
        return self._grace_ms / 1000

    async def read(self, digest: str) -> Held:
        """Read a key; ``NOTHING`` if there is none.

        Raises:
            BrokerError: The bucket could not be read.
        """
        entry = await self._shelf.last(self._names.unique_key(digest), self._publisher)
        if entry is None:
            return NOTHING
        try:
            return Held(records.read_unique_key(entry.value), entry.revision)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Held(None, entry.revision)

    async def write(self, digest: str, key: UniqueKey, revision: int) -> int | None:
        """Claim a key if it still has the revision that was seen; 0: if there is none.

        Returns:
            Its new revision; None if somebody else was quicker.

        Raises:
            NoAnswerError: The server never confirmed it.
            BrokerError: The server refused.
        """
        pairs = [(headers.EXPECTED_LAST, str(revision))]
        if key.until is Until.TIME:
            left_s = math.ceil((key.expires_at_ms - self._clock.now_ms()) / 1000)
            pairs.append((headers.TTL, f"{max(1, left_s)}s"))
        try:
            receipt = await self._publisher.publish(
                self._names.unique_key(digest), frames.header_block(pairs), records.encode(key)
            )
        except ApiError as fault:
            if fault.err_code == WRONG_LAST_SEQUENCE:
                return None
            raise
        return receipt.sequence

    async def release(self, digest: str, revision: int) -> None:
        """Remove a key at the revision that was seen; one that was taken over stays.

        Nothing depends on it: a key whose job has ended is taken over all the same.
        """
        with contextlib.suppress(BrokerError):
            await self._shelf.remove(self._names.unique_key(digest), revision)

    async def standing(self, held: Held, job_id: str) -> Standing:
        """Say what a key is to a job, from what became of the job that it names.

        Raises:
            BrokerError: The records could not be read.
        """
        other = Whereabouts.UNKNOWN
        if held.key is not None and held.owner != job_id:
            other = await self._whereabouts(held.key)
        return standing(held.key, job_id, other, self._clock.now_ms(), self._grace_ms)

    async def _whereabouts(self, key: UniqueKey) -> Whereabouts:
        try:
            status = await self._records.find(key.job_id)
        except UnreadableRecordError:
            log.warning("a unique key names a job with a foreign record: %s", key.job_id)
            return Whereabouts.UNKNOWN
        if status is not None:
            return whereabouts(status.state)
        # Only a time outlives its job.
        is_over = key.until is Until.TIME and await self._records.has_ended(key.job_id)
        return whereabouts(None, has_ended=is_over)
