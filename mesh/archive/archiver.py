"""``mesh archive``: read the ledger durably, write it to the database, acknowledge last.

One thread writes; meanwhile the event loop takes in and decodes what comes next. Whatever was
not acknowledged when the process died is delivered again, and stored again without effect.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple, TypeVar

import anyio

from mesh.archive.decoding import Batch, take_apart, to_batch
from mesh.archive.intake import Intake
from mesh.archive.ledger import Ledger
from mesh.archive.records import Records
from mesh.archive.store import Keep, Position, Store
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.errors import BrokerError
from mesh.transport import frames
from mesh.transport.puller import ACK, Delivery

log = logging.getLogger("mesh.archive")

R = TypeVar("R")

BATCH: Final = 2_000
"""How many events go into one transaction at most."""

_LOOK_EVERY_S = 2.0
_IDLE_S = 0.5
_PAUSE_S = 1.0
_PRUNE_EVERY_S = 3600.0


class Options(NamedTuple):
    """How the archive works.

    Attributes:
        url: The database.
        consumer: The durable consumer's name.
        keep: How long jobs are kept.
        again: Read everything that the ledger still holds, once more.
        is_once: End when the ledger has been read.
    """

    url: str
    consumer: str
    keep: Keep
    again: bool = False
    is_once: bool = False


class _Written(NamedTuple):
    """A batch on its way to the database, and what is acknowledged when it is there."""

    done: asyncio.Future[None]
    deliveries: Sequence[Delivery]


class Archiver:
    """Archives one namespace until it is told to stop.

    Args:
        client: A connection.
        options: How.
        clock: The time.

    Attributes:
        events: How many events were stored since it began, repeats included.
    """

    def __init__(self, client: Client, options: Options, clock: Clock = SYSTEM_CLOCK) -> None:
        self.events = 0
        self._client = client
        self._options = options
        self._clock = clock
        self._link = client.connection.link
        self._ledger = Ledger(client, options.consumer)
        self._records = Records(client, clock)
        self._thread = ThreadPoolExecutor(1, "mesh-archive")
        self._store: Store
        self._intake: Intake | None = None
        self._position: Position
        self._complete_to = self._noted = self._left = 0
        self._looked_s = self._pruned_s = float("-inf")
        self._again = options.again
        self._stop = asyncio.Event()
        client.connection.on_reconnect(self._was_cut)

    def stop(self) -> None:
        """Have ``run`` write what is in hand and return."""
        self._stop.set()
        if self._intake is not None:
            self._intake.wake()

    async def run(self) -> int:
        """Archive until told to stop; say how many events were stored, repeats included.

        Raises:
            ArchiveError: The database fails, is of a newer version, or the consumer feeds
                another archive. It is safe to run again.
            BrokerError: The ledger cannot be found at the start.
        """
        try:
            self._store = await self._in_thread(partial(Store, self._options.url))
            try:
                await self._bind()
                await self._serve()
            finally:
                await self._in_thread(self._store.close)
        finally:
            self._thread.shutdown(wait=False)
        return self.events

    async def _serve(self) -> None:
        while not self._stop.is_set():
            try:
                if await self._consume():
                    return
            except BrokerError as error:
                log.warning(
                    "archiving was interrupted; trying again", extra={"why": str(error)}
                )
            await self._rebind()

    async def _bind(self) -> None:
        """Find the ledger, and how far it is archived."""
        created = await self._ledger.created()
        namespace = self._client.settings.namespace
        self._position = await self._in_thread(
            partial(self._store.enter, namespace, self._ledger.stream, created)
        )
        await self._ledger.bind(self._store.id, self._position, again=self._again)
        self._again = False
        self._complete_to = self._noted = 0
        progress = await self._ledger.progress()
        self._left = progress.left
        log.info(
            "archiving",
            extra={"ledger": self._ledger.stream, "archived": self._position.highest}
            | {"to_read": progress.left},
        )

    async def _rebind(self) -> None:
        while not self._stop.is_set():
            with anyio.move_on_after(_PAUSE_S):
                await self._stop.wait()
            try:
                await self._bind()
            except BrokerError as error:
                log.warning("the ledger cannot be found yet", extra={"why": str(error)})
            else:
                return

    async def _consume(self) -> bool:
        """Archive what comes; say whether that is all there will be."""
        intake = Intake(
            self._client.connection, self._ledger.stream, self._ledger.consumer, self._clock
        )
        self._intake = intake
        written: _Written | None = None
        try:
            await intake.start()
            while not self._stop.is_set():
                if written is not None and not intake.has_any:
                    await self._until_written(written)
                    written = None
                taken = await intake.take(BATCH, _IDLE_S)
                if intake.is_refused or self._is_time_to_look(taken):
                    intake.is_refused = False
                    await self._look()
                if not taken:
                    await self._rest()
                    if self._left == 0 and self._options.is_once:
                        return True
                    continue
                batch = await self._decode(taken)  # The one before it is being written.
                if written is not None:
                    await self._until_written(written)
                written = _Written(self._begin_write(batch), taken)
            return True
        finally:
            self._intake = None
            with anyio.CancelScope(shield=True):
                if written is not None:
                    await self._until_written(written)
                with suppress(BrokerError):  # Without a server there is nothing to stop.
                    await intake.stop()

    async def _decode(self, taken: Sequence[Delivery]) -> Batch:
        happenings = [take_apart(one) for one in taken]
        records = await self._records.of(happenings)
        namespace = self._client.settings.namespace
        return to_batch(self._position.stream, namespace, happenings, records)

    def _begin_write(self, batch: Batch) -> asyncio.Future[None]:
        stream, complete_to = self._position.stream, self._complete_to
        loop = asyncio.get_running_loop()
        return loop.run_in_executor(self._thread, self._store.add, stream, batch, complete_to)

    async def _until_written(self, written: _Written) -> None:
        """Acknowledge what is stored, and not before."""
        await written.done
        self.events += len(written.deliveries)
        acks = [frames.signal(one.reply, ACK) for one in written.deliveries]
        self._link.post(b"".join(acks))

    def _is_time_to_look(self, taken: Sequence[Delivery]) -> bool:
        if self._options.is_once and not taken:
            return True
        return self._clock.monotonic() - self._looked_s > _LOOK_EVERY_S

    async def _look(self) -> None:
        """See how far the consumer is; whether it is there at all."""
        self._looked_s = self._clock.monotonic()
        progress = await self._ledger.progress()
        self._complete_to = max(self._complete_to, progress.complete_to)
        self._left = progress.left

    async def _rest(self) -> None:
        """Do what there is time for when nothing comes."""
        if self._complete_to > self._noted:
            self._noted, stream = self._complete_to, self._position.stream
            await self._in_thread(
                partial(self._store.add, stream, Batch([], [], 0), self._noted)
            )
        if self._clock.monotonic() - self._pruned_s < _PRUNE_EVERY_S:
            return
        self._pruned_s = self._clock.monotonic()
        keep = self._options.keep
        pruned = await self._in_thread(partial(self._store.prune, keep, self._clock.now_ms()))
        if pruned.jobs or pruned.events:
            extra = {"jobs": pruned.jobs, "events": pruned.events}
            log.info("removed what was kept long enough", extra=extra)

    async def _in_thread(self, work: Callable[[], R]) -> R:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _was_cut(self) -> None:
        if self._intake is not None:
            self._intake.was_cut()
