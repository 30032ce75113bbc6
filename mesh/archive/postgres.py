"""The archive in PostgreSQL, in a schema of its own; batches come in with COPY."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from importlib import import_module
from typing import Any, Literal

from mesh.archive.database import Row
from mesh.archive.rows import EventRow, JobRow, upsert_sql
from mesh.errors import ArchiveError
from mesh.settings.addresses import redact_login

SCHEMA = "mesh_archive"

_CONNECT_LIMIT_S = 10
_ADD_EVENTS = (
    "INSERT INTO events SELECT * FROM new_events ORDER BY stream, seq ON CONFLICT DO NOTHING"
)
# In one order everywhere, so that two archives cannot wait for each other.
_MERGE_JOBS = upsert_sql(
    f"SELECT {', '.join(JobRow._fields)} FROM new_jobs ORDER BY namespace, id"
)


class PostgresDatabase:
    """One connection to a PostgreSQL server.

    Args:
        url: ``postgresql://user:password@host:port/database``, as libpq reads it.

    Raises:
        ArchiveError: It cannot be reached, or psycopg is not installed.
    """

    kind: Literal["postgres"] = "postgres"

    def __init__(self, url: str) -> None:
        try:
            self._driver: Any = import_module("psycopg")
        except ImportError as error:
            msg = (
                "an archive in PostgreSQL needs psycopg: pip install 'natsmesh[postgres]', or "
                "name a file for SQLite"
            )
            raise ArchiveError(msg) from error
        self._shown = redact_login(url)
        self._has_staging = False
        with self._translated("connecting"):
            self._connection: Any = self._driver.connect(
                url,
                autocommit=True,
                connect_timeout=_CONNECT_LIMIT_S,
                application_name="mesh archive",
                options=f"-c search_path={SCHEMA} -c client_min_messages=warning",
            )

    def rows(self, sql: str, values: Sequence[object] = ()) -> list[Row]:
        """Read rows; see ``Database``."""
        with self._translated("reading"):
            found: list[Row] = self._connection.execute(_own(sql), values).fetchall()
            return found

    def execute(self, sql: str, values: Sequence[object] = ()) -> int:
        """Change something; see ``Database``."""
        with self._translated("writing"):
            return int(self._connection.execute(_own(sql), values or None).rowcount)

    @contextmanager
    def transaction(self) -> Generator[None]:
        """All or nothing; see ``Database``."""
        with self._translated("writing"), self._connection.transaction():
            yield

    def add_events(self, events: Sequence[EventRow]) -> None:
        """Store events; see ``Database``."""
        self._copy("events", events, _ADD_EVENTS)

    def merge_jobs(self, jobs: Sequence[JobRow]) -> None:
        """Store what is said of jobs; see ``Database``."""
        self._copy("jobs", jobs, _MERGE_JOBS)

    def close(self) -> None:
        """End the connection."""
        self._connection.close()

    def _copy(self, table: str, rows: Sequence[Row], merge: str) -> None:
        if not self._has_staging:
            for name in ("events", "jobs"):
                self.execute(
                    f"CREATE TEMP TABLE IF NOT EXISTS new_{name} (LIKE {name} INCLUDING "
                    "DEFAULTS) ON COMMIT DELETE ROWS"
                )
            self._has_staging = True
        with self._translated(f"writing {table}"), self._connection.cursor() as cursor:
            with cursor.copy(f"COPY new_{table} FROM STDIN") as copy:
                for row in rows:
                    copy.write_row(row)
            cursor.execute(merge)

    @contextmanager
    def _translated(self, what: str) -> Generator[None]:
        try:
            yield
        except self._driver.Error as error:
            msg = f"the archive {self._shown} failed while {what}: {str(error).strip()}"
            raise ArchiveError(msg) from error


def _own(sql: str) -> str:
    return sql.replace("?", "%s")
