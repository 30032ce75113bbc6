"""What workers say of themselves, and what they can be told while they run."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from mesh.contract.envelope import Version
from mesh.contract.records import Moment, Number


class RunningJob(Struct, frozen=True, omit_defaults=True):
    """A job that a worker runs just now.

    Attributes:
        job_id: The job, as its subject names it.
        task: The task's name.
        queue: The job's queue.
        started_at_ms: When the attempt started, in milliseconds since the epoch.
    """

    job_id: str
    task: str
    queue: str
    started_at_ms: Moment = 0


class WorkerRecord(Struct, frozen=True, omit_defaults=True):
    """What a worker process is and does; written anew every few seconds, removed at its end.

    Times are milliseconds since the epoch.

    Attributes:
        worker: The worker's id.
        host: The machine it runs on.
        pid: The id of its process there.
        version: Its version of mesh.
        queues: The queues it serves.
        slots: How many jobs it may run at once.
        running: How many it runs.
        jobs: Those that have run longest, at most 50.
        rss_bytes: The memory of its process.
        cpu_s: The CPU time of its process so far, in seconds.
        started_at_ms: When it started.
        heartbeat_at_ms: When this was written.
        is_draining: Whether it takes no more jobs.
        v: The version of this format.
    """

    worker: str
    host: str = ""
    pid: Number = 0
    version: str = ""
    queues: tuple[str, ...] = ()
    slots: Number = 0
    running: Number = 0
    jobs: tuple[RunningJob, ...] = ()
    rss_bytes: Number = 0
    cpu_s: float = 0.0
    started_at_ms: Moment = 0
    heartbeat_at_ms: Moment = 0
    is_draining: bool = False
    v: Version = 1


class WorkerCommand(Struct, frozen=True, omit_defaults=True):
    """What a worker is told, as a request that it answers.

    Attributes:
        command: ``drain``: take no more jobs, let the running ones finish, end. ``stop``: hand
            them back and end. ``set``: go on with other numbers.
        concurrency: With ``set``: how many jobs to run at once.
    """

    command: Literal["drain", "stop", "set"]
    concurrency: Annotated[int, Meta(ge=1, le=100_000)] | None = None


class WorkerAnswer(Struct, frozen=True, omit_defaults=True):
    """What a worker says to a command: it has understood, or why it cannot.

    Attributes:
        is_done: Whether it does what it was told.
        message: Why not, for people.
    """

    is_done: bool
    message: str = ""


encode = msgspec.json.Encoder().encode
read_worker = msgspec.json.Decoder(WorkerRecord).decode
read_command = msgspec.json.Decoder(WorkerCommand).decode
read_answer = msgspec.json.Decoder(WorkerAnswer).decode
