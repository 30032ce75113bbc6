"""Publishes that a full stream refused: kept in their order, tried again a few at a time.

All of them at once would load a server that is in trouble already, and to no end: where there
is room for one, one is let in. Each that gets in doubles how many are tried next.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Iterator

from mesh.policy.pauses import growing_pause
from mesh.transport.waiting import Waiting

Held = tuple[bytes, Waiting]
"""A publish and the token by which its acknowledgement is known."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 0.5


def group_of(subject: str) -> str:
    """Name what shares a stream with a subject: its first two tokens say it."""
    return ".".join(subject.split(".", 2)[:2])


class Hold:
    """What one stream refused for want of room, the oldest first."""

    def __init__(self, chance: Callable[[], float] = random.random) -> None:
        self._chance = chance
        self._line: deque[tuple[float, Held]] = deque()
        self._share = 1
        self._refusals = 0
        self._next_s = 0.0
        self._is_trying = False

    def __len__(self) -> int:
        return len(self._line)

    def refused(self, item: Held, until_s: float, now: float) -> None:
        """Keep a publish that was refused, for the first time or again.

        Args:
            item: The publish.
            until_s: When it is to be given up.
            now: The time.
        """
        if self._is_trying or now >= self._next_s:  # The refusals of one round count once.
            self._is_trying = False
            self._next_s = now + growing_pause(
                self._refusals, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._chance()
            )
            self._refusals += 1
            self._share = 1
        if self._line and until_s < self._line[0][0]:
            self._line.appendleft((until_s, item))
        else:
            self._line.append((until_s, item))

    def admitted(self) -> None:
        """Note that the stream took one that it had refused before."""
        self._share *= 2
        self._refusals = 0
        self._next_s = 0.0

    def due(self, now: float) -> Iterator[Held]:
        """Take out those that are to be tried now."""
        if now < self._next_s:
            return
        self._is_trying = True
        self._next_s = now + _LONGEST_PAUSE_S  # Sooner if one of them is let in or refused.
        for _ in range(min(self._share, len(self._line))):
            yield self._line.popleft()[1]

    def overdue(self, now: float) -> Iterator[Held]:
        """Take out those whose time is up."""
        while self._line and self._line[0][0] <= now:
            yield self._line.popleft()[1]

    def is_over(self, now: float) -> bool:
        """Whether nothing waits here, and nothing has for a moment."""
        return not self._line and now >= self._next_s


class Holds:
    """The holds of all streams; a stream is told by the start of its subjects."""

    def __init__(self) -> None:
        self._by_group: dict[str, Hold] = {}

    def __len__(self) -> int:
        return sum(map(len, self._by_group.values()))

    def __bool__(self) -> bool:
        return bool(self._by_group)

    def refused(self, item: Held, until_s: float, now: float) -> None:
        """Keep a publish that its stream refused."""
        self._by_group.setdefault(group_of(item[1].subject), Hold()).refused(item, until_s, now)

    def admitted(self, subject: str) -> None:
        """Note that a stream took one that it had refused before."""
        hold = self._by_group.get(group_of(subject))
        if hold is not None:
            hold.admitted()

    def due(self, now: float) -> Iterator[Held]:
        """Take out those that are to be tried now."""
        for hold in self._by_group.values():
            yield from hold.due(now)

    def overdue(self, now: float) -> Iterator[Held]:
        """Take out those whose time is up, and forget the streams that have room."""
        for group, hold in list(self._by_group.items()):
            yield from hold.overdue(now)
            if hold.is_over(now):
                del self._by_group[group]
