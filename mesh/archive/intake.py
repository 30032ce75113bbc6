"""Take in the ledger's messages ahead of their writing, within bounds."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

import anyio

from mesh.clock import Clock
from mesh.transport.connection import Connection
from mesh.transport.faults import translated
from mesh.transport.puller import Delivery, Puller

WINDOW: Final = 10_000
"""How many messages are in hand or on their way at once."""

_AT_ONCE = 2_000
_MOST_BYTES = 32 * 1024 * 1024
_HEADERS_BYTES = 500
_BEAT_S = 1.0
_SILENCE_S = 5.0
_NOTHING_WRONG = (0, 404, 408)  # Nothing there; the request has run out.


class Intake:
    """Pulls from one durable consumer.

    Args:
        connection: Where to pull.
        stream: The stream.
        consumer: The consumer.
        clock: The time.

    Attributes:
        is_refused: The server has refused a request: the consumer may be gone.
    """

    def __init__(
        self, connection: Connection, stream: str, consumer: str, clock: Clock
    ) -> None:
        self.is_refused = False
        self._clock = clock
        self._arrived = asyncio.Event()
        self._held: deque[Delivery] = deque()
        self._held_bytes = 0
        self._owed = 0
        self._largest = _HEADERS_BYTES
        self._heard_s = clock.monotonic()
        self._is_heard = self._is_cut = False
        self._puller = Puller(
            connection,
            stream,
            consumer,
            on_delivery=self._take_in,
            on_end=self._on_end,
            on_beat=self._on_beat,
            beat_s=_BEAT_S,
        )

    @property
    def has_any(self) -> bool:
        """Whether anything is in hand."""
        return bool(self._held)

    async def start(self) -> None:
        """Open the inbox and ask for the first messages.

        Raises:
            BrokerError: The connection does not let it.
        """
        with translated("opening the inbox of the archive"):
            await self._puller.start()
        self._heard_s = self._clock.monotonic()
        self._ask()

    async def stop(self) -> None:
        """Ask for nothing more.

        Raises:
            BrokerError: The server could not be told.
        """
        with translated("closing the inbox of the archive"):
            await self._puller.stop()

    def was_cut(self) -> None:
        """Note that the connection was lost, and with it every open request."""
        self._is_cut = True
        self._arrived.set()

    async def take(self, most: int, limit_s: float) -> list[Delivery]:
        """Take out what has arrived; empty if nothing comes within the limit.

        Raises:
            BrokerError: The server cannot be asked.
        """
        if self._is_cut or self._is_silent():
            self._is_cut = False
            # What was on its way is delivered again after the ack wait.
            await self._puller.restart()
            self._owed = 0
            self._heard_s = self._clock.monotonic()
        self._ask()
        if not self._held:
            self._arrived.clear()
            with anyio.move_on_after(limit_s):
                await self._arrived.wait()
        taken = [self._held.popleft() for _ in range(min(most, len(self._held)))]
        self._held_bytes -= sum(len(one.data) + _HEADERS_BYTES for one in taken)
        self._ask()
        return taken

    def wake(self) -> None:
        """Have ``take`` return, be it with nothing."""
        self._arrived.set()

    def _ask(self) -> None:
        # As large as the largest that came: the next ones may all be like it.
        room = (_MOST_BYTES - self._held_bytes) // self._largest - self._owed
        room = min(room, WINDOW - len(self._held) - self._owed)
        if self._owed == 0 and not self._held:
            room = max(1, room)
        # Small requests would cost the server more than the messages do.
        while room >= _AT_ONCE or (room > 0 and self._owed == 0):
            count = min(room, _AT_ONCE)
            self._owed += count
            room -= count
            self._puller.ask(count)

    def _is_silent(self) -> bool:
        if self._is_heard:  # The time is not asked for with each message.
            self._is_heard, self._heard_s = False, self._clock.monotonic()
        return self._owed > 0 and self._clock.monotonic() - self._heard_s > _SILENCE_S

    def _take_in(self, delivery: Delivery) -> None:
        self._owed = max(0, self._owed - 1)
        size = len(delivery.data) + _HEADERS_BYTES
        self._largest = max(self._largest, size)
        self._held_bytes += size
        self._held.append(delivery)
        self._is_heard = True
        self._arrived.set()

    def _on_end(self, missing: int, status: int) -> None:
        self._owed = max(0, self._owed - missing)
        self._is_heard = True
        if status not in _NOTHING_WRONG:
            self.is_refused = True
            self._owed = 0
        self._arrived.set()

    def _on_beat(self) -> None:
        self._is_heard = True
