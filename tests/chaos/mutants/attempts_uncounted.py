"""Forgets that a failed attempt was used up."""

from __future__ import annotations

from mesh.contract.records import ErrorInfo
from mesh.worker.attempt import Attempt
from mesh.worker.recording import Recorder


def mutate() -> None:
    """Break the worker of this process."""
    waiting = Recorder.waiting

    def waiting_unspent(
        self: Recorder, attempt: Attempt, spent: int, error: ErrorInfo | None, delay_s: float
    ) -> bytes:
        return waiting(self, attempt, min(spent, 0), error, delay_s)

    Recorder.waiting = waiting_unspent
