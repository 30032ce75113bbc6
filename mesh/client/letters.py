"""A dead letter as it was stored: how it is read, chosen, and made into a job again; pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypedDict

import msgspec
from msgspec import Raw, Struct
from msgspec.structs import replace

from mesh.contract import envelope as envelopes
from mesh.contract import headers, records
from mesh.contract.envelope import Envelope
from mesh.contract.records import DeadLetter, ErrorInfo
from mesh.contract.subjects import check_priority
from mesh.durations import Duration, seconds
from mesh.errors import JobNotFoundError, MalformedJobError, MeshError, OptionError
from mesh.identifiers import check_queue
from mesh.tasks.definition import call_by_name
from mesh.tasks.options import NO_OVERRIDES
from mesh.transport.buckets import Entry

REPLAY_OF = "mesh.replay_of"
"""The key in a job's ``meta`` that names the dead job it repeats."""

_LONGEST_STEM = 117


class DeadLetterNotFoundError(JobNotFoundError):
    """There is no dead letter of that job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(job_id)
        message = (
            f"there is no dead letter of job {job_id!r}: it did not fail for good, or its "
            "letter was replayed, purged or has passed its age"
        )
        self.args = (message,)


class NotReplayableError(MeshError, ValueError):
    """A dead letter cannot be made into a job again as it stands.

    Attributes:
        job_id: The dead job.
    """

    job_id: str

    def __init__(self, job_id: str, why: str) -> None:
        self.job_id = job_id
        super().__init__(f"job {job_id!r} cannot be replayed: {why}")


class Letter(Struct, frozen=True):
    """A dead letter.

    Attributes:
        record: Why the job failed, where and when.
        body: The job's body as the letter holds it; empty if ``record.body_ref`` says where it
            lies.
        content_type: ``json`` or ``msgpack``.
        sequence: Its place in the stream of dead letters.
    """

    record: DeadLetter
    body: bytes
    content_type: str
    sequence: int

    @property
    def job_id(self) -> str:
        """The dead job."""
        return self.record.job_id


class Filters(TypedDict, total=False):
    """Which dead letters are meant; all of it must fit.

    ``task`` and ``queue`` are names. ``error`` is part of the type or text of the error or of
    one of its causes, in any case. ``since`` and ``until`` are moments of death: a datetime
    with a time zone, or a duration ago. ``limit`` is the number of letters, at most.
    """

    task: str | None
    queue: str | None
    error: str | None
    since: Duration | datetime | None
    until: Duration | datetime | None
    limit: int | None
    newest_first: bool


class Changes(Struct, frozen=True, kw_only=True):
    """What a replay does differently; None: as the dead job had it.

    Attributes:
        task: The task to run.
        args: Positional arguments; they, or ``kwargs``, replace all arguments.
        kwargs: Named arguments.
        queue: Where the job goes.
        priority: Its priority.
    """

    task: str | None = None
    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    queue: str | None = None
    priority: str | None = None

    @property
    def has_arguments(self) -> bool:
        """Whether the arguments are replaced."""
        return self.args is not None or self.kwargs is not None


UNCHANGED = Changes()


class ReplayOutcome(StrEnum):
    """What became of a dead letter that was to be replayed."""

    REPLAYED = "replayed"
    REPLAYED_BEFORE = "replayed-before"
    WOULD_REPLAY = "would-replay"
    SKIPPED = "skipped"


class Replayed(Struct, frozen=True):
    """A replay of one dead letter.

    Attributes:
        job_id: The dead job.
        new_job_id: The job that repeats it; empty if it was skipped.
        outcome: What was done.
        task: The task of the new job.
        queue: The queue of the new job.
        reason: Why it was skipped.
    """

    job_id: str
    new_job_id: str
    outcome: ReplayOutcome
    task: str
    queue: str
    reason: str = ""


class Choice:
    """Filters, checked and ready to be asked.

    Raises:
        OptionError: A filter cannot be.
        InvalidNameError: The queue's name lies outside the grammar.
        InvalidDurationError: ``since`` or ``until`` is no duration.
    """

    def __init__(self, filters: Filters, now_ms: int) -> None:
        queue, limit = filters.get("queue"), filters.get("limit")
        if limit is not None and limit < 1:
            option = "limit"
            raise OptionError(option, f"{limit!r} is not a number of at least 1")
        self.queue = None if queue is None else check_queue(queue)
        self.limit = limit
        self._task = filters.get("task")
        self._error = (filters.get("error") or "").lower()
        self._since_ms = _moment("since", filters.get("since"), now_ms)
        self._until_ms = _moment("until", filters.get("until"), now_ms)

    def fits(self, letter: Letter) -> bool:
        """Whether the letter is meant."""
        record = letter.record
        return (
            self._task in (None, record.task)
            and self.queue in (None, record.queue)
            and (self._since_ms is None or record.died_at_ms >= self._since_ms)
            and (self._until_ms is None or record.died_at_ms <= self._until_ms)
            and self._error in "\n".join(_words(record.error)).lower()
        )


def read_letter(entry: Entry) -> Letter:
    """Read a stored message; one that another program wrote becomes a letter that says so."""
    found = entry.headers
    try:
        record = records.read_dead_letter(found.get(headers.DEAD_LETTER, ""))
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        *_, queue, job_id = entry.subject.split(".")
        why = ErrorInfo("mesh.errors.UnreadableRecordError", f"no record of the death: {error}")
        record = DeadLetter(job_id, queue, "", "", why)
    kind = found.get(headers.CONTENT_TYPE, headers.JSON)
    return Letter(record, entry.value, kind, entry.revision)


def shown_body(letter: Letter, body: bytes) -> object:
    """Turn a job's body into what JSON can say; text where it is neither JSON nor msgpack."""
    try:
        if letter.content_type == headers.MSGPACK:
            return msgspec.json.decode(msgspec.json.encode(msgspec.msgpack.decode(body)))
        return msgspec.json.decode(body)
    except (ValueError, TypeError, RecursionError):  # The decoders' own errors are ValueErrors.
        return body.decode("utf-8", "backslashreplace")


