"""Send what nobody waits for: bounded, never blocking; what finds no room is dropped."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from mesh.transport import frames
from mesh.transport.connection import Connection

MOST_BYTES = 4 * 1024 * 1024
"""How much may wait to be sent: beyond that the server, or the line to it, is too slow."""


class Outbox:
    """Publishes without acknowledgement, and keeps a little of it while the server is away.

    Args:
        connection: Where to publish.
        on_drop: Called whenever a message is dropped.
        most_bytes: How much may wait.
    """

    def __init__(
        self,
        connection: Connection,
        on_drop: Callable[[], None],
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._link = connection.link
        self._on_drop = on_drop
        self._most_bytes = most_bytes
        self._held: deque[bytes] = deque()
        self._held_bytes = 0
        connection.on_reconnect(self._on_reconnect)

    def send(self, subject: str, body: bytes) -> None:
        """Publish, or keep it until the server is back, or drop it; returns at once."""
        self._send(frames.signal(subject.encode(), body))

    def _send(self, frame: bytes) -> None:
        if self._link.is_connected:
            if self._link.unsent_bytes + len(frame) <= self._most_bytes:
                self._link.post(frame)
                return
        elif self._held_bytes + len(frame) <= self._most_bytes:
            self._held.append(frame)
            self._held_bytes += len(frame)
            return
        self._on_drop()

    def _on_reconnect(self) -> None:
        held, self._held = self._held, deque()
        self._held_bytes = 0
        for frame in held:
            self._send(frame)
