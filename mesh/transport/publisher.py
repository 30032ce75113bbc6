"""Publish with acknowledgement: pipelined, bounded, every publish with a deadline and retries.

A publish whose acknowledgement never came is UNKNOWN, never failed: it is sent again with the
same message id, which the server stores once, and called unknown only after the deadline.
A publish that a full stream refused is kept and tried again until there is room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import anyio
import anyio.lowlevel

from mesh.contract import headers
from mesh.errors import BrokerError, PayloadTooLargeError, QueueFullError
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.faults import ApiError, denied, from_api, no_listener
from mesh.transport.holding import Holds
from mesh.transport.receipts import (
    Batch,
    NoAnswerError,
    Receipt,
    no_answer,
    read_ack,
    receipt_of,
    resolve,
)
from mesh.transport.storage import StorageWatch
from mesh.transport.waiting import NEVER, Done, Waiting

_SWEEP_S = 0.1
_RESEND_S = 1.0
_SUSPICIOUS_S = 2.0
_YIELD_EVERY = 256


class Publisher:
    """Publishes over one connection; one inbox, a bounded window, deadlines and retries.

    Args:
        connection: Where to publish.
        deadline_s: When a publish that nobody confirms is called unknown.
        window: How many may be on their way before ``publish_many`` waits.
        full_wait_s: How long a publish may wait for room in its stream.
        marked: What the subjects start with whose publishes, sent again, bear ``Mesh-Repeat``.

    Attributes:
        most_bytes: How large a message the server accepts, headers included.
        storage: Notices a server that is there and stores nothing.
    """

    def __init__(
        self,
        connection: Connection,
        *,
        deadline_s: float,
        window: int,
        full_wait_s: float = 0.0,
        marked: tuple[str, ...] = (),
    ) -> None:
        self._connection = connection
        self._link = connection.link
        self._deadline_s = deadline_s
        self._resend_s = min(_RESEND_S, deadline_s)
        self._window = window
        self._full_wait_s = full_wait_s
        self._marked = marked
        self._waiting: dict[bytes, Waiting] = {}  # In the order of sending.
        self._unheard: dict[bytes, Waiting] = {}
        self._holds = Holds()
        self._count = 0
        self._inbox = f"{connection.inbox}.p."
        self._cut = len(self._inbox)
        self._room = asyncio.Event()
        self._sweeper: asyncio.TimerHandle | None = None
        self._clock = asyncio.get_running_loop().time
        self._is_away, self._connected_s = False, self._clock()
        self.most_bytes = 0
        self.storage = StorageWatch(connection)

    async def start(self) -> None:
        """Open the inbox on which acknowledgements arrive."""
        self.most_bytes = self._link.max_payload
        self._connection.on_denial(self._on_denial)
        self._connection.on_disconnect(self._on_disconnect)
        self._connection.on_reconnect(self._on_reconnect)
        await self._link.listen(f"{self._inbox}*", self._on_ack)

    @property
    def in_flight(self) -> int:
        """Publishes that wait for their acknowledgement, or for room in their stream."""
        return len(self._waiting) + len(self._holds)

    def post(
        self,
        subject: str,
        block: bytes,
        payload: bytes,
        done: Done,
        context: Any,
        *,
        once: bool = False,
    ) -> None:
        """Publish without waiting; ``done`` is called once, from the read loop.

        Args:
            subject: Where to.
            block: The encoded headers.
            payload: The body.
            done: Called with the context, the fault or None, and the acknowledgement's bytes.
            context: Given back to ``done``.
            once: Never send it again: without an answer it is unknown after a second.

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
        self._waiting[token] = waiting = Waiting(
            subject, frame, done, context, self._clock(), once=once
        )
        if self._is_away:  # Sent when the server is back: a buffer knows no deadline.
            waiting.sent = NEVER
        else:
            self._link.post(frame)
        if self._sweeper is None:
            self._arm()

    async def publish(
        self, subject: str, block: bytes, payload: bytes, *, once: bool = False
    ) -> Receipt:
        """Publish and wait for the acknowledgement; see ``post``.

        Raises:
            NoAnswerError: None came before the deadline; the message may be stored or not.
            NotProvisionedError: No stream takes this subject.
            QueueFullError: The stream is full, and was while the publish could wait.
            PayloadTooLargeError: The message is too large.
            PermissionDeniedError: The NATS user may not publish there.
            BrokerError: The server refused it.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.post(subject, block, payload, resolve, future, once=once)
        return receipt_of(await future)

    async def ask(self, subject: str, question: bytes = b"") -> bytes:
        """Ask something that changes nothing, and return the answer; empty if there is none.

        Raises:
            NoAnswerError: Nobody answered before the deadline.
            NotProvisionedError: Nobody listens there.
        """
        future: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.post(subject, b"", question, resolve, future)
        return await future

    async def publish_many(
        self, messages: Iterable[tuple[str, bytes, bytes]], count: int
    ) -> list[Receipt | BrokerError]:
        """Publish many, pipelined; each one's receipt or fault, in order.

        Once one has waited in vain for room or for a server that is away, those that were not
        yet sent are not sent any more: the whole takes no longer than one.

        Args:
            messages: Subject, encoded headers and body of each; taken as they are published, so
                that making the next goes along with the server's storing the last.
            count: How many there are.
        """
        batch = Batch(count)
        for index, (subject, block, payload) in enumerate(messages):
            while len(self._waiting) >= self._window or self._is_crowded():
                self._room.clear()
                await self._room.wait()
            fault = batch.hopeless(subject, is_away=self._is_away)
            if fault is None:
                try:
                    self.post(subject, block, payload, batch.done, index)
                except PayloadTooLargeError as error:
                    fault = error
            if fault is not None:
                batch.done(index, fault, b"")
            if index % _YIELD_EVERY == _YIELD_EVERY - 1:
                await anyio.lowlevel.checkpoint()
        await batch.complete.wait()
        return batch.receipts

    async def settle(self, limit_s: float) -> bool:
        """Wait until nothing is in flight; say whether that was reached in time."""
        with anyio.move_on_after(limit_s):
            while self.in_flight:
                self._room.clear()
                await self._room.wait()
        return not self.in_flight

    @staticmethod
    def sequence_of(ack: bytes) -> int:
        """Read the stream sequence from an acknowledgement given to ``done``."""
        return read_ack(ack).seq

    def stop(self) -> None:
        """Give up whatever is in flight."""
        self.storage.stop()
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._waiting.update(self._holds.overdue(float("inf")))
        for token, waiting in list(self._waiting.items()):
            self._give_up(token, no_answer(waiting.subject, "the client was closed"))

    def _is_crowded(self) -> bool:
        return bool(self._holds) and self.in_flight >= self._window

    def _on_ack(self, subject: bytes, _reply: bytes, data: bytes, block: bytes) -> None:
        token = subject[self._cut :]
        waiting = self._waiting.get(token)
        if waiting is None:  # The answer to a repeat of something that is settled.
            return
        if block and frames.status_code(block) == 503:
            # An election looks the same as a missing stream: try again until the deadline.
            self._unheard[token] = waiting
            return
        del self._waiting[token]
        fault = None
        if data.startswith(b'{"error"'):
            fault = from_api(read_ack(data).error or {}, waiting.subject)
            if isinstance(fault, QueueFullError) and self._may_wait(token, waiting, fault):
                return
            if isinstance(fault, ApiError) and waiting.trouble is not None:
                fault.was_resent = waiting.trouble.was_resent
        elif self._holds and waiting.trouble is not None:
            self._holds.admitted(waiting.subject)
            self._try_held(self._clock())
        waiting.done(waiting.context, fault, data)
        if not self._room.is_set():
            self._room.set()

    def _may_wait(self, token: bytes, waiting: Waiting, refusal: QueueFullError) -> bool:
        """Keep a publish that was refused for want of room, if it may wait for some."""
        now = self._clock()
        until_s = waiting.refused(refusal, now, self._full_wait_s)
        if now >= until_s:
            return False
        self._holds.refused((token, waiting), until_s, now)
        return True

    def _try_held(self, now: float) -> None:
        if self._is_away:
            return
        for token, waiting in self._holds.due(now):
            waiting.first_sent = waiting.sent = now
            self._waiting[token] = waiting
            self._link.post(waiting.frame)

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
        self._sweep_holds(now)
        if self._waiting or self._holds:
            self._arm()

    def _sweep_holds(self, now: float) -> None:
        for _, waiting in self._holds.overdue(now):
            refusal = waiting.trouble.refusal if waiting.trouble is not None else None
            waiting.done(waiting.context, refusal, b"")
            self._room.set()
        self._try_held(now)

    def _overdue(self, now: float) -> Iterator[bytes]:
        for token, waiting in self._waiting.items():  # In the order of sending.
            if not self._is_away and now - waiting.sent < self._resend_s:
                return
            yield token

    def _repeat_or_give_up(
        self, token: bytes, now: float, verdict: Callable[[str], BrokerError]
    ) -> None:
        waiting = self._waiting.get(token)
        if waiting is None:  # Answered meanwhile.
            return
        open_s = now - waiting.first_sent
        if waiting.once or open_s >= self._deadline_s:
            self._give_up(token, verdict(waiting.subject))
        elif not self._is_away:
            del self._waiting[token]  # To the end: the order is that of sending.
            self._waiting[token] = waiting
            self._send_again(waiting, now, was_heard=verdict is no_listener)
        if now - self._connected_s >= _SUSPICIOUS_S <= open_s and not self._is_away:
            self.storage.suspect(waiting.subject, now)

    def _give_up(self, token: bytes, fault: BrokerError) -> None:
        waiting = self._waiting.pop(token)
        waiting.done(waiting.context, fault, b"")
        self._room.set()

    def _send_again(self, waiting: Waiting, now: float, *, was_heard: bool) -> None:
        """Send a publish once more, marked if the server may have stored it already."""
        may_be_stored = not was_heard and waiting.sent != NEVER
        if may_be_stored and waiting.resent() and waiting.subject.startswith(self._marked):
            marked = frames.with_header(waiting.frame, headers.REPEAT, "1")
            if len(marked) <= self.most_bytes:
                waiting.frame = marked
        waiting.sent = now
        self._link.post(waiting.frame)

    def _no_ack(self, subject: str) -> NoAnswerError:
        finding = self.storage.finding
        why = f"no acknowledgement within {self._deadline_s:g} s"
        return no_answer(subject, f"{why}; {finding}" if finding else why)

    def _on_denial(self, subject: str) -> None:
        """End what will never be answered: the server took none of it."""
        for token, waiting in list(self._waiting.items()):
            if waiting.subject == subject:
                self._give_up(token, denied(subject))

    def _on_disconnect(self) -> None:
        self._is_away = True
        for token, waiting in list(self._waiting.items()):
            if waiting.once:
                self._give_up(token, no_answer(waiting.subject, "the connection was lost"))

    def _on_reconnect(self) -> None:
        """Send at once, in its order, what the last connection left unanswered."""
        self._is_away = False
        self.storage.clear()
        now = self._connected_s = self._clock()
        for waiting in list(self._waiting.values()):
            if not waiting.once:  # The next look gives it up.
                self._send_again(waiting, now, was_heard=False)
