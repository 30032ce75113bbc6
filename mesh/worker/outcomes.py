"""How an attempt ended: decided by the executor, carried out by the settlement."""

from __future__ import annotations

from msgspec import Raw, Struct

from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo


class Succeeded(Struct, frozen=True):
    """The task returned; its value is JSON already."""

    value: Raw


class Failed(Struct, frozen=True):
    """The job failed for good and becomes a dead letter."""

    error: ErrorInfo


class Retry(Struct, frozen=True):
    """The attempt failed; another follows after a wait."""

    error: ErrorInfo
    delay_s: float


class Crashed(Struct, frozen=True):
    """The process that ran the attempt died; this uses up no attempt, but counts as a crash."""

    error: ErrorInfo
    delay_s: float


class Snoozed(Struct, frozen=True):
    """The task asked to be run again later, as the same attempt."""

    delay_s: float


class HandBack(Struct, frozen=True):
    """The job goes back unspent: this uses up no attempt."""

    delay_s: float = 0.0
    reason: str = ""


class Ended(Struct, frozen=True):
    """The job ended without running here: cancelled or expired."""

    state: State
    reason: str = ""


class AlreadyEnded(Struct, frozen=True):
    """The job has its terminal record; only the message is left to be removed.

    ``failure`` is set if it failed, and so needs a dead letter in case a crash prevented it.
    """

    failure: ErrorInfo | None = None


class Lost(Struct, frozen=True):
    """Another worker has the job now; this one says nothing more about it."""


Outcome = (
    Succeeded | Failed | Retry | Crashed | Snoozed | HandBack | Ended | AlreadyEnded | Lost
)
