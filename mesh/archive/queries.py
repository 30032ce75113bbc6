"""Ask the archive: jobs by page, the life of one job, statistics. No NATS server is needed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Final, Self, TypeVar, Unpack

import anyio
import anyio.to_thread

from mesh.archive.answers import (
    COLUMNS,
    ArchivedEvent,
    ArchivedJob,
    JobPage,
    Statistics,
    job_of,
)
from mesh.archive.opening import open_database
from mesh.archive.schema import check
from mesh.archive.selection import Condition, Selection, Which, after, condition, cursor_of
from mesh.archive.statistics import statistics
from mesh.errors import JobNotFoundError

R = TypeVar("R")

LONGEST_PAGE: Final = 1_000
"""How many jobs one page has at most."""

_MOST_EVENTS = 10_000
_SELECT = f"SELECT {', '.join(COLUMNS)} FROM jobs"


class BlockingArchive:
    """The archive of one namespace, to be read; used by one thread at a time.

    Args:
        url: A path, ``sqlite:PATH``, or ``postgresql://user@host/database``.
        namespace: The namespace.

    Raises:
        ArchiveError: There is no archive, or it is of another version.
    """

    def __init__(self, url: str, namespace: str = "mesh") -> None:
        self._namespace = namespace
        self._database = open_database(url, must_exist=True)
        try:
            check(self._database)
        except BaseException:
            self._database.close()
            raise

    def jobs(
        self, *, limit: int = 100, after: str | None = None, **which: Unpack[Which]
    ) -> JobPage:
        """Read a page of jobs, the newest first.

        Args:
            limit: How many at most, up to 1,000.
            after: The ``next`` of the page before; None: the first page.
            **which: Which jobs; see ``Which``.

        Raises:
            OptionError: ``after`` is no ``next`` of a page.
            ArchiveError: The database refused.
        """
        return self._page(Selection(**which), min(max(1, limit), LONGEST_PAGE), after)

    def each(self, **which: Unpack[Which]) -> Iterator[ArchivedJob]:
        """Read all jobs page by page, the newest first.

        Args:
            **which: Which jobs; see ``Which``.

        Raises:
            ArchiveError: The database refused.
        """
        selection, cursor = Selection(**which), None
        while True:
            page = self._page(selection, LONGEST_PAGE, cursor)
            yield from page.jobs
            cursor = page.next
            if cursor is None:
                return

    def job(self, job_id: str) -> ArchivedJob:
        """Read one job.

        Raises:
            JobNotFoundError: It is not in the archive.
            ArchiveError: The database refused.
        """
        found = self._database.rows(
            f"{_SELECT} WHERE namespace = ? AND id = ?", (self._namespace, job_id)
        )
        if not found:
            raise JobNotFoundError(job_id)
        return job_of(found[0])

    def events(self, job_id: str) -> list[ArchivedEvent]:
        """Read the life of one job, from the oldest event on; at most 10,000.

        Raises:
            ArchiveError: The database refused.
        """
        found = self._database.rows(
            "SELECT at_ms, kind, state, seq, detail FROM events "
            "WHERE job_id = ? AND stream IN (SELECT id FROM streams WHERE namespace = ?) "
            f"ORDER BY stream, seq LIMIT {_MOST_EVENTS}",
            (job_id, self._namespace),
        )
        return [ArchivedEvent(*row) for row in found]

    def statistics(self, **which: Unpack[Which]) -> Statistics:
        """Count jobs and rank their durations.

        Args:
            **which: Which jobs; see ``Which``.

        Raises:
            ArchiveError: The database refused.
        """
        where = condition(self._namespace, Selection(**which))
        return statistics(self._database, self._namespace, where)

    def close(self) -> None:
        """End the connection; safe to call twice."""
        self._database.close()

    def __enter__(self) -> Self:
        """Nothing more to do: the database is open."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection."""
        self.close()

    def _page(self, selection: Selection, limit: int, cursor: str | None) -> JobPage:
        where = condition(self._namespace, selection)
        if cursor is not None:
            below = after(cursor)
            where = Condition(f"{where.sql} AND {below.sql}", where.values + below.values)
        found = self._database.rows(
            f"{_SELECT} WHERE {where.sql} ORDER BY enqueued_ms DESC, id DESC LIMIT ?",
            (*where.values, limit + 1),
        )
        jobs = tuple(job_of(row) for row in found[:limit])
        last = jobs[-1] if len(found) > limit else None
        return JobPage(jobs, cursor_of(last.enqueued_ms, last.id) if last else None)


class Archive:
    """The same for async code: every question is asked in a thread, one at a time.

    ``async with app.archive() as archive: ...``

    Args:
        url: The database.
        namespace: The namespace.
    """

    def __init__(self, url: str, namespace: str = "mesh") -> None:
        self._url = url
        self._namespace = namespace
        self._blocking: BlockingArchive
        self._lock = anyio.Lock()

    async def jobs(
        self, *, limit: int = 100, after: str | None = None, **which: Unpack[Which]
    ) -> JobPage:
        """Read a page of jobs, the newest first; see ``BlockingArchive.jobs``."""
        ask = partial(self._blocking.jobs, limit=limit, after=after, **which)
        return await self._in_thread(ask)

    async def job(self, job_id: str) -> ArchivedJob:
        """Read one job; see ``BlockingArchive.job``."""
        return await self._in_thread(partial(self._blocking.job, job_id))

    async def events(self, job_id: str) -> list[ArchivedEvent]:
        """Read the life of one job; see ``BlockingArchive.events``."""
        return await self._in_thread(partial(self._blocking.events, job_id))

    async def statistics(self, **which: Unpack[Which]) -> Statistics:
        """Count jobs and rank their durations; see ``BlockingArchive.statistics``."""
        return await self._in_thread(partial(self._blocking.statistics, **which))

    async def __aenter__(self) -> Self:
        """Open the database.

        Raises:
            ArchiveError: There is no archive, or it is of another version.
        """
        self._blocking = await anyio.to_thread.run_sync(
            BlockingArchive, self._url, self._namespace
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the connection."""
        self._blocking.close()

    async def _in_thread(self, ask: partial[R]) -> R:
        async with self._lock:
            return await anyio.to_thread.run_sync(ask)
