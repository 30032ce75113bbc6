"""Know which deliveries may be repeats although the server calls them new.

A server that is killed forgets what it delivered in its last moments, and a new leader may
never have heard of it: the job is delivered again as if for the first time, perhaps after it
has ended. So whatever was in the stream when the lane's server started is not believed to be
new: its records are asked first. Which server workers pulled from is kept in the control
bucket, so that a worker that starts later knows it too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import anyio
import msgspec

from mesh.contract import headers, records
from mesh.contract.records import LaneTrust
from mesh.contract.subjects import Names, consumer_name, kv_stream
from mesh.errors import BrokerError
from mesh.policy.lanes import UNTRUSTED, Lane
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.connection import Connection
from mesh.transport.publisher import Publisher
from mesh.worker.attempt import Attempt
from mesh.worker.fence import is_fenced

log = logging.getLogger("mesh.worker")

_TRY_AGAIN_S = 0.5


class Trust:
    """Says, for each lane of one worker, up to which sequence deliveries are not believed.

    Args:
        connection: The worker's connection.
        publisher: Writes what is noted.
        names: The namespace's names.
        lanes: The lanes of the worker.
        on_doubt: Called when the server may have changed: what is in hand may be given out
            again, as if it never had been.
    """

    def __init__(
        self,
        connection: Connection,
        publisher: Publisher,
        names: Names,
        lanes: Sequence[Lane[Attempt]],
        on_doubt: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._publisher = publisher
        self._names = names
        self._lanes = {consumer_name(lane.queue, lane.priority): lane for lane in lanes}
        self._shelf = Shelf(connection, kv_stream(names.control_bucket))
        self._on_doubt = on_doubt
        self._doubts = 0
        self._learning: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Learn about every lane before the first pull, and hear of elections from then on.

        Raises:
            NotProvisionedError: The control bucket does not exist.
            BrokerError: The server could not be asked.
        """
        self._connection.on_reconnect(self.doubt)
        await self._connection.link.listen(self._names.elections, self._on_election)
        doubts = self._doubts
        for lane in self._lanes.values():
            await self._learn(lane, doubts)

    def doubt(self) -> None:
        """Believe no delivery until it is known whether the server is still the same."""
        self._doubts += 1
        for lane in self._lanes.values():
            lane.untrusted_until = UNTRUSTED
        self._on_doubt()
        if self._learning is not None:
            self._learning.cancel()
        self._learning = asyncio.get_running_loop().create_task(self._learn_all(self._doubts))

    async def stop(self) -> None:
        """Stop learning; safe to call twice."""
        if self._learning is not None:
            self._learning.cancel()
            await asyncio.gather(self._learning, return_exceptions=True)

    def _on_election(self, _subject: bytes, _reply: bytes, data: bytes, _head: bytes) -> None:
        self.doubt()

    async def _learn_all(self, doubts: int) -> None:
        for lane in self._lanes.values():
            while True:
                try:
                    await self._learn(lane, doubts)
                    break
                except BrokerError as error:  # Meanwhile jobs run, only more slowly.
                    log.debug("what %r delivered is not known yet: %s", lane, error)
                    await anyio.sleep(_TRY_AGAIN_S)

    async def _learn(self, lane: Lane[Attempt], doubts: int) -> None:
        subject = self._names.lane_trust(lane.queue, lane.priority)
        epoch = await self._epoch(lane)
        while True:
            entry = await self._shelf.last(subject)
            known = _read(entry)
            if known is None or known.epoch != epoch:
                known = LaneTrust(epoch, await self._until(entry))
                if not await self._note(subject, known, entry):
                    continue  # Another worker was faster: read what it wrote.
            if doubts == self._doubts:
                lane.untrusted_until = known.until_sequence
            return

    async def _epoch(self, lane: Lane[Attempt]) -> str:
        """Name the consumer and the server that leads it, as of its last start or election."""
        jobs = self._names.jobs_stream
        name = consumer_name(lane.queue, lane.priority)
        info = await self._connection.api(f"CONSUMER.INFO.{jobs}.{name}")
        cluster: dict[str, Any] = info.get("cluster") or {}
        since = cluster.get("leader_since") or self._connection.server_id
        return f"{info['created']} {cluster.get('leader', '')} {since}"

    async def _until(self, entry: Entry | None) -> int:
        if entry is None:
            return 0  # No worker has pulled from this lane yet, so none was given anything.
        info = await self._connection.api(f"STREAM.INFO.{self._names.jobs_stream}")
        return int(info["state"]["last_seq"])

    async def _note(self, subject: str, known: LaneTrust, entry: Entry | None) -> bool:
        revision = 0 if entry is None else entry.revision
        block = frames.header_block([(headers.EXPECTED_LAST, str(revision))])
        try:
            await self._publisher.publish(subject, block, records.encode(known))
        except BrokerError as fault:
            if not is_fenced(fault):
                raise
            return False
        return True


def _read(entry: Entry | None) -> LaneTrust | None:
    if entry is None:
        return None
    try:
        return records.read_lane_trust(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):  # Not mesh's: it is written anew.
        return None
