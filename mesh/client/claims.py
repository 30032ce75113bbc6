"""Claim a unique key for a job that is about to be published.

A crash between the claim and the publish leaves a key that points to nothing: whoever wants it
next waits until nobody can still be publishing that job, and takes it over.
"""

from __future__ import annotations

import contextlib
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import anyio

from mesh.client.conflicts import JobConflictError
from mesh.client.keys import NOTHING, Held, UniqueKeys
from mesh.client.uniqueness import Standing
from mesh.clock import Clock
from mesh.contract.envelope import UniqueClaim, Until
from mesh.contract.records import UniqueKey
from mesh.errors import JobNotFoundError
from mesh.tasks.unique import Unique, Uniqueness

Cancel = Callable[[str, str], Awaitable[bool]]
"""Cancels a job, with a reason."""

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1
_LIMIT_S = 60.0
_WORDS = {
    Until.DONE: "has not ended",
    Until.STARTED: "has not started",
    Until.TIME: "has it for a time",
}


class Claim(NamedTuple):
    """A unique key that was claimed for a job.

    Attributes:
        claim: As it travels with the job.
        revision: The key's revision.
    """

    claim: UniqueClaim
    revision: int


class Claims:
    """Claims keys for the jobs of one connection."""

    def __init__(self, keys: UniqueKeys, cancel: Cancel, clock: Clock) -> None:
        self._keys = keys
        self._cancel = cancel
        self._clock = clock

    async def claim(
        self,
        unique: Uniqueness,
        task: str,
        job_id: str,
        *,
        replaces: bool,
    ) -> Claim:
        """Claim the key for a job.

        Args:
            unique: The key and its rule.
            task: The job's task.
            job_id: The job.
            replaces: Whether a job that has the key is cancelled and gives way.

        Raises:
            JobConflictError: The key belongs to another job.
            NoAnswerError: The server never confirmed the claim.
            BrokerError: The server refused.
        """
        patience = _Patience(self._keys.grace_s, self._clock)
        held = NOTHING  # Most keys are free: to try tells as much as to look.
        while True:
            verdict = await self._keys.standing(held, job_id)
            # The time counts from each try: until then the key was another's, or nobody's.
            wanted = self._wanted(unique.rule, task, job_id)
            claim = UniqueClaim(unique.digest, wanted.until, wanted.expires_at_ms)
            if verdict is Standing.MINE:
                return Claim(claim, held.revision)
            if verdict is Standing.HELD:
                if not replaces or patience.is_exhausted():
                    raise _conflict(held, task)
                await self._call_off(held.owner, job_id)
            if verdict is Standing.UNSURE and not patience.is_over(held):
                await patience.pause()
            elif (
                revision := await self._keys.write(claim.key, wanted, held.revision)
            ) is not None:
                return Claim(claim, revision)
            held = await self._keys.read(unique.digest)

    async def release(self, claimed: Claim) -> None:
        """Give a key back whose job surely does not exist."""
        await self._keys.release(claimed.claim.key, claimed.revision)

    async def _call_off(self, other: str, job_id: str) -> None:
        with contextlib.suppress(JobNotFoundError):  # It ended, and its record has expired.
            await self._cancel(other, f"replaced by job {job_id}")

    def _wanted(self, rule: Unique, task: str, job_id: str) -> UniqueKey:
        now = self._clock.now_ms()
        expires_at_ms = now + round(rule.period_s * 1000) if rule.ends is Until.TIME else 0
        return UniqueKey(job_id, rule.ends, now, expires_at_ms, task)


class _Patience:
    """How long to wait for a job whose key is there and which itself is not.

    Measured here from the first look at a key, so that a clock elsewhere that is ahead does not
    count.
    """

    def __init__(self, grace_s: float, clock: Clock) -> None:
        self._grace_s = grace_s
        self._clock = clock
        self._end = clock.monotonic() + _LIMIT_S
        self._pause_s = _FIRST_PAUSE_S
        self._seen = NOTHING
        self._since = 0.0

    def is_over(self, held: Held) -> bool:
        """Whether this key was seen first so long ago that its job will not come any more."""
        now = self._clock.monotonic()
        if held.revision != self._seen.revision:
            self._seen, self._since, self._pause_s = held, now, _FIRST_PAUSE_S
        return now - self._since >= self._grace_s

    def is_exhausted(self) -> bool:
        """Whether the key has changed hands for so long that it is time to give up."""
        return self._clock.monotonic() >= self._end

    async def pause(self) -> None:
        """Wait a little, longer each time."""
        await anyio.sleep(self._pause_s)
        self._pause_s = min(2 * self._pause_s, _LONGEST_PAUSE_S)


def _conflict(held: Held, task: str) -> JobConflictError:
    until = Until.DONE if held.key is None else held.key.until
    why = f"it has the same unique key (task {task!r}), and {_WORDS[until]}"
    return JobConflictError(held.owner, f"{why}. Wait for it, cancel it, or use another key")
