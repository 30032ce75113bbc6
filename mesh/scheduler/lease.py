"""Lead a service: one of its replicas at a time, by a lease that is compared and set.

The leader renews its lease again and again. Whoever sees it unchanged for as long as it lasts,
by its own clock, takes it over; a leader that could not renew it knows, by its own clock, that
it may have lost it. So no two clocks are compared, and no server is asked for the time.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import headers, leases, records
from mesh.contract.leases import Leadership
from mesh.contract.subjects import kv_stream
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError

log = logging.getLogger("mesh.scheduler")


class Held(NamedTuple):
    """What was found where the lease is kept.

    Attributes:
        record: Who holds it; None: nobody ever did, or it says nothing that mesh wrote.
        revision: Its revision, to take it over by; 0: there is none.
    """

    record: Leadership | None
    revision: int


class Sighting:
    """How long one revision of another's lease has been seen, by one's own clock."""

    def __init__(self) -> None:
        self._revision = 0
        self._since_s = 0.0

    def has_lapsed(self, held: Held, now_s: float, lease_s: float) -> bool:
        """Whether whoever wrote this has had time enough to renew it, and has not.

        Args:
            held: What was found just now.
            now_s: The present, on a monotonic clock.
            lease_s: How long a lease lasts that does not say so itself.
        """
        if held.revision != self._revision:
            self._revision, self._since_s = held.revision, now_s
        lasts_s = lease_s if held.record is None else held.record.lease_ms / 1000
        return now_s - self._since_s >= lasts_s


class Lease:
    """One replica's part in the lease of a service.

    Args:
        client: A connection.
        service: The service's name.
        owner: This replica.
        lease_s: How long the lease lasts.
        clock: The time.

    Attributes:
        owner: This replica.
        subject: Where the lease is kept.
        token: Numbers the terms of all leaders, upwards; 0: this replica does not lead.
    """

    def __init__(
        self, client: Client, service: str, owner: str, lease_s: float, clock: Clock
    ) -> None:
        self._publisher = client.publisher
        self._shelf = Shelf(client.connection, kv_stream(client.names.locks_bucket))
        self._lease_s = lease_s
        self._clock = clock
        self._sighting = Sighting()
        self._own = Leadership("", self._lease_ms)
        self._revision = 0
        self._until_s = 0.0
        self.owner = owner
        self.subject = client.names.leadership(service)
        self.token = 0

    def is_mine(self) -> bool:
        """Whether this replica surely leads at this moment; to be asked before each write."""
        return self.token > 0 and self._clock.monotonic() < self._until_s

    async def step(self) -> bool:
        """Renew the lease, or take it over if it is nobody's; say whether this replica leads.

        Raises:
            BrokerError: The server could not be asked, or did not answer; to go on is safe.
        """
        if self.token and not self.is_mine():
            log.warning("no longer the leader: the lease was not renewed in time")
            self._lose()
        if self.token:
            await self._renew()
        else:
            await self._contend()
        return self.is_mine()

    async def release(self) -> None:
        """Let another replica lead at once, if this one leads; best effort.

        Raises:
            BrokerError: The server did not take it; the lease passes by itself.
        """
        if self.token:
            self._lose()
            await self._write(Leadership("", self._lease_ms))

    async def _contend(self) -> None:
        held = await self._read()
        now_s = self._clock.monotonic()
        record = held.record
        is_free = not held.revision or (record is not None and not record.owner)
        # One's own, though one does not lead: the answer to taking it over was lost.
        is_own = record is not None and record.owner == self.owner
        if is_free or is_own or self._sighting.has_lapsed(held, now_s, self._lease_s):
            self._revision = held.revision
            taken = Leadership(self.owner, self._lease_ms, since_ms=self._clock.now_ms())
            if await self._write(taken):
                self.token, self._until_s = self._revision, now_s + self._lease_s
                log.info("leading", extra={"owner": self.owner, "token": self.token})

    async def _renew(self) -> None:
        now_s = self._clock.monotonic()
        if await self._write(replace(self._own, renewals=self._own.renewals + 1)):
            self._until_s = now_s + self._lease_s
        else:
            log.warning("no longer the leader: another one has taken over")
            self._lose()

    async def _write(self, record: Leadership) -> bool:
        """Write the lease over the revision that was seen; say whether it is there then."""
        self._own = record
        block = frames.header_block(
            # Rolled up: a server that is killed brings back what a limit replaced.
            [(headers.EXPECTED_LAST, str(self._revision)), (headers.ROLLUP, "sub")]
        )
        try:
            receipt = await self._publisher.publish(self.subject, block, records.encode(record))
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            found = await self._read()
            if found.record is None or not self._is_own(found.record):
                return False
            # It was stored, this one or the one before, and the answer was lost.
            self._own, self._revision = found.record, found.revision
            return True
        self._revision = receipt.sequence
        return True

    def _is_own(self, found: Leadership) -> bool:
        own = self._own
        return bool(own.owner) and (found.owner, found.since_ms) == (own.owner, own.since_ms)

    async def _read(self) -> Held:
        entry = await self._shelf.last(self.subject)
        if entry is None:
            return Held(None, 0)
        try:
            return Held(leases.read_leadership(entry.value), entry.revision)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Held(None, entry.revision)

    def _lose(self) -> None:
        self.token, self._until_s = 0, 0.0

    @property
    def _lease_ms(self) -> int:
        return max(1, round(self._lease_s * 1000))
