"""Messages that nobody waits for: sent, kept while the server is away, or dropped."""

from __future__ import annotations

from typing import Any, cast

from mesh.transport.connection import Connection
from mesh.transport.outbox import Outbox


class Line:
    """A connection and its link, as far as an outbox knows them."""

    def __init__(self) -> None:
        self.is_connected = True
        self.unsent_bytes = 0
        self.sent: list[bytes] = []
        self.link = self
        self.reconnected: Any = None

    def on_reconnect(self, action: Any) -> None:
        """Keep what is to be called."""
        self.reconnected = action

    def post(self, frame: bytes) -> None:
        """Keep what is sent."""
        self.sent.append(frame)


def outbox(line: Line, dropped: list[int], most_bytes: int = 100) -> Outbox:
    """An outbox that counts what it drops."""
    return Outbox(cast("Connection", line), lambda: dropped.append(1), most_bytes)


def test_a_message_is_sent_at_once() -> None:
    """With its subject and body, and without asking for an answer."""
    line, dropped = Line(), list[int]()
    outbox(line, dropped).send("a.b", b"hi")

    assert line.sent == [b"PUB a.b 2\r\nhi\r\n"]
    assert dropped == []


def test_a_line_that_is_too_slow_costs_messages_and_no_memory() -> None:
    """Behind what waits to be written nothing is added beyond the limit."""
    line, dropped = Line(), list[int]()
    line.unsent_bytes = 95
    outbox(line, dropped).send("a.b", b"hi")

    assert line.sent == []
    assert dropped == [1]


def test_while_the_server_is_away_messages_are_kept_as_long_as_there_is_room() -> None:
    """They are sent in their order when it is back."""
    line, dropped = Line(), list[int]()
    box = outbox(line, dropped, most_bytes=40)
    line.is_connected = False
    for word in (b"1", b"2", b"3", b"4"):
        box.send("a.b", word)
    line.is_connected = True
    line.reconnected()
    line.reconnected()

    assert line.sent == [b"PUB a.b 1\r\n%b\r\n" % word for word in (b"1", b"2")]
    assert len(dropped) == 2
