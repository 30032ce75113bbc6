"""What is stored about a job: its terminal record, its running record, its error, its dead letter."""

from __future__ import annotations

import msgspec
from msgspec import Raw, Struct

from mesh.contract.envelope import PayloadRef
from mesh.contract.lifecycle import State

_NULL = Raw(b"null")


def _null() -> Raw:
    return _NULL


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """A failure as data; nothing in it is ever unpickled or evaluated."""

    type: str
    message: str
    traceback: str = ""
    notes: tuple[str, ...] = ()
    cause: ErrorInfo | None = None


class ResultRecord(Struct, frozen=True, omit_defaults=True):
    """THE terminal record of a job, written once and never changed.

    ``result`` is any JSON value; ``result_ref`` is set instead when it is too large.
    Times are milliseconds since the epoch.
    """

    state: State
    task: str
    queue: str
    priority: str
    result: Raw = msgspec.field(default_factory=_null)
    error: ErrorInfo | None = None
    attempt: int = 1
    worker: str = ""
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    result_ref: PayloadRef | None = None
    reason: str = ""
    v: int = 1


class ProgressRecord(Struct, frozen=True, omit_defaults=True):
    """The running record of a job that has not ended: its attempt, its lease, its progress.

    ``state`` is ``running`` or ``retrying``. A lease that has run out belongs to a worker that
    is lost or frozen.
    """

    state: State
    task: str
    queue: str
    priority: str
    attempt: int
    worker: str = ""
    started_at_ms: int = 0
    lease_until_ms: int = 0
    current: float | None = None
    total: float | None = None
    message: str = ""
    error: ErrorInfo | None = None
    next_attempt_at_ms: int = 0
    v: int = 1


class DeadLetter(Struct, frozen=True, omit_defaults=True):
    """Why a job failed for good; travels as a header of the dead letter.

    The dead letter's body is the job's own, byte for byte, so that a malformed one is kept too.
    """

    job_id: str
    queue: str
    priority: str
    task: str
    error: ErrorInfo
    attempt: int = 1
    worker: str = ""
    enqueued_at_ms: int = 0
    died_at_ms: int = 0
    v: int = 1


encode = msgspec.json.Encoder().encode
read_result = msgspec.json.Decoder(ResultRecord).decode
read_progress = msgspec.json.Decoder(ProgressRecord).decode
read_dead_letter = msgspec.json.Decoder(DeadLetter).decode
