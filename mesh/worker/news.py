"""Tell the ledger what happens to jobs; nobody waits for it, and nothing depends on it."""

from __future__ import annotations

from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import events
from mesh.contract.events import Event, EventKind
from mesh.transport import frames
from mesh.worker.attempt import Attempt
from mesh.worker.recording import record_id


class News:
    """Publishes the events of one worker's attempts.

    Args:
        client: The worker's connection.
        clock: The time.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._names = client.names
        self._link = client.connection.link
        self._is_on = client.settings.events.enabled
        self._clock = clock

    def announce(self, kind: EventKind, attempt: Attempt, message: str = "") -> None:
        """Publish an event; returns at once."""
        if not self._is_on:
            return
        key, lane = record_id(attempt), attempt.lane
        event = Event(
            kind,
            key,
            self._clock.now_ms(),
            attempt.task_name,
            lane.queue,
            lane.priority,
            attempt.number,
            "",
            message,
        )
        subject = self._names.event(kind, key)
        self._link.post(frames.signal(subject.encode(), events.encode(event)))
