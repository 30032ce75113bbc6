"""The handle of one queue: pause, resume, limit and purge it, or look at it; and all queues."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from datetime import datetime

import anyio
from msgspec import Struct

from mesh.client.client import Client
from mesh.client.lanes import NO_END_MS, WAKE_AFTER_MS, LaneControl, LaneState, every_lane
from mesh.client.moving import Move
from mesh.client.purging import Purge
from mesh.client.sweeping import first_from
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.lifecycle import PRIORITIES
from mesh.contract.subjects import check_priority
from mesh.durations import Duration, seconds
from mesh.errors import InvalidNameError, OptionError
from mesh.identifiers import check_queue

GetClient = Callable[[], Awaitable[Client]]


class QueueStatus(Struct, frozen=True, kw_only=True):
    """What a queue holds and how it is controlled.

    Attributes:
        queue: Its name.
        pending: Jobs that no worker was given yet, by priority.
        running: Jobs that workers were given: they run, or wait a moment for a slot or a retry.
        redelivered: How many of those were given out more than once.
        limit: How many jobs of one priority workers may have at once; 0: no lane exists yet.
        has_live_limit: Whether the limit was set live, and not by the settings.
        is_paused: Whether no job is given out.
        paused_until_ms: When the pause ends, in milliseconds since the epoch; 0: it has no end.
        oldest_pending_age_s: For how long the oldest pending job has lain there; None: there
            is none.
    """

    queue: str
    pending: dict[str, int]
    running: int = 0
    redelivered: int = 0
    limit: int = 0
    has_live_limit: bool = False
    is_paused: bool = False
    paused_until_ms: int = 0
    oldest_pending_age_s: float | None = None


class Queue:
    """A queue to operate; its name need not be known to the server yet.

    Attributes:
        name: The queue's name.
    """

    __slots__ = ("_client", "name")

    name: str

    def __init__(self, name: str, client: GetClient) -> None:
        self.name = check_queue(name)
        self._client = client

    async def pause(self, until: datetime | Duration | None = None) -> None:
        """Give out no more jobs; producers and running jobs go on.

        A pause outlives every restart and ends by itself at its time. Jobs that a worker has
        already been given are run.

        Args:
            until: A point in time with its offset from UTC, or for how long, such as ``"1h"``;
                None: until it is resumed.

        Raises:
            OptionError: The time has no offset, or is over.
            InvalidDurationError: It is no duration.
            NotProvisionedError: The namespace is not set up.
            BrokerError: The server refused.
        """
        client = await self._client()
        until_ms = _end_of_pause(until)
        await client.provisioner.ensure_lanes([self.name])
        for lane in self._lanes(client):
            await lane.pause_until(until_ms)

    async def resume(self) -> bool:
        """Give out jobs again; workers that wait notice at once.

        Returns:
            Whether it was paused.

        Raises:
            BrokerError: The server refused.
        """
        client = await self._client()
        woken = [await lane.wake() for lane in self._lanes(client)]
        if any(woken):
            await anyio.sleep(WAKE_AFTER_MS / 1000)  # Until then the server still holds it.
        return any(woken)

    async def limit(self, most: int | None) -> None:
        """Limit how many jobs of one priority all workers together may have at once.

        Each of the four priorities has the limit to itself. ``Mesh.setup`` leaves it alone.

        Args:
            most: The limit, at least 1; None: what the settings say.

        Raises:
            OptionError: The limit is less than 1.
            NotProvisionedError: The namespace is not set up.
            BrokerError: The server refused.
        """
        if most is not None and most < 1:
            option = "limit"
            raise OptionError(option, "it is at least 1; to stop the queue, pause it")
        client = await self._client()
        await client.provisioner.ensure_lanes([self.name])
        for lane in self._lanes(client):
            await lane.limit(most)

    async def purge(
        self, priority: str | None = None, on_progress: Callable[[int], None] | None = None
    ) -> int:
        """Cancel every job that is pending now, with the reason ``purged``.

        Jobs that a worker was given, delayed jobs and those enqueued meanwhile are left alone.

        Args:
            priority: Only the jobs of this priority.
            on_progress: Called now and then with the number of jobs cancelled since the last
                call.

        Returns:
            How many were cancelled.

        Raises:
            InvalidNameError: There is no such priority.
            BrokerError: The server refused or went away; what was not cancelled is kept.
        """
        priorities = PRIORITIES if priority is None else (check_priority(priority),)
        client = await self._client()
        await self._ensure_served(client)
        tell = on_progress or _say_nothing
        return sum([await Purge(client, self.name, p, tell).run() for p in priorities])

    async def move(
        self,
        to_queue: str | None = None,
        *,
        to_priority: str | None = None,
        priority: str | None = None,
        on_progress: Callable[[int], None] | None = None,
    ) -> int:
        """Move every job that is pending now: the same jobs, with their ids, somewhere else.

        Jobs that a worker was given, delayed jobs and those enqueued meanwhile stay.

        Args:
            to_queue: The queue they go to; None: this one, to change the priority.
            to_priority: The priority they get; None: the one that each has.
            priority: Only the jobs of this priority.
            on_progress: Called now and then with the number of jobs moved since the last call.

        Returns:
            How many were moved.

        Raises:
            OptionError: They are there already.
            InvalidNameError: There is no such priority, or it cannot be a queue's name.
            NotProvisionedError: The namespace is not set up.
            BrokerError: The server refused or went away; what was not moved is where it was.
        """
        target = self.name if to_queue is None else check_queue(to_queue)
        wanted = None if to_priority is None else check_priority(to_priority)
        priorities = PRIORITIES if priority is None else (check_priority(priority),)
        leaving = [p for p in priorities if (target, wanted or p) != (self.name, p)]
        if not leaving:
            option = "to_queue"
            raise OptionError(
                option, "the jobs are there already; name another queue or priority"
            )
        client = await self._client()
        await self._ensure_served(client)
        await client.provisioner.ensure_lanes([target])
        tell = on_progress or _say_nothing
        moves = [Move(client, (self.name, p), (target, wanted or p), tell) for p in leaving]
        return sum([await move.run() for move in moves])

    async def status(self) -> QueueStatus:
        """Say what the queue holds and how it is controlled.

        Raises:
            BrokerError: The server could not be asked.
        """
        client = await self._client()
        states = await self._states(client)
        unserved: dict[str, dict[str, int]] = {}
        if len(states) < len(PRIORITIES):
            unserved = await _unserved(client, states, self.name)
        return await _put_together(client, self.name, states, unserved.get(self.name, {}))

    async def _ensure_served(self, client: Client) -> None:
        """Give the queue its lanes, if it holds jobs for which there is none yet."""
        found = await self._states(client)
        if len(found) < len(PRIORITIES) and await _unserved(client, found, self.name):
            await client.provisioner.ensure_lanes([self.name])

    def _lanes(self, client: Client) -> list[LaneControl]:
        return [LaneControl(client, self.name, priority) for priority in PRIORITIES]

    async def _states(self, client: Client) -> list[LaneState]:
        states = [await lane.state() for lane in self._lanes(client)]
        return [state for state in states if state is not None]

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Queue {self.name}>"


async def queue_statuses(client: Client) -> list[QueueStatus]:
    """Look at every queue that has lanes or jobs, in the order of their names.

    Raises:
        NotProvisionedError: The namespace is not set up.
        BrokerError: The server could not be asked.
    """
    states: dict[str, list[LaneState]] = {}
    async for state in every_lane(client):
        states.setdefault(state.queue, []).append(state)
    seen = [state for lanes in states.values() for state in lanes]
    info = await client.connection.api(f"STREAM.INFO.{client.names.jobs_stream}")
    unserved: dict[str, dict[str, int]] = {}
    # Naming every job is slow, and needless while the lanes account for all of them.
    if info["state"]["messages"] > sum(state.pending + state.running for state in seen):
        unserved = await _unserved(client, seen)
    return [
        await _put_together(client, queue, states.get(queue, []), unserved.get(queue, {}))
        for queue in sorted({*states, *unserved})
    ]


async def _unserved(
    client: Client, states: Iterable[LaneState], queue: str = "*"
) -> dict[str, dict[str, int]]:
    """Count the jobs for which there is no lane yet, by queue and priority."""
    served = {(state.queue, state.priority) for state in states}
    found: dict[str, dict[str, int]] = {}
    seen = 0
    while True:
        answer = await client.connection.api(
            f"STREAM.INFO.{client.names.jobs_stream}",
            {"subjects_filter": client.names.lane(queue, "*"), "offset": seen},
        )
        page: dict[str, int] = answer["state"].get("subjects") or {}
        for subject, count in page.items():
            try:
                address = client.names.read_job(subject)
            except InvalidNameError:  # Not a job that mesh could run.
                continue
            if (address.queue, address.priority) not in served:
                counts = found.setdefault(address.queue, {})
                counts[address.priority] = counts.get(address.priority, 0) + count
        seen += len(page)
        if not page or seen >= answer.get("total", 0):
            return found


async def _put_together(
    client: Client, queue: str, states: list[LaneState], unserved: dict[str, int]
) -> QueueStatus:
    pending: dict[str, int] = {str(priority): 0 for priority in PRIORITIES}
    pending |= unserved
    pending |= {state.priority: state.pending for state in states}
    places = {state.priority: state.delivered + 1 for state in states}
    oldest: list[int] = []
    for priority, count in pending.items():
        if count:
            lane = client.names.lane(queue, priority)
            found = await first_from(client, lane, places.get(priority, 1))
            oldest += [found.stored_at_ms] if found else []
    now_ms = max([state.now_ms for state in states], default=SYSTEM_CLOCK.now_ms())
    ends = [state.paused_until_ms for state in states if state.paused_until_ms]
    return QueueStatus(
        queue=queue,
        pending=pending,
        running=sum(state.running for state in states),
        redelivered=sum(state.redelivered for state in states),
        limit=max((state.limit for state in states), default=0),
        has_live_limit=any(state.has_live_limit for state in states),
        is_paused=bool(ends),
        paused_until_ms=max(ends) if ends and max(ends) < NO_END_MS else 0,
        oldest_pending_age_s=max(0, now_ms - min(oldest)) / 1000 if oldest else None,
    )


def _end_of_pause(until: datetime | Duration | None) -> int:
    if until is None:
        return NO_END_MS
    now_ms, option = SYSTEM_CLOCK.now_ms(), "until"
    if not isinstance(until, datetime):
        end_ms = now_ms + int(seconds(until) * 1000)
    elif until.tzinfo is None:
        raise OptionError(option, f"{until} has no offset from UTC; give it a time zone")
    else:
        end_ms = int(until.timestamp() * 1000)
    if end_ms <= now_ms:
        raise OptionError(option, f"{until} is over; give a time in the future")
    return min(NO_END_MS, end_ms)


def _say_nothing(_cancelled: int) -> None:
    pass
