"""The states of a job, the moves between them, and the four priorities."""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a job is in its life."""

    SCHEDULED = "scheduled"
    AWAITING = "awaiting"
    PENDING = "pending"
    RUNNING = "running"
    RETRYING = "retrying"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def is_terminal(self) -> bool:
        """Whether a job in this state has ended."""
        return self in TERMINAL


class Priority(StrEnum):
    """How urgent a job is; a queue has one lane for each."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


PRIORITIES: tuple[Priority, ...] = tuple(Priority)
"""All priorities, the most urgent first."""

MEANING: dict[State, str] = {
    State.SCHEDULED: "The server holds it until it is due.",
    State.AWAITING: "It waits for other jobs to end.",
    State.PENDING: "It lies in its queue, ready to run.",
    State.RUNNING: "A worker has it and holds its lease.",
    State.RETRYING: "Its last attempt failed; it waits for the next.",
    State.SUCCEEDED: "Its task returned.",
    State.FAILED: "It failed for good, and a dead letter is kept.",
    State.CANCELLED: "Somebody called it off before it ended.",
    State.EXPIRED: "It was not started in time.",
}
"""What each state says of a job."""

STARTS: tuple[State, ...] = (State.SCHEDULED, State.AWAITING, State.PENDING)
"""The states a job can be born in."""

TERMINAL: frozenset[State] = frozenset(
    {State.SUCCEEDED, State.FAILED, State.CANCELLED, State.EXPIRED}
)

_ENDS = tuple(sorted(TERMINAL))

MOVES: dict[State, tuple[State, ...]] = {
    State.SCHEDULED: (State.PENDING, State.CANCELLED),
    State.AWAITING: (State.PENDING, State.CANCELLED),
    State.PENDING: (State.RUNNING, *_ENDS),
    State.RUNNING: (State.RETRYING, State.PENDING, *_ENDS),
    State.RETRYING: (State.RUNNING, *_ENDS),
    State.SUCCEEDED: (),
    State.FAILED: (),
    State.CANCELLED: (),
    State.EXPIRED: (),
}
"""From each state, the states a job may move to. A short job goes from pending to its end."""
