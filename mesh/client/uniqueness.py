"""Whose a unique key is: the one rule that producers and workers decide by; no I/O."""

from __future__ import annotations

from enum import Enum, auto

from mesh.contract.envelope import Until
from mesh.contract.lifecycle import State
from mesh.contract.records import UniqueKey


class Whereabouts(Enum):
    """How far a job has come, as far as its unique key is concerned."""

    UNKNOWN = auto()
    WAITING = auto()
    STARTED = auto()
    ENDED = auto()


class Standing(Enum):
    """What a unique key is to a job that wants it."""

    FREE = auto()
    """It is nobody's: take it."""
    MINE = auto()
    """It names this job."""
    HELD = auto()
    """It belongs to another job."""
    UNSURE = auto()
    """It names a job that may be about to be published: look again."""


_STARTED = frozenset({State.RUNNING, State.RETRYING})
_LETS_GO: dict[Until, tuple[Whereabouts, ...]] = {
    Until.DONE: (Whereabouts.ENDED,),
    Until.STARTED: (Whereabouts.STARTED, Whereabouts.ENDED),
    Until.TIME: (),
}
"""From where on a job no longer has its key."""


def whereabouts(state: State | None, *, has_ended: bool = False) -> Whereabouts:
    """Say how far a job has come.

    Args:
        state: Its state; None: nobody knows the job.
        has_ended: Whether there is a sign that it ended, though its record has expired.
    """
    if state is None:
        return Whereabouts.ENDED if has_ended else Whereabouts.UNKNOWN
    if state.is_terminal:
        return Whereabouts.ENDED
    return Whereabouts.STARTED if state in _STARTED else Whereabouts.WAITING


def standing(
    key: UniqueKey | None, job_id: str, other: Whereabouts, now_ms: int, grace_ms: int
) -> Standing:
    """Decide whose a key is.

    Args:
        key: What the key says; None: there is none, or what is there cannot be read.
        job_id: The job that wants it.
        other: How far the job that the key names has come.
        now_ms: The time.
        grace_ms: How long after its claim a job may still be published.
    """
    if key is None or (key.until is Until.TIME and key.expires_at_ms <= now_ms):
        return Standing.FREE
    if key.job_id == job_id:
        return Standing.MINE
    if other is Whereabouts.UNKNOWN:
        return Standing.UNSURE if now_ms - key.claimed_at_ms < grace_ms else Standing.FREE
    return Standing.FREE if other in _LETS_GO[key.until] else Standing.HELD
