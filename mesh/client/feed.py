"""Read the ledger, from any point in time, and follow it live; nothing is missed or doubled.

Following needs no consumer. Whoever listens to the subjects is told at once that something
happened, and reads it from the stream, where the events are in order and survive a reconnect.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

import anyio

from mesh.client import happenings
from mesh.client.client import Client
from mesh.client.happenings import LedgerEvent
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.events import EventKind, LogLine
from mesh.durations import Duration, seconds
from mesh.errors import NotProvisionedError, OptionError
from mesh.identifiers import check_job_id, check_queue
from mesh.transport.buckets import Entry
from mesh.transport.reading import StreamReader

# What is heard is stored a moment later: the first look may come too early, and so may, on a
# busy server, the second.
_LOOKS_S = (0.25, 0.05, 0.01)
_RECHECK_S = 2.0
_AT_ONCE = 500


class Feed:
    """The events of one namespace.

    Args:
        client: A connection.
        clock: The time.
    """

    def __init__(self, client: Client, clock: Clock = SYSTEM_CLOCK) -> None:
        self._client = client
        self._names = client.names
        self._clock = clock
        self._reader = StreamReader(client.connection, client.names.events_stream)

    async def events(
        self,
        patterns: Sequence[str] = (),
        *,
        queue: str | None = None,
        task: str | None = None,
        job: str | None = None,
        since: Duration | datetime | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[LedgerEvent]:
        """Yield events; see ``Mesh.events``."""
        _check(patterns)
        kind = happenings.only_kind(patterns) or "*"
        subject = self._names.event(kind, check_job_id(job) if job else "*")
        queue = check_queue(queue) if queue else queue
        after = await self._start(subject, since, follow=follow)
        entries = self._follow(subject, after) if follow else self._read(subject, after)
        async with aclosing(entries):
            async for entry in entries:
                event = None if entry is None else happenings.read(entry)
                if event is None or not happenings.is_asked_for(event, patterns):
                    continue
                if (not queue or event.queue == queue) and (not task or event.task == task):
                    yield event

    async def history(self, job_id: str) -> list[LedgerEvent]:
        """Read all events of one job in their order; see ``Job.history``."""
        subject = self._names.event("*", job_id)
        found: list[LedgerEvent] = []
        async with aclosing(self._read(subject, 0)) as entries:
            async for entry in entries:
                event = happenings.read(entry)
                if event is not None and event.name not in ("job.log", "job.expiring"):
                    found.append(event)
        if not found:
            await self._client.status(job_id)  # Is there such a job?
        return found

    async def logs(
        self, job_id: str, *, attempt: int | None = None, follow: bool = False
    ) -> AsyncGenerator[LogLine]:
        """Yield the lines that a job logged; see ``Job.logs``."""
        if follow:
            entries = self._until_end(job_id)
        else:
            entries = self._read(self._names.event(EventKind.LOG, job_id), 0)
        is_known = False
        async with aclosing(entries):
            async for entry in entries:
                is_known = True
                event = happenings.read(entry)
                if event is not None and attempt in (None, event.attempt):
                    for line in event.lines:
                        yield line
        if not is_known:
            await self._client.status(job_id)  # Is there such a job?

    async def _until_end(self, job_id: str) -> AsyncGenerator[Entry]:
        """Yield the events of a job until it has ended."""
        await self._client.status(job_id)
        finished = self._names.event(EventKind.FINISHED, job_id)
        has_ended = False
        async with aclosing(self._follow(self._names.event("*", job_id), 0)) as entries:
            async for entry in entries:
                if entry is not None:
                    yield entry
                    has_ended = has_ended or entry.subject == finished
                elif has_ended:  # A look that found no more: the last lines may come after it.
                    return
                else:  # The end of a short-lived record leaves no event for long.
                    has_ended = await self._client.records.is_over(job_id)

    async def _start(
        self, subject: str, since: Duration | datetime | None, *, follow: bool
    ) -> int:
        """Say after which event to begin."""
        self._check_enabled()
        if since is None:
            return await self._reader.last_sequence() if follow else 0
        if not isinstance(since, datetime):
            now = datetime.fromtimestamp(self._clock.now_ms() / 1000, UTC)
            since = now - timedelta(seconds=seconds(since))
        elif since.tzinfo is None:
            option = "since"
            raise OptionError(option, f"{since} has no offset from UTC; give it a time zone")
        return await self._reader.sequence_before(subject, since)

    async def _read(self, subject: str, after: int) -> AsyncGenerator[Entry]:
        self._check_enabled()
        entries = self._reader.oldest_first(subject, after, at_once=_AT_ONCE)
        async with aclosing(entries):
            async for entry in entries:
                yield entry

    async def _follow(self, subject: str, after: int) -> AsyncGenerator[Entry | None]:
        """Yield what is there and what comes; None after each look that found nothing."""
        self._check_enabled()
        bell = asyncio.Event()

        def ring(_subject: bytes, _reply: bytes, _data: bytes, _headers: bytes) -> None:
            bell.set()

        link = self._client.connection.link
        tap = link.tap(subject, ring)
        looks: list[float] = list(_LOOKS_S)
        try:
            while True:
                is_empty = True
                async with aclosing(self._read(subject, after)) as entries:
                    async for entry in entries:
                        after, is_empty = entry.revision, False
                        yield entry
                if is_empty:
                    yield None
                if bell.is_set():
                    bell.clear()
                    looks = list(_LOOKS_S)
                    await anyio.sleep(looks.pop())
                    continue
                with anyio.move_on_after(looks.pop() if looks else _RECHECK_S):
                    await bell.wait()
        finally:
            link.untap(tap)

    def _check_enabled(self) -> None:
        if not self._client.settings.events.enabled:
            message = (
                "events are switched off here, so there is no ledger to read; set "
                "events.enabled and run `mesh setup`"
            )
            raise NotProvisionedError(message)


def _check(patterns: Sequence[str]) -> None:
    unknown = happenings.unmatched(patterns)
    if unknown:
        option = "patterns"
        names = ", ".join(happenings.NAMES)
        raise OptionError(option, f"no event is called {unknown[0]!r}; there are {names}")