def read_job(letter: Letter, body: bytes) -> Envelope | MalformedJobError:
    """Read the dead job, or say why nobody can."""
    try:
        return envelopes.decode(body, letter.content_type)
    except MalformedJobError as error:
        return error


def replay_id(job_id: str, job: Envelope | MeshError) -> str:
    """Name the job that repeats a dead one; always the same, so that a repeat is found.

    ``order-9`` is followed by ``order-9-r1``, and that by ``order-9-r2``.
    """
    stem, number = job_id, 1
    if isinstance(job, Envelope) and REPLAY_OF in job.meta:
        before, mark, count = job_id.rpartition("-r")
        if mark and count.isdecimal() and len(count) < 9:
            stem, number = before, int(count) + 1
    if len(stem) > _LONGEST_STEM:
        stem = f"{stem[:100]}-{hashlib.sha256(stem.encode()).hexdigest()[:16]}"
    return f"{stem}-r{number}"


def renewed(
    letter: Letter, job: Envelope | MeshError, changes: Changes, now_ms: int
) -> Envelope:
    """Make the envelope of the job that repeats a dead one.

    Raises:
        NotReplayableError: The body cannot be had, and the changes do not make up for it.
        MeshError: The new task or arguments cannot be.
    """
    job_id = letter.job_id
    if isinstance(job, MeshError):
        task = changes.task or letter.record.task
        if not task or not changes.has_arguments:
            why = f"{job}. Give a task and arguments for it, or purge it"
            raise NotReplayableError(job_id, why)
        job = Envelope(task)
    if changes.has_arguments:
        task = changes.task or job.task
        call = call_by_name(task, changes.args or (), changes.kwargs or {}, NO_OVERRIDES)
        job = replace(job, args=Raw(call.args), kwargs=Raw(call.kwargs), args_ref=None)
    # Never before the death: by that a replay is told from a job that has its id by chance.
    now_ms = max(now_ms, letter.record.died_at_ms)
    return replace(
        job,
        task=changes.task or job.task,
        meta=job.meta | {REPLAY_OF: job_id},
        enqueued_at_ms=now_ms,
        expires_at_ms=_moved(job, job.expires_at_ms, letter.record.enqueued_at_ms, now_ms),
        deadline_ms=_moved(job, job.deadline_ms, letter.record.enqueued_at_ms, now_ms),
    )


def check_changes(changes: Changes) -> None:
    """Check names once, before the first letter is touched.

    Raises:
        MeshError: A name lies outside the grammar, or the arguments cannot travel.
    """
    if changes.queue is not None:
        check_queue(changes.queue)
    if changes.priority is not None:
        check_priority(changes.priority)
    call_by_name(
        changes.task or "any",
        () if changes.args is None else changes.args,
        {} if changes.kwargs is None else changes.kwargs,
        NO_OVERRIDES,
    )


def _moved(job: Envelope, limit_ms: int | None, enqueued_at_ms: int, now_ms: int) -> int | None:
    """Give the new job as long as the old one had; none if nobody can tell how long."""
    if limit_ms is None:
        return None
    span = limit_ms - (job.enqueued_at_ms or enqueued_at_ms or limit_ms)
    return now_ms + span if span > 0 else None


def _words(error: ErrorInfo | None) -> Iterator[str]:
    while error is not None:
        yield f"{error.type}: {error.message}"
        error = error.cause


def _moment(option: str, value: Duration | datetime | None, now_ms: int) -> int | None:
    if value is None:
        return None
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise OptionError(option, f"{value!r} has no time zone, so nobody can tell when")
        return int(value.timestamp() * 1000)
    return now_ms - int(seconds(value) * 1000)
