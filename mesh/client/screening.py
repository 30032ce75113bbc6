"""The first look over a namespace: quick, page by page, and content with suspecting jobs.

What it suspects may be all right: a job may have moved while it was looked for. It does not
matter, for every suspect is looked at closely afterwards. What it must not do is to overlook.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import aclosing

from mesh.client.client import Client
from mesh.client.findings import Finding, Kind
from mesh.client.inventory import Lanes, passed
from mesh.client.ledger import Ledger, is_job_id
from mesh.client.pending import IdSet
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import PRIORITIES
from mesh.contract.subjects import consumer_name, kv_stream
from mesh.errors import InvalidNameError
from mesh.identifiers import check_queue
from mesh.transport.buckets import Shelf
from mesh.transport.reading import StreamReader

MOST_SUSPECTS = 10_000
_PAGE = 500
_MOST_OPEN = 200_000

Tell = Callable[[str, int], None]
"""Receives what is being looked at, and how much of it was since the last call."""


class Suspects:
    """What the first look found.

    Attributes:
        jobs: The jobs that must be looked at closely, in the order in which they were found.
        findings: What is wrong apart from single jobs.
        pending: The jobs that have a message.
        dead: The jobs that have a dead letter.
        is_partial: Whether there are more suspects than one run looks into.
        looked_at: How much was looked at.
    """

    def __init__(self) -> None:
        self.jobs: dict[str, None] = {}
        self.findings: list[Finding] = []
        self.pending = IdSet()
        self.dead = IdSet()
        self.is_partial = False
        self.looked_at = 0

    def add(self, job_id: str) -> None:
        """Suspect a job."""
        if len(self.jobs) < MOST_SUSPECTS:
            self.jobs[job_id] = None
        elif job_id not in self.jobs:
            self.is_partial = True


class Screening:
    """One look over everything.

    Args:
        client: A connection.
        lanes: The lanes, read before: what they have passed by they had passed by then.
        has_ledger: Whether there are events to read.
        tell: Told how it goes on.
    """

    def __init__(self, client: Client, lanes: Lanes, *, has_ledger: bool, tell: Tell) -> None:
        self._names = client.names
        self._connection = client.connection
        self._lanes = lanes
        self._has_ledger = has_ledger
        self._tell = tell
        self._found = Suspects()
        self._results = self._reader(kv_stream(self._names.results_bucket))

    async def run(self) -> Suspects:
        """Look at all streams once.

        Raises:
            BrokerError: Something could not be read.
        """
        await self._read_queues()
        await self._read_delayed()
        await self._name_doubles()
        await self._read_stranded()
        await self._read_dead()
        await self._read_progress()
        if self._has_ledger:
            await self._read_ledger()
        return self._found

    async def _read_queues(self) -> None:
        """List the job stream by names alone: lanes without consumer, ended jobs, doubles."""
        unserved: dict[tuple[str, str], int] = {}
        unroutable: dict[str, int] = {}
        async for page in self._names_in(self._names.jobs_stream, ">", "queues"):
            ids: list[str] = []
            for subject, count in page:
                *_, queue, priority, job_id = subject.split(".")
                if not _is_queue(queue):
                    unroutable[subject] = count
                    continue
                if consumer_name(queue, priority) not in self._lanes.states:
                    unserved[queue, priority] = unserved.get((queue, priority), 0) + count
                if not is_job_id(job_id):
                    continue  # A worker says so in its dead letter.
                ids.append(job_id)
                self._found.pending.add(job_id)
                if count > 1:
                    self._found.add(job_id)
            await self._suspect_ended(ids)
        self._found.findings += [
            Finding(kind=Kind.UNROUTABLE, name=subject, detail=f"{count:,} message(s)")
            for subject, count in unroutable.items()
        ]
        self._found.findings += [
            Finding(
                kind=Kind.UNSERVED,
                name=consumer_name(queue, priority),
                detail=f"{unserved.get((queue, priority), 0):,} job(s) wait",
            )
            for queue, priority in self._without_consumer(unserved)
        ]

    def _without_consumer(self, unserved: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        every = {(queue, str(p)) for queue in self._lanes.queues for p in PRIORITIES}
        missing = {lane for lane in every if consumer_name(*lane) not in self._lanes.states}
        return sorted(missing | set(unserved))

    async def _read_delayed(self) -> None:
        pending, held = self._found.pending, self._names.delayed("")
        async for page in self._names_in(self._names.delayed_stream, ">", "delayed jobs"):
            waiting = [_last_token(one) for one, _ in page if one.startswith(held)]
            due = [_last_token(one) for one, _ in page if not one.startswith(held)]
            # One that is due may lie in its queue already: that is no double.
            for job_id in waiting + [one for one in due if one not in pending]:
                pending.add(job_id)
            await self._suspect_ended([*waiting, *due])

    async def _suspect_ended(self, job_ids: list[str]) -> None:
        """Suspect the jobs of some messages that have a terminal record."""
        found = await self._results.last_of([self._names.result(one) for one in job_ids])
        for entry in found:
            self._found.add(_last_token(entry.subject))

    async def _name_doubles(self) -> None:
        """List the messages once more if there are two of one job somewhere."""
        twice = self._found.pending.twice()
        if not twice:
            return
        async for page in self._names_in(self._names.jobs_stream, ">", "doubles"):
            for subject, _ in page:
                if hash(_last_token(subject)) in twice:
                    self._found.add(_last_token(subject))

    async def _read_stranded(self) -> None:
        """Suspect what lies in a lane where its consumer has passed by."""
        jobs = self._reader(self._names.jobs_stream)
        shelf = Shelf(self._connection, self._names.jobs_stream)
        for state in self._lanes.states.values():
            lane, end = self._names.lane(state.queue, state.priority), passed(state)
            first = await shelf.next(lane, 1) if end else None
            if first is None or first.revision > end:
                continue  # As it should be.
            async with aclosing(jobs.oldest_first(lane, first.revision - 1)) as entries:
                async for entry in entries:
                    if entry.revision > end or self._found.is_partial:
                        break
                    self._found.add(_last_token(entry.subject))

    async def _read_dead(self) -> None:
        subjects = self._names.dead("*", "*")
        async for page in self._names_in(self._names.dead_stream, subjects, "dead letters"):
            for subject, _ in page:
                self._found.dead.add(_last_token(subject))

    async def _read_progress(self) -> None:
        stream, subjects = kv_stream(self._names.progress_bucket), self._names.progress("*")
        async for page in self._names_in(stream, subjects, "running records"):
            for subject, _ in page:
                job_id = _last_token(subject)
                if job_id not in self._found.pending:
                    self._found.add(job_id)

    async def _read_ledger(self) -> None:
        """Suspect jobs that began and did not end, or failed and were not buried."""
        reader = self._reader(self._names.events_stream)
        ledger = Ledger(self._found.pending)
        subjects, read = self._names.event("*", "*"), 0
        async with aclosing(reader.oldest_first(subjects, at_once=_PAGE)) as entries:
            async for entry in entries:
                ledger.take(entry)
                read += 1
                if read % _PAGE == 0:
                    self._count("ledger", _PAGE)
                if len(ledger.is_open) > _MOST_OPEN:
                    await self._look_ahead(reader, ledger.pop_oldest(_PAGE))
        self._count("ledger", read % _PAGE)
        for job_id in ledger.is_open:
            self._found.add(job_id)
        for job_id in ledger.failed:
            if job_id not in self._found.dead:
                self._found.add(job_id)

    async def _look_ahead(self, reader: StreamReader, job_ids: list[str]) -> None:
        """Bound the memory: find the ends of some jobs before they are come to."""
        ends = [self._names.event(EventKind.FINISHED, job_id) for job_id in job_ids]
        ended = {_last_token(entry.subject) for entry in await reader.last_of(ends)}
        for job_id in job_ids:
            if job_id not in ended:
                self._found.add(job_id)

    async def _names_in(
        self, stream: str, subject: str, what: str
    ) -> AsyncIterator[list[tuple[str, int]]]:
        """Yield subjects and their numbers of messages, some hundred at a time."""
        page: list[tuple[str, int]] = []
        async with aclosing(self._reader(stream).subjects(subject)) as found:
            async for name, count in found:
                page.append((name, count))
                if len(page) == _PAGE:
                    yield page
                    self._count(what, len(page))
                    page = []
        yield page
        self._count(what, len(page))

    def _count(self, what: str, count: int) -> None:
        self._found.looked_at += count
        self._tell(what, count)

    def _reader(self, stream: str) -> StreamReader:
        return StreamReader(self._connection, stream)


def _last_token(subject: str) -> str:
    return subject[subject.rfind(".") + 1 :]


def _is_queue(text: str) -> bool:
    try:
        check_queue(text)
    except InvalidNameError:
        return False
    return True
