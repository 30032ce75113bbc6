"""The tables of the archive, and the numbered steps that lead from each version to the next."""

from __future__ import annotations

import secrets
from typing import Final

from msgspec import Struct

from mesh.archive.database import Database
from mesh.archive.rows import JobRow
from mesh.errors import ArchiveError

_TEXTS: Final = frozenset(
    {
        "namespace",
        "id",
        "state",
        "task",
        "queue",
        "priority",
        "tags",
        "worker",
        "error_type",
        "error_message",
        "reason",
    }
)
_JOB_COLUMNS = ", ".join(
    f"{name} {'TEXT' if name in _TEXTS else 'BIGINT'} NOT NULL" for name in JobRow._fields
)

MIGRATIONS: Final[tuple[tuple[str, ...], ...]] = (
    (
        # A stream that was created anew is another one, with sequences of its own.
        (
            "CREATE TABLE streams (id {serial}, namespace TEXT NOT NULL, name TEXT NOT NULL, "
            "created TEXT NOT NULL, highest BIGINT NOT NULL, complete_to BIGINT NOT NULL, "
            "UNIQUE (namespace, name, created))"
        ),
        (
            "CREATE TABLE events (stream BIGINT NOT NULL, seq BIGINT NOT NULL, "
            "at_ms BIGINT NOT NULL, kind TEXT NOT NULL, job_id TEXT NOT NULL, "
            "state TEXT NOT NULL, detail TEXT, PRIMARY KEY (stream, seq)){without_rowid}"
        ),
        "CREATE INDEX events_of_job ON events (job_id)",
        f"CREATE TABLE jobs ({_JOB_COLUMNS}, PRIMARY KEY (namespace, id)){{without_rowid}}",
        "CREATE INDEX jobs_by_time ON jobs (enqueued_ms, id)",
        # Most jobs succeed, and nobody looks for them by their state.
        "CREATE INDEX jobs_not_well ON jobs (state, enqueued_ms) WHERE state <> 'succeeded'",
    ),
)
"""Step n leads from version n to version n + 1."""

VERSION: Final = len(MIGRATIONS)

_WORDS: Final = {
    "sqlite": {"serial": "INTEGER PRIMARY KEY", "without_rowid": " WITHOUT ROWID"},
    # Texts compare as their bytes, as they do in SQLite and in Python.
    "postgres": {
        "serial": "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
        "without_rowid": "",
    },
}
_LOCK = 0x6D657368  # "mesh"


class Migration(Struct, frozen=True):
    """What bringing an archive up to date came to.

    Attributes:
        before: The version it had; 0: it was empty.
        after: The version it has.
    """

    before: int
    after: int


def migrate(database: Database) -> Migration:
    """Bring a database to this version, all steps in one transaction.

    Raises:
        ArchiveError: It is of a newer version than this program, or refused.
    """
    if database.kind == "postgres":
        # Of two that begin at once, one waits here.
        database.execute(f"SELECT pg_advisory_lock({_LOCK})")
    try:
        with database.transaction():
            if database.kind == "postgres":
                database.execute("CREATE SCHEMA IF NOT EXISTS mesh_archive")
            database.execute(
                "CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL)"
            )
            before = _version(database)
            _refuse_newer(before)
            for step in MIGRATIONS[before:]:
                for statement in step:
                    database.execute(_own(statement, database))
            _note(database, "version", str(VERSION))
            if not before:
                _note(database, "archive", secrets.token_hex(8))
    finally:
        if database.kind == "postgres":
            database.execute(f"SELECT pg_advisory_unlock({_LOCK})")
    return Migration(before, VERSION)


def check(database: Database) -> None:
    """Make sure that a database is an archive of this version; changes nothing.

    Raises:
        ArchiveError: It is no archive, or one of another version.
    """
    version = _version(database) if _has_about(database) else 0
    _refuse_newer(version)
    if not version:
        msg = "the database is no archive of mesh yet; fill it with `mesh archive`"
        raise ArchiveError(msg)
    if version < VERSION:
        msg = (
            f"the archive has version {version} and this mesh reads {VERSION}; "
            "run `mesh archive migrate`"
        )
        raise ArchiveError(msg)


def archive_id(database: Database) -> str:
    """The name that the archive gave itself when it was new."""
    return str(database.rows("SELECT value FROM about WHERE name = ?", ("archive",))[0][0])


def _has_about(database: Database) -> bool:
    if database.kind == "postgres":
        return database.rows("SELECT to_regclass('mesh_archive.about')")[0][0] is not None
    question = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'about'"
    return bool(database.rows(question))


def _version(database: Database) -> int:
    found = database.rows("SELECT value FROM about WHERE name = ?", ("version",))
    return int(found[0][0]) if found else 0


def _refuse_newer(version: int) -> None:
    if version > VERSION:
        msg = (
            f"the archive has version {version}, and this mesh knows versions up to {VERSION}; "
            "use the mesh that wrote it, or a newer one"
        )
        raise ArchiveError(msg)


def _note(database: Database, name: str, value: str) -> None:
    database.execute(
        "INSERT INTO about (name, value) VALUES (?, ?) "
        "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
        (name, value),
    )


def _own(statement: str, database: Database) -> str:
    words = _WORDS[database.kind]
    for word, value in words.items():
        statement = statement.replace(f"{{{word}}}", value)
    if database.kind == "postgres":
        statement = statement.replace(" TEXT", ' TEXT COLLATE "C"')
    return statement
