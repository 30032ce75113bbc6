"""Open the database that an address means."""

from __future__ import annotations

from pathlib import Path

from mesh.archive.database import Database
from mesh.archive.postgres import PostgresDatabase
from mesh.archive.sqlite import SqliteDatabase
from mesh.errors import ArchiveError
from mesh.settings.addresses import redact_login


def open_database(url: str, *, must_exist: bool = False) -> Database:
    """Connect.

    Args:
        url: A path, ``sqlite:PATH``, or ``postgresql://user@host/database``.
        must_exist: Refuse to begin a new SQLite file.

    Raises:
        ArchiveError: It cannot be opened, or what is needed for it is not installed.
    """
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresDatabase(url)
    path = sqlite_path(url)
    if must_exist and not path.exists():
        msg = f"there is no archive at {path}; fill one with `mesh archive`, or name it"
        raise ArchiveError(msg)
    return SqliteDatabase(path)


def sqlite_path(url: str) -> Path:
    """The file that an address means.

    Raises:
        ArchiveError: It is the address of something else.
    """
    if url.startswith("sqlite:"):
        rest = url.removeprefix("sqlite:")
        return Path(rest.removeprefix("//") or ".mesh/archive.db").expanduser()
    if "://" in url:
        msg = (
            f"{redact_login(url)} is no address of an archive; give a path, sqlite:PATH or "
            "postgresql://user@host/database"
        )
        raise ArchiveError(msg)
    return Path(url).expanduser()
