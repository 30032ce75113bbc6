"""Run one attempt to its outcome: decides, and never talks to the broker."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from msgspec import Raw
from msgspec.structs import replace

from mesh.clock import Clock
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.durations import seconds
from mesh.errors import JobTimeoutError, NotSerializableError, WorkerLostError
from mesh.policy.retry import may_retry, wait_after_crash, wait_before_retry
from mesh.tasks import codec
from mesh.tasks.context import Again, JobControl, Later, Never, Request, running_job
from mesh.tasks.options import Pool
from mesh.worker.attempt import Attempt, Limits
from mesh.worker.failures import crash_loop, describe, describe_request, kinds_of
from mesh.worker.interrupts import Interruptible
from mesh.worker.limits import TimeKeeper, not_started, past_deadline, unless_too_late
from mesh.worker.outcomes import (
    Crashed,
    Ended,
    Failed,
    HandBack,
    Lost,
    Outcome,
    Retry,
    Snoozed,
    Succeeded,
)
from mesh.worker.pools import ChildFailedError, ProcessPool, ThreadPool


class Executor:
    """Runs attempts in the pool their task asks for."""

    def __init__(
        self,
        clock: Clock,
        threads: ThreadPool,
        processes: ProcessPool,
        timekeeper: TimeKeeper,
        *,
        lease_s: float,
        max_crashes: int,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._threads = threads
        self._processes = processes
        self._timekeeper = timekeeper
        self._lease_s = lease_s
        self._max_crashes = max_crashes
        self._now = asyncio.get_running_loop().time
        self._chance = chance

    async def execute(self, attempt: Attempt) -> Outcome:
        """Run the task and say how the attempt ended; raises nothing."""
        if not self._start(attempt):  # Told to stop before the first step.
            return self._stopped(attempt)
        try:
            definition = attempt.definition
            if definition.options.pool is Pool.ASYNC:
                running_job.set(attempt)
                args = attempt.args
                if definition.signature.takes_context:
                    args = (attempt.context, *args)
                work = definition.function(*args, **attempt.kwargs)
                limits = attempt.limits
                if limits is not None and limits.soft_timeout_s is not None:
                    work = _interruptible(attempt, limits, work)
                outcome = _returned(await work)
            elif definition.options.pool is Pool.THREAD:
                outcome = _returned(await self._threads.run(attempt))
            else:
                self._timekeeper.wait(attempt)
                outcome = Succeeded(await self._processes.run(attempt, self._start))
            if attempt.stop_reason:  # What it returns after it was told to stop is dropped.
                outcome = self._stopped(attempt)
        except BaseException as error:
            outcome = self._failed(attempt, error)
            if attempt.limits is not None:
                outcome = unless_too_late(attempt, outcome, self._clock.now_ms())
        attempt.finished_ms = self._clock.now_ms()
        return outcome

    def _start(self, attempt: Attempt) -> bool:
        attempt.started_ms = self._clock.now_ms()
        if self._now() - attempt.confirmed_s > self._lease_s:
            # It waited while nobody vouched for it: by now another worker may have started it.
            attempt.stop("lost")
        self._timekeeper.begin(attempt)
        return not attempt.stop_reason

    def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        if attempt.stop_reason:  # Whatever the task raised on its way out.
            return self._stopped(attempt)
        match error:
            case JobControl():
                return self._requested(attempt, error.request, describe_request(error))
            case ChildFailedError():
                return self._failed_in_child(attempt, error)
            case WorkerLostError():
                return self._crashed(attempt, describe(error, with_traceback=False))
            case _:
                return self._again_or_never(attempt, describe(error), kinds_of(error))

    def _failed_in_child(self, attempt: Attempt, error: ChildFailedError) -> Outcome:
        if error.request is not None:
            return self._requested(attempt, error.request, error.info)
        if error.is_final:
            return Failed(error.info)
        return self._again_or_never(attempt, error.info, error.kinds)

    def _requested(self, attempt: Attempt, request: Request, error: ErrorInfo) -> Outcome:
        match request:
            case Again():
                return self._again_or_never(attempt, error, asked=request)
            case Later(delay_s):
                return Snoozed(delay_s)
            case Never():
                return Failed(error)

    def _crashed(self, attempt: Attempt, error: ErrorInfo) -> Outcome:
        attempt.crashes += 1
        delay_s = wait_after_crash(attempt.crashes, self._max_crashes)
        if delay_s is None:
            return Failed(crash_loop(error.message, attempt.crashes))
        return Crashed(error, delay_s)

    def _stopped(self, attempt: Attempt) -> Outcome:
        match attempt.stop_reason:
            case "timeout":
                limit = self._timekeeper.timeout_of(attempt)
                error = JobTimeoutError(
                    f"the attempt ran longer than its timeout of {limit:g} s"
                )
                info = describe(error, with_traceback=False)
                return self._again_or_never(attempt, info, kinds_of(error))
            case "deadline":
                return past_deadline(attempt)
            case "expired":
                return not_started(attempt.limits)
            case "shutdown":
                return HandBack(0.0, "the worker shut down")
            case "cancelled":
                # Whoever cancelled it should have written this first; if not, it is not lost.
                return Ended(State.CANCELLED)
            case _:
                return Lost()

    def _again_or_never(
        self,
        attempt: Attempt,
        error: ErrorInfo,
        kinds: tuple[str, ...] = (),
        asked: Again | None = None,
    ) -> Outcome:
        rule, policy = attempt.retry, attempt.definition.options.policy
        if policy is not None and attempt.envelope.retry is None:
            try:
                wait = policy(attempt.number, error)
                delay_s = None if wait is None else seconds(wait)
            except Exception as fault:
                why = describe(fault, with_traceback=False)
                note = f"its retry policy failed: {why.type}: {why.message}"
                return Failed(replace(error, notes=(*error.notes, note)))
        elif asked is None and not may_retry(rule, kinds):
            return Failed(error)
        else:
            delay_s = wait_before_retry(rule, attempt.number, self._chance())
        if delay_s is None:
            return Failed(error)
        if asked is not None and asked.delay_s is not None:
            delay_s = asked.delay_s
        return Retry(error, delay_s)


def _interruptible(
    attempt: Attempt, limits: Limits, work: Coroutine[Any, Any, Any]
) -> Awaitable[Any]:
    soft_s = limits.soft_timeout_s or 0.0
    interruptible = Interruptible(work, soft_s, lambda: bool(attempt.stop_reason))
    limits.interrupt = interruptible.interrupt
    return interruptible


def _returned(value: object) -> Outcome:
    try:
        return Succeeded(Raw(codec.encode(value)))
    except NotSerializableError as error:
        # The work is done: running it again would repeat its effects and fail the same way.
        return Failed(describe(error, with_traceback=False))
