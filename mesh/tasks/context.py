"""What a running task may know and do: its job, its attempt, its progress."""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar
from typing import Protocol

from msgspec import Struct


class Progress(Struct, frozen=True):
    """How far a job says it is."""

    current: float
    total: float | None = None
    message: str = ""


ProgressSink = Callable[[Progress], None]


def _nowhere(progress: Progress) -> None:
    """Drop a report: the context is not attached to a worker."""


class JobContext:
    """The running job, as its task sees it.

    A task receives it by declaring its first parameter as ``ctx: JobContext``, or from
    ``current_job()``. It may be used from async tasks, threads and process-pool children alike.

    Attributes:
        job_id: The job's id.
        task: The task's name.
        queue: The queue the job came through.
        priority: Its priority.
        attempt: Number of this attempt, from 1.
        worker: The worker's id.
        enqueued_at_ms: When the job was enqueued, milliseconds since the epoch.
        tags: The job's tags.
        meta: What the producer attached.
    """

    __slots__ = (
        "_sink",
        "attempt",
        "enqueued_at_ms",
        "job_id",
        "meta",
        "priority",
        "queue",
        "tags",
        "task",
        "worker",
    )

    attempt: int
    enqueued_at_ms: int
    job_id: str
    meta: dict[str, str]
    priority: str
    queue: str
    tags: tuple[str, ...]
    task: str
    worker: str

    def __init__(
        self,
        job_id: str,
        task: str,
        queue: str,
        priority: str,
        attempt: int = 1,
        *,
        worker: str = "",
        enqueued_at_ms: int = 0,
        tags: tuple[str, ...] = (),
        meta: dict[str, str] | None = None,
        sink: ProgressSink = _nowhere,
    ) -> None:
        self.job_id = job_id
        self.task = task
        self.queue = queue
        self.priority = priority
        self.attempt = attempt
        self.worker = worker
        self.enqueued_at_ms = enqueued_at_ms
        self.tags = tags
        self.meta = meta or {}
        self._sink = sink

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is; cheap, never waits, the latest report wins.

        Args:
            current: How much is done, in the task's own unit.
            total: How much there is to do, if known.
            message: A few words for people.
        """
        self._sink(Progress(current, total, message))

    def __repr__(self) -> str:
        """Show the job and attempt."""
        return f"<JobContext {self.task} {self.job_id} attempt {self.attempt}>"


class HasContext(Protocol):
    """Whatever can say which job runs: the context is made only if somebody asks for it."""

    @property
    def context(self) -> JobContext:
        """The job's context."""
        ...


running_job: ContextVar[HasContext] = ContextVar("mesh_running_job")


def current_job() -> JobContext:
    """Return the context of the job that runs here.

    Raises:
        LookupError: No job runs in this context.
    """
    try:
        return running_job.get().context
    except LookupError:
        message = "no job runs here; current_job() works inside a task only"
        raise LookupError(message) from None
