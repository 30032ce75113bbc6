"""What is known of a job, put together from its records."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo, ProgressRecord, ResultRecord
from mesh.errors import JobCancelledError, JobExpiredError, JobFailedError
from mesh.transport.buckets import Entry


class JobStatus(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a job is; times are milliseconds since the epoch, 0 where there is none.

    Attributes:
        job_id: The job's id.
        state: Its state.
        task: The task's name, empty if only the worker knows.
        queue: The queue it was enqueued to.
        priority: Its priority.
        attempt: Number of the newest attempt, 0 before the first.
        worker: The worker of that attempt.
        enqueued_at_ms: When it was enqueued.
        due_at_ms: When a delayed or retrying job is due.
        started_at_ms: When the newest attempt started.
        finished_at_ms: When the job ended.
        current: How much is done, as the task says.
        total: How much there is to do, as the task says.
        message: What the task says of its progress, or why the job was cancelled.
        error: Why the newest attempt failed.
    """

    job_id: str
    state: State
    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: int = 0
    worker: str = ""
    enqueued_at_ms: int = 0
    due_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    current: float | None = None
    total: float | None = None
    message: str = ""
    error: ErrorInfo | None = None

    @property
    def is_finished(self) -> bool:
        """Whether the job has ended."""
        return self.state.is_terminal


def ended(job_id: str, record: ResultRecord) -> JobStatus:
    """Tell the status of a job that has ended."""
    return JobStatus(
        job_id=job_id,
        state=record.state,
        task=record.task,
        queue=record.queue,
        priority=record.priority,
        attempt=record.attempt,
        worker=record.worker,
        enqueued_at_ms=record.enqueued_at_ms,
        started_at_ms=record.started_at_ms,
        finished_at_ms=record.finished_at_ms,
        message=record.reason,
        error=record.error,
    )


def under_way(job_id: str, record: ProgressRecord) -> JobStatus:
    """Tell the status of a job that runs or waits for its next attempt."""
    return JobStatus(
        job_id=job_id,
        state=record.state,
        task=record.task,
        queue=record.queue,
        priority=record.priority,
        attempt=record.attempt,
        worker=record.worker,
        due_at_ms=record.next_attempt_at_ms,
        started_at_ms=record.started_at_ms,
        current=record.current,
        total=record.total,
        message=record.message,
        error=record.error,
    )


def pending(job_id: str, entry: Entry) -> JobStatus:
    """Tell the status of a job that lies in its queue, or is due and on its way there."""
    _, _, queue, priority, _ = entry.subject.split(".")
    return JobStatus(
        job_id=job_id,
        state=State.PENDING,
        task=entry.headers.get(headers.TASK, ""),
        queue=queue,
        priority=priority,
        due_at_ms=due_of(entry),
    )


def scheduled(job_id: str, entry: Entry) -> JobStatus:
    """Tell the status of a job that the server holds until it is due."""
    target = entry.headers.get(headers.SCHEDULE_TARGET, "").split(".")
    return JobStatus(
        job_id=job_id,
        state=State.SCHEDULED,
        task=entry.headers.get(headers.TASK, ""),
        queue=target[-3] if len(target) >= 3 else "",
        priority=target[-2] if len(target) >= 3 else "",
        due_at_ms=due_of(entry),
    )


def due_of(entry: Entry) -> int:
    """When a delayed job is due, in milliseconds since the epoch; 0: nothing says it."""
    due = entry.headers.get(headers.DUE, "")
    if due.isdecimal():
        return int(due[:15])
    # A foreign client may say no more than when the server is to let go of it.
    at = entry.headers.get(headers.SCHEDULE, "").removeprefix("@at ")
    try:
        return int(datetime.fromisoformat(at).timestamp() * 1000) if at else 0
    except (ValueError, OverflowError):
        return 0


def raise_unless_succeeded(job_id: str, record: ResultRecord) -> None:
    """Turn the end of a job into the error that whoever waits for its result gets.

    Raises:
        JobFailedError: It failed for good.
        JobCancelledError: It was cancelled.
        JobExpiredError: It was not started in time.
    """
    error = record.error
    if record.state is State.FAILED:
        kind = error.type if error else "unknown"
        words = error.message if error else record.reason
        raise JobFailedError(job_id, kind, words, error.traceback if error else "")
    if record.state is State.CANCELLED:
        raise JobCancelledError(job_id, record.reason or "no reason given")
    if record.state is State.EXPIRED:
        raise JobExpiredError(job_id)
