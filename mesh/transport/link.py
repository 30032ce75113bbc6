"""nats-py's client with a short way in and out: the one place that touches its private side.

The public API builds a message object, parses its headers, and passes it through a queue and a
task for every delivery, and validates and joins headers for every publish. For the few hot
subscriptions and publishes that costs more than the job. ``listen`` hands raw frames to a plain
function, ``post`` takes a frame that is encoded already. Everything else is nats-py's own:
connecting, authentication, reconnecting, pings, ordinary requests.
``tests/integration/transport/test_link.py`` fails when nats-py moves what this relies on.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.errors import Error

from mesh.transport.incoming import FrameParser

log = logging.getLogger("mesh.transport")

_HANDLED_BY_NATS_PY = ("stale connection", "permissions violation")
_FIRST_TAP = 1 << 40  # nats-py counts its own subscriptions from 1.

Handler = Callable[[bytes, bytes, bytes, bytes], None]
"""Receives subject, reply, payload and header block of one message; must not block or raise."""


class Link(Client):
    """A NATS connection that can listen and post without ceremony."""

    def __init__(self) -> None:
        super().__init__()
        self._ps = FrameParser(self)
        self._handlers: dict[int, Handler] = {}
        self._taps: dict[int, str] = {}
        self._tap_numbers = itertools.count(_FIRST_TAP)

    @property
    def server_id(self) -> str:
        """The id of the server, as it introduced itself."""
        return str(self._server_info.get("server_id", ""))

    async def listen(self, subject: str, handler: Handler) -> Subscription:
        """Subscribe a plain function; it is called from the read loop, in order of arrival."""
        subscription = await self.subscribe(subject)
        self._handlers[subscription._id] = handler  # pyright: ignore[reportPrivateUsage]
        return subscription

    async def unlisten(self, subscription: Subscription, *, drain: bool = False) -> None:
        """End a subscription made by ``listen``.

        Args:
            subscription: What ``listen`` returned.
            drain: Wait for the server to hear of it and take in what was on its way until then.
        """
        number = subscription._id  # pyright: ignore[reportPrivateUsage]
        try:
            if self.is_connected and not self.is_draining:
                await subscription.unsubscribe()
                if drain:
                    await self.flush()
        finally:
            self._handlers.pop(number, None)

    def tap(self, subject: str, handler: Handler) -> int:
        """Subscribe for a moment, at a fraction of the cost of ``listen``; return its number.

        After a reconnect the handler is called once with an empty message: something may have
        been missed.
        """
        number = next(self._tap_numbers)
        self._handlers[number] = handler
        self._taps[number] = subject
        self.post(f"SUB {subject} {number}\r\n".encode())
        return number

    def untap(self, number: int) -> None:
        """End a subscription made by ``tap``."""
        self._handlers.pop(number, None)
        if self._taps.pop(number, None) is not None and self.is_connected:
            self.post(b"UNSUB %d\r\n" % number)

    def tap_again(self) -> None:
        """Renew every tap on a new connection."""
        for number, subject in list(self._taps.items()):
            self.post(f"SUB {subject} {number}\r\n".encode())
            self._handlers[number](subject.encode(), b"", b"", b"")

    def post(self, frame: bytes) -> None:
        """Queue an encoded frame; it is written with the others before the loop sleeps."""
        self._pending.append(frame)
        self._pending_data_size += len(frame)
        queue = self._flush_queue
        if queue is not None and queue.empty() and self.is_connected:
            queue.put_nowait(asyncio.get_running_loop().create_future())

    async def flush(self, timeout: int = 10) -> None:
        """Wait until the server has taken in everything that was posted before.

        nats-py writes its PING past the frames that wait to be written, and so asks too early.
        """
        await self._flush_pending(force_flush=True)
        await super().flush(timeout)

    @property
    def unsent_bytes(self) -> int:
        """How much was posted and not yet written."""
        return self._pending_data_size

    def abort(self) -> None:
        """Drop the connection with all that was not yet sent."""
        # nats-py closes politely: behind a dead line it would wait for the kernel to give up.
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    def forget_unsent(self) -> None:
        """Drop what was not yet written; to be called when the connection is lost.

        nats-py would send it over the next one, when it may not be true any more.
        """
        self._pending.clear()
        self._pending_data_size = 0

    async def _attempt_reconnect(self) -> None:
        self.abort()
        await super()._attempt_reconnect()

    async def _process_connect_init(self) -> None:
        """Greet the server; whatever goes wrong is a failed attempt, and another follows."""
        try:
            await super()._process_connect_init()
        except (OSError, Error):
            raise
        except Exception as error:
            # nats-py would end its only attempt to reconnect, and the worker fall silent.
            what = f"the server's greeting cannot be understood: {error!r}"
            raise Error(what) from error

    async def _process_err(self, err_msg: str) -> None:
        """Reconnect where nats-py would close for good: a worker must not fall silent."""
        is_for_nats_py = any(words in err_msg for words in _HANDLED_BY_NATS_PY)
        if is_for_nats_py or not self.is_connected:
            await super()._process_err(err_msg)
            return
        error = Error(f"the server said {err_msg}")
        await self._error_cb(error)
        await self._process_op_err(error)

    def hand_over(
        self, number: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> bool:
        """Give a message to whoever listens; say whether anybody does."""
        handler = self._handlers.get(number)
        if handler is None:
            return False
        try:
            handler(subject, reply, data, headers)
        except Exception:
            # The read loop ends on any exception: one bad message would cut the connection.
            log.exception("a message handler failed", extra={"subject": subject[:200]})
        return True
