"""Split what the server sends into messages, whatever their subjects hold.

nats-py's own parser splits at any white space. A subject may hold a vertical tab or a form
feed: the server stores it, nats-py takes it for a broken protocol and drops the connection, and
the message comes again after each reconnect. One publish would stop every worker of its queue.
"""

from __future__ import annotations

from typing import Any

from nats.errors import ProtocolError
from nats.protocol.parser import Parser

_END = b"\r\n"
_MESSAGES = (b"MSG ", b"HMSG")


class FrameParser(Parser):
    """nats-py's parser, which takes messages apart itself and leaves all other lines to it."""

    def __init__(self, connection: Any) -> None:
        self._epoch = 0
        super().__init__(connection)  # It calls reset.
        self._hand_over = connection.hand_over
        self._deliver = connection._process_msg

    def reset(self) -> None:
        """Forget what a connection that is gone had begun to send."""
        super().reset()
        self._pieces: list[bytes] = []
        self._missing = 0
        self._epoch += 1

    async def parse(self, data: bytes = b"") -> None:
        """Take in what was read; messages go to the connection, in order.

        Raises:
            ProtocolError: The server sent what is no NATS protocol.
        """
        if self._pieces:
            # A large message comes in many pieces: they are joined once, when all are there.
            self._pieces.append(data)
            self._missing -= len(data)
            if self._missing > 0:
                return
            data = b"".join(self._pieces)
            self._pieces = []
        epoch = self._epoch
        used = await self._take(data)
        # A reset meanwhile means that the rest of an unfinished message will never come.
        if used < len(data) and epoch == self._epoch:
            self._pieces = [data[used:] if used else data]

    async def _take(self, data: bytes) -> int:
        """Handle every complete message; say how many bytes that used up."""
        at = 0
        self._missing = 0
        while (end := data.find(_END, at)) >= 0:
            kind = data[at : at + 4]
            if kind not in _MESSAGES:
                await super().parse(data[at : end + 2])
                at = end + 2
                continue
            words = data[at:end].split(b" ")
            start = end + 2
            stop = start + _number(words[-1])
            if stop + 2 > len(data):
                self._missing = stop + 2 - len(data)
                return at
            # MSG <subject> <sid> [reply] <size>; HMSG has the size of its headers besides.
            plain = kind == b"MSG "
            body = start if plain else start + _number(words[-2])
            reply = words[3] if len(words) == (5 if plain else 6) else b""
            number, payload, block = int(words[2]), data[body:stop], data[start:body]
            if not self._hand_over(number, words[1], reply, payload, block):
                await self._deliver(number, words[1], reply, payload, block or None)
            at = stop + 2
        return at


def _number(word: bytes) -> int:
    if not word.isdigit():
        what = f"the server announced {word[:20]!r} bytes"
        raise ProtocolError(what)
    return int(word)
