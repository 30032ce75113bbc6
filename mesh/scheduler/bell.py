"""Hear that something was written under a subject, without reading what: a hint to look."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

import anyio

from mesh.transport.link import Link


class Bell:
    """Rings when something is published under a subject, and after each reconnect.

    Args:
        link: The connection.
        subject: The subject; it may hold wildcards.
    """

    def __init__(self, link: Link, subject: str) -> None:
        self._link = link
        self._subject = subject
        self._rung = asyncio.Event()
        self._tap = 0

    def __enter__(self) -> Self:
        """Begin to listen."""
        self._tap = self._link.tap(self._subject, self._ring)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Listen no more."""
        self._link.untap(self._tap)

    async def wait(self, limit_s: float) -> None:
        """Wait until it rings, or for a time; what rang since the last wait counts."""
        with anyio.move_on_after(limit_s):
            await self._rung.wait()
        self._rung.clear()

    def _ring(self, _subject: bytes, _reply: bytes, _data: bytes, _headers: bytes) -> None:
        self._rung.set()
