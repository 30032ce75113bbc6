"""Put spans around the parts of a worker; these stand in for the parts while it is traced."""

from __future__ import annotations

from collections.abc import Callable

from opentelemetry.context import attach, detach

from mesh.clock import Clock
from mesh.contract.records import ErrorInfo
from mesh.telemetry.tracing import Delivered, WorkerSpans
from mesh.transport import frames
from mesh.worker.attempt import Attempt
from mesh.worker.executor import Executor
from mesh.worker.outcomes import (
    AlreadyEnded,
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
from mesh.worker.settlement import Settlement

_NAMES: dict[type[Outcome], str] = {
    Succeeded: "succeeded",
    Failed: "failed",
    Retry: "retry",
    Crashed: "crashed",
    Snoozed: "snoozed",
    HandBack: "handed-back",
    Ended: "ended",
    AlreadyEnded: "ended-before",
    Lost: "lost",
}


class TracedExecutor:
    """An executor whose attempts have spans, and whose tasks see theirs as the current one."""

    def __init__(
        self, executor: Executor, spans: WorkerSpans, clock: Clock, now: Callable[[], float]
    ) -> None:
        self._executor = executor
        self._spans = spans
        self._clock = clock
        self._now = now

    async def execute(self, attempt: Attempt) -> Outcome:
        """Run the task and say how the attempt ended; raises nothing."""
        opened = attempt.trace = self._spans.begin(self._delivered(attempt))
        token = attach(opened.context)
        try:
            outcome = await self._executor.execute(attempt)
        finally:
            detach(token)
        self._spans.end(opened, _NAMES[type(outcome)], _error(outcome))
        return outcome

    def _delivered(self, attempt: Attempt) -> Delivered:
        waited_ms = int((self._now() - attempt.arrived_s) * 1000)
        return Delivered(
            job_id=attempt.job_id,
            task=attempt.task_name,
            queue=attempt.lane.queue,
            priority=attempt.lane.priority,
            attempt=attempt.number,
            worker=attempt.worker_id,
            headers=frames.read_headers(attempt.delivery.headers),
            arrived_ns=(self._clock.now_ms() - waited_ms) * 1_000_000,
        )


class TracedSettlement:
    """A settlement with a span for each attempt that was run, closed when that is settled."""

    def __init__(self, settlement: Settlement, spans: WorkerSpans) -> None:
        self._settlement = settlement
        self._spans = spans
        self.close = settlement.close

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Carry out an outcome; returns at once."""
        if attempt.trace is not None:  # One that could not be read was never run.
            queue, how = attempt.lane.queue, _NAMES[type(outcome)]
            attempt.trace = self._spans.settle(attempt.trace, queue, how)
        self._settlement.settle(attempt, outcome)


def _error(outcome: Outcome) -> ErrorInfo | None:
    match outcome:
        case Failed(error) | Retry(error) | Crashed(error):
            return error
        case _:
            return None
