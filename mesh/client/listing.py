"""List jobs, the newest first, wherever they are: queues, delays, running records, ends."""

from __future__ import annotations

import heapq
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from mesh.client.client import Client
from mesh.client.lanes import read_time
from mesh.client.ledger import is_job_id
from mesh.client.status import JobStatus, ended, pending, scheduled, under_way
from mesh.contract import headers, records
from mesh.contract.lifecycle import State
from mesh.contract.subjects import kv_stream
from mesh.errors import OptionError
from mesh.identifiers import check_queue
from mesh.transport import frames
from mesh.transport.buckets import Entry
from mesh.transport.reading import StreamReader

Read = Callable[[str, Entry], JobStatus | None]
"""Makes a message into what it says of its job."""


class _Seen(NamedTuple):
    """What a place says of a job, and since when."""

    at_ms: int
    status: JobStatus


async def find_jobs(
    client: Client,
    *,
    state: State | str | None = None,
    queue: str | None = None,
    task: str | None = None,
    limit: int = 50,
) -> AsyncGenerator[JobStatus]:
    """Yield jobs, those of which something was stored last first; see ``Mesh.find_jobs``."""
    wanted = _state(state)
    queue = check_queue(queue) if queue else None
    found = 0
    known: set[str] = set()
    async with aclosing(_newest_first(_sources(client, wanted, queue))) as merged:
        async for status in merged:
            # A job may be in several places; what was stored last is the truth about it.
            if status.job_id in known or not is_job_id(status.job_id):
                continue
            known.add(status.job_id)
            if (
                wanted in (None, status.state)
                and (queue is None or status.queue == queue)
                and (task is None or status.task == task)
            ):
                yield status
                found += 1
                if limit and found >= limit:
                    return


def _state(name: State | str | None) -> State | None:
    try:
        return None if name is None else State(name)
    except ValueError:
        option = "state"
        why = f"{name!r} is none of {', '.join(State)}"
        raise OptionError(option, why) from None


def _sources(
    client: Client, state: State | None, queue: str | None
) -> list[AsyncGenerator[_Seen]]:
    """Where jobs of a state may be, and what says of them that they are no longer so."""
    names, connection = client.names, client.connection
    ready = names.lane(queue or "*", "*"), names.due(queue or "*", "*", "*")
    places: tuple[tuple[str, str, Read, tuple[State, ...]], ...] = (
        (names.jobs_stream, ready[0], _ready, (State.PENDING, State.RETRYING)),
        (names.delayed_stream, ready[1], _ready, (State.PENDING, State.RETRYING)),
        (names.delayed_stream, names.delayed("*"), _held, (State.SCHEDULED, State.RETRYING)),
        (
            kv_stream(names.progress_bucket),
            names.progress("*"),
            _running,
            (State.PENDING, State.RUNNING, State.RETRYING),
        ),
        (
            kv_stream(names.results_bucket),
            names.result("*"),
            _ended,
            tuple(each for each in State if each.is_terminal),
        ),
    )
    return [
        _seen(StreamReader(connection, stream), subject, read, state)
        for stream, subject, read, states in places
        if state is None or state in states
    ]


async def _seen(
    reader: StreamReader, subject: str, read: Read, state: State | None
) -> AsyncGenerator[_Seen]:
    async with aclosing(reader.newest_first(subject)) as entries:
        async for entry in entries:
            if state is not None and state.is_terminal:
                told = frames.last_header(entry.block, headers.STATE)
                if told and told != state:  # Not worth decoding.
                    continue
            try:
                status = read(entry.subject.rsplit(".", 1)[-1], entry)
            except (msgspec.DecodeError, ValueError):  # Some other program wrote it.
                continue
            if status is not None:
                at_ms = read_time(frames.last_header(entry.block, headers.STORED_AT))
                yield _Seen(at_ms, status)


async def _newest_first(sources: list[AsyncGenerator[_Seen]]) -> AsyncGenerator[JobStatus]:
    heap: list[tuple[int, int, JobStatus]] = []

    empty = list(range(len(sources)))
    try:
        while True:
            for place in empty:
                seen = await anext(sources[place], None)
                if seen is not None:
                    heapq.heappush(heap, (-seen.at_ms, place, seen.status))
            if not heap:
                return
            _, place, status = heapq.heappop(heap)
            empty = [place]
            yield status
    finally:
        for source in sources:
            await source.aclose()


def _ready(job_id: str, entry: Entry) -> JobStatus:
    stored_ms = read_time(frames.last_header(entry.block, headers.STORED_AT))
    return _later(replace(pending(job_id, entry), enqueued_at_ms=stored_ms), entry)


def _held(job_id: str, entry: Entry) -> JobStatus:
    return _later(scheduled(job_id, entry), entry)


def _later(status: JobStatus, entry: Entry) -> JobStatus:
    """A copy for a later attempt says so: the job waits for its retry."""
    attempt = entry.headers.get(headers.ATTEMPT, "")
    if not attempt.isdecimal():
        return status
    number = max(0, int(attempt[:9]) - 1)
    return replace(status, state=State.RETRYING, attempt=number, enqueued_at_ms=0)


def _running(job_id: str, entry: Entry) -> JobStatus:
    return under_way(job_id, records.read_progress(entry.value))


def _ended(job_id: str, entry: Entry) -> JobStatus:
    return ended(job_id, records.read_result(entry.value))
