"""Read what the ledger's messages say, and turn it into rows; without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from mesh.archive.rows import ENDED, EventRow, JobRow, merge
from mesh.contract import headers
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.transport import frames
from mesh.transport.puller import Delivery

LONGEST_MESSAGE: Final = 4000
"""How many characters of an error's message are kept."""

FINISHED_AHEAD_MS: Final = 1000
"""The end of a job stands above what the ledger hears within this time after it: the job and
its end are announced by two streams, and the later may come first."""

_PLACES = 1 << 20

_STATES: Final[Mapping[str, str]] = {
    EventKind.ENQUEUED.value: State.PENDING.value,
    EventKind.RETRYING.value: State.RETRYING.value,
    EventKind.EXPIRING.value: ENDED,
    EventKind.DEAD.value: State.FAILED.value,
    # These two are for ledgers whose workers tell of each start.
    "scheduled": State.SCHEDULED.value,
    "started": State.RUNNING.value,
}
"""Which state an event leaves its job in; an event that is not here changes none."""


class _Error(Struct, frozen=True):
    """Of a failure only what is kept."""

    type: str = ""
    message: str = ""


class Record(Struct, frozen=True):
    """Of a terminal record only what is kept: not the result."""

    queue: str = ""
    priority: str = ""
    task: str = ""
    attempt: int = 1  # As the contract has it: 0 says that it never started.
    worker: str = ""
    enqueued_at_ms: int = 0
    started_at_ms: int = 0
    finished_at_ms: int = 0
    error: _Error | None = None
    reason: str = ""


class _Told(Struct, frozen=True):
    """Of a worker's own event only what is kept."""

    task: str = ""
    queue: str = ""
    priority: str = ""
    attempt: int = 0
    worker: str = ""
    message: str = ""


class _Body(Struct, frozen=True):
    """Of a job only its tags."""

    tags: tuple[str, ...] = ()


_read_record = msgspec.json.Decoder(Record).decode
_read_told = msgspec.json.Decoder(_Told).decode
_read_body = msgspec.json.Decoder(_Body).decode


class Happening(NamedTuple):
    """One message of the ledger, taken apart.

    Attributes:
        seq: Its sequence in the ledger.
        at_ms: When the ledger stored it.
        kind: What happened.
        job_id: To which job.
        block: Its headers.
        body: Its body, mostly empty.
        record_at: For ``finished``: the sequence of the record that is announced; else 0.
    """

    seq: int
    at_ms: int
    kind: str
    job_id: str
    block: bytes
    body: bytes
    record_at: int


class Batch(NamedTuple):
    """What is written in one transaction.

    Attributes:
        events: The events.
        jobs: What they say of their jobs, one row for each.
        highest: The highest sequence among the events.
    """

    events: list[EventRow]
    jobs: list[JobRow]
    highest: int


def take_apart(delivery: Delivery) -> Happening:
    """Read the subject of an event and the place where the ledger keeps it."""
    # $JS.ACK.[...]<stream>.<consumer>.<deliveries>.<sequence>.<delivery>.<time>.<pending>
    _, seq, _, stored_ns, _ = delivery.reply.rsplit(b".", 5)[1:]
    _, kind, job_id = delivery.subject.decode("utf-8", "replace").rsplit(".", 2)
    block = delivery.headers
    record_at = 0
    if kind == "finished":
        record_at = _number(frames.last_header(block, headers.ORIGIN_SEQUENCE))
    at_ms = int(stored_ns) // 1_000_000
    return Happening(int(seq), at_ms, kind, job_id, block, delivery.data, record_at)


