"""What the archive answers: jobs, pages of them, events and statistics."""

from __future__ import annotations

from msgspec import Struct

from mesh.archive.database import Row

COLUMNS: tuple[str, ...] = (
    "id",
    "state",
    "task",
    "queue",
    "priority",
    "tags",
    "enqueued_ms",
    "started_ms",
    "finished_ms",
    "duration_ms",
    "attempts",
    "worker",
    "error_type",
    "error_message",
    "reason",
)
"""The columns of a job that are read, in the order of ``ArchivedJob``."""


class ArchivedJob(Struct, frozen=True):
    """One job as the archive knows it. Times are milliseconds since the epoch; 0: not known.

    Attributes:
        id: The job's id.
        state: Its state after its newest event; ``ended``: it has ended, and its record was
            gone before anybody could read how.
        task: The task's name.
        queue: Its queue.
        priority: Its priority.
        tags: Its tags, where the ledger keeps bodies (the setting ``events.bodies``).
        enqueued_ms: When it was enqueued.
        started_ms: When its last attempt started.
        finished_ms: When it ended.
        duration_ms: How long its last attempt ran.
        attempts: The number of its last attempt, from 1; 0: it never started, or not yet.
        worker: The worker that ran it.
        error_type: The type of its failure, with its module.
        error_message: What the failure says, up to 4,000 characters.
        reason: Why it was cancelled or expired.
    """

    id: str
    state: str
    task: str
    queue: str
    priority: str
    tags: tuple[str, ...]
    enqueued_ms: int
    started_ms: int
    finished_ms: int
    duration_ms: int
    attempts: int
    worker: str
    error_type: str
    error_message: str
    reason: str


class JobPage(Struct, frozen=True):
    """Some jobs, the newest first.

    Attributes:
        jobs: The jobs.
        next: Give this as ``after`` for the page that follows; None: this is the last one.
    """

    jobs: tuple[ArchivedJob, ...]
    next: str | None


class ArchivedEvent(Struct, frozen=True):
    """One event in the life of a job.

    Attributes:
        at_ms: When the ledger stored it, in milliseconds since the epoch.
        kind: What happened, such as ``enqueued``.
        state: How the job ended, for ``finished``.
        seq: Its sequence in the ledger.
        detail: What the event says, as JSON; None: nothing more.
    """

    at_ms: int
    kind: str
    state: str
    seq: int
    detail: str | None


class Durations(Struct, frozen=True):
    """How long the jobs of one task ran, in milliseconds.

    Attributes:
        task: The task.
        jobs: How many jobs that started are counted.
        p50_ms: Half of them ran no longer.
        p95_ms: 95 of 100 ran no longer.
        p99_ms: 99 of 100 ran no longer.
    """

    task: str
    jobs: int
    p50_ms: int
    p95_ms: int
    p99_ms: int


class Hour(Struct, frozen=True):
    """What ended within one hour.

    Attributes:
        begins_ms: When it begins, in milliseconds since the epoch.
        succeeded: Jobs that succeeded.
        failed: Jobs that failed.
        others: Jobs that were cancelled, expired, or ended nobody knows how.
    """

    begins_ms: int
    succeeded: int
    failed: int
    others: int


class Ledger(Struct, frozen=True):
    """How far one ledger is archived.

    Attributes:
        stream: The stream's name.
        created: When the server created it.
        highest: The highest sequence that is archived.
        complete_to: Everything up to this sequence is archived.
    """

    stream: str
    created: str
    highest: int
    complete_to: int


class Statistics(Struct, frozen=True):
    """What some jobs come to.

    Attributes:
        jobs: How many there are.
        by_state: How many in each state.
        by_task: How many of each task, the most frequent first.
        by_queue: How many of each queue, the most frequent first.
        failures: How many failed with each type of error, the most frequent first.
        durations: How long they ran, by task; the tasks that took longest first.
        hours: What ended in each hour, the oldest first.
        ledgers: How far the ledgers of the namespace are archived.
    """

    jobs: int
    by_state: dict[str, int]
    by_task: dict[str, int]
    by_queue: dict[str, int]
    failures: dict[str, int]
    durations: tuple[Durations, ...]
    hours: tuple[Hour, ...]
    ledgers: tuple[Ledger, ...]


def job_of(row: Row) -> ArchivedJob:
    """Make a job of the columns that are read."""
    facts = dict(zip(COLUMNS, row, strict=True))
    facts["tags"] = tuple(tag for tag in facts["tags"].split("\n") if tag)
    return ArchivedJob(**facts)
