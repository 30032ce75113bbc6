"""Read all that is stored about one job, in an order in which it cannot slip past."""

from __future__ import annotations

from mesh.client.client import Client
from mesh.client.inventory import Facts, Lanes
from mesh.client.lanes import every_lane
from mesh.contract.events import EventKind
from mesh.errors import NotProvisionedError, UnreadableRecordError
from mesh.transport.buckets import Entry, Shelf

_MOST_TWINS = 100


class Evidence:
    """Reads facts; asks the leaders of the streams, for a replica may be behind.

    Args:
        client: A connection.
        has_ledger: Whether there are events to ask.
    """

    def __init__(self, client: Client, *, has_ledger: bool) -> None:
        names, connection = client.names, client.connection
        self._client = client
        self._names = names
        self._has_ledger = has_ledger
        self._jobs = Shelf(connection, names.jobs_stream)
        self._delayed = Shelf(connection, names.delayed_stream)
        self._dead = Shelf(connection, names.dead_stream)
        self._events = Shelf(connection, names.events_stream)

    async def lanes(self) -> Lanes:
        """Read the state of every lane.

        Raises:
            BrokerError: The server could not be asked.
        """
        return Lanes(self._names, [state async for state in every_lane(self._client)])

    async def of(self, job_id: str) -> Facts:
        """Read what is stored about a job.

        A job moves from a queue into the delayed stream and back, and from there into its
        terminal record: each place is asked before the one that it moves to, and the record
        last.

        Raises:
            UnreadableRecordError: A record is not what mesh writes.
            BrokerError: Something could not be read.
        """
        names = self._names
        queued = await self._queued(job_id)
        delayed = await self._delayed.last(names.delayed(job_id))
        fired = await self._delayed.last(names.due("*", "*", job_id))
        if delayed is None and not queued:
            queued = await self._queued(job_id)  # It may have come back meanwhile.
        running = await self._client.records.progress(job_id)
        letter = await self._dead.last(names.dead("*", job_id))
        result = await self._client.records.result(job_id)
        return Facts(
            job_id=job_id,
            queued=queued,
            delayed=delayed,
            fired=fired,
            progress=running[0] if running else None,
            revision=running[1] if running else 0,
            result=result,
            has_ended=result is not None
            or await self._has(EventKind.FINISHED, job_id)
            or await self._has(EventKind.EXPIRING, job_id),
            letter=letter,
            was_buried=await self._has(EventKind.DEAD, job_id),
            enqueued=await self._event(EventKind.ENQUEUED, job_id),
        )

    async def try_of(self, job_id: str) -> Facts | None:
        """Read the same; None if a record is not what mesh writes, so that nobody can tell."""
        try:
            return await self.of(job_id)
        except UnreadableRecordError:
            return None

    async def _queued(self, job_id: str) -> tuple[Entry, ...]:
        subject, found = self._names.job_anywhere(job_id), list[Entry]()
        sequence = 1
        while len(found) < _MOST_TWINS:
            entry = await self._jobs.next(subject, sequence)
            if entry is None:
                break
            found.append(entry)
            sequence = entry.revision + 1
        return tuple(found)

    async def _has(self, kind: EventKind, job_id: str) -> bool:
        return await self._event(kind, job_id) is not None

    async def _event(self, kind: EventKind, job_id: str) -> Entry | None:
        if not self._has_ledger:
            return None
        try:
            return await self._events.last(self._names.event(kind, job_id))
        except NotProvisionedError:
            return None
