"""The events of a job's life: which kinds there are, who emits each, and what they carry."""

from __future__ import annotations

from enum import StrEnum

import msgspec
from msgspec import Struct

from mesh.contract.envelope import Version
from mesh.contract.records import Moment, Number


class EventKind(StrEnum):
    """What happened to a job; the kind is a token of the event's subject."""

    # The server emits enqueued and finished itself, when it stores a job or a result.
    ENQUEUED = "enqueued"
    RETRYING = "retrying"
    DEAD = "dead"
    FINISHED = "finished"
    # The record that follows has a time to live, and its finished event vanishes with it: this
    # one stays, so that the ledger knows for as long as it lasts that the job has ended.
    EXPIRING = "expiring"


class Event(Struct, frozen=True, omit_defaults=True):
    """The body of an event that a worker publishes; the server's own events have headers only.

    Attributes:
        kind: What happened.
        job_id: The job.
        at_ms: When, in milliseconds since the epoch.
        task: The task's name.
        queue: The job's queue.
        priority: The job's priority.
        attempt: Number of the attempt it is about, from 1.
        worker: The worker that says so.
        message: More about it, for people.
        v: The version of this format.
    """

    kind: EventKind
    job_id: str
    at_ms: Moment
    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: Number = 0
    worker: str = ""
    message: str = ""
    v: Version = 1


encode = msgspec.json.Encoder().encode
