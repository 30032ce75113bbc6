"""Tell the ledger what happens to jobs; nobody waits for it, and nothing depends on it."""

from __future__ import annotations

from typing import Any

from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import events
from mesh.contract.events import Event, EventKind
from mesh.policy.telling import told_kinds
from mesh.telemetry.tallies import WorkerMetrics
from mesh.transport.outbox import Outbox
from mesh.worker.attempt import Attempt
from mesh.worker.recording import record_id


class News:
    """Publishes the events of one worker's attempts.

    Args:
        client: The connection to publish over.
        clock: The time.
        worker_id: The worker, as its events name it.
        metrics: Where events are counted that found no room.

    Attributes:
        tells_every_start: Whether short attempts are told of, too.
    """

    def __init__(
        self, client: Client, clock: Clock, *, worker_id: str, metrics: WorkerMetrics
    ) -> None:
        settings = client.settings.events
        self._names = client.names
        self._clock = clock
        self._worker_id = worker_id
        self._metrics = metrics
        self._outbox = Outbox(client.connection, self._on_drop)
        self._told: frozenset[EventKind] = frozenset()
        if settings.enabled:
            self._told = told_kinds(settings.level, has_logs=settings.log_level != "off")
        self.tells_every_start = settings.enabled and settings.level == "debug"

    def announce(self, kind: EventKind, attempt: Attempt, message: str = "") -> None:
        """Tell of something that happened now; returns at once."""
        if kind in self._told:
            self._tell(kind, attempt, message=message)

    def put_off(self, kind: EventKind, attempt: Attempt, message: str, delay_s: float) -> None:
        """Tell that a job waits for its next attempt."""
        if kind in self._told:
            due_ms = self._clock.now_ms() + int(delay_s * 1000)
            self._tell(kind, attempt, message=message, due_at_ms=due_ms)

    def started(self, attempt: Attempt) -> None:
        """Tell that an attempt started, once."""
        if not attempt.is_announced and EventKind.STARTED in self._told:
            attempt.is_announced = True
            self._tell(EventKind.STARTED, attempt, at_ms=attempt.started_ms)

    def progressed(self, attempt: Attempt) -> None:
        """Tell how far an attempt says it is."""
        progress = attempt.progress
        if progress is not None and EventKind.PROGRESS in self._told:
            self._tell(
                EventKind.PROGRESS,
                attempt,
                message=progress.message,
                current=progress.current,
                total=progress.total,
            )

    def logged(self, attempt: Attempt) -> None:
        """Tell what an attempt has logged since this was last done."""
        if attempt.log is None or EventKind.LOG not in self._told:
            return
        while lines := attempt.log.take():
            self._tell(EventKind.LOG, attempt, lines=lines)

    def _tell(self, kind: EventKind, attempt: Attempt, *, at_ms: int = 0, **facts: Any) -> None:
        key, lane = record_id(attempt), attempt.lane
        event = Event(
            kind=kind,
            job_id=key,
            at_ms=at_ms or self._clock.now_ms(),
            task=attempt.task_name,
            queue=lane.queue,
            priority=lane.priority,
            attempt=attempt.number,
            worker=self._worker_id,
            **facts,
        )
        self._outbox.send(self._names.event(kind, key), events.encode(event))

    def _on_drop(self) -> None:
        self._metrics.dropped_events += 1
