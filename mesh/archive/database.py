"""What the archive needs of a database."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any, Literal, Protocol

from mesh.archive.rows import EventRow, JobRow

Row = tuple[Any, ...]
Kind = Literal["sqlite", "postgres"]


class Database(Protocol):
    """A connection to SQLite or PostgreSQL, used by one thread at a time.

    Statements are written for SQLite, with ``?`` for each value.
    """

    @property
    def kind(self) -> Kind:
        """Which of the two it is."""
        ...

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Read rows.

        Raises:
            ArchiveError: The database refused.
        """
        ...

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change something and say how many rows that were.

        Raises:
            ArchiveError: The database refused.
        """
        ...

    def transaction(self) -> AbstractContextManager[None]:
        """All or nothing of what is done inside; nobody else writes meanwhile in SQLite.

        Raises:
            ArchiveError: It could not be committed, and nothing was done.
        """
        ...

    def add_events(self, events: Sequence[EventRow]) -> None:
        """Store events; those that are there already stay as they are.

        Raises:
            ArchiveError: The database refused.
        """
        ...

    def merge_jobs(self, jobs: Sequence[JobRow]) -> None:
        """Store what is said of jobs; at most one row for each job.

        Raises:
            ArchiveError: The database refused.
        """
        ...

    def close(self) -> None:
        """End the connection; safe to call twice."""
        ...
