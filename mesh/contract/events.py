"""The events of a job's life: which kinds there are, who emits each, and what they carry."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct


class EventKind(StrEnum):
    """What happened to a job; the kind is a token of the event's subject."""

    ENQUEUED = "enqueued"
    RETRYING = "retrying"
    DEAD = "dead"
    FINISHED = "finished"


REPUBLISHED: frozenset[EventKind] = frozenset({EventKind.ENQUEUED, EventKind.FINISHED})
"""Kinds the server itself emits, from the job stream and the results bucket: headers, no body."""


class Event(Struct, frozen=True, omit_defaults=True):
    """The body of an event that a worker publishes."""

    kind: EventKind
    job_id: str
    at_ms: int
    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: int = 0
    worker: str = ""
    message: str = ""
    v: int = 1


encode = msgspec.json.Encoder().encode
