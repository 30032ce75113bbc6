"""Signs of life for the jobs in hand: from a thread with its own loop and connection.

User code that blocks the worker's event loop cannot stop them, so a long job is not given to
another worker while this one lives. The same thread notices when the loop is blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable

from mesh.clock import SYSTEM_CLOCK
from mesh.settings.model import Settings
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.puller import IN_PROGRESS
from mesh.worker.attempt import Attempt
from mesh.worker.stalls import LOOK_EVERY_S, LoopWatch

log = logging.getLogger("mesh.worker")

_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 5.0


class Heartbeat:
    """Tells the server, every few seconds, that the jobs in hand are still worked on.

    It is made on the loop on which the jobs run.

    Args:
        settings: Where the server is and how often to tell it.
        in_hand: Returns the attempts in hand; called from this thread.
        name: The connection's name.
    """

    def __init__(
        self, settings: Settings, in_hand: Callable[[], list[Attempt]], name: str
    ) -> None:
        self._settings = settings
        self._in_hand = in_hand
        self._connection_name = name
        self._watch = LoopWatch(in_hand, SYSTEM_CLOCK)
        self._thread = threading.Thread(target=self._main, name="mesh-heartbeat", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None
        self._error: BaseException | None = None

    def start(self) -> None:
        """Start the thread and wait until it is connected; blocks shortly.

        Raises:
            ConnectError: It could not connect.
        """
        self._thread.start()
        self._ready.wait(_START_LIMIT_S)
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End the thread; safe to call twice."""
        loop, stopping = self._loop, self._stopping
        if loop is not None and stopping is not None and self._thread.is_alive():
            loop.call_soon_threadsafe(stopping.set)
            self._thread.join(_STOP_LIMIT_S)

    def _main(self) -> None:
        try:
            asyncio.run(self._beat())
        except BaseException as error:
            self._error = error
            log.debug("the heartbeat ended", exc_info=error)
        finally:
            self._ready.set()

    async def _beat(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connection = Connection(self._settings, self._connection_name)
        await connection.open()
        self._ready.set()
        every_s = self._settings.worker.heartbeat_s
        next_s = self._loop.time()
        try:
            while not self._stopping.is_set():
                self._watch.look()
                if self._loop.time() >= next_s:
                    self._tell(connection, every_s)
                    next_s = self._loop.time() + every_s
                wait_s = min(LOOK_EVERY_S, next_s - self._loop.time())
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), wait_s)
        finally:
            await connection.close()

    def _tell(self, connection: Connection, every_s: float) -> None:
        if not connection.is_connected:
            return
        # All loops of a process share one monotonic clock.
        settled_before = asyncio.get_running_loop().time() - every_s
        for attempt in self._in_hand():
            if attempt.arrived_s < settled_before:
                connection.link.post(frames.signal(attempt.delivery.reply, IN_PROGRESS))
