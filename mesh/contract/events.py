"""The events of a job's life: which kinds there are, who emits each, and what they carry."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from mesh.contract.envelope import Version
from mesh.contract.records import Moment, Number


class EventKind(StrEnum):
    """What happened; the kind is a token of the event's subject."""

    # The server emits enqueued and finished itself, when it stores a job or a result.
    ENQUEUED = "enqueued"
    SCHEDULED = "scheduled"
    STARTED = "started"
    PROGRESS = "progress"
    LOG = "log"
    RETRYING = "retrying"
    DEAD = "dead"
    FINISHED = "finished"
    # The record that follows has a time to live, and its finished event vanishes with it: this
    # one stays, so that the ledger knows for as long as it lasts that the job has ended.
    EXPIRING = "expiring"
    # What people and their programs do: who did it is in the actor, why in the message.
    CANCELLING = "cancelling"
    REPLAYED = "replayed"
    DELETED = "deleted"
    EDITED = "edited"
    PURGED = "purged"
    QUEUE_PAUSED = "queue-paused"
    QUEUE_RESUMED = "queue-resumed"
    QUEUE_LIMITED = "queue-limited"
    QUEUE_MOVED = "queue-moved"
    QUEUE_PURGED = "queue-purged"
    SCHEDULE_PAUSED = "schedule-paused"
    SCHEDULE_RESUMED = "schedule-resumed"

    @property
    def is_of_job(self) -> bool:
        """Whether it tells of a job; else of a queue or a schedule."""
        return "-" not in self.value


class LogLine(Struct, frozen=True, omit_defaults=True):
    """A line that an attempt logged or printed.

    Attributes:
        at_ms: When, in milliseconds since the epoch, by the worker's clock.
        level: How severe it is, as `logging` calls it, in lower case.
        text: What it says.
        logger: The name of the logger; `stdout` for what was printed; empty for `ctx.log`.
        number: Its place among the attempt's lines, from 1.
    """

    at_ms: Moment
    level: str
    text: str
    logger: str = ""
    number: Number = 0


class Event(Struct, frozen=True, omit_defaults=True):
    """The body of an event that mesh publishes; the server's own events have headers only.

    Attributes:
        kind: What happened.
        job_id: The job; empty in events of queues and schedules.
        at_ms: When, in milliseconds since the epoch.
        task: The task's name.
        queue: The job's queue, or the queue it is about.
        priority: The job's priority.
        attempt: Number of the attempt it is about, from 1.
        worker: The worker that says so.
        message: More about it, for people: an error, the words of a progress report, a reason.
        v: The version of this format.
        current: How much is done, in an event of progress.
        total: How much there is to do, in an event of progress.
        due_at_ms: When a scheduled or retrying job is due.
        actor: Who did it, where people or their programs did something.
        details: Further facts, each by its name: `limit`, `until`, `new_job_id`, `count`,
            `to_queue`, `to_priority`, `priority`, `schedule`.
        lines: What the attempt logged, in an event of its log.
    """

    kind: EventKind
    job_id: str
    at_ms: Moment
    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: Number = 0
    worker: str = ""
    message: str = ""
    v: Version = 1
    current: float | None = None
    total: float | None = None
    due_at_ms: Moment = 0
    actor: str = ""
    details: dict[str, str] = {}
    lines: tuple[LogLine, ...] = ()


encode = msgspec.json.Encoder().encode
read_event = msgspec.json.Decoder(Event).decode
