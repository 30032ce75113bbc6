"""Learn which jobs were cancelled: from signals, and from the records where one was missed.

Signals are not stored: one that is sent while the worker is cut off never comes.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping

from mesh.client.client import Client
from mesh.contract.lifecycle import State
from mesh.errors import BrokerError, UnreadableRecordError
from mesh.worker.attempt import Attempt

log = logging.getLogger("mesh.worker")

_MOST_REMEMBERED = 10_000
# A delivery that the server sent before the signal is here long before.
_REMEMBERED_S = 10.0


class Cancellations:
    """Tells the attempts of one worker that their job was cancelled.

    Args:
        client: The worker's connection.
        in_hand: The attempts by their job's id; only read.
    """

    def __init__(self, client: Client, in_hand: Mapping[str, Attempt]) -> None:
        self._client = client
        self._in_hand = in_hand
        self._loop = asyncio.get_running_loop()
        self._heard: dict[str, float] = {}
        self._looked_up: set[Attempt] = set()
        self._lookup: asyncio.Task[None] | None = None

    async def listen(self) -> None:
        """Begin to hear signals."""
        connection = self._client.connection
        await connection.link.listen(self._client.names.cancel_signals, self._on_signal)
        connection.on_reconnect(self._looked_up.clear)  # One may have been missed.

    def was_heard(self, job_id: str) -> bool:
        """Whether the job was called off a moment ago, perhaps before it arrived here."""
        heard_s = self._heard.get(job_id)
        return heard_s is not None and self._loop.time() < heard_s + _REMEMBERED_S

    def tick(self) -> None:
        """Look up attempts that may have missed their signal; returns at once.

        An attempt is looked up when its first running record is stored: whoever cancels it
        writes the terminal record first and removes the running record then, so either it is
        found now, or the next write of the running record is refused. Shorter jobs are not
        looked up.
        """
        if self._lookup is not None and not self._lookup.done():
            return
        attempts = self._in_hand.values()
        if self._looked_up:
            self._looked_up.intersection_update(attempts)
        due = [one for one in attempts if one.revision and one not in self._looked_up]
        if due:
            self._lookup = self._loop.create_task(self._look_up(due))

    async def close(self) -> None:
        """End a lookup that is under way."""
        if self._lookup is not None:
            self._lookup.cancel()
            await asyncio.wait([self._lookup])

    async def _look_up(self, attempts: Iterable[Attempt]) -> None:
        for attempt in attempts:
            self._looked_up.add(attempt)
            if attempt.stop_reason or attempt.finished_ms:
                continue
            try:
                ended = await self._client.records.result(attempt.job_id)
            except UnreadableRecordError:  # The settlement will find it too, and says so.
                continue
            except BrokerError as error:
                log.debug("a job could not be looked up: %s", error)
                self._looked_up.discard(attempt)
                return
            if ended is not None:
                attempt.stop("cancelled" if ended.state is State.CANCELLED else "lost")

    def _on_signal(self, subject: bytes, _reply: bytes, _data: bytes, _headers: bytes) -> None:
        job_id = subject[subject.rfind(b".") + 1 :].decode("utf-8", "replace")
        self._heard.pop(job_id, None)  # The oldest stands first.
        self._heard[job_id] = self._loop.time()
        if len(self._heard) > _MOST_REMEMBERED:
            del self._heard[next(iter(self._heard))]
        attempt = self._in_hand.get(job_id)
        if attempt is not None:
            attempt.stop("cancelled")
