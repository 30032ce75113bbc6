"""Where plain functions run: threads for those that wait, processes for those that compute."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import anyio.to_thread
from anyio import CapacityLimiter
from msgspec import Raw

from mesh.contract.records import ErrorInfo
from mesh.tasks.context import Request, running_job
from mesh.telemetry.tracing import inject
from mesh.worker.attempt import Attempt
from mesh.worker.childprocess import ChildProcess
from mesh.worker.interrupts import ThreadInterrupt
from mesh.worker.orders import Order

_LAST_WORDS_S = 1.0
_NO_REFERENCE = ErrorInfo(
    "mesh.errors.AppNotFoundError",
    "a task in the process pool needs a worker that was told where its app is: run it with "
    "`mesh worker module:app`, or give Worker an app_reference",
)


class ChildFailedError(Exception):
    """The task failed in a child process; never raised to users.

    Attributes:
        info: The failure as data.
        is_final: Whether trying again would be wrong.
        kinds: The names of its type and of all types it derives from.
        request: What the task asked for instead.
    """

    def __init__(
        self,
        info: ErrorInfo,
        *,
        is_final: bool,
        kinds: tuple[str, ...] = (),
        request: Request | None = None,
    ) -> None:
        self.info = info
        self.is_final = is_final
        self.kinds = kinds
        self.request = request
        super().__init__(info.message)


class ThreadPool:
    """Runs plain functions in threads of the worker's process.

    A thread cannot be killed: one that is told to stop is left behind, keeps its place in the
    pool until its function returns, and its result is dropped. It can ask ``ctx.cancelled``.
    """

    def __init__(self, size: int) -> None:
        self._limiter = CapacityLimiter(size)

    async def run(self, attempt: Attempt) -> Any:
        """Run the attempt's function and return its value."""
        work = partial(_in_thread, attempt.definition.function, attempt)
        if attempt.limits is not None and attempt.limits.soft_timeout_s is not None:
            interrupt = ThreadInterrupt()
            attempt.limits.interrupt = interrupt.interrupt
            work = partial(interrupt.run, work)
        return await anyio.to_thread.run_sync(
            work, abandon_on_cancel=True, limiter=self._limiter
        )


def _in_thread(function: Callable[..., Any], attempt: Attempt) -> Any:
    running_job.set(attempt)
    if attempt.definition.signature.takes_context:
        return function(attempt.context, *attempt.args, **attempt.kwargs)
    return function(*attempt.args, **attempt.kwargs)


class ProcessPool:
    """Runs tasks in child processes that can be killed; each is started when first needed.

    Children are sent names and bytes, never functions: each loads the app by its reference. An
    attempt whose task is told to stop loses its child, and the next one gets a new child.

    Attributes:
        size: How many children run at once.
    """

    def __init__(self, app_reference: str, size: int) -> None:
        self._app_reference = app_reference
        self.size = size or _cpus()
        self._limiter = CapacityLimiter(self.size)
        self._children: set[ChildProcess] = set()
        self._idle: list[ChildProcess] = []

    async def run(self, attempt: Attempt, on_start: Callable[[Attempt], object]) -> Raw:
        """Run the attempt in a child and return its value as JSON.

        Args:
            attempt: The attempt.
            on_start: Called when its turn has come: before, it waits for a child to be free.

        Raises:
            ChildFailedError: The task failed there.
            WorkerLostError: The child died.
        """
        if not self._app_reference:
            raise ChildFailedError(_NO_REFERENCE, is_final=True)
        async with self._limiter:
            on_start(attempt)
            child = self._take()
            try:
                answer = await child.run(_order(attempt), attempt.report)
            except BaseException:
                await self._drop(child)
                raise
            if answer.is_last:
                await self._drop(child)
            else:
                self._idle.append(child)
        if answer.error is not None:
            raise ChildFailedError(
                answer.error,
                is_final=answer.is_final,
                kinds=answer.kinds,
                request=answer.request,
            )
        return Raw(answer.value)

    def close(self) -> None:
        """End the idle children and kill those that still run."""
        for child in self._children:
            if child in self._idle:
                child.dismiss()
            else:
                child.kill()
        for child in self._children:
            child.bury(_LAST_WORDS_S)
        self._children.clear()
        self._idle.clear()

    async def _drop(self, child: ChildProcess) -> None:
        child.kill()
        await child.reap()
        self._children.discard(child)

    def _take(self) -> ChildProcess:
        """The child that was busy last, or a new one; those that died meanwhile are dropped."""
        while self._idle:
            child = self._idle.pop()
            if child.is_alive:
                return child
            child.kill()
            child.bury(_LAST_WORDS_S)
            self._children.discard(child)
        child = ChildProcess(self._app_reference)
        self._children.add(child)
        return child


def _order(attempt: Attempt) -> Order:
    context = attempt.context
    return Order(
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
        attempt.limits.soft_timeout_s if attempt.limits else None,
        inject() if attempt.trace is not None else {},
    )


def _cpus() -> int:
    """Count the CPUs this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
