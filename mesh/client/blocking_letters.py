"""The blocking twin of ``DeadLetters``: the same names, for scripts, views and notebooks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Any, TypeVar, Unpack

from mesh.client.blocking import Portal
from mesh.client.dead_letters import DeadLetters
from mesh.client.letters import UNCHANGED, Changes, Filters, Letter, Replayed

V = TypeVar("V")


class BlockingDeadLetters:
    """The dead letters of an app's namespace, safe from any thread."""

    __slots__ = ("_letters", "_portal")

    def __init__(self, letters: DeadLetters, portal: Portal) -> None:
        self._letters = letters
        self._portal = portal

    def find(self, **filters: Unpack[Filters]) -> Iterator[Letter]:
        """Yield dead letters; see ``DeadLetters.find``."""
        return self._each(self._letters.find(**filters))

    def get(self, job_id: str) -> Letter:
        """Read the dead letter of one job; see ``DeadLetters.get``."""
        return self._portal.call(self._letters.get(job_id))

    def body(self, letter: Letter) -> bytes:
        """Read the dead job's body; see ``DeadLetters.body``."""
        return self._portal.call(self._letters.body(letter))

    def replay(
        self,
        job_id: str,
        changes: Changes = UNCHANGED,
        *,
        dry_run: bool = False,
        reason: str = "",
    ) -> Replayed:
        """Enqueue a dead job again; see ``DeadLetters.replay``."""
        replaying = self._letters.replay(job_id, changes, dry_run=dry_run, reason=reason)
        return self._portal.call(replaying)

    def replay_all(
        self,
        changes: Changes = UNCHANGED,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        reason: str = "",
        **filters: Unpack[Filters],
    ) -> Iterator[Replayed]:
        """Replay dead letters as they are taken; see ``DeadLetters.replay_all``."""
        return self._each(
            self._letters.replay_all(
                changes, rate=rate, dry_run=dry_run, reason=reason, **filters
            )
        )

    def purge(self, job_id: str, *, reason: str = "") -> Letter:
        """Remove the dead letter of a job; see ``DeadLetters.purge``."""
        return self._portal.call(self._letters.purge(job_id, reason=reason))

    def purge_all(
        self, *, dry_run: bool = False, reason: str = "", **filters: Unpack[Filters]
    ) -> Iterator[Letter]:
        """Remove dead letters as they are taken; see ``DeadLetters.purge_all``."""
        purging = self._letters.purge_all(dry_run=dry_run, reason=reason, **filters)
        return self._each(purging)

    def _each(self, values: AsyncGenerator[V]) -> Iterator[V]:
        end: Any = object()
        try:
            while (value := self._portal.call(anext(values, end))) is not end:
                yield value
        finally:
            self._portal.call(values.aclose())
