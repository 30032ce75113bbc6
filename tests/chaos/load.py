"""What the producers of a chaos run enqueue and when: a pure plan made from a seed."""

from __future__ import annotations

import random
from collections.abc import Mapping

from msgspec import Struct

MIX: Mapping[str, float] = {
    "instant": 45,
    "short": 30,
    "threaded": 8,
    "flaky": 4,
    "big": 3,
    "hopeless": 2,
    "snoozer": 2,
    "pooled": 2,
    "long": 1.5,
    "long_flaky": 0.5,
    "flaky_late": 1,
    "crashing": 0.2,
}
"""Task -> how often it is enqueued, relative to the others."""

FAILS = frozenset({"hopeless"})
"""The tasks whose jobs end as dead letters; all others succeed unless they are cancelled."""

_DELAYED, _TWICE, _CANCELLED, _AWAITED = 0.08, 0.03, 0.03, 0.02
_LONGEST_DELAY_S = 4.0


class Order(Struct, frozen=True):
    """One job to enqueue.

    Attributes:
        number: Its number, from 0; its argument too.
        job_id: Its id.
        task: Its task.
        at_s: When to enqueue it, from the start of the load.
        delay_s: The delay asked for; 0: none.
        again_after_s: When to enqueue the same id again; None: never.
        cancel_after_s: When to cancel it; None: never.
        is_awaited: Whether the producer waits for its result.
    """

    number: int
    job_id: str
    task: str
    at_s: float
    delay_s: float = 0.0
    again_after_s: float | None = None
    cancel_after_s: float | None = None
    is_awaited: bool = False


def plan_load(
    seed: int, jobs: int, seconds: float, mix: Mapping[str, float] = MIX
) -> list[Order]:
    """Plan so many jobs, evenly spread; the same arguments give the same plan."""
    chance = random.Random(f"load {seed}")
    tasks = chance.choices(list(mix), list(mix.values()), k=jobs)
    return [
        _order(chance, number, task, seconds * number / jobs)
        for number, task in enumerate(tasks)
    ]


def _order(chance: random.Random, number: int, task: str, at_s: float) -> Order:
    return Order(
        number,
        f"job-{number}",
        task,
        at_s,
        round(chance.uniform(0.1, _LONGEST_DELAY_S), 3) if chance.random() < _DELAYED else 0.0,
        chance.uniform(0, 0.5) if chance.random() < _TWICE else None,
        chance.uniform(0, 0.5) if chance.random() < _CANCELLED else None,
        chance.random() < _AWAITED,
    )
