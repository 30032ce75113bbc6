"""What is stored about a job: terminal record, running record, dead letter, unique key."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from mesh.contract.envelope import PayloadRef, Until, Version
from mesh.contract.lifecycle import PRIORITIES, TERMINAL, State

_NULL = Raw(b"null")


def _null() -> Raw:
    return _NULL


# Said to readers by the schemas and not checked when a record is read: one that is slightly
# wrong tells more than an error.
Moment = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Number = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
PriorityOrNothing = Annotated[str, Meta(extra_json_schema={"enum": ["", *PRIORITIES]})]
JobId = Annotated[str, Meta(max_length=128, pattern="^[A-Za-z0-9_=-]+$")]
"""A job that a record points to: it becomes part of a subject, so it is checked."""

EndState = Annotated[State, Meta(extra_json_schema={"enum": sorted(TERMINAL)})]
LiveState = Annotated[State, Meta(extra_json_schema={"enum": [State.RETRYING, State.RUNNING]})]


class ErrorInfo(Struct, frozen=True, omit_defaults=True):
    """A failure as data; nothing in it is ever unpickled or evaluated.

    Attributes:
        type: The name of the exception, with its module.
        message: What the exception says.
        traceback: Where it happened, as text.
        notes: Notes that were added to the exception.
        cause: The failure that led to this one.
    """

    type: str
    message: str
    traceback: str = ""
    notes: tuple[str, ...] = ()
    cause: ErrorInfo | None = None


class ResultRecord(Struct, frozen=True, omit_defaults=True):
    """THE terminal record of a job, written once and never changed.

    Times are milliseconds since the epoch; 0: there is none.

    Attributes:
        state: How the job ended.
        task: The task's name; empty if the job could not be read.
        queue: The job's queue.
        priority: The job's priority.
        result: What the task returned, as JSON.
        error: Why the job failed.
        attempt: Number of the attempt that ended it, from 1; 0: it never started.
        worker: The worker that ran that attempt.
        enqueued_at_ms: When the job was enqueued.
        started_at_ms: When that attempt started.
        finished_at_ms: When the job ended.
        result_ref: Where the result lies, instead of ``result``, if it is too large.
        reason: Why the job was cancelled or expired, for people.
        v: The version of this format.
    """

    state: EndState
    task: str
    queue: str
    priority: PriorityOrNothing
    result: Raw = msgspec.field(default_factory=_null)
    error: ErrorInfo | None = None
    attempt: Number = 1
    worker: str = ""
    enqueued_at_ms: Moment = 0
    started_at_ms: Moment = 0
    finished_at_ms: Moment = 0
    result_ref: PayloadRef | None = None
    reason: str = ""
    v: Version = 1


class ProgressRecord(Struct, frozen=True, omit_defaults=True):
    """The running record of a job that has not ended: its attempt, its lease, its progress.

    A job that lasts less than a fifth of a second has none. Times are milliseconds since the
    epoch; 0: there is none.

    Attributes:
        state: ``running``, or ``retrying`` while it waits for its next attempt.
        task: The task's name.
        queue: The job's queue.
        priority: The job's priority.
        attempt: Number of the newest attempt that counts, from 1; while the job waits, 0 says
            that none was used up yet.
        worker: The worker that has the job.
        started_at_ms: When the attempt started.
        lease_until_ms: Until then the job is this worker's alone; a worker that has let it pass
            is lost or frozen.
        current: How much is done, as the task says.
        total: How much there is to do, as the task says.
        message: What the task says of its progress.
        error: Why the last attempt failed.
        next_attempt_at_ms: When the next attempt is due.
        crashes: How often the process that ran the job died; these use up no attempt.
        v: The version of this format.
    """

    state: LiveState
    task: str
    queue: str
    priority: PriorityOrNothing
    attempt: Number
    worker: str = ""
    started_at_ms: Moment = 0
    lease_until_ms: Moment = 0
    current: float | None = None
    total: float | None = None
    message: str = ""
    error: ErrorInfo | None = None
    next_attempt_at_ms: Moment = 0
    crashes: Number = 0
    v: Version = 1


class DeadLetter(Struct, frozen=True, omit_defaults=True):
    """Why a job failed for good; travels as a header of the dead letter.

    The dead letter's body is the job's own, byte for byte, so that a malformed one is kept too.

    Attributes:
        job_id: The job.
        queue: Its queue.
        priority: Its priority.
        task: The task's name; empty if the job could not be read.
        error: Why it failed.
        attempt: Number of its last attempt, from 1.
        worker: The worker that gave it up.
        enqueued_at_ms: When it was enqueued, in milliseconds since the epoch.
        died_at_ms: When it was given up, in milliseconds since the epoch.
        body_ref: Where the body lies, if it leaves no room for this header: the dead letter's
            own is empty then.
        v: The version of this format.
    """

    job_id: str
    queue: str
    priority: PriorityOrNothing
    task: str
    error: ErrorInfo
    attempt: Number = 1
    worker: str = ""
    enqueued_at_ms: Moment = 0
    died_at_ms: Moment = 0
    body_ref: PayloadRef | None = None
    v: Version = 1


class LaneTrust(Struct, frozen=True, omit_defaults=True):
    """Up to where the deliveries of a lane may be repeats that the server takes for new ones.

    A server that was killed has forgotten what it delivered just before, and delivers it again
    as if for the first time. Workers note whom they pull from, so that the next worker sees
    that it has changed.

    Attributes:
        epoch: Names the lane's consumer and the server that leads it, as of its last start.
        until_sequence: Jobs up to this sequence of the job stream were there before that
            server started or was elected: whoever takes one asks the records first.
        v: The version of this format.
    """

    epoch: str
    until_sequence: Number = 0
    v: Version = 1


class UniqueKey(Struct, frozen=True, omit_defaults=True):
    """To which job a unique key belongs; only a pointer, written before the job is published.

    It says nothing once the job has ended (``done``) or started (``started``) or the time is
    over (``time``), or if there is no such job though the key is older than a publish takes:
    whoever wants it then takes it over, by compare and set on the revision it saw.

    Attributes:
        job_id: The job.
        until: How long the key belongs to it: ``done``, ``started`` or ``time``.
        claimed_at_ms: When it was claimed, in milliseconds since the epoch.
        expires_at_ms: With ``time``: until when, in milliseconds since the epoch.
        task: The job's task, for people.
        v: The version of this format.
    """

    job_id: JobId
    until: Until
    claimed_at_ms: Moment = 0
    expires_at_ms: Moment = 0
    task: str = ""
    v: Version = 1


encode = msgspec.json.Encoder().encode
read_result = msgspec.json.Decoder(ResultRecord).decode
read_progress = msgspec.json.Decoder(ProgressRecord).decode
read_unique_key = msgspec.json.Decoder(UniqueKey).decode
read_dead_letter = msgspec.json.Decoder(DeadLetter).decode
read_lane_trust = msgspec.json.Decoder(LaneTrust).decode
