"""Every schedule of a namespace, as the leader knows it, brought up to date look by look."""

from __future__ import annotations

import logging
from contextlib import aclosing

import msgspec

from mesh.client.client import Client
from mesh.contract import headers, schedules
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.contract.subjects import kv_stream
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.reading import StreamReader

log = logging.getLogger("mesh.scheduler")

_AT_ONCE = 1_000


class Known:
    """One schedule, and what was last said of it.

    Attributes:
        id: Its id.
        schedule: Its record; None: it was removed, or cannot be read.
        revision: The record's revision.
        status: What the leader said of it; None: nothing so far.
        status_revision: The revision of that; 0: there is none.
        is_faulty: Its record is there and cannot be used until it changes.
    """

    __slots__ = (
        "id",
        "is_faulty",
        "revision",
        "schedule",
        "status",
        "status_revision",
    )

    def __init__(self, schedule_id: str) -> None:
        self.id = schedule_id
        self.schedule: Schedule | None = None
        self.revision = 0
        self.status: ScheduleStatus | None = None
        self.status_revision = 0
        self.is_faulty = False


class Catalogue:
    """The schedules of one namespace.

    Attributes:
        known: What is known, by id.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._names = client.names
        stream = kv_stream(self._names.schedules_bucket)
        self._stream = stream
        self._shelf = Shelf(client.connection, stream)
        self._locks = Shelf(client.connection, kv_stream(self._names.locks_bucket))
        self._reader = StreamReader(client.connection, stream)
        self._records_prefix = self._names.schedule("")
        self._status_prefix = self._names.schedule_status("")
        self._seen = 0
        self._shape = (-1, -1)
        self.known: dict[str, Known] = {}

    async def load(self) -> None:
        """Read everything anew: whoever led before may have written what this one has not seen.

        Raises:
            BrokerError: The bucket could not be read.
        """
        self.known, self._seen, self._shape = {}, 0, (-1, -1)
        subject = self._names.schedule_status("*")
        async with aclosing(self._reader.oldest_first(subject, at_once=_AT_ONCE)) as entries:
            async for entry in entries:
                self._take_status(entry)
        await self.refresh()

    async def refresh(self, *, thoroughly: bool = False) -> None:
        """Read what has changed since the last look; nothing but one question if nothing has.

        Args:
            thoroughly: Look even so: a server that was asked may have been behind the others.

        Raises:
            BrokerError: The bucket could not be read.
        """
        state = (await self._client.connection.api(f"STREAM.INFO.{self._stream}"))["state"]
        shape = (int(state["last_seq"]), int(state["messages"]))
        if shape == self._shape and not thoroughly:
            return
        subject = self._names.schedules
        read = self._reader.oldest_first(subject, self._seen, at_once=_AT_ONCE)
        async with aclosing(read) as entries:
            async for entry in entries:
                self._take_record(entry)
        async with aclosing(self._reader.subjects(subject)) as found:
            there = {name.removeprefix(self._records_prefix) async for name, _ in found}
        for known in self.known.values():
            if known.id not in there:
                known.schedule, known.is_faulty = None, False
        self._shape = shape

    async def tell(self, known: Known, status: ScheduleStatus) -> None:
        """Write what is to be said of a schedule, unless another leader has said something.

        Raises:
            BrokerError: The server did not take it.
        """
        subject = self._names.schedule_status(known.id)
        block = frames.header_block(
            [(headers.EXPECTED_LAST, str(known.status_revision)), (headers.ROLLUP, "sub")]
        )
        try:
            receipt = await self._client.publisher.publish(
                subject, block, schedules.encode(status)
            )
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            # Another leader's word, or one's own whose answer was lost: it counts.
            known.status, known.status_revision = None, 0
            entry = await self._shelf.last(subject)
            if entry is not None:
                self._take_status(entry)
        else:
            known.status, known.status_revision = status, receipt.sequence

    async def forget(self, known: Known) -> None:
        """Remove what was said of a schedule that is gone.

        Raises:
            BrokerError: The server refused.
        """
        if known.status_revision:
            await self._shelf.remove(
                self._names.schedule_status(known.id), known.status_revision
            )
        await self._locks.remove(self._names.turn(known.id))
        self.known.pop(known.id, None)

    def _take_status(self, entry: Entry) -> None:
        schedule_id = entry.subject.removeprefix(self._status_prefix)
        known = self.known.setdefault(schedule_id, Known(schedule_id))
        known.status_revision = entry.revision
        try:
            known.status = schedules.read_schedule_status(entry.value)
        except (msgspec.DecodeError, UnicodeDecodeError):
            known.status = None  # It is written anew.

    def _take_record(self, entry: Entry) -> None:
        self._seen = entry.revision
        schedule_id = entry.subject.removeprefix(self._records_prefix)
        known = self.known.setdefault(schedule_id, Known(schedule_id))
        known.revision = entry.revision
        try:
            known.schedule = schedules.read_schedule(entry.value)
            known.is_faulty = False
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if entry.value:
                log.warning("schedule %s cannot be read: %s", schedule_id, error)
            # Nothing is what a deletion by other tools leaves; anything else is left alone.
            known.is_faulty = bool(entry.value)
            known.schedule = None
