"""One lane's durable consumer: look at it, pause it, wake it, limit it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, NamedTuple

from mesh.client.client import Client
from mesh.contract.lifecycle import PRIORITIES
from mesh.contract.subjects import consumer_name
from mesh.transport.faults import CONSUMER_NOT_FOUND, ApiError
from mesh.transport.provisioner import LIVE_LIMIT

WAKE_AFTER_MS = 50
"""A pause that is lifted at once leaves waiting pulls asleep; one that runs out wakes them."""

NO_END_MS = int(datetime(2100, 1, 1, tzinfo=UTC).timestamp() * 1000)
"""The end of a pause that has none: the server knows only pauses with an end."""

# On a far-away server the first of these moments may be over before the request is there.
_WAKE_TRIES_MS = (WAKE_AFTER_MS, 10 * WAKE_AFTER_MS, 40 * WAKE_AFTER_MS)


class LaneState(NamedTuple):
    """What the server says of a lane; times are the server's, in milliseconds.

    Attributes:
        queue: The lane's queue.
        priority: The lane's priority.
        pending: Jobs that no worker was given yet.
        running: Jobs that workers were given and have not settled.
        redelivered: How many of those came back at least once.
        limit: How many of those there may be.
        has_live_limit: Whether the limit was set live, and not by the settings.
        paused_until_ms: When the pause ends; 0: it is not paused.
        delivered: The sequence in the job stream up to which jobs were given out.
        settled: The sequence in the job stream up to which every job given out is settled.
        now_ms: When the server said so.
        config: The consumer's configuration.
        waiting: How many requests for jobs wait to be answered.
    """

    queue: str
    priority: str
    pending: int
    running: int
    redelivered: int
    limit: int
    has_live_limit: bool
    paused_until_ms: int
    delivered: int
    settled: int
    now_ms: int
    config: dict[str, Any]
    waiting: int = 0


class LaneControl:
    """One lane of one queue, for those who operate it.

    Args:
        client: A connection.
        queue: The queue.
        priority: The priority.
    """

    def __init__(self, client: Client, queue: str, priority: str) -> None:
        self._api = client.connection.api
        self._place = f"{client.names.jobs_stream}.{consumer_name(queue, priority)}"
        self._stream = client.names.jobs_stream
        self._settings_limit = client.settings.limits.max_ack_pending

    async def state(self) -> LaneState | None:
        """Ask for its state; None if its consumer does not exist.

        Raises:
            BrokerError: The server could not be asked.
        """
        try:
            answer = await self._api(f"CONSUMER.INFO.{self._place}")
        except ApiError as fault:
            if fault.err_code == CONSUMER_NOT_FOUND:
                return None
            raise
        return read_state(answer)

    async def pause_until(self, until_ms: int) -> bool:
        """Have nothing delivered until then; say whether that is still to come.

        Raises:
            BrokerError: The server refused.
        """
        until = datetime.fromtimestamp(until_ms / 1000, UTC).isoformat()
        answer = await self._api(f"CONSUMER.PAUSE.{self._place}", {"pause_until": until})
        return bool(answer.get("paused"))

    async def wake(self) -> bool:
        """End a pause so that workers which wait notice; say whether there was one.

        Jobs are delivered again ``WAKE_AFTER_MS`` later.

        Raises:
            BrokerError: The server refused.
        """
        state = await self.state()
        if state is None or not state.paused_until_ms:
            return False
        for after_ms in _WAKE_TRIES_MS:
            # The server's clock counts, whatever ours says.
            if state is None or await self.pause_until(state.now_ms + after_ms):
                break
            state = await self.state()
        return True

    async def limit(self, most: int | None) -> None:
        """Limit the jobs that workers have at once; None: as the settings say.

        Raises:
            BrokerError: The server refused.
        """
        state = await self.state()
        if state is None:
            return
        metadata = dict(state.config.get("metadata") or {})
        metadata.pop(LIVE_LIMIT, None)
        if most is not None:
            metadata[LIVE_LIMIT] = str(most)
        config = state.config | {
            "max_ack_pending": self._settings_limit if most is None else most,
            "metadata": metadata,
        }
        await self._api(
            f"CONSUMER.CREATE.{self._place}.{config['filter_subject']}",
            {"stream_name": self._stream, "config": config},
        )


async def every_lane(client: Client) -> AsyncIterator[LaneState]:
    """Yield the state of every lane of the namespace, page by page.

    Raises:
        BrokerError: The server could not be asked.
    """
    seen = 0
    while True:
        answer = await client.connection.api(
            f"CONSUMER.LIST.{client.names.jobs_stream}", {"offset": seen}
        )
        page: list[dict[str, Any]] = answer.get("consumers") or []
        for found in page:
            if found["name"].rpartition("-")[2] in PRIORITIES:
                yield read_state(found)
        seen += len(page)
        if not page or seen >= answer.get("total", 0):
            return


def read_state(info: dict[str, Any]) -> LaneState:
    """Read the server's description of a consumer."""
    config: dict[str, Any] = info["config"]
    queue, _, priority = str(info["name"]).rpartition("-")
    return LaneState(
        queue=queue,
        priority=priority,
        pending=info["num_pending"],
        running=info["num_ack_pending"],
        redelivered=info["num_redelivered"],
        limit=config["max_ack_pending"],
        has_live_limit=LIVE_LIMIT in (config.get("metadata") or {}),
        paused_until_ms=read_time(config["pause_until"]) if info.get("paused") else 0,
        delivered=info["delivered"]["stream_seq"],
        settled=info["ack_floor"]["stream_seq"],
        now_ms=read_time(info["ts"]),
        config=config,
        waiting=info.get("num_waiting", 0),
    )


def read_time(text: str) -> int:
    """Read the server's spelling of a time as milliseconds since the epoch."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)
