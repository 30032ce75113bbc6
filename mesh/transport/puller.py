"""Continuous pull: one inbox per lane, requests as large as the caller says."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from nats.aio.subscription import Subscription

from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.faults import translated

PULL_EXPIRES_S = 5.0

_IDLE = 100
_ACK_PREFIX = b"$JS.ACK."
ACK = b"+ACK"
NAK = b"-NAK"
IN_PROGRESS = b"+WPI"


class Delivery:
    """One delivery of one job message.

    Attributes:
        subject: The subject it was published to.
        reply: Where to acknowledge it.
        data: The body.
        headers: The encoded headers, may be empty.
        is_first: Whether the server believes to have never delivered it before; only a hint.
    """

    __slots__ = ("data", "headers", "is_first", "reply", "subject")

    def __init__(
        self, subject: bytes, reply: bytes, data: bytes, headers: bytes, *, is_first: bool
    ) -> None:
        self.subject = subject
        self.reply = reply
        self.data = data
        self.headers = headers
        self.is_first = is_first

    @property
    def deliveries(self) -> int:
        """How often the server believes to have delivered it; only a hint."""
        return int(self.reply.split(b".")[-5])

    @property
    def sequence(self) -> int:
        """The message's sequence in the job stream."""
        return int(self.reply.split(b".")[-4])

    @property
    def stored_at_ms(self) -> int:
        """When the server stored the message, milliseconds since the epoch."""
        return int(self.reply.split(b".")[-2]) // 1_000_000

    @property
    def backlog(self) -> int:
        """How many more jobs the lane held when this one was sent."""
        return int(self.reply.rsplit(b".", 1)[1])

    def __repr__(self) -> str:
        """Show the subject; the body may be secret."""
        return f"<Delivery {self.subject.decode(errors='replace')}>"


class Puller:
    """Pulls from one durable consumer.

    Args:
        connection: Where to pull.
        stream: The stream's name.
        consumer: The durable consumer's name.
        on_delivery: Called with each delivery, from the read loop; must not block.
        on_end: Called when a request ends with so many jobs not sent, and its status code.
        on_beat: Called when the server says that it is there and has nothing to send.
        beat_s: How often it says so while a request is open, at most half as long as that is;
            0: never.
    """

    def __init__(
        self,
        connection: Connection,
        stream: str,
        consumer: str,
        *,
        on_delivery: Callable[[Delivery], None],
        on_end: Callable[[int, int], None],
        on_beat: Callable[[], None] | None = None,
        beat_s: float = 0.0,
    ) -> None:
        self.consumer = consumer
        self._link = connection.link
        self._api = f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        # The usual form of a first delivery's reply; a server with domains puts more in front.
        self._first = f"$JS.ACK.{stream}.{consumer}.1.".encode()
        self._inbox = self._link.new_inbox()
        self._on_delivery = on_delivery
        self._on_end = on_end
        self._on_beat = on_beat
        expires, beat = int(PULL_EXPIRES_S * 1e9), int(beat_s * 1e9)
        self._terms = b'"expires":%d,"idle_heartbeat":%d' % (expires, beat)
        self._subscription: Subscription | None = None

    async def start(self) -> None:
        """Open the inbox; nothing comes before the first ``ask``."""
        self._subscription = await self._link.listen(self._inbox, self._on_message)

    def ask(self, batch: int) -> None:
        """Ask for jobs; the request ends by itself after ``PULL_EXPIRES_S``."""
        request = b'{"batch":%d,%b}' % (batch, self._terms)
        self._link.post(frames.publish(self._api, self._inbox, b"", request))

    async def restart(self) -> None:
        """Ask through a new inbox from now on; the old one is closed.

        Raises:
            BrokerError: The connection does not let it; the old inbox is kept if need be.
        """
        inbox, old = self._link.new_inbox(), self._subscription
        with translated(f"opening a new inbox for {self.consumer}"):
            self._subscription = await self._link.listen(inbox, self._on_message)
            self._inbox = inbox
            if old is not None:
                await self._link.unlisten(old)

    async def stop(self) -> None:
        """Close the inbox, which ends every open request; what is on its way is taken in."""
        if self._subscription is not None:
            await self._link.unlisten(self._subscription, drain=True)
            self._subscription = None

    def _on_message(self, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> None:
        if reply.startswith(_ACK_PREFIX):
            is_first = reply.startswith(self._first) or reply.split(b".")[-5] == b"1"
            self._on_delivery(Delivery(subject, reply, data, headers, is_first=is_first))
            return
        self._on_status(headers)

    def _on_status(self, headers: bytes) -> None:
        status = frames.status_code(headers)
        if status == _IDLE:
            if self._on_beat is not None:
                self._on_beat()
            return
        missing = frames.read_headers(headers).get("Nats-Pending-Messages", "")
        self._on_end(int(missing) if missing.isdigit() else 0, status)


def nak_after(seconds: float) -> bytes:
    """Encode a negative acknowledgement that has the job redelivered after a delay."""
    return b"-NAK " + msgspec.json.encode({"delay": int(seconds * 1e9)})
