"""The writing side: batches, positions, what is removed, and the versions of the tables."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.archives import NOON_MS, event, filled, job, rows

from mesh.archive.decoding import Batch
from mesh.archive.opening import open_database, sqlite_path
from mesh.archive.schema import VERSION, check, migrate
from mesh.archive.store import PRUNED_AT_ONCE, Keep, Store
from mesh.errors import ArchiveError

DAY_MS = 86_400_000


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where a new archive may be."""
    return str(tmp_path / "archive.db")


def test_a_batch_that_comes_again_changes_nothing(url: str) -> None:
    """Events are known by their sequence, jobs by their newest event."""
    events = (event(1, "enqueued", "a"), event(2, "finished", "a"))

    filled(url, job("a"), events=events)
    once = rows(url, "SELECT * FROM events"), rows(url, "SELECT * FROM jobs")
    filled(url, job("a"), events=events)

    assert (rows(url, "SELECT * FROM events"), rows(url, "SELECT * FROM jobs")) == once
    assert len(once[0]) == 2


def test_the_position_is_stored_with_the_batch_and_never_goes_back(url: str) -> None:
    """What was complete once stays complete, whatever comes in between."""
    store = Store(url)
    key = ("shop", "SHOP_EVENTS", "today")
    stream = store.enter(*key).stream

    store.add(stream, Batch([event(9, "log", "a")], [], 9), 5)
    store.add(stream, Batch([event(3, "log", "a")], [], 3), 2)
    position = store.enter(*key)
    store.close()

    assert (position.highest, position.complete_to) == (9, 5)


def test_a_batch_that_fails_leaves_nothing(url: str) -> None:
    """Events, jobs and the position are one transaction."""
    store = Store(url)
    stream = store.enter("shop", "SHOP_EVENTS", "today").stream
    broken = job("b")._replace(state=None)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType] - on purpose

    with pytest.raises(ArchiveError, match="NOT NULL"):
        store.add(stream, Batch([event(1, "log", "a")], [broken], 1), 1)
    store.close()

    assert rows(url, "SELECT * FROM events") == []
    assert rows(url, "SELECT highest FROM streams") == [(0,)]


def test_a_ledger_that_was_created_anew_is_another_one(url: str) -> None:
    """Its sequences begin again, and its events stand beside the old ones."""
    store = Store(url)
    first = store.enter("shop", "SHOP_EVENTS", "monday").stream
    store.add(first, Batch([event(1, "log", "a")], [], 1), 1)

    second = store.enter("shop", "SHOP_EVENTS", "tuesday")
    store.add(second.stream, Batch([event(1, "log", "b")._replace(stream=2)], [], 1), 1)
    store.close()

    assert (second.highest, second.complete_to) == (0, 0)
    assert rows(url, "SELECT stream, seq, job_id FROM events") == [(1, 1, "a"), (2, 1, "b")]


def test_what_is_old_goes_and_failed_jobs_may_stay_longer(url: str) -> None:
    """The age counts from the last event; the events stay as long as the longest-kept jobs."""
    old, older = NOON_MS - 10 * DAY_MS, NOON_MS - 100 * DAY_MS
    filled(
        url,
        job("new"),
        job("old", enqueued_ms=old),
        job("old-failed", "failed", enqueued_ms=old),
        job("older-failed", "failed", enqueued_ms=older),
        events=(event(1, "log", "a", older), event(2, "log", "a", old), event(3, "log", "a")),
    )
    store = Store(url)

    pruned = store.prune(Keep(7 * DAY_MS, 30 * DAY_MS), NOON_MS)
    store.close()

    assert (pruned.jobs, pruned.events) == (2, 1)
    assert rows(url, "SELECT id FROM jobs ORDER BY id") == [("new",), ("old-failed",)]


def test_nothing_is_removed_that_is_kept_for_ever(url: str) -> None:
    """Zero means for ever, and then every event stays too."""
    old = NOON_MS - 1000 * DAY_MS
    filled(
        url,
        job("a", enqueued_ms=old),
        job("b", "failed", enqueued_ms=old),
        events=(event(1, "log", "a", old),),
    )
    store = Store(url)

    pruned = store.prune(Keep(DAY_MS, 0), NOON_MS)
    store.close()

    assert (pruned.jobs, pruned.events) == (1, 0)
    assert rows(url, "SELECT id FROM jobs") == [("b",)]


def test_many_rows_are_removed_some_at_a_time(url: str) -> None:
    """More than one transaction holds are all removed."""
    count = PRUNED_AT_ONCE + 10
    filled(
        url,
        *(job(f"j{n}") for n in range(count)),
        events=tuple(event(n + 1, "log", "a") for n in range(count)),
    )
    store = Store(url)

    pruned = store.prune(Keep(DAY_MS, DAY_MS), NOON_MS + 2 * DAY_MS)
    store.close()

    assert (pruned.jobs, pruned.events) == (count, count)


def test_the_tables_are_made_once(url: str) -> None:
    """The first time brings an empty database up to date, the second finds it so."""
    database = open_database(url)

    first, second = migrate(database), migrate(database)
    check(database)
    database.close()

    assert (first.before, first.after) == (0, VERSION)
    assert (second.before, second.after) == (VERSION, VERSION)


@pytest.mark.parametrize("act", [migrate, check])
def test_an_archive_of_a_newer_version_is_left_alone(url: str, act: object) -> None:
    """An older program says so and writes nothing."""
    database = open_database(url)
    migrate(database)
    database.execute("UPDATE about SET value = '99' WHERE name = 'version'")

    with pytest.raises(ArchiveError, match="version 99"):
        act(database)  # type: ignore[operator]  # pyright: ignore[reportCallIssue] - one of two
    left = database.rows("SELECT value FROM about WHERE name = 'version'")
    database.close()

    assert left == [("99",)]


def test_a_database_that_is_no_archive_is_named(url: str) -> None:
    """To read it is refused; nothing is made in it."""
    database = open_database(url)

    with pytest.raises(ArchiveError, match="no archive of mesh yet"):
        check(database)
    left = database.rows("SELECT * FROM sqlite_master")
    database.close()

    assert left == []


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    """The message says which file and what is wrong."""
    file = tmp_path / "notes.txt"
    file.write_text("not a database, but a text that is long enough to be read as one\n" * 9)

    with pytest.raises(ArchiveError, match=r"notes\.txt .*not a database"):
        Store(str(file))


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """A file that stands in the way is an error that says so."""
    (tmp_path / "file").touch()

    with pytest.raises(ArchiveError, match="cannot be made"):
        Store(str(tmp_path / "file" / "deeper" / "archive.db"))


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("a.db", "a.db"),
        ("sqlite:a.db", "a.db"),
        ("sqlite:/var/a.db", "/var/a.db"),
        ("sqlite:///var/a.db", "/var/a.db"),
    ],
)
def test_a_file_can_be_named_in_several_ways(url: str, path: str) -> None:
    """A path alone, or an address with the scheme sqlite."""
    assert sqlite_path(url) == Path(path)


def test_the_address_of_another_database_is_refused_without_its_password() -> None:
    """Only SQLite and PostgreSQL are known."""
    with pytest.raises(ArchiveError, match="no address of an archive") as caught:
        open_database("mysql://me:hunter2@host/db")

    assert "hunter2" not in str(caught.value)
