"""Publish with acknowledgement: pipelined, bounded, every publish with a deadline and retries.

A publish whose acknowledgement never came is UNKNOWN, never failed: it is sent again with the
same message id, which the server stores once, and called unknown only after the deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel
import msgspec

from mesh.errors import BrokerError, PayloadTooLargeError
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.faults import from_api, no_listener

_SWEEP_S = 0.1
_RESEND_S = 1.0
_YIELD_EVERY = 256

Done = Callable[[Any, "BrokerError | None", bytes], None]
"""Receives the caller's context, the fault or None, and the server's acknowledgement."""


class NoAnswerError(BrokerError):
    """The server never acknowledged a publish; it may be stored or not."""


class Receipt(NamedTuple):
    """The server's acknowledgement.

    Attributes:
        sequence: The message's sequence in the stream.
        is_duplicate: The same message id was stored before; this one was not stored again.
    """

    sequence: int
    is_duplicate: bool


class _Ack(msgspec.Struct):
    seq: int = 0
    duplicate: bool = False
    error: dict[str, Any] | None = None


class _Waiting:
    """A publish on its way."""

    __slots__ = ("context", "done", "first_sent", "frame", "sent", "subject")

    def __init__(
        self, subject: str, frame: bytes, done: Done, context: Any, now: float
    ) -> None:
        self.subject = subject
        self.frame = frame
        self.done = done
        self.context = context
        self.first_sent = now
        self.sent = now


_read_ack = msgspec.json.Decoder(_Ack).decode


class Publisher:
    """Publishes over one connection; one inbox, a bounded window, deadlines and retries.

    Attributes:
        most_bytes: How large a message the server accepts, headers included.
    """

    def __init__(self, connection: Connection, *, deadline_s: float, window: int) -> None:
        self._connection = connection
        self._link = connection.link
        self._deadline_s = deadline_s
        self._resend_s = min(_RESEND_S, deadline_s)
        self._window = window
        self._waiting: dict[bytes, _Waiting] = {}  # In the order of sending.
        self._unheard: dict[bytes, _Waiting] = {}
        self._count = 0
        self._inbox = f"{connection.inbox}.p."
        self._cut = len(self._inbox)
        self._room = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._clock = asyncio.get_running_loop().time
        self.most_bytes = 0

    async def start(self) -> None:
        """Open the inbox on which acknowledgements arrive."""
        self.most_bytes = self._link.max_payload
        await self._link.listen(f"{self._inbox}*", self._on_ack)

    @property
    def in_flight(self) -> int:
        """Publishes that wait for their acknowledgement."""
        return len(self._waiting)

    def post(
        self, subject: str, block: bytes, payload: bytes, done: Done, context: Any
    ) -> None:
        """Publish without waiting; ``done`` is called once, from the read loop.

        Args:
            subject: Where to.
            block: The encoded headers.
            payload: The body.
            done: Called with the context, the fault or None, and the acknowledgement's bytes.
            context: Given back to ``done``.

        Raises:
            PayloadTooLargeError: The server would cut the connection for a message this large.
        """
        if len(block) + len(payload) > self.most_bytes:
            msg = (
                f"the message for {subject} has {len(block) + len(payload):,} bytes; the "
                f"server accepts {self.most_bytes:,}"
            )
            raise PayloadTooLargeError(msg)
        self._count += 1
        token = b"%x" % self._count
        frame = frames.publish(subject, f"{self._inbox}{self._count:x}", block, payload)
        self._waiting[token] = _Waiting(subject, frame, done, context, self._clock())
        self._link.post(frame)
        if self._sweeper is None:
            self._arm()

    async def publish(self, subject: str, block: bytes, payload: bytes) -> Receipt:
        """Publish and wait for the acknowledgement.

        Raises:
            NoAnswerError: None came before the deadline; the message may be stored or not.
            NotProvisionedError: No stream takes this subject.
            QueueFullError: The stream is full.
            PayloadTooLargeError: The message is too large.
            BrokerError: The server refused it.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.post(subject, block, payload, _resolve, future)
        return _receipt(await future)

    async def ask(self, subject: str, question: bytes = b"") -> bytes:
        """Ask something that changes nothing, and return the answer; empty if there is none.

        Raises:
            NoAnswerError: Nobody answered before the deadline.
            NotProvisionedError: Nobody listens there.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.post(subject, b"", question, _resolve, future)
        return await future

    async def publish_many(
        self, messages: Iterable[tuple[str, bytes, bytes]], count: int
    ) -> list[Receipt | BrokerError]:
        """Publish many, pipelined; each one's receipt or fault, in order.

        Args:
            messages: Subject, encoded headers and body of each; taken as they are published, so
                that making the next goes along with the server's storing the last.
            count: How many there are.
        """
        batch = _Batch(count)
        for index, (subject, block, payload) in enumerate(messages):
            while len(self._waiting) >= self._window:
                self._room.clear()
                await self._room.wait()
            try:
                self.post(subject, block, payload, batch.done, index)
            except PayloadTooLargeError as error:
                batch.done(index, error, b"")
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await anyio.lowlevel.checkpoint()
        await batch.complete.wait()
        return batch.receipts

    async def settle(self, limit_s: float) -> bool:
        """Wait until nothing is in flight; say whether that was reached in time."""
        with anyio.move_on_after(limit_s):
            while self._waiting:
                self._room.clear()
                await self._room.wait()
        return not self._waiting

    @staticmethod
    def sequence_of(ack: bytes) -> int:
        """Read the stream sequence from an acknowledgement given to ``done``."""
        return _read_ack(ack).seq

    def stop(self) -> None:
        """Give up whatever is in flight."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        for token in list(self._waiting):
            waiting = self._waiting.pop(token)
            waiting.done(
                waiting.context, _no_answer(waiting.subject, "the client was closed"), b""
            )

    def _on_ack(self, subject: bytes, _reply: bytes, data: bytes, headers: bytes) -> None:
        token = subject[self._cut :]
        waiting = self._waiting.get(token)
        if waiting is None:  # The answer to a repeat of something that is settled.
            return
        if headers and frames.status_code(headers) == 503:
            # An election looks the same as a missing stream: try again until the deadline.
            self._unheard[token] = waiting
            return
        del self._waiting[token]
        fault = None
        if data.startswith(b'{"error"'):
            fault = from_api(_read_ack(data).error or {}, waiting.subject)
        waiting.done(waiting.context, fault, data)
        if not self._room.is_set():
            self._room.set()

    def _arm(self) -> None:
        self._sweeper = asyncio.get_running_loop().call_later(_SWEEP_S, self._sweep)

    def _sweep(self) -> None:
        """Send again what is due, give up what is past its deadline."""
        self._sweeper = None
        now = self._clock()
        unheard, self._unheard = self._unheard, {}
        for token in unheard:
            self._repeat_or_give_up(token, now, no_listener)
        for token in list(self._overdue(now)):
            self._repeat_or_give_up(token, now, self._no_ack)
        if self._waiting:
            self._arm()

    def _overdue(self, now: float) -> Iterator[bytes]:
        for token, waiting in self._waiting.items():  # In the order of sending.
            if now - waiting.sent < self._resend_s:
                return
            yield token

    def _repeat_or_give_up(
        self, token: bytes, now: float, verdict: Callable[[str], BrokerError]
    ) -> None:
        waiting = self._waiting.pop(token, None)
        if waiting is None:  # Answered meanwhile.
            return
        if now - waiting.first_sent >= self._deadline_s:
            waiting.done(waiting.context, verdict(waiting.subject), b"")
            self._room.set()
            return
        waiting.sent = now
        self._waiting[token] = waiting  # At the end: the order is that of sending.
        if self._connection.is_connected:
            self._link.post(waiting.frame)

    def _no_ack(self, subject: str) -> BrokerError:
        return _no_answer(subject, f"no acknowledgement within {self._deadline_s:g} s")


class _Batch:
    """The receipts of ``publish_many``, filled in as they come."""

    __slots__ = ("complete", "missing", "receipts")

    def __init__(self, size: int) -> None:
        self.missing = size
        self.receipts: list[Receipt | BrokerError] = [_PLAIN] * size
        self.complete = asyncio.Event()
        if not size:
            self.complete.set()

    def done(self, index: int, fault: BrokerError | None, ack: bytes) -> None:
        if fault is not None:
            self.receipts[index] = fault
        elif b'"duplicate"' in ack:
            self.receipts[index] = _receipt(ack)
        self.missing -= 1
        if not self.missing:
            self.complete.set()


_PLAIN = Receipt(0, is_duplicate=False)


def _resolve(future: asyncio.Future[bytes], fault: BrokerError | None, ack: bytes) -> None:
    if future.done():  # The caller was cancelled.
        return
    if fault is None:
        future.set_result(ack)
    else:
        future.set_exception(fault)


def _receipt(ack: bytes) -> Receipt:
    read = _read_ack(ack)
    return Receipt(read.seq, read.duplicate)


def _no_answer(subject: str, why: str) -> NoAnswerError:
    return NoAnswerError(f"the publish to {subject} was not confirmed: {why}")
