"""Say whether a worker lives and is ready; asked from any thread, whatever its loop does.

Alive means progress: a worker that has room for jobs and is given none of those that wait, for
long, is better started anew. A server that is away is no reason: starting anew would not help.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import anyio

from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract.subjects import consumer_name
from mesh.errors import BrokerError
from mesh.policy.lanes import Feed
from mesh.worker.attempt import Attempt

Check = Callable[[], bool]

_LOOKS = 4
"""How often to look in the time after which a worker counts as stuck."""


class Progress:
    """Notices jobs that wait while a worker has free slots and is given none.

    It runs on the heartbeat's loop, over its connection. A busy worker asks nothing: the jobs
    that came since the last look are progress enough.

    Args:
        feeds: The worker's lanes and slots.
        stuck_after_s: For how long that may be so.
        clock: The time.
    """

    def __init__(
        self, feeds: Sequence[Feed[Attempt]], stuck_after_s: float, clock: Clock
    ) -> None:
        self._feeds = feeds
        self._stuck_after_s = stuck_after_s
        self._clock = clock
        self._arrivals = [feed.arrivals for feed in feeds]
        self._since_s: float | None = None

    async def watch(self, client: Client) -> None:
        """Look again and again, until cancelled."""
        while True:
            await anyio.sleep(self._stuck_after_s / _LOOKS)
            await self.look(client)

    async def look(self, client: Client) -> None:
        """Look once."""
        idle = [feed for feed in self._feeds if feed.free > 0]
        arrivals = [feed.arrivals for feed in self._feeds]
        before, self._arrivals = self._arrivals, arrivals
        if not idle or arrivals != before or not await _is_waited(client, idle):
            self._since_s = None
        elif self._since_s is None:
            self._since_s = self._clock.monotonic()

    @property
    def stuck_s(self) -> float:
        """For how long jobs have waited though there is room, in seconds; 0: they do not."""
        since_s = self._since_s
        return 0.0 if since_s is None else self._clock.monotonic() - since_s

    @property
    def is_stuck(self) -> bool:
        """Whether that has gone on for too long."""
        return self.stuck_s >= self._stuck_after_s


async def _is_waited(client: Client, feeds: Sequence[Feed[Attempt]]) -> bool:
    """Whether jobs wait in the lanes that the server could give out; of a dead one: no."""
    stream = client.names.jobs_stream
    for feed in feeds:
        for lane in feed.lanes:
            name = consumer_name(lane.queue, lane.priority)
            try:
                info = await client.connection.api(f"CONSUMER.INFO.{stream}.{name}")
            except BrokerError:
                return False
            if may_be_sent(info):
                return True
    return False


def may_be_sent(info: dict[str, Any]) -> bool:
    """Say whether a consumer has jobs that the server could give out now.

    Args:
        info: What the server says of the consumer.
    """
    if not info.get("num_pending") or info.get("paused"):
        return False
    most = info["config"].get("max_ack_pending", -1)
    return not 0 < most <= info.get("num_ack_pending", 0)


class Health:
    """What a worker's probes are told: alive and not ready until it has started.

    Attributes:
        is_serving: Whether it takes jobs; set by the worker when its lanes are bound, and taken
            back when it drains.
    """

    def __init__(self) -> None:
        self.is_serving = False
        self._progress: Progress | None = None
        self._is_beating: Check = _surely
        self._is_connected: Check = _not_yet

    def follow(self, progress: Progress, *, is_beating: Check, is_connected: Check) -> None:
        """Tell of a worker that starts.

        Args:
            progress: Whether it takes jobs.
            is_beating: Whether its heartbeat goes on.
            is_connected: Whether the server can be reached.
        """
        self._progress = progress
        self._is_beating = is_beating
        self._is_connected = is_connected

    @property
    def stuck_s(self) -> float:
        """For how long jobs have waited though there is room, in seconds."""
        return self._progress.stuck_s if self._progress is not None else 0.0

    @property
    def is_connected(self) -> bool:
        """Whether the server can be reached."""
        return self._is_connected()

    def why_not_live(self) -> str:
        """Say why the process should be started anew; empty: it lives."""
        if not self.is_serving:
            return ""  # It is starting, or about to end.
        if not self._is_beating():
            return "the heartbeat has ended: running jobs will be given to others"
        if self._progress is not None and self._progress.is_stuck:
            return (
                "jobs wait, there are free slots, and none was taken for "
                f"{self._progress.stuck_s:.0f} s"
            )
        return ""

    def why_not_ready(self) -> str:
        """Say why it takes no jobs just now; empty: it does."""
        if not self.is_serving:
            return "it takes no jobs: it is starting or draining"
        if not self._is_connected():
            return "the NATS server cannot be reached"
        return ""


def _surely() -> bool:
    return True


def _not_yet() -> bool:
    return False