def read_record(body: bytes) -> Record | None:
    """Read a terminal record; None if some other program wrote it and it is none."""
    try:
        return _read_record(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def to_batch(
    stream: int,
    namespace: str,
    happenings: Sequence[Happening],
    records: Mapping[int, Record],
) -> Batch:
    """Turn events into rows.

    Args:
        stream: The ledger's number in the archive.
        namespace: The namespace of the jobs.
        happenings: The events.
        records: The records that ``finished`` events announce, by their sequence.
    """
    events: list[EventRow] = []
    jobs: dict[str, JobRow] = {}
    for one in happenings:
        state = ""
        if one.kind == "finished":
            state = plain(frames.last_header(one.block, headers.STATE))
            row: JobRow | None = _finished(namespace, one, state, records.get(one.record_at))
        else:
            row = _on_the_way(namespace, one)
        # A job that was announced with its body has it in the queue, and perhaps secrets in it.
        has_detail = one.body and one.kind not in ("enqueued", "finished")
        detail = plain(one.body.decode("utf-8", "replace")) if has_detail else None
        events.append(EventRow(stream, one.seq, one.at_ms, one.kind, one.job_id, state, detail))
        if row is not None:
            known = jobs.get(one.job_id)
            jobs[one.job_id] = row if known is None else merge(known, row)
    return Batch(events, list(jobs.values()), max((one.seq for one in happenings), default=0))


def plain(text: str) -> str:
    """The text without the one character that PostgreSQL cannot store."""
    return text.replace("\0", "\ufffd") if "\0" in text else text


def _finished(namespace: str, one: Happening, state: str, record: Record | None) -> JobRow:
    at_ms = one.at_ms
    rank = _rank(at_ms + FINISHED_AHEAD_MS, one.seq)
    if record is None and one.body:
        record = read_record(one.body)
    if record is None:  # It has passed its time to live: the headers say how it ended.
        task = plain(frames.last_header(one.block, headers.TASK))
        return JobRow(
            namespace,
            one.job_id,
            state or ENDED,
            task,
            finished_ms=at_ms,
            changed_ms=at_ms,
            rank=rank,
        )
    started_ms, finished_ms = record.started_at_ms, record.finished_at_ms or at_ms
    error = record.error
    return JobRow(
        namespace,
        one.job_id,
        state or ENDED,
        plain(record.task),
        plain(record.queue),
        plain(record.priority),
        "",
        record.enqueued_at_ms,
        started_ms,
        finished_ms,
        max(0, finished_ms - started_ms) if started_ms else 0,
        record.attempt,
        plain(record.worker),
        plain(error.type) if error else "",
        plain(error.message[:LONGEST_MESSAGE]) if error else "",
        plain(record.reason),
        at_ms,
        record.enqueued_at_ms,
        0,
        0,
        rank,
    )


def _on_the_way(namespace: str, one: Happening) -> JobRow | None:
    """Read an event that ends no job; None if it says nothing of a job's state."""
    state = _STATES.get(one.kind)
    if state is None:
        return None
    if one.kind == "enqueued":
        return _enqueued(namespace, one)
    try:
        told = _read_told(one.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    kind, _, message = told.message.partition(": ")
    is_dead = one.kind == "dead"
    return JobRow(
        namespace,
        one.job_id,
        state,
        plain(told.task),
        plain(told.queue),
        plain(told.priority),
        attempts=told.attempt,
        worker=plain(told.worker),
        error_type=plain(kind),
        error_message=plain(message[:LONGEST_MESSAGE]),
        changed_ms=one.at_ms,
        died_ms=one.at_ms if is_dead else 0,
        # A dead letter is stored after the record, perhaps long after: it is no newer state.
        rank=_rank(0 if is_dead else one.at_ms, one.seq),
    )


def _enqueued(namespace: str, one: Happening) -> JobRow:
    block = one.block
    *_, queue, priority, _ = ("..." + frames.last_header(block, headers.ORIGIN)).rsplit(".", 3)
    attempt = _number(frames.last_header(block, headers.ATTEMPT))
    ready_ms = one.at_ms if attempt <= 1 else 0
    return JobRow(
        namespace,
        one.job_id,
        State.PENDING.value,
        plain(frames.last_header(block, headers.TASK)),
        plain(queue),
        plain(priority),
        _tags(one.body),
        ready_ms,
        changed_ms=one.at_ms,
        ready_ms=ready_ms,
        rank=_rank(one.at_ms, one.seq),
    )


def _tags(body: bytes) -> str:
    """The tags of a job whose body the ledger keeps."""
    if not body:
        return ""
    try:
        return join_tags(_read_body(body).tags)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""


def join_tags(tags: Iterable[str]) -> str:
    """Tags as they are stored, each between line breaks; empty if there are none."""
    joined = "\n".join(plain(tag).replace("\n", " ") for tag in tags)
    return f"\n{joined}\n" if joined else ""


def _rank(at_ms: int, seq: int) -> int:
    """Order events by time, and within a millisecond by their place in the ledger."""
    return at_ms * _PLACES + seq % _PLACES


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
