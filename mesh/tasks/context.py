"""What a running task may know and do: its job, its attempt, its progress."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import Protocol

from msgspec import Struct

from mesh.durations import Duration, seconds
from mesh.errors import OptionError
from mesh.tasks.cancellation import NEVER_CANCELLED, Cancelled


class Progress(Struct, frozen=True):
    """How far a job says it is."""

    current: float
    total: float | None = None
    message: str = ""


ProgressSink = Callable[[Progress], None]
LogSink = Callable[[int, str, str], None]
"""Receives the level, the logger's name and the text of a line."""

_LEVELS = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
    "critical": logging.CRITICAL,
}


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _nowhere(progress: Progress) -> None:
    """Drop a report: the context is not attached to a worker."""


def _unheard(level: int, logger: str, text: str) -> None:
    """Drop a line: the context is not attached to a worker."""


class Again(Struct, frozen=True, array_like=True, tag=True):
    """The task asks for another attempt, after a wait of its own or that of its rule."""

    delay_s: float | None = None


class Later(Struct, frozen=True, array_like=True, tag=True):
    """The task asks to be run again later, as the same attempt."""

    delay_s: float


class Never(Struct, frozen=True, array_like=True, tag=True):
    """The task asks that its job ends as failed at once."""

    reason: str


Request = Again | Later | Never
"""What a task asks for; data, for it also travels from a child process to its worker."""


class JobControl(BaseException):
    """What ``ctx.retry()``, ``ctx.snooze()`` and ``ctx.discard()`` return to be raised.

    No ``Exception``: an ``except Exception`` around a task's work must not take it for a
    failure of that work. ``finally`` and ``with`` clean up as always.

    Attributes:
        request: What the task asks for.
    """

    def __init__(self, request: Request, message: str) -> None:
        self.request = request
        super().__init__(message)


class RetryRequested(JobControl):
    """The task asked for another attempt."""


class SnoozeRequested(JobControl):
    """The task asked to be run again later."""


class JobDiscarded(JobControl):
    """The task ended its job; recorded as the failure's type."""


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
        capture: Takes in what was logged while the job ran.
        enqueued_at_ms: When the job was enqueued, milliseconds since the epoch.
        tags: The job's tags.
        meta: What the producer attached.
        schedule: The schedule that the job is of; empty: of none.
        cancelled: Whether the attempt was told to stop: by a cancellation, its timeout, the
            job's deadline, the worker's shutdown, or because another worker has the job now.
            A thread can ask and stop early; what it returns then is dropped.
    """

    __slots__ = (
        "_scheduled_for_ms",
        "_sink",
        "attempt",
        "cancelled",
        "capture",
        "enqueued_at_ms",
        "job_id",
        "meta",
        "priority",
        "queue",
        "schedule",
        "tags",
        "task",
        "worker",
    )

    attempt: int
    cancelled: Cancelled
    capture: LogSink
    enqueued_at_ms: int
    job_id: str
    meta: dict[str, str]
    priority: str
    queue: str
    schedule: str
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
        schedule: str = "",
        scheduled_for_ms: int = 0,
        sink: ProgressSink = _nowhere,
        log_sink: LogSink = _unheard,
        cancelled: Cancelled = NEVER_CANCELLED,
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
        self.schedule = schedule
        self._scheduled_for_ms = scheduled_for_ms
        self._sink = sink
        self.capture = log_sink
        self.cancelled = cancelled

    @property
    def scheduled_for(self) -> datetime | None:
        """The tick of the schedule that the job is for, in UTC; None: it is of no schedule.

        It stays the same when the job runs late, is tried again or is made up for, so that a
        report knows which day it is about.
        """
        if not self.schedule:
            return None
        return _EPOCH + timedelta(milliseconds=self._scheduled_for_ms)

    def progress(self, current: float, total: float | None = None, message: str = "") -> None:
        """Say how far the job is; cheap, never waits, the latest report wins.

        Args:
            current: How much is done, in the task's own unit.
            total: How much there is to do, if known.
            message: A few words for people.
        """
        self._sink(Progress(current, total, message))

    def log(self, message: str, level: str = "info") -> None:
        """Write a line into the job's own log: see it with ``mesh logs JOB``.

        What the task logs with `logging` goes there, too. Cheap, and never waits.

        Args:
            message: The line.
            level: ``debug``, ``info``, ``warning``, ``error`` or ``critical``.

        Raises:
            OptionError: There is no such level.
        """
        number = _LEVELS.get(level)
        if number is None:
            option = "level"
            raise OptionError(option, f"{level!r} is none of {', '.join(_LEVELS)}")
        self.capture(number, "", str(message))

    def retry(self, delay: Duration | None = None) -> JobControl:
        """Ask for another attempt: ``raise ctx.retry("5m")``.

        This attempt counts as failed, with the error that is being handled, if any. Its rule
        still says how many attempts there are, but not on which errors.

        Args:
            delay: The wait before it; None: the rule's own.
        """
        wait_s = None if delay is None else seconds(delay)
        return RetryRequested(Again(wait_s), "the task asked for another attempt")

    def snooze(self, delay: Duration) -> JobControl:
        """Ask to be run again later: ``raise ctx.snooze("1h")``; uses up no attempt.

        Args:
            delay: How long to wait.
        """
        return SnoozeRequested(Later(seconds(delay)), "the task asked to be run again later")

    def discard(self, reason: str) -> JobControl:
        """Ask that the job fails at once: ``raise ctx.discard("no such user")``; no retry.

        Args:
            reason: Why, for people; it becomes the failure's message.
        """
        return JobDiscarded(Never(reason), reason)

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
