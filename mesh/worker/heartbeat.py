"""Signs of life for the jobs in hand: from a thread with its own loop and connection.

User code that blocks the worker's event loop cannot stop them, so a long job is not given to
another worker while this one lives. The same thread renews the leases of the running jobs and
notices when the loop is blocked.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections.abc import Awaitable, Callable, Sequence

import anyio

from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.settings.model import Settings
from mesh.telemetry.tallies import WorkerMetrics
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.puller import IN_PROGRESS
from mesh.worker.attempt import Attempt
from mesh.worker.fence import Fence
from mesh.worker.lease import TICK_S, LeaseKeeper
from mesh.worker.news import News
from mesh.worker.recording import Recorder
from mesh.worker.stalls import LOOK_EVERY_S, LoopWatch

log = logging.getLogger("mesh.worker")

_START_LIMIT_S = 10.0
_STOP_LIMIT_S = 5.0

Duty = Callable[[Client], Awaitable[None]]
"""What else is done on the heartbeat's loop, over its connection, until it ends."""


class Heartbeat:
    """Tells the server, every few seconds, that the jobs in hand are still worked on.

    It is made on the loop on which the jobs run.

    Args:
        settings: Where the server is and how often to tell it.
        recorder: Encodes the running records.
        in_hand: Returns the attempts in hand; called from this thread.
        name: The connection's name.
        metrics: Where events are counted that found no room.
        duties: What else goes on there, whatever user code does to the worker's own loop.
    """

    def __init__(
        self,
        settings: Settings,
        recorder: Recorder,
        in_hand: Callable[[], list[Attempt]],
        name: str,
        *,
        metrics: WorkerMetrics,
        duties: Sequence[Duty] = (),
    ) -> None:
        self._settings = settings
        self._recorder = recorder
        self._in_hand = in_hand
        self._connection_name = name
        self._metrics = metrics
        self._duties = duties
        self._lease_s = settings.worker.ack_wait_s
        self._every_s = settings.worker.heartbeat_s
        self._watch = LoopWatch(in_hand, SYSTEM_CLOCK)
        self._thread = threading.Thread(target=self._main, name="mesh-heartbeat", daemon=True)
        self._ready = threading.Event()
        self._jobs_loop = asyncio.get_running_loop()
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
            asyncio.run(self._live())
        except BaseException as error:
            self._error = error
            if self._ready.is_set():
                log.exception("the heartbeat ended: running jobs may be given to others")
        finally:
            self._ready.set()

    async def _live(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        client = Client(self._settings, self._connection_name)
        await client.open()
        fence = Fence(client.records, client.names, self._recorder.worker_id)
        keeper = LeaseKeeper(
            fence,
            self._recorder,
            News(
                client,
                SYSTEM_CLOCK,
                worker_id=self._recorder.worker_id,
                metrics=self._metrics,
            ),
            heartbeat_s=self._every_s,
            lease_s=self._lease_s,
            on_lost=self._tell_lost,
        )
        self._ready.set()
        try:
            async with anyio.create_task_group() as group:
                for duty in self._duties:
                    group.start_soon(_do, duty, client)
                await self._beat(client.connection, keeper, self._stopping)
                group.cancel_scope.cancel()
        finally:
            await keeper.close()
            await client.close()

    @property
    def is_alive(self) -> bool:
        """Whether signs of life are given."""
        return self._thread.is_alive()

    async def _beat(
        self, connection: Connection, keeper: LeaseKeeper, stopping: asyncio.Event
    ) -> None:
        # All loops of a process share one monotonic clock.
        now = asyncio.get_running_loop().time
        look_s = tell_s = now()
        while not stopping.is_set():
            keeper.tick(self._in_hand())
            if now() >= look_s:
                self._watch.look()
                look_s = now() + LOOK_EVERY_S
            if now() >= tell_s:
                tell_s = now() + self._every_s
                self._tell(connection, now())
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopping.wait(), TICK_S)

    def _tell(self, connection: Connection, now: float) -> None:
        if not connection.is_connected:
            return
        settled_before = now - self._every_s
        for attempt in self._in_hand():
            if attempt.arrived_s >= settled_before or attempt.stop_reason == "lost":
                continue
            connection.link.post(frames.signal(attempt.delivery.reply, IN_PROGRESS))
            if not attempt.has_record and now - attempt.confirmed_s < self._lease_s:
                # Its ack wait starts anew, so nobody else is given it before that is over.
                attempt.confirmed_s = now

    def _tell_lost(self, attempt: Attempt) -> None:
        with contextlib.suppress(RuntimeError):  # The loop is closed: nothing runs any more.
            self._jobs_loop.call_soon_threadsafe(attempt.stop, "lost")


async def _do(duty: Duty, client: Client) -> None:
    try:
        await duty(client)
    except Exception:
        # The leases of running jobs matter more than any of these.
        log.exception("a duty of the heartbeat ended")
