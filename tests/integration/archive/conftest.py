"""A PostgreSQL server for the tests of the archive."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.postgres import postgres_server

from mesh.archive.opening import open_database


@pytest.fixture(scope="module")
def postgres() -> Iterator[str]:
    """The address of a server that runs for the tests of one file."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def empty_postgres(postgres: str) -> str:
    """The same, without an archive in it."""
    database = open_database(postgres)
    database.execute("DROP SCHEMA IF EXISTS mesh_archive CASCADE")
    database.close()
    return postgres
