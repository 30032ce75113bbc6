"""Which jobs to ask the server for and which to start next: a plain state machine without I/O.

A lane is one queue at one priority. Slots are what a worker may run at once. The server is
asked for no more jobs than there are free slots, so no job waits here behind a long one while
another worker is idle; what arrives all the same (several lanes may answer at once) waits in
its lane's short line and is handed back if it waits too long.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")

_QUIET_S = 0.01

UNTRUSTED = 1 << 62
"""A sequence no stream reaches: no delivery at all is believed to be new."""

WEIGHTS = {"critical": 30, "high": 10, "normal": 3, "low": 1}
"""Share of the slots each priority gets while all of them have jobs waiting."""


class Lane(Generic[T]):
    """One queue at one priority, as a worker sees it.

    Attributes:
        queue: The queue.
        priority: The priority.
        weight: Its share while other lanes have jobs waiting too.
        asked: Jobs asked of the server and not yet come.
        active_s: When it was last asked or sent a job.
        heard_s: When the server was last heard of it, or it was asked with no request open.
        backlog: Jobs the server still held for this lane when it last sent one.
        line: Jobs that came and wait for a slot, with the time each came.
        turn: Where it stands in the order of starts; the lane with the lowest starts next.
        refused_until: Until when it is not asked, for it has no consumer.
        untrusted_until: Jobs up to this sequence may have been delivered before, whatever the
            server says; 0: it can be believed.
    """

    __slots__ = (
        "_pulls",
        "active_s",
        "asked",
        "backlog",
        "heard_s",
        "line",
        "priority",
        "queue",
        "refused_until",
        "turn",
        "untrusted_until",
        "weight",
    )

    active_s: float
    asked: int
    backlog: int
    heard_s: float
    line: deque[tuple[T, float]]
    priority: str
    queue: str
    refused_until: float
    turn: float
    untrusted_until: int
    weight: int

    def __init__(self, queue: str, priority: str, weight: int) -> None:
        self.queue = queue
        self.priority = priority
        self.weight = weight
        self.asked = 0
        self.active_s = 0.0
        self.heard_s = 0.0
        self.backlog = 0
        self.line = deque()
        self.turn = 0.0
        self.refused_until = 0.0
        self.untrusted_until = 0
        self._pulls: deque[tuple[int, float]] = deque()

    def ask(self, batch: int, now: float, deadline: float) -> None:
        """Note that jobs were asked for; what has not come by the deadline never will."""
        if not self.asked:  # Nothing can be on its way, so the silence before says nothing.
            self.heard_s = now
        self.asked += batch
        self.active_s = now
        self._pulls.append((batch, deadline))

    def came(self, now: float) -> None:
        """Note that one of the jobs asked for has come."""
        self.active_s = now
        if self.asked:
            self.asked -= 1

    def forget(self) -> None:
        """Note that the server has dropped every open request, as after a reconnect."""
        self.asked = 0
        self._pulls.clear()

    def close_pull(self, missing: int) -> None:
        """Note that a request ended with so many jobs not sent."""
        self.asked = max(0, self.asked - missing)
        self.backlog = 0
        if self._pulls:
            self._pulls.popleft()

    def expire(self, now: float) -> bool:
        """Drop requests whose end the server never told us; say whether there were any."""
        before = len(self._pulls)
        while self._pulls and self._pulls[0][1] < now:
            self._pulls.popleft()
        if not self._pulls:
            self.asked = 0
        return len(self._pulls) < before

    def is_past_doubt(self, sequence: int) -> bool:
        """Whether a first delivery is surely one; so are those after it: they come in order."""
        if sequence <= self.untrusted_until:
            return False
        self.untrusted_until = 0
        return True

    def is_quiet(self, now: float) -> bool:
        """Whether the server was asked a while ago and still has no job to send."""
        return self.asked > 0 and not self.line and now - self.active_s > _QUIET_S

    def __repr__(self) -> str:
        """Show what is asked for and what waits."""
        return (
            f"<Lane {self.queue}-{self.priority} asked={self.asked} waiting={len(self.line)}>"
        )


class Feed(Generic[T]):
    """The lanes of one worker and its slots.

    Attributes:
        arrivals: How many jobs have come.
        lanes: Its lanes, the heaviest first.
        slots: How many jobs may run at once.
        running: How many slots are taken.
        waiting: How many jobs wait in all lines together.
    """

    __slots__ = (
        "_half",
        "_is_strict",
        "_turn",
        "arrivals",
        "lanes",
        "running",
        "slots",
        "waiting",
    )

    arrivals: int
    lanes: list[Lane[T]]
    running: int
    slots: int
    waiting: int

    def __init__(
        self, lanes: Iterable[Lane[T]], slots: int, *, is_strict: bool = False
    ) -> None:
        self.lanes = sorted(lanes, key=lambda lane: -lane.weight)
        self.slots = slots
        self.arrivals = 0
        self.running = 0
        self.waiting = 0
        self._half = max(1, slots // 2)
        self._is_strict = is_strict
        self._turn = 0.0

    @property
    def free(self) -> int:
        """Slots that are neither taken nor spoken for by a waiting job."""
        return self.slots - self.running - self.waiting

    @property
    def is_crowded(self) -> bool:
        """Whether as many jobs wait as there are slots."""
        return self.waiting >= self.slots

    def resize(self, slots: int) -> None:
        """Have more or fewer slots from now on; what runs already goes on."""
        self.slots = slots
        self._half = max(1, slots // 2)

    def arrived(self, lane: Lane[T], job: T, now: float) -> bool:
        """Take in a job; say whether it may start now (its slot is taken then)."""
        lane.came(now)
        self.arrivals += 1
        return self.ready(lane, job, now)

    def ready(self, lane: Lane[T], job: T, now: float) -> bool:
        """Take in a job that may start from now on; see ``arrived``."""
        if self.running < self.slots and not self.waiting:
            self.running += 1
            return True
        lane.line.append((job, now))
        self.waiting += 1
        return False

    def finished(self) -> T | None:
        """Give back a slot, or hand it to the job whose turn it is."""
        if self.waiting and self.running <= self.slots:
            lane = self._next_lane()
            self.waiting -= 1
            return lane.line.popleft()[0]
        self.running -= 1
        return None

    def _next_lane(self) -> Lane[T]:
        """Pick by stride scheduling: a start moves its lane on by the inverse of its weight."""
        hungry = [lane for lane in self.lanes if lane.line]
        if self._is_strict:
            hungry = [lane for lane in hungry if lane.weight == hungry[0].weight]
        if len(hungry) == 1:
            return hungry[0]
        for lane in hungry:  # A lane that was idle does not collect turns.
            lane.turn = max(lane.turn, self._turn)
        chosen = min(hungry, key=lambda lane: lane.turn)
        self._turn = chosen.turn
        chosen.turn += 1 / chosen.weight
        return chosen

    def is_running_dry(self, lane: Lane[T]) -> bool:
        """Whether half of all slots are free, and fewer jobs were asked of this lane."""
        free = self.slots - self.running - self.waiting
        return free >= self._half and lane.asked * 2 <= free

    def plan(self, now: float) -> list[tuple[Lane[T], int]]:
        """Say how many jobs to ask of each lane.

        Lanes with a backlog share the free slots by weight; a lane without one may fill them
        all, so that an urgent job is never kept waiting for a request. In strict order a lane
        is asked only when every more urgent one is quiet.
        """
        free = self.free
        if free <= 0:
            return []
        shares = self._shares(free)
        wishes: list[tuple[Lane[T], int]] = []
        busiest = 0
        for lane in self.lanes:
            if self._is_strict and lane.weight < busiest:
                break
            if not lane.is_quiet(now):
                busiest = max(busiest, lane.weight)
            target = shares.get(id(lane), free)
            if lane.refused_until > now:
                continue
            if lane.asked * 2 <= target and lane.asked < target:
                wishes.append((lane, target - lane.asked))
        return wishes

    def _shares(self, free: int) -> dict[int, int]:
        hungry = [lane for lane in self.lanes if lane.backlog]
        if len(hungry) < 2 or self._is_strict:
            return {}
        total = sum(lane.weight for lane in hungry)
        return {id(lane): max(1, free * lane.weight // total) for lane in hungry}

    def overdue(self, now: float, longest_wait: float) -> Iterator[T]:
        """Take out the jobs that have waited too long for a slot, to be handed back."""
        for lane in self.lanes:
            while lane.line and now - lane.line[0][1] > longest_wait:
                self.waiting -= 1
                yield lane.line.popleft()[0]

    def drain(self) -> Iterator[T]:
        """Take out every waiting job, to be handed back."""
        yield from self.overdue(float("inf"), 0.0)

    def __repr__(self) -> str:
        """Show slots and lanes."""
        return f"<Feed running={self.running}/{self.slots} waiting={self.waiting} {self.lanes}>"
