"""The rows of the archive: an event as it happened, and a job as its events tell of it."""

from __future__ import annotations

from typing import Final, NamedTuple

from mesh.contract.lifecycle import State

ENDED: Final = "ended"
"""The state of a job that has ended nobody knows how: its record expired before it was read."""


class EventRow(NamedTuple):
    """One event of the ledger.

    Attributes:
        stream: Which ledger, as the archive numbers them.
        seq: Its sequence there.
        at_ms: When the ledger stored it, in milliseconds since the epoch.
        kind: What happened, such as ``enqueued``.
        job_id: To which job.
        state: How the job ended, for ``finished``.
        detail: The event's body, for those that have one.
    """

    stream: int
    seq: int
    at_ms: int
    kind: str
    job_id: str
    state: str
    detail: str | None


class JobRow(NamedTuple):
    """What is known of one job. Times are milliseconds since the epoch; 0: not known.

    Attributes:
        namespace: The job's namespace.
        id: The job's id.
        state: Its state after its newest event; ``ended`` if nobody knows how it ended.
        task: The task's name.
        queue: Its queue.
        priority: Its priority.
        tags: Its tags, each between line breaks; empty: it has none, or they are not known,
            for the ledger keeps no bodies.
        enqueued_ms: When it was enqueued.
        started_ms: When its last attempt started.
        finished_ms: When it ended.
        duration_ms: How long its last attempt ran.
        attempts: The number of its last attempt.
        worker: The worker that ran it.
        error_type: The type of the failure.
        error_message: What the failure says.
        reason: Why it was cancelled or expired.
        changed_ms: When its newest event was stored.
        told_ms: When it was enqueued, as its record says.
        ready_ms: When the ledger first heard of its newest life.
        died_ms: When its dead letter was stored.
        rank: The place of its newest event among all that happened to it.
    """

    namespace: str
    id: str
    state: str
    task: str = ""
    queue: str = ""
    priority: str = ""
    tags: str = ""
    enqueued_ms: int = 0
    started_ms: int = 0
    finished_ms: int = 0
    duration_ms: int = 0
    attempts: int = 0
    worker: str = ""
    error_type: str = ""
    error_message: str = ""
    reason: str = ""
    changed_ms: int = 0
    told_ms: int = 0
    ready_ms: int = 0
    died_ms: int = 0
    rank: int = 0


NEWEST_WINS: Final = (
    "started_ms",
    "finished_ms",
    "duration_ms",
    "attempts",
    "worker",
    "error_type",
    "error_message",
    "reason",
    "changed_ms",
    "told_ms",
    "rank",
)
"""Columns that are as the newest event says."""

GREATEST_WINS: Final = ("task", "queue", "priority", "tags", "ready_ms", "died_ms")
"""Columns that most events do not know: their greatest value is the one that is known."""


def merge(one: JobRow, other: JobRow) -> JobRow:
    """Put together what two events, or two sets of events, say of a job.

    It does not matter which comes first, nor how often.
    """
    newer = one if one.rank >= other.rank else other
    if one.task == other.task and one.queue == other.queue and one.priority == other.priority:
        task, queue, priority = one.task, one.queue, one.priority
    else:
        task = max(one.task, other.task)
        queue = max(one.queue, other.queue)
        priority = max(one.priority, other.priority)
    ready_ms = max(one.ready_ms, other.ready_ms)
    died_ms = max(one.died_ms, other.died_ms)
    return JobRow(
        newer.namespace,
        newer.id,
        State.FAILED.value if newer.state == ENDED and died_ms else newer.state,
        task,
        queue,
        priority,
        max(one.tags, other.tags),
        newer.told_ms or ready_ms,
        newer.started_ms,
        newer.finished_ms,
        newer.duration_ms,
        newer.attempts,
        newer.worker,
        newer.error_type,
        newer.error_message,
        newer.reason,
        newer.changed_ms,
        newer.told_ms,
        ready_ms,
        died_ms,
        newer.rank,
    )


def upsert_sql(source: str) -> str:
    """The statement that does to a stored row what ``merge`` does to one in memory.

    Args:
        source: Where the new rows come from: ``VALUES (...)``, or a ``SELECT`` of them.
    """
    names = JobRow._fields
    newer = "excluded.rank > jobs.rank"
    died = _greatest("died_ms")
    state = f"CASE WHEN {newer} THEN excluded.state ELSE jobs.state END"
    told = f"CASE WHEN {newer} THEN excluded.told_ms ELSE jobs.told_ms END"
    changes = {
        "state": f"CASE WHEN {state} = '{ENDED}' AND {died} > 0"
        f" THEN '{State.FAILED.value}' ELSE {state} END",
        "enqueued_ms": f"CASE WHEN {told} > 0 THEN {told} ELSE {_greatest('ready_ms')} END",
    }
    changes |= {
        name: f"CASE WHEN {newer} THEN excluded.{name} ELSE jobs.{name} END"
        for name in NEWEST_WINS
    }
    changes |= {name: _greatest(name) for name in GREATEST_WINS}
    listed = ", ".join(f"{name} = {value}" for name, value in changes.items())
    return (
        f"INSERT INTO jobs ({', '.join(names)}) {source} "
        f"ON CONFLICT (namespace, id) DO UPDATE SET {listed}"
    )


def _greatest(name: str) -> str:
    return f"CASE WHEN excluded.{name} > jobs.{name} THEN excluded.{name} ELSE jobs.{name} END"
