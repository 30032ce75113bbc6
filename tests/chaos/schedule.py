"""Which faults a chaos run sees and when: a pure plan made from a seed."""

from __future__ import annotations

import random
from collections.abc import Sequence
from enum import StrEnum

from msgspec import Struct

LEASE_S = 2.0
"""The ack wait of the workers: short, so that faults heal soon."""


class FaultKind(StrEnum):
    """What can go wrong. Those of the network happen in a proxy between client and server."""

    KILL_WORKER = "kill-worker"  # kill -9, and another process in its place
    STOP_WORKER = "stop-worker"  # SIGTERM, and another process in its place
    FREEZE_WORKER = "freeze-worker"  # SIGSTOP, later SIGCONT
    KILL_CHILD = "kill-child"  # kill -9 a process of the worker's pool
    KILL_SERVER = "kill-server"  # kill -9, later started with the same store
    RESTART_SERVER = "restart-server"  # SIGTERM, later started with the same store
    FREEZE_SERVER = "freeze-server"  # SIGSTOP, later SIGCONT
    CUT = "cut"  # connections are reset, new ones refused
    HOLD = "hold"  # no byte gets through in either direction; all do when it heals
    MUTE = "mute"  # the same, but only from client to server
    DEAFEN = "deafen"  # the same, but only from server to client
    HALF_OPEN = "half-open"  # the server's end is closed, and the client hears nothing of it
    SLOW = "slow"  # every byte is late
    LOSE_ACKS = "lose-acks"  # acknowledgements vanish, all else gets through


PROCESS_FAULTS = frozenset(
    {
        FaultKind.KILL_WORKER,
        FaultKind.STOP_WORKER,
        FaultKind.FREEZE_WORKER,
        FaultKind.KILL_CHILD,
    }
)
SERVER_FAULTS = frozenset(
    {FaultKind.KILL_SERVER, FaultKind.RESTART_SERVER, FaultKind.FREEZE_SERVER}
)
PRODUCERS = "producers"
SERVER = "server"

# Each as often in the pack of cards as it is there; all are dealt before one comes again.
_PACK = (
    FaultKind.KILL_WORKER,
    FaultKind.KILL_SERVER,
    FaultKind.FREEZE_WORKER,
    FaultKind.CUT,
    FaultKind.LOSE_ACKS,
    FaultKind.KILL_WORKER,
    FaultKind.STOP_WORKER,
    FaultKind.KILL_SERVER,
    FaultKind.HOLD,
    FaultKind.FREEZE_SERVER,
    FaultKind.HALF_OPEN,
    FaultKind.RESTART_SERVER,
    FaultKind.KILL_CHILD,
    FaultKind.MUTE,
    FaultKind.DEAFEN,
    FaultKind.SLOW,
)
# The shortest and the longest, in seconds; the others last from 0.2 s to a lease and a half.
_LASTS = {
    FaultKind.FREEZE_WORKER: (0.5 * LEASE_S, 3 * LEASE_S),
    FaultKind.KILL_SERVER: (0.05, 1.5),
    FaultKind.RESTART_SERVER: (0.05, 1.5),
    FaultKind.FREEZE_SERVER: (0.5, 2 * LEASE_S),
    FaultKind.KILL_CHILD: (0.0, 0.0),
}
_PRODUCERS_SHARE = 0.25


class Fault(Struct, frozen=True):
    """One thing that goes wrong and is mended.

    Attributes:
        at_s: When, from the start of the load.
        kind: What.
        target: Where: ``server``, ``producers``, or a worker's place such as ``w1``.
        lasts_s: When it is mended, from then.
        before: Strike only as the worker is about to publish to a subject that starts so.
    """

    at_s: float
    kind: FaultKind
    target: str
    lasts_s: float = 0.0
    before: str = ""


def plan_faults(seed: int, faults: int, seconds: float, workers: int) -> list[Fault]:
    """Plan so many faults within so many seconds; the same arguments give the same plan."""
    chance = random.Random(f"faults {seed}")
    kinds = _deal(chance, faults)
    step = seconds / max(faults, 1)
    return [
        _fault(chance, kind, step * (index + chance.uniform(0.2, 0.8)), workers)
        for index, kind in enumerate(kinds)
    ]


def _deal(chance: random.Random, count: int) -> Sequence[FaultKind]:
    dealt: list[FaultKind] = []
    while len(dealt) < count:
        dealt += chance.sample(_PACK, len(_PACK))
    return dealt[:count]


def _fault(chance: random.Random, kind: FaultKind, at_s: float, workers: int) -> Fault:
    target = f"w{chance.randrange(workers)}"
    if kind in SERVER_FAULTS:
        target = SERVER
    elif kind not in PROCESS_FAULTS and chance.random() < _PRODUCERS_SHARE:
        target = PRODUCERS
    shortest, longest = _LASTS.get(kind, (0.2, 1.5 * LEASE_S))
    return Fault(round(at_s, 3), kind, target, round(chance.uniform(shortest, longest), 3))
