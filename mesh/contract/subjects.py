"""Build and read every subject, stream, consumer and bucket name; nobody else writes one."""

from __future__ import annotations

import base64
from typing import NamedTuple

from mesh.contract.lifecycle import Priority
from mesh.errors import InvalidNameError
from mesh.identifiers import check_job_id, check_namespace, check_queue

_PRIORITY_NAMES = frozenset(str(priority) for priority in Priority)
_PRIORITY_RULE = "one of critical, high, normal, low"


class JobAddress(NamedTuple):
    """Where a job lies: what its subject says."""

    queue: str
    priority: str
    job_id: str


def check_priority(name: str) -> str:
    """Return the priority's name, or raise ``InvalidNameError``."""
    if name not in _PRIORITY_NAMES:
        raise InvalidNameError(
            kind="priority", name=name, reason="unknown", rule=_PRIORITY_RULE
        )
    return name


def consumer_name(queue: str, priority: str) -> str:
    """Name the durable consumer of one lane, for example ``email-high``."""
    return f"{queue}-{priority}"


class Names:
    """All names of one namespace.

    Builders trust their arguments: names are checked once, where they enter (task definition,
    options, command line, a delivery's subject), not at every publish.
    """

    __slots__ = (
        "archive_consumer",
        "cancel_signals",
        "control_bucket",
        "dead_stream",
        "delayed_stream",
        "due_consumer",
        "due_feed",
        "elections",
        "events_stream",
        "jobs_stream",
        "locks_bucket",
        "namespace",
        "outputs_bucket",
        "payloads_bucket",
        "progress_bucket",
        "progress_prefix",
        "results_bucket",
        "results_prefix",
        "schedules",
        "schedules_bucket",
        "workers_bucket",
    )

    def __init__(self, namespace: str) -> None:
        self.namespace = check_namespace(namespace)
        upper = namespace.upper()
        self.jobs_stream = f"{upper}_JOBS"
        self.delayed_stream = f"{upper}_DELAYED"
        self.events_stream = f"{upper}_EVENTS"
        self.dead_stream = f"{upper}_DEAD"
        self.results_bucket = f"{namespace}-results"
        self.progress_bucket = f"{namespace}-progress"
        self.payloads_bucket = f"{namespace}-payloads"
        self.outputs_bucket = f"{namespace}-outputs"
        self.control_bucket = f"{namespace}-control"
        self.locks_bucket = f"{namespace}-locks"
        self.schedules_bucket = f"{namespace}-schedules"
        self.workers_bucket = f"{namespace}-workers"
        self.results_prefix = f"$KV.{self.results_bucket}."
        self.progress_prefix = f"$KV.{self.progress_bucket}."
        self.cancel_signals = f"{namespace}.control.cancel.*"
        self.elections = f"$JS.EVENT.ADVISORY.CONSUMER.LEADER_ELECTED.{self.jobs_stream}.*"
        self.schedules = f"$KV.{self.schedules_bucket}.*"
        self.due_consumer = "due-to-jobs"
        self.archive_consumer = "archive"
        self.due_feed = f"{namespace}.feed.due"

    def job(self, queue: str, priority: str, job_id: str) -> str:
        """Where a job is published; the last token is its id."""
        return f"{self.namespace}.jobs.{queue}.{priority}.{job_id}"

    def job_anywhere(self, job_id: str) -> str:
        """Match a job in whatever queue and priority it lies."""
        return f"{self.namespace}.jobs.*.*.{job_id}"

    def jobs_of_priority(self, priority: str) -> str:
        """Match all jobs of a priority: one of the job stream's four subjects."""
        return f"{self.namespace}.jobs.*.{priority}.*"

    def lane(self, queue: str, priority: str) -> str:
        """Match all jobs of one queue and priority: the filter of a lane's consumer."""
        return f"{self.namespace}.jobs.{queue}.{priority}.*"

    def delayed(self, job_id: str) -> str:
        """Where a job waits, held by the server, until it is due."""
        return f"{self.namespace}.delayed.{job_id}"

    def due(self, queue: str, priority: str, job_id: str) -> str:
        """Where a delayed job fires to; the job stream sources it from there."""
        return f"{self.namespace}.due.{queue}.{priority}.{job_id}"

    def due_anywhere(self, job_id: str) -> str:
        """Match a job that has fired and is not yet in the job stream."""
        return f"{self.namespace}.due.*.*.{job_id}"

    def dead(self, queue: str, job_id: str) -> str:
        """Where a dead letter is kept."""
        return f"{self.namespace}.dead.{queue}.{job_id}"

    def event(self, kind: str, job_id: str) -> str:
        """Where an event of a job's life is published."""
        return f"{self.namespace}.events.{kind}.{job_id}"

    def result(self, job_id: str) -> str:
        """The key of a job's terminal record, as a subject."""
        return self.results_prefix + job_id

    def progress(self, job_id: str) -> str:
        """The key of a job's running record, as a subject."""
        return self.progress_prefix + job_id

    def lane_trust(self, queue: str, priority: str) -> str:
        """The key of what is noted about a lane's server, as a subject."""
        return f"$KV.{self.control_bucket}.trust.{consumer_name(queue, priority)}"

    def unique_key(self, digest: str) -> str:
        """The key that says to which job a unique key belongs, as a subject."""
        return f"$KV.{self.locks_bucket}.unique.{digest}"

    def leadership(self, service: str) -> str:
        """The key that says who leads a service, as a subject."""
        return f"$KV.{self.locks_bucket}.leader.{service}"

    def turn(self, schedule_id: str) -> str:
        """The key that says which job of a schedule has its turn, as a subject."""
        return f"$KV.{self.locks_bucket}.turn.{schedule_id}"

    def schedule(self, schedule_id: str) -> str:
        """The key of a schedule, as a subject."""
        return f"$KV.{self.schedules_bucket}.{schedule_id}"

    def schedule_status(self, schedule_id: str) -> str:
        """The key of what the scheduler says of a schedule, as a subject."""
        return f"$KV.{self.schedules_bucket}.status.{schedule_id}"

    def cancel_signal(self, job_id: str) -> str:
        """Where live workers are told that a job was cancelled (core NATS)."""
        return f"{self.namespace}.control.cancel.{job_id}"

    def worker(self, worker_id: str) -> str:
        """The key of what a worker says of itself, as a subject."""
        return f"$KV.{self.workers_bucket}.{worker_id}"

    def worker_commands(self, worker_id: str) -> str:
        """Where a live worker is told what to do, and answers (core NATS)."""
        return f"{self.namespace}.control.worker.{worker_id}"

    def read_job(self, subject: str) -> JobAddress:
        """Read a job's subject.

        Raises:
            InvalidNameError: The subject is not one this namespace could have built.
        """
        return self._read(subject, ("jobs",))

    def read_ready(self, subject: str) -> JobAddress:
        """Read the subject of a job, or the one that a delayed job fires to.

        Raises:
            InvalidNameError: The subject is not one this namespace could have built.
        """
        return self._read(subject, ("jobs", "due"))

    def _read(self, subject: str, kinds: tuple[str, ...]) -> JobAddress:
        tokens = subject.split(".")
        if len(tokens) != 5 or tokens[0] != self.namespace or tokens[1] not in kinds:
            rule = f"{self.namespace}.jobs.<queue>.<priority>.<job id>"
            raise InvalidNameError(kind="subject", name=subject, reason="bad-token", rule=rule)
        _, _, queue, priority, job_id = tokens
        return JobAddress(check_queue(queue), check_priority(priority), check_job_id(job_id))


def kv_stream(bucket: str) -> str:
    """Name the stream behind a key-value bucket."""
    return f"KV_{bucket}"


def object_stream(bucket: str) -> str:
    """Name the stream behind an object bucket."""
    return f"OBJ_{bucket}"


def object_chunks(bucket: str, chunks_id: str) -> str:
    """The subject of the parts of one object; ``*`` matches those of all."""
    return f"$O.{bucket}.C.{chunks_id}"


def object_meta(bucket: str, name: str) -> str:
    """The subject of the description of one object."""
    return f"$O.{bucket}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"


def object_name(subject: str) -> str:
    """Read the name of an object from the subject of its description; empty if it is none."""
    try:
        return base64.urlsafe_b64decode(subject[subject.rfind(".") + 1 :]).decode()
    except ValueError:  # Neither base64 nor UTF-8.
        return ""


def object_subjects(bucket: str) -> list[str]:
    """Match everything in an object bucket."""
    return [f"$O.{bucket}.C.>", f"$O.{bucket}.M.>"]
