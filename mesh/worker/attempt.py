"""One attempt at a job, from its delivery until it is settled."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from msgspec import Raw, Struct

from mesh.contract import headers
from mesh.contract.envelope import Envelope, Retry
from mesh.contract.records import ErrorInfo
from mesh.policy.lanes import Feed, Lane
from mesh.tasks.cancellation import Cancelled
from mesh.tasks.context import JobContext, Progress
from mesh.tasks.definition import TaskDefinition
from mesh.telemetry.tracing import Trace
from mesh.transport.puller import Delivery

_ATTEMPT = headers.ATTEMPT.encode()


class Limits(Struct):
    """What limits an attempt besides its timeout.

    Attributes:
        soft_timeout_s: After how long the task itself is told.
        expires_ms: Until when the job must have started, as wall-clock time.
        deadline_ms: Until when the job must have ended, as wall-clock time.
        end_s: When the attempt must have ended, on the loop's clock.
        end_reason: Which limit that is, as a reason to stop.
        interrupt: Tells the task; returns False if it cannot be told now.
    """

    soft_timeout_s: float | None = None
    expires_ms: int | None = None
    deadline_ms: int | None = None
    end_s: float = math.inf
    end_reason: str = "timeout"
    interrupt: Callable[[], bool] | None = None


class Attempt:
    """A delivery and what became of it so far; one for each attempt, never shared.

    Attributes:
        delivery: The message.
        feed: The feed whose slot it takes.
        lane: The lane it came through.
        job_id: The job's id.
        envelope: The body, once decoded.
        definition: The task, once found.
        args: Positional arguments, once decoded.
        kwargs: Keyword arguments, once decoded.
        raw_args: Positional arguments as JSON, for a child process.
        raw_kwargs: Keyword arguments as JSON, for a child process.
        worker_id: The worker that has it.
        number: Number of this attempt, from 1.
        arrived_s: When it came, on the loop's clock.
        started_ms: When the attempt started; 0 before.
        finished_ms: When the attempt ended; 0 before.
        limit_s: When the next of its limits passes, on the loop's clock; its timeout, if it has
            no others.
        limits: Its other limits; most jobs have none.
        last_error: Why the attempt before this one failed, if the records say so.
        retry: The rule by which it is tried again.
        crashes: How often the process that ran the job has died.
        coroutine: The asyncio task that runs it.
        stop_reason: Why it must stop: ``cancelled``, ``timeout``, ``deadline``, ``expired``,
            ``shutdown``, ``lost``.
        progress: The newest report.
        has_news: Whether the newest report is not yet stored.
        revision: Revision of the running record; 0 if there is none.
        key_revision: Revision of the unique key that is the job's; 0: it has none.
        holds_slot: Whether it takes up one of the worker's slots.
        has_record: Whether a running record was ever written.
        writing: The write of the running record that is on its way, if any; the heartbeat's
            thread writes.
        record_due_s: When the running record is next written, on the loop's clock.
        confirmed_s: Until when at least the job was surely this worker's, on the loop's clock;
            its lease lasts from then.
        is_settling: Whether it has ended: its lease is renewed no more.
        trace: Its spans; None: it is not traced.
    """

    __slots__ = (
        "_context",
        "args",
        "arrived_s",
        "confirmed_s",
        "coroutine",
        "crashes",
        "definition",
        "delivery",
        "envelope",
        "feed",
        "finished_ms",
        "has_news",
        "has_record",
        "holds_slot",
        "is_settling",
        "job_id",
        "key_revision",
        "kwargs",
        "lane",
        "last_error",
        "limit_s",
        "limits",
        "number",
        "progress",
        "raw_args",
        "raw_kwargs",
        "record_due_s",
        "retry",
        "revision",
        "started_ms",
        "stop_reason",
        "trace",
        "worker_id",
        "writing",
    )

    envelope: Envelope
    definition: TaskDefinition
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    raw_args: Raw
    raw_kwargs: Raw
    last_error: ErrorInfo | None
    retry: Retry

    def __init__(
        self,
        delivery: Delivery,
        feed: Feed[Attempt],
        lane: Lane[Attempt],
        job_id: str,
        arrived_s: float,
    ) -> None:
        self.delivery = delivery
        self.feed = feed
        self.lane = lane
        self.job_id = job_id
        self.arrived_s = arrived_s
        self.confirmed_s = arrived_s
        self.number = 1
        self.crashes = 0
        self.worker_id = ""
        self._context: JobContext | None = None
        self.started_ms = 0
        self.finished_ms = 0
        self.limit_s = math.inf
        self.limits: Limits | None = None
        self.last_error = None
        self.coroutine: asyncio.Task[None] | None = None
        self.stop_reason = ""
        self.progress: Progress | None = None
        self.revision = 0
        self.key_revision = 0
        self.has_news = False
        self.has_record = False
        self.holds_slot = False
        self.is_settling = False
        self.writing: Future[None] | None = None
        self.record_due_s = 0.0
        self.trace: Trace | None = None

    @property
    def context(self) -> JobContext:
        """What the task sees; made when first asked for."""
        if self._context is None:
            self._context = JobContext(
                self.job_id,
                self.envelope.task,
                self.lane.queue,
                self.lane.priority,
                self.number,
                worker=self.worker_id,
                enqueued_at_ms=self.enqueued_at_ms,
                tags=self.envelope.tags,
                meta=self.envelope.meta,
                sink=self.report,
                cancelled=Cancelled(self._why_stopped),
            )
        return self._context

    @property
    def ran_before(self) -> bool:
        """Whether an earlier attempt has run, as far as headers and records tell."""
        return self.has_record or _ATTEMPT in self.delivery.headers

    @property
    def is_read(self) -> bool:
        """Whether its arguments are decoded, so that it can run."""
        return hasattr(self, "args")

    @property
    def is_exclusive(self) -> bool:
        """Whether its task asks that no other attempt ever runs beside it."""
        return hasattr(self, "definition") and self.definition.options.exclusive

    @property
    def task_name(self) -> str:
        """The task's name, or nothing if the body could not be read."""
        return self.envelope.task if hasattr(self, "envelope") else ""

    @property
    def enqueued_at_ms(self) -> int:
        """When the job was enqueued, as its producer says, else as the server does."""
        if hasattr(self, "envelope") and self.envelope.enqueued_at_ms:
            return self.envelope.enqueued_at_ms
        return self.delivery.stored_at_ms

    async def written(self) -> None:
        """Wait until no write of the running record is on its way."""
        writing = self.writing  # The other thread may clear it at any moment.
        if writing is not None:
            await asyncio.wrap_future(writing)

    def _why_stopped(self) -> str:
        return self.stop_reason

    def report(self, progress: Progress) -> None:
        """Take in what the task says of its progress; the newest wins."""
        self.progress = progress
        self.has_news = True

    def stop(self, reason: str) -> None:
        """Tell the running task to stop; the first reason counts."""
        if not self.stop_reason:
            self.stop_reason = reason
            # Before the first step a cancelled coroutine would never run, and never settle.
            if self.coroutine is not None and self.started_ms and not self.finished_ms:
                self.coroutine.cancel()

    def __repr__(self) -> str:
        """Show the job and the attempt."""
        return f"<Attempt {self.number} of job {self.job_id} {self.stop_reason}>"
