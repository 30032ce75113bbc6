"""Which server to try next after one was lost, and how long to pause before.

Many workers lose a server in the same moment; they must not all come back in one.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from nats.aio.client import Server

from mesh.policy.pauses import growing_pause

_FIRST_PAUSE_S = 0.3
_LONGEST_PAUSE_S = 2.0
_SHORT_LIFE_S = 5.0


class Reconnector:
    """Chooses for nats-py; tries for ever, each server in turn."""

    def __init__(
        self, clock: Callable[[], float], chance: Callable[[], float] = random.random
    ) -> None:
        self._clock = clock
        self._chance = chance
        self._connected_s = clock()
        self._short_lives = 0

    def connected(self) -> None:
        """Note that a server was reached."""
        self._connected_s = self._clock()

    def lost(self) -> None:
        """Note that it was lost; one that drops us again and again is not called at once."""
        lived_s = self._clock() - self._connected_s
        self._short_lives = self._short_lives + 1 if lived_s < _SHORT_LIFE_S else 0

    def choose(
        self, servers: Sequence[Server], _info: dict[str, Any]
    ) -> tuple[Server | None, float]:
        """Say which server to try and after how many seconds."""
        chosen = min(servers, key=lambda server: server.reconnects, default=None)
        rounds = chosen.reconnects if chosen is not None else 0
        tries = max(rounds, self._short_lives - 1)
        return chosen, growing_pause(tries, _FIRST_PAUSE_S, _LONGEST_PAUSE_S, self._chance())
