"""The archive in a real PostgreSQL server does what it does in SQLite."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.archives import NOON_MS, event, filled, job, rows

from mesh.archive.opening import open_database
from mesh.archive.queries import BlockingArchive
from mesh.archive.rows import JobRow
from mesh.archive.schema import VERSION, check, migrate
from mesh.archive.store import Keep, Store
from mesh.errors import ArchiveError

pytestmark = pytest.mark.timeout(120)

DAY_MS = 86_400_000


def test_both_databases_hold_the_same(empty_postgres: str, tmp_path: Path) -> None:
    """The same batches, some of them twice and in another order, end in the same rows."""
    sqlite = str(tmp_path / "a.db")
    early = job("a", "pending", ready_ms=NOON_MS, told_ms=0, rank=1, tags="\nvip\n")
    late = job("a", "failed", error_type="E", error_message='"quoted"\t\\N\n☃', rank=2)
    dead = JobRow("shop", "a", "failed", died_ms=NOON_MS + 9)
    for url in (sqlite, empty_postgres):
        for one in (late, early, dead, early, late):
            filled(url, one, job("b"), events=(event(1, "log", "a"), event(2, "log", "b")))

    for sql in (
        "SELECT * FROM events ORDER BY seq",
        "SELECT * FROM jobs ORDER BY id",
        "SELECT * FROM streams ORDER BY id",
    ):
        assert rows(empty_postgres, sql) == rows(sqlite, sql)


def test_it_answers_the_same_questions(empty_postgres: str) -> None:
    """Filters, pages, events and statistics."""
    filled(
        empty_postgres,
        job("a1", tags="\nvip\n"),
        job("a_2", "failed", error_type="app.BadAddress", error_message="100% x_y"),
        job("b1", task="bill", enqueued_ms=NOON_MS + 5),
        events=(event(1, "enqueued", "a1"),),
    )
    with BlockingArchive(empty_postgres, "shop") as archive:
        first = archive.jobs(limit=2)
        second = archive.jobs(limit=2, after=first.next)
        found = archive.statistics(since_ms=NOON_MS)
        failed = archive.jobs(error="badADDRESS", id_prefix="a_").jobs
        tagged = archive.jobs(tag="vip", state="succeeded").jobs
        events = archive.events("a1")

    assert [one.id for one in (*first.jobs, *second.jobs)] == ["b1", "a_2", "a1"]
    assert [one.id for one in failed] == ["a_2"]
    assert [one.id for one in tagged] == ["a1"]
    assert [one.kind for one in events] == ["enqueued"]
    assert (found.jobs, found.failures) == (3, {"app.BadAddress": 1})
    assert found.durations[0].p99_ms == 100
    assert found.hours[0].succeeded == 2


def test_what_is_old_goes(empty_postgres: str) -> None:
    """Jobs and events, some thousand at a time."""
    filled(
        empty_postgres,
        job("new"),
        job("old", enqueued_ms=NOON_MS - 10 * DAY_MS),
        events=(event(1, "log", "a", NOON_MS - 10 * DAY_MS), event(2, "log", "a")),
    )
    store = Store(empty_postgres)

    pruned = store.prune(Keep(7 * DAY_MS, 7 * DAY_MS), NOON_MS)
    store.close()

    assert (pruned.jobs, pruned.events) == (1, 1)


def test_two_that_begin_at_once_make_the_tables_once(empty_postgres: str) -> None:
    """One waits for the other, and finds all done."""

    def begin(_number: int) -> int:
        database = open_database(empty_postgres)
        try:
            return migrate(database).before
        finally:
            database.close()

    with ThreadPoolExecutor(4) as threads:
        found = sorted(threads.map(begin, range(4)))

    assert found == [0, VERSION, VERSION, VERSION]


def test_two_that_write_the_same_jobs_do_not_wait_for_each_other_for_ever(
    empty_postgres: str,
) -> None:
    """Both go through the jobs in one order, whatever the order in their batches."""
    jobs = [job(f"j{n:03}") for n in range(200)]
    filled(empty_postgres)

    def write(number: int) -> None:
        for _ in range(5):
            filled(empty_postgres, *(jobs if number % 2 else reversed(jobs)))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(4)))

    assert rows(empty_postgres, "SELECT COUNT(*) FROM jobs") == [(200,)]


def test_a_newer_version_or_none_is_named(empty_postgres: str) -> None:
    """As in SQLite."""
    database = open_database(empty_postgres)
    try:
        with pytest.raises(ArchiveError, match="no archive of mesh yet"):
            check(database)
        migrate(database)
        database.execute("UPDATE about SET value = '99' WHERE name = 'version'")
        with pytest.raises(ArchiveError, match="version 99"):
            migrate(database)
    finally:
        database.close()


def test_a_server_that_is_not_there_is_named_without_the_password() -> None:
    """The message says where, and what PostgreSQL's library says of it."""
    with pytest.raises(ArchiveError, match="failed while connecting") as caught:
        open_database("postgresql://me:hunter2@127.0.0.1:1/db")

    assert "hunter2" not in str(caught.value)
