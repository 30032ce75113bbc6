"""The stored schedules of a namespace: read them, and change them by compare and set."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec

from mesh.client.client import Client
from mesh.contract import headers, schedules
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.contract.subjects import kv_stream
from mesh.errors import (
    ScheduleConflictError,
    ScheduleNotFoundError,
    UnreadableScheduleError,
)
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.reading import StreamReader

log = logging.getLogger("mesh.client")

_TRIES = 10
_MARK_KEPT = "86400s"

Change = Callable[[Schedule | None], Schedule | None]
"""From what is stored to what shall be; None is none, and the same object is left alone."""


class Stored(NamedTuple):
    """A schedule as it is stored.

    Attributes:
        schedule_id: Its id.
        schedule: What it says.
        revision: Its revision.
    """

    schedule_id: str
    schedule: Schedule
    revision: int


class ScheduleBook:
    """The schedules of one namespace, over one connection."""

    def __init__(self, client: Client) -> None:
        self._names = client.names
        self._publisher = client.publisher
        stream = kv_stream(client.names.schedules_bucket)
        self._shelf = Shelf(client.connection, stream)
        self._reader = StreamReader(client.connection, stream)

    async def read(self, schedule_id: str) -> Stored:
        """Read a schedule.

        Raises:
            ScheduleNotFoundError: There is none.
            UnreadableScheduleError: The record is not mesh's.
            BrokerError: The bucket could not be read.
        """
        entry = await self._last(self._names.schedule(schedule_id))
        if entry is None or not entry.value:
            raise ScheduleNotFoundError(schedule_id)
        return Stored(schedule_id, _readable(schedule_id, entry.value), entry.revision)

    async def all(self) -> list[Stored]:
        """Read all schedules; one that nobody can read is left out, and the log says so.

        Raises:
            BrokerError: The bucket could not be read.
        """
        found: list[Stored] = []
        async with aclosing(self._reader.oldest_first(self._names.schedules)) as entries:
            async for entry in entries:
                if not entry.value:
                    continue
                schedule_id = entry.subject.rpartition(".")[2]
                try:
                    schedule = _readable(schedule_id, entry.value)
                except UnreadableScheduleError as error:
                    log.warning("a schedule is left out: %s", error)
                    continue
                found.append(Stored(schedule_id, schedule, entry.revision))
        return found

    async def status(self, schedule_id: str) -> ScheduleStatus | None:
        """Read what the scheduler says of a schedule; None: nothing, or nothing readable.

        Raises:
            BrokerError: The bucket could not be read.
        """
        entry = await self._last(self._names.schedule_status(schedule_id))
        return None if entry is None else _status(entry)

    async def statuses(self) -> dict[str, ScheduleStatus]:
        """Read what the scheduler says of all schedules.

        Raises:
            BrokerError: The bucket could not be read.
        """
        found: dict[str, ScheduleStatus] = {}
        subject = self._names.schedule_status("*")
        async with aclosing(self._reader.oldest_first(subject)) as entries:
            async for entry in entries:
                status = _status(entry)
                if status is not None:
                    found[entry.subject.rpartition(".")[2]] = status
        return found

    async def change(self, schedule_id: str, change: Change) -> Schedule | None:
        """Change a schedule by compare and set, again from the start if somebody was quicker.

        Args:
            schedule_id: The schedule.
            change: Says what shall be; it may be asked more than once.

        Returns:
            What is stored now; None: it is removed.

        Raises:
            ScheduleConflictError: Somebody else was quicker, again and again.
            UnreadableScheduleError: The record is not mesh's.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        subject = self._names.schedule(schedule_id)
        written = b""
        for _ in range(_TRIES):
            entry = await self._last(subject)
            value = b"" if entry is None else entry.value
            old = _readable(schedule_id, value) if value else None
            if written and value == written:  # A first copy of the write that was refused.
                return old
            new = change(old)
            if new is old:
                return old
            written = b"" if new is None else schedules.encode(new)
            revision = 0 if entry is None else entry.revision
            if await self._write(subject, written, revision):
                return new
        raise ScheduleConflictError(schedule_id)

    async def _write(self, subject: str, value: bytes, revision: int) -> bool:
        """Write a value, or the mark of a removal; say whether nobody was quicker."""
        pairs = [(headers.EXPECTED_LAST, str(revision))]
        if not value:
            # A mark, for whoever follows the bucket; it goes by itself.
            pairs += [(headers.KV_OPERATION, headers.KV_DELETED), (headers.TTL, _MARK_KEPT)]
        try:
            await self._publisher.publish(subject, frames.header_block(pairs), value)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True

    async def _last(self, subject: str) -> Entry | None:
        return await self._shelf.last(subject, self._publisher)


def _readable(schedule_id: str, value: bytes) -> Schedule:
    try:
        return schedules.read_schedule(value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise UnreadableScheduleError(schedule_id, str(error)) from error


def _status(entry: Entry) -> ScheduleStatus | None:
    try:
        return schedules.read_schedule_status(entry.value) if entry.value else None
    except (msgspec.DecodeError, UnicodeDecodeError):
        log.warning("what is said of a schedule cannot be read: %s", entry.subject)
        return None
