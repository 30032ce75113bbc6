"""An event of the ledger as programs see it, whoever emitted it; read from a message, pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

import msgspec
from msgspec import Struct

from mesh.client.lanes import read_time
from mesh.contract import events, headers
from mesh.contract.events import EventKind, LogLine
from mesh.contract.lifecycle import State
from mesh.transport.buckets import Entry

_ENDS = {
    State.SUCCEEDED: "job.completed",
    State.FAILED: "job.failed",
    State.CANCELLED: "job.cancelled",
    State.EXPIRED: "job.expired",
}
_BY_SERVER = frozenset({EventKind.ENQUEUED, EventKind.FINISHED})
_QUIET = frozenset({"job.log", "job.expiring"})
NAMES: tuple[str, ...] = (
    *(
        kind.replace("-", ".", 1) if not kind.is_of_job else f"job.{kind}"
        for kind in EventKind
        if kind is not EventKind.FINISHED
    ),
    *_ENDS.values(),
)
"""The names of all events."""


class LedgerEvent(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened; times are milliseconds since the epoch.

    Attributes:
        name: What: ``job.enqueued``, ``job.scheduled``, ``job.started``, ``job.progress``,
            ``job.log``, ``job.retrying``, ``job.completed``, ``job.failed``,
            ``job.cancelled``, ``job.expired``, ``job.dead``, ``queue.paused`` and so on.
        at_ms: When.
        job_id: The job; empty in events of queues and schedules.
        task: The task's name.
        queue: The queue; empty if the event does not say.
        priority: The job's priority; empty if the event does not say.
        attempt: Number of the attempt; 0 if the event does not say.
        worker: The worker that says so.
        message: An error, the words of a progress report, a reason.
        actor: Who did it, where somebody did something.
        due_at_ms: When a scheduled or retrying job is due.
        current: How much is done, in ``job.progress``.
        total: How much there is to do, in ``job.progress``.
        details: Further facts.
        lines: What the attempt logged, in ``job.log``.
        sequence: Its place in the ledger.
    """

    name: str
    at_ms: int
    job_id: str = ""
    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: int = 0
    worker: str = ""
    message: str = ""
    actor: str = ""
    due_at_ms: int = 0
    current: float | None = None
    total: float | None = None
    details: dict[str, str] = {}
    lines: tuple[LogLine, ...] = ()
    sequence: int = 0


def read(entry: Entry) -> LedgerEvent | None:
    """Read a stored event; None: it is of a kind that this version does not know, or broken."""
    kind_name, token = entry.subject.split(".")[-2:]
    try:
        kind = EventKind(kind_name)
        if kind in _BY_SERVER:
            return _by_server(kind, token, entry)
        event = events.read_event(entry.value)
    except (ValueError, msgspec.DecodeError):
        return None
    facts = {
        name: getattr(event, name)
        for name in event.__struct_fields__
        if name not in ("kind", "v")
    }
    return LedgerEvent(name=name_of(kind), sequence=entry.revision, **facts)


def name_of(kind: EventKind) -> str:
    """The name under which people ask for events of a kind; an end is named by its state."""
    return f"job.{kind}" if kind.is_of_job else kind.replace("-", ".", 1)


def is_asked_for(event: LedgerEvent, patterns: Sequence[str]) -> bool:
    """Whether an event fits one of some patterns; none: all but logs, which are many."""
    if not patterns:
        return event.name not in _QUIET
    return any(fnmatchcase(event.name, pattern) for pattern in patterns)


def only_kind(patterns: Sequence[str]) -> EventKind | None:
    """The one kind that a single pattern means: no other need be read; None: several."""
    if len(patterns) != 1:
        return None
    if patterns[0] in _ENDS.values():
        return EventKind.FINISHED
    return next((kind for kind in EventKind if name_of(kind) == patterns[0]), None)


def unmatched(patterns: Sequence[str]) -> list[str]:
    """The patterns that no event can ever fit."""
    return [p for p in patterns if not any(fnmatchcase(name, p) for name in NAMES)]


def _by_server(kind: EventKind, job_id: str, entry: Entry) -> LedgerEvent:
    """Read the copy of a job or of a result: it has headers only, the original's first."""
    found = entry.headers
    facts: dict[str, Any] = {"name": name_of(kind), "queue": found.get(headers.QUEUE, "")}
    if kind is EventKind.FINISHED:
        facts["name"] = _ENDS[State(found.get(headers.STATE, ""))]
    else:
        origin = found.get(headers.ORIGIN, "").split(".")
        if len(origin) == 5:
            facts |= {"queue": origin[2], "priority": origin[3]}
        attempt = found.get(headers.ATTEMPT, "")
        facts["attempt"] = int(attempt[:9]) if attempt.isdecimal() else 0
    return LedgerEvent(
        at_ms=read_time(found.get(headers.STORED_AT, "")),
        job_id=job_id,
        task=found.get(headers.TASK, ""),
        sequence=entry.revision,
        **facts,
    )
