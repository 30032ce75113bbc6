"""Find out why a server that is there confirms nothing: most likely its disk is full.

A server that cannot write a message says nothing at all to its publisher, and goes on in
silence when there is space again, until it is restarted. It answers every question meanwhile.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import anyio

from mesh.errors import BrokerError
from mesh.transport.connection import Connection

log = logging.getLogger("mesh.transport")

_LOOK_EVERY_S = 5.0
_BETWEEN_LOOKS_S = 0.5
_SAY_EVERY_S = 60.0


class StorageWatch:
    """Looks at a stream whose publishes are not confirmed, and says what it makes of it.

    Attributes:
        finding: What was found, for people; empty: nothing was.
        on_found: Called whenever a stream is found that stores nothing.
    """

    def __init__(self, connection: Connection) -> None:
        self.finding = ""
        self.on_found: Callable[[], None] = _nothing
        self._connection = connection
        self._next_look_s = 0.0
        self._next_word_s = 0.0
        self._task: asyncio.Task[None] | None = None

    def suspect(self, subject: str, now: float) -> None:
        """Look, in the background and not too often, at the stream that takes a subject."""
        if now >= self._next_look_s and not subject.startswith("$JS."):
            self._next_look_s = now + _LOOK_EVERY_S
            self._task = asyncio.get_running_loop().create_task(self._look(subject, now))

    def clear(self) -> None:
        """Forget what was found: another server answers, or the same one anew."""
        self.finding = ""

    def stop(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()

    async def _look(self, subject: str, now: float) -> None:
        try:
            answer = await self._connection.api("STREAM.NAMES", {"subject": subject})
            streams: list[str] = answer.get("streams") or []
            for stream in streams:
                if await self._stands_still(stream):
                    self._found(stream, now)
                    return
        except BrokerError:  # It does not answer at all: that is no matter of its disk.
            pass
        self.finding = ""

    async def _stands_still(self, stream: str) -> bool:
        """Whether a stream to which is published takes in nothing."""
        before = await self._last(stream)
        await anyio.sleep(_BETWEEN_LOOKS_S)
        return before == await self._last(stream)

    async def _last(self, stream: str) -> int:
        answer: dict[str, Any] = await self._connection.api(f"STREAM.INFO.{stream}")
        return int(answer["state"]["last_seq"])

    def _found(self, stream: str, now: float) -> None:
        self.on_found()
        self.finding = (
            f"the NATS server answers, but stores nothing in {stream}: is its disk full? Free "
            "some space, then restart the server; it does not recover by itself"
        )
        if now >= self._next_word_s:
            self._next_word_s = now + _SAY_EVERY_S
            log.error("%s", self.finding, extra={"stream": stream})


def _nothing() -> None:
    pass
