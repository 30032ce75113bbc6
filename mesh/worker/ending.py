"""End jobs: write the terminal record while the lease is held, keep the dead letter.

A worker that was frozen, or cut off for longer than a lease, may find that its job is now
another's. Its result is refused then: before a terminal record is written the lease must be
known to be this attempt's, and one that was last confirmed some time ago is confirmed first.
"""

from __future__ import annotations

import asyncio

from mesh.client.client import Client
from mesh.contract import headers
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo, ResultRecord
from mesh.errors import UnreadableRecordError
from mesh.telemetry.tallies import WorkerMetrics
from mesh.worker.attempt import Attempt
from mesh.worker.failures import describe
from mesh.worker.fence import Fence, is_fenced
from mesh.worker.news import News
from mesh.worker.outcomes import AlreadyEnded, Lost
from mesh.worker.recording import Recorder, record_id

_TTL = headers.TTL.encode()


class Endings:
    """Writes the last that is written of the jobs of one worker.

    Args:
        client: The worker's connection.
        recorder: Encodes the records.
        fence: Confirms leases.
        metrics: Where refused results are counted.
        news: Tells the ledger.
        lease_s: How long a lease lasts.
    """

    def __init__(
        self,
        client: Client,
        *,
        recorder: Recorder,
        fence: Fence,
        metrics: WorkerMetrics,
        news: News,
        lease_s: float,
    ) -> None:
        self._client = client
        self._names = client.names
        self._publisher = client.publisher
        self._recorder = recorder
        self._fence = fence
        self._metrics = metrics
        self._news = news
        # The other half is for what is yet to be done.
        self._fresh_s = lease_s / 2
        self._now = asyncio.get_running_loop().time

    def is_fresh(self, attempt: Attempt) -> bool:
        """Whether the job was this attempt's so lately that nobody else can have it yet."""
        return self._now() - attempt.confirmed_s < self._fresh_s

    def head(self, attempt: Attempt, state: State) -> bytes:
        """Encode the headers of a terminal record that is about to be written."""
        block = self._recorder.result_block(attempt, state)
        if _TTL in block:
            # Its own event vanishes with it. This one comes first, so that a job never looks
            # lost when its record has expired.
            self._news.announce(EventKind.EXPIRING, attempt)
        return block

    async def finish(
        self, attempt: Attempt, state: State, record: bytes
    ) -> AlreadyEnded | Lost | None:
        """Write the terminal record.

        Returns:
            None if it is this attempt's, else what the attempt has turned into.

        Raises:
            BrokerError: The server did not take it.
        """
        if state is not State.CANCELLED and not await self._holds(attempt):
            self._metrics.fenced += 1
            return Lost()
        key = record_id(attempt)
        try:
            # Once: by the time it could be sent again the lease may have passed.
            await self._publisher.publish(
                self._names.result(key), self.head(attempt, state), record, once=True
            )
        except Exception as fault:
            if not is_fenced(fault):
                raise
            return await self._refused(attempt, state, key)
        return None

    async def bury(self, attempt: Attempt, error: ErrorInfo) -> None:
        """Keep a dead letter; written once, however often it is tried.

        Raises:
            BrokerError: The server did not take it.
        """
        key = record_id(attempt)
        body = attempt.delivery.data
        block = self._recorder.dead_letter(attempt, key, error)
        if len(block) + len(body) > self._publisher.most_bytes:
            bucket = self._names.payloads_bucket
            ref = await self._client.payloads.put(bucket, f"{key}.dead", body)
            block, body = self._recorder.dead_letter(attempt, key, error, ref), b""
        try:
            await self._publisher.publish(
                self._names.dead(attempt.lane.queue, key), block, body
            )
        except Exception as fault:
            if not is_fenced(fault):
                raise

    async def _holds(self, attempt: Attempt) -> bool:
        await attempt.written()
        if attempt.stop_reason == "lost":
            return False
        if self.is_fresh(attempt):
            return True
        asked_s = self._now()
        if not await self._fence.write(attempt, self._recorder.running(attempt)):
            return False
        attempt.has_record, attempt.confirmed_s = True, asked_s
        return True

    async def _refused(
        self, attempt: Attempt, state: State, key: str
    ) -> AlreadyEnded | Lost | None:
        """There is a terminal record already: see whose it is."""
        try:
            found = await self._client.records.result(key)
        except UnreadableRecordError as error:  # Some other program wrote it.
            return AlreadyEnded(describe(error, with_traceback=False))
        if found is None:  # It has passed its time to live meanwhile.
            return AlreadyEnded()
        if self._is_own(attempt, state, found):
            return None
        if state is not State.CANCELLED:  # Its record is written before the signal is sent.
            self._metrics.fenced += 1
        return AlreadyEnded(found.error if found.state is State.FAILED else None)

    def _is_own(self, attempt: Attempt, state: State, found: ResultRecord) -> bool:
        """Whether it was stored at an earlier try, whose answer was lost."""
        return (
            found.state is state
            and found.worker == self._recorder.worker_id
            and found.attempt == attempt.number
            and state is not State.CANCELLED
        )
