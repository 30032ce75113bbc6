"""Where plain functions run: threads for those that wait, processes for those that compute."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
import msgspec
from anyio import CapacityLimiter
from msgspec import Raw
from pebble import ProcessExpired
from pebble import ProcessPool as KillablePool

from mesh.contract.records import ErrorInfo
from mesh.errors import WorkerLostError
from mesh.tasks.context import JobContext, Progress, running_job
from mesh.worker import child
from mesh.worker.attempt import Attempt
from mesh.worker.reports import ReportSocket


class ChildFailedError(Exception):
    """The task failed in a child process; never raised to users.

    Attributes:
        info: The failure as data.
        is_final: Whether trying again would be wrong.
    """

    def __init__(self, info: ErrorInfo, *, is_final: bool) -> None:
        self.info = info
        self.is_final = is_final
        super().__init__(info.message)


class ThreadPool:
    """Runs plain functions in threads of the worker's process.

    A thread cannot be killed: one that is told to stop is left behind, keeps its place in the
    pool until its function returns, and its result is dropped.
    """

    def __init__(self, size: int) -> None:
        self._limiter = CapacityLimiter(size)

    async def run(self, attempt: Attempt) -> Any:
        """Run the attempt's function and return its value."""
        work = partial(_in_thread, attempt.definition.function, attempt)
        return await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=self._limiter
        )


def _in_thread(function: Callable[..., Any], attempt: Attempt) -> Any:
    running_job.set(attempt)
    if attempt.definition.signature.takes_context:
        return function(attempt.context, *attempt.args, **attempt.kwargs)
    return function(*attempt.args, **attempt.kwargs)


class ProcessPool:
    """Runs tasks in child processes that can be killed; made when first needed.

    Children are sent names and bytes, never functions: each loads the app by its reference.
    """

    def __init__(self, app_reference: str, size: int) -> None:
        self._app_reference = app_reference
        self._size = size or os.cpu_count() or 1
        self._pool: KillablePool | None = None
        self._reports: ReportSocket | None = None
        self._running: dict[str, JobContext] = {}

    async def run(self, attempt: Attempt) -> Raw:
        """Run the attempt in a child and return its value as JSON.

        Raises:
            ChildFailedError: The task failed there.
            WorkerLostError: The child died.
        """
        pool = self._pool or self._open()
        context = attempt.context
        order = child.Order(
            attempt.envelope.task,
            bytes(attempt.raw_args),
            bytes(attempt.raw_kwargs),
            context.job_id,
            context.queue,
            context.priority,
            context.attempt,
            context.worker,
            context.enqueued_at_ms,
            context.tags,
            context.meta,
        )
        future = pool.schedule(child.run, args=[msgspec.msgpack.encode(order)])
        self._running[attempt.job_id] = context
        try:
            answer = await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.cancel()  # Kills the child.
            raise
        except ProcessExpired as error:
            raise WorkerLostError(_epitaph(error)) from error
        finally:
            self._running.pop(attempt.job_id, None)
        return _value(msgspec.msgpack.decode(answer, type=child.Answer))

    def close(self) -> None:
        """Kill the children that still run and end the pool."""
        if self._pool is not None:
            self._pool.stop()
            self._pool.join(timeout=5)
            self._pool = None
        if self._reports is not None:
            self._reports.close()
            self._reports = None

    def _open(self) -> KillablePool:
        self._reports = ReportSocket(self._on_report)
        self._pool = KillablePool(
            max_workers=self._size,
            # Not forked: a copy of this process's threads and connections is no use to it.
            context=multiprocessing.get_context("spawn"),  # pyright: ignore[reportArgumentType]
            initializer=child.start,
            initargs=[self._app_reference, self._reports.address, os.getpid()],
        )
        return self._pool

    def _on_report(self, job_id: str, progress: Progress) -> None:
        context = self._running.get(job_id)
        if context is not None:
            context.progress(progress.current, progress.total, progress.message)


def _value(answer: child.Answer) -> Raw:
    if answer.error is not None:
        raise ChildFailedError(answer.error, is_final=answer.is_final)
    return Raw(answer.value)


def _epitaph(error: ProcessExpired) -> str:
    code = getattr(error, "exitcode", None)
    return f"the child process that ran the attempt died (exit code {code})"
