"""Tell the ledger what producers schedule, and what people and their programs do, and why."""

from __future__ import annotations

import getpass
import socket
from datetime import UTC, datetime
from typing import Any

from mesh.clock import Clock
from mesh.contract import events
from mesh.contract.events import Event, EventKind
from mesh.contract.subjects import Names
from mesh.policy.telling import told_kinds
from mesh.settings.model import Settings
from mesh.transport.publisher import Publisher


class Journal:
    """Publishes the events of one client; nobody waits for them, and nothing depends on them.

    Args:
        publisher: Publishes them; what is on its way is waited for when the client is closed.
        names: The names of the namespace.
        settings: Which events are told, and who the actor is.
        clock: The time.
    """

    def __init__(
        self, publisher: Publisher, names: Names, settings: Settings, clock: Clock
    ) -> None:
        self._publisher = publisher
        self._names = names
        self._clock = clock
        self._settings = settings
        self._told: frozenset[EventKind] = frozenset()
        if settings.events.enabled:
            self._told = told_kinds(settings.events.level, has_logs=False)
        self._actor = ""

    def scheduled(
        self, job_id: str, *, task: str, queue: str, priority: str, due_ms: int
    ) -> None:
        """Tell that the server holds a job until it is due."""
        self._tell(
            EventKind.SCHEDULED,
            job_id,
            job_id=job_id,
            task=task,
            queue=queue,
            priority=priority,
            due_at_ms=due_ms,
        )

    def of_job(self, kind: EventKind, job_id: str, reason: str = "", **facts: Any) -> None:
        """Tell what somebody did to a job; the facts are further fields of the event."""
        self._tell(kind, job_id, job_id=job_id, message=reason, actor=self._who(), **facts)

    def of_queue(
        self, kind: EventKind, queue: str, reason: str = "", **details: object
    ) -> None:
        """Tell what somebody did to a queue; each detail is told as a text."""
        self._tell(
            kind,
            queue,
            job_id="",
            queue=queue,
            message=reason,
            actor=self._who(),
            details={name: str(v) for name, v in details.items() if v is not None},
        )

    def of_schedule(self, kind: EventKind, schedule: str, reason: str = "") -> None:
        """Tell what somebody did to a schedule."""
        self._tell(
            kind,
            schedule,
            job_id="",
            message=reason,
            actor=self._who(),
            details={"schedule": schedule},
        )

    def _tell(self, kind: EventKind, token: str, **facts: Any) -> None:
        if kind in self._told:
            event = Event(kind=kind, at_ms=self._clock.now_ms(), **facts)
            subject = self._names.event(kind, token)
            # Once: a repeat would be a second event.
            self._publisher.post(subject, b"", events.encode(event), _heed, None, once=True)

    def _who(self) -> str:
        self._actor = self._actor or self._settings.actor or _user_and_host()
        return self._actor


def instant(at_ms: int) -> str:
    """A point in time as events spell it."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")


def _user_and_host() -> str:
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # A container may run under a number without a name.
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def _heed(_context: object, _fault: object, _ack: bytes) -> None:
    """Do nothing: an event that was not stored is missing from the ledger, and that is all."""
