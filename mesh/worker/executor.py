"""Run one attempt to its outcome: decides, and never talks to the broker."""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Callable

from msgspec import Raw

from mesh.clock import Clock
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.errors import JobTimeoutError, NotSerializableError
from mesh.policy.retry import wait_before_retry
from mesh.tasks import codec
from mesh.tasks.context import running_job
from mesh.tasks.options import Pool
from mesh.worker.attempt import Attempt
from mesh.worker.failures import describe
from mesh.worker.outcomes import Ended, Failed, HandBack, Lost, Outcome, Retry, Succeeded
from mesh.worker.pools import ChildFailedError, ProcessPool, ThreadPool


class Executor:
    """Runs attempts in the pool their task asks for."""

    def __init__(
        self,
        clock: Clock,
        threads: ThreadPool,
        processes: ProcessPool,
        timeout_of: Callable[[Attempt], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._threads = threads
        self._processes = processes
        self._timeout_of = timeout_of
        self._chance = chance
        self._now = asyncio.get_running_loop().time

    async def execute(self, attempt: Attempt) -> Outcome:
        """Run the task and say how the attempt ended; raises nothing."""
        self._start(attempt)
        if attempt.stop_reason:  # Told so before the first step.
            return self._stopped(attempt)
        try:
            definition = attempt.definition
            if definition.options.pool is Pool.ASYNC:
                running_job.set(attempt)
                args = attempt.args
                if definition.signature.takes_context:
                    args = (attempt.context, *args)
                outcome = _returned(await definition.function(*args, **attempt.kwargs))
            elif definition.options.pool is Pool.THREAD:
                outcome = _returned(await self._threads.run(attempt))
            else:
                attempt.deadline_s = math.inf  # The wait for a free child does not count.
                outcome = Succeeded(await self._processes.run(attempt, self._start))
        except BaseException as error:
            outcome = self._failed(attempt, error)
        attempt.finished_ms = self._clock.now_ms()
        return outcome

    def _start(self, attempt: Attempt) -> None:
        attempt.started_ms = self._clock.now_ms()
        attempt.deadline_s = self._now() + self._timeout_of(attempt)

    def _failed(self, attempt: Attempt, error: BaseException) -> Outcome:
        if attempt.stop_reason:  # Whatever the task raised on its way out.
            return self._stopped(attempt)
        info = error.info if isinstance(error, ChildFailedError) else describe(error)
        if isinstance(error, ChildFailedError) and error.is_final:
            return Failed(info)
        return self._again_or_never(attempt, info)

    def _stopped(self, attempt: Attempt) -> Outcome:
        match attempt.stop_reason:
            case "timeout":
                limit = self._timeout_of(attempt)
                error = JobTimeoutError(
                    f"the attempt ran longer than its timeout of {limit:g} s"
                )
                return self._again_or_never(attempt, describe(error, with_traceback=False))
            case "shutdown":
                return HandBack(0.0, "the worker shut down")
            case "cancelled":
                # Whoever cancelled it should have written this first; if not, it is not lost.
                return Ended(State.CANCELLED)
            case _:
                return Lost()

    def _again_or_never(self, attempt: Attempt, error: ErrorInfo) -> Outcome:
        delay_s = wait_before_retry(attempt.retry, attempt.number, self._chance())
        return Failed(error) if delay_s is None else Retry(error, delay_s)


def _returned(value: object) -> Outcome:
    try:
        return Succeeded(Raw(codec.encode(value)))
    except NotSerializableError as error:
        # The work is done: running it again would repeat its effects and fail the same way.
        return Failed(describe(error, with_traceback=False))
