"""The archive in a file of SQLite: write-ahead log, one transaction for each batch."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from mesh.archive.database import Row
from mesh.archive.rows import EventRow, JobRow, upsert_sql
from mesh.errors import ArchiveError

_BUSY_S = 30.0
_TRIES = 300
_CACHE_KIB = 64 * 1024
# With NORMAL a power cut may take the newest transactions with it, never the file. The archive
# then reads them again from the ledger.
_PRAGMAS = (
    "PRAGMA page_size = 8192",
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = NORMAL",
    f"PRAGMA cache_size = -{_CACHE_KIB}",
    "PRAGMA temp_store = MEMORY",
    "PRAGMA case_sensitive_like = ON",  # As in PostgreSQL.
    "PRAGMA wal_autocheckpoint = 4000",
)


def _marks(names: Sequence[str]) -> str:
    return f"VALUES ({', '.join('?' * len(names))})"


_ADD_EVENT = f"INSERT OR IGNORE INTO events {_marks(EventRow._fields)}"
_MERGE_JOB = upsert_sql(_marks(JobRow._fields))


class SqliteDatabase:
    """One connection to a file.

    Args:
        path: The file; it is made with its folder if need be.

    Raises:
        ArchiveError: It cannot be opened, or is no database.
    """

    kind: Literal["sqlite"] = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._translated("opening it"):
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                msg = f"the folder of the archive {path} cannot be made: {error}"
                raise ArchiveError(msg) from error
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_S, isolation_level=None, check_same_thread=False
            )
            try:
                self._set_up()
            except BaseException:
                self._connection.close()
                raise

    def _set_up(self) -> None:
        pause = threading.Event()
        for pragma in _PRAGMAS:
            # Two that open a new file at once: SQLite waits for no lock to change the journal.
            for _ in range(_TRIES):
                try:
                    self._connection.execute(pragma)
                    break
                except sqlite3.OperationalError as error:
                    if "locked" not in str(error):
                        raise
                    pause.wait(_BUSY_S / _TRIES)
            else:
                self._connection.execute(pragma)

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Read rows; see ``Database``."""
        with self._translated("reading"):
            return self._connection.execute(sql, values).fetchall()

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change something; see ``Database``."""
        with self._translated("writing"):
            return self._connection.execute(sql, values).rowcount

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; see ``Database``."""
        with self._translated("writing"):
            self._connection.execute("BEGIN IMMEDIATE")
        try:
            yield
            with self._translated("committing"):
                self._connection.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    def add_events(self, events: Sequence[EventRow]) -> None:
        """Store events; see ``Database``."""
        with self._translated("writing events"):
            self._connection.executemany(_ADD_EVENT, events)

    def merge_jobs(self, jobs: Sequence[JobRow]) -> None:
        """Store what is said of jobs; see ``Database``."""
        with self._translated("writing jobs"):
            self._connection.executemany(_MERGE_JOB, jobs)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    @contextmanager
    def _translated(self, what: str) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            msg = f"the archive {self._path} failed while {what}: {error}"
            raise ArchiveError(msg) from error
