"""Make sure, before a unique job runs, that its unique key is still its own.

A producer that was slow between its claim and its publish may have been overtaken by another.
The key decides which of the two jobs runs; the other ends as cancelled.
"""

from __future__ import annotations

from mesh.client.keys import Held, UniqueKeys
from mesh.client.uniqueness import Standing
from mesh.clock import Clock
from mesh.contract.envelope import UniqueClaim, Until
from mesh.contract.lifecycle import State
from mesh.contract.records import UniqueKey
from mesh.worker.attempt import Attempt
from mesh.worker.outcomes import Ended, HandBack, Outcome

_LOOK_AGAIN_S = 1.0
_SOON_S = 0.1


class KeyCheck:
    """Checks the keys of one worker's unique jobs, and takes over what is nobody's."""

    def __init__(self, keys: UniqueKeys, clock: Clock) -> None:
        self._keys = keys
        self._clock = clock

    async def check(self, attempt: Attempt) -> Outcome | None:
        """Say whether the job may run; None: it may, or it is not unique.

        Raises:
            BrokerError: The key or the records could not be read.
        """
        claim = attempt.envelope.unique
        if claim is None or (claim.until is Until.STARTED and attempt.has_record):
            return None  # Once it has started, the key may be another's.
        held = await self._keys.read(claim.key)
        verdict = await self._keys.standing(held, attempt.job_id)
        if verdict is Standing.HELD and not _is_over(claim, held):
            return Ended(State.CANCELLED, f"superseded by job {held.owner}")
        if verdict is Standing.UNSURE:
            return HandBack(_LOOK_AGAIN_S, f"job {held.owner} may take its place")
        if verdict is Standing.MINE:
            attempt.key_revision = held.revision
        match claim.until:
            case Until.DONE if verdict is Standing.FREE:
                return await self._take_over(attempt, claim, held)
            case Until.STARTED if verdict is Standing.MINE:
                await release_key(self._keys, attempt)
            case Until.TIME:
                attempt.key_revision = 0  # It outlives the job.
            case _:
                pass
        return None

    async def _take_over(
        self, attempt: Attempt, claim: UniqueClaim, held: Held
    ) -> Outcome | None:
        """Claim a key that is nobody's, so that no second job can start beside this one."""
        key = UniqueKey(
            attempt.job_id, claim.until, self._clock.now_ms(), task=attempt.task_name
        )
        revision = await self._keys.write(claim.key, key, held.revision)
        if revision is None:
            return HandBack(_SOON_S, "its unique key was taken this very moment")
        attempt.key_revision = revision
        return None


async def release_key(keys: UniqueKeys, attempt: Attempt) -> None:
    """Remove the key of a job that has started or ended; best effort, nothing depends on it."""
    claim = attempt.envelope.unique
    if claim is not None:
        await keys.release(claim.key, attempt.key_revision)
        attempt.key_revision = 0


def _is_over(claim: UniqueClaim, held: Held) -> bool:
    """Whether the claim's own time was over when another job claimed the key."""
    key = held.key
    return (
        claim.until is Until.TIME
        and key is not None
        and claim.expires_at_ms <= key.claimed_at_ms
    )
