"""Read the records that ``finished`` events announce: the ledger has their headers only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from mesh.archive.decoding import Happening, Record, read_record
from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract.subjects import kv_stream
from mesh.transport.buckets import Shelf
from mesh.transport.reading import StreamReader

PAGE: Final = 500
"""How many records are asked for at a time; fewer where they are large."""

_WIDEST_GAP = 100
_MAY_LAG_MS = 60_000


class Records:
    """Reads terminal records by their place in the results bucket.

    Args:
        client: A connection.
        clock: The time.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        stream = kv_stream(client.names.results_bucket)
        self._names = client.names
        self._every = client.names.result("*")
        self._reader = StreamReader(client.connection, stream)
        self._shelf = Shelf(client.connection, stream)
        self._clock = clock

    async def of(self, happenings: Sequence[Happening]) -> dict[int, Record]:
        """Read the records of those that are ``finished``, by their sequence.

        Those that have passed their time to live are left out.

        Raises:
            BrokerError: The bucket could not be read.
        """
        wanted = {
            one.record_at: one for one in happenings if one.kind == "finished" and not one.body
        }
        wanted.pop(0, None)
        found: dict[int, Record] = {}
        for first, last in runs(sorted(wanted)):
            async for entry in self._reader.span(self._every, first, last, at_once=PAGE):
                if entry.revision in wanted:
                    record = read_record(entry.value)
                    found[entry.revision] = record or Record()
        young_ms = self._clock.now_ms() - _MAY_LAG_MS
        for place, one in wanted.items():
            if place not in found and one.at_ms > young_ms:
                # Whoever answered may be behind; the leader is not.
                await self._ask_leader(place, one.job_id, found)
        return found

    async def _ask_leader(self, place: int, job_id: str, found: dict[int, Record]) -> None:
        entry = await self._shelf.next(self._names.result(job_id), place)
        if entry is not None and entry.revision == place:
            found[place] = read_record(entry.value) or Record()


def runs(places: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Part ascending numbers into runs without wide gaps: the first and the last of each."""
    if not places:
        return
    first = last = places[0]
    for place in places[1:]:
        if place - last > _WIDEST_GAP:
            yield first, last
            first = place
        last = place
    yield first, last
