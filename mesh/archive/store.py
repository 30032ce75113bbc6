"""Write to the archive: batches, where the ledger has been read to, and what grows too old."""

from __future__ import annotations

from typing import Final, NamedTuple

from msgspec import Struct

from mesh.archive.database import Database
from mesh.archive.decoding import Batch
from mesh.archive.opening import open_database
from mesh.archive.schema import archive_id, migrate
from mesh.contract.lifecycle import State

PRUNED_AT_ONCE: Final = 5000
"""How many rows go in one transaction: others can write in between."""


class Position(NamedTuple):
    """How far one ledger is archived.

    Attributes:
        stream: The ledger's number in the archive.
        highest: The highest sequence that is archived.
        complete_to: Everything up to this sequence is archived.
    """

    stream: int
    highest: int
    complete_to: int


class Keep(NamedTuple):
    """How long jobs are kept after their last event, in milliseconds; 0: for ever.

    Attributes:
        others_ms: Those that did not fail.
        failed_ms: Those that failed.
    """

    others_ms: int
    failed_ms: int


class Pruned(Struct, frozen=True):
    """How many rows were removed.

    Attributes:
        jobs: Of jobs.
        events: Of events.
    """

    jobs: int = 0
    events: int = 0


class Store:
    """The writing side of one archive; used by one thread at a time.

    Args:
        url: The database; brought up to date when it is opened.

    Attributes:
        id: The name that the archive gave itself when it was new.

    Raises:
        ArchiveError: It cannot be opened, or is of a newer version.
    """

    def __init__(self, url: str) -> None:
        self._database: Database = open_database(url)
        try:
            migrate(self._database)
            self.id = archive_id(self._database)
        except BaseException:
            self._database.close()
            raise

    def enter(self, namespace: str, stream: str, created: str) -> Position:
        """Say how far a ledger is archived; one that was created anew begins anew.

        Args:
            namespace: The namespace.
            stream: The stream's name.
            created: When the server created it.
        """
        key = (namespace, stream, created)
        with self._database.transaction():
            self._database.execute(
                "INSERT INTO streams (namespace, name, created, highest, complete_to) "
                "VALUES (?, ?, ?, 0, 0) ON CONFLICT DO NOTHING",
                key,
            )
            found = self._database.rows(
                "SELECT id, highest, complete_to FROM streams "
                "WHERE namespace = ? AND name = ? AND created = ?",
                key,
            )
        return Position(*found[0])

    def add(self, stream: int, batch: Batch, complete_to: int) -> None:
        """Store a batch in one transaction; to store it again changes nothing.

        Args:
            stream: The ledger's number.
            batch: What to store.
            complete_to: Everything up to this sequence has been stored before.

        Raises:
            ArchiveError: Nothing of it was stored.
        """
        with self._database.transaction():
            self._database.add_events(batch.events)
            self._database.merge_jobs(batch.jobs)
            self._database.execute(
                "UPDATE streams SET "
                "highest = CASE WHEN ? > highest THEN ? ELSE highest END, "
                "complete_to = CASE WHEN ? > complete_to THEN ? ELSE complete_to END "
                "WHERE id = ?",
                (batch.highest, batch.highest, complete_to, complete_to, stream),
            )

    def prune(self, keep: Keep, now_ms: int) -> Pruned:
        """Remove what is older than it is kept, some thousand rows at a time.

        Events are kept as long as the longest-kept jobs.

        Args:
            keep: How long to keep.
            now_ms: The time.

        Raises:
            ArchiveError: The database refused; what was removed before stays removed.
        """
        jobs = events = 0
        failed = State.FAILED.value
        if keep.others_ms:
            jobs += self._prune_jobs("state <> ?", failed, now_ms - keep.others_ms)
        if keep.failed_ms:
            jobs += self._prune_jobs("state = ?", failed, now_ms - keep.failed_ms)
        if keep.others_ms and keep.failed_ms:
            events = self._prune_events(now_ms - max(keep))
        return Pruned(jobs, events)

    def close(self) -> None:
        """End the connection; safe to call twice."""
        self._database.close()

    def _prune_jobs(self, which: str, state: str, before_ms: int) -> int:
        # A job is enqueued before anything else is heard of it, and there is an index on that.
        sql = (
            "DELETE FROM jobs WHERE (namespace, id) IN (SELECT namespace, id FROM jobs "
            f"WHERE enqueued_ms < ? AND changed_ms < ? AND {which} "
            f"ORDER BY enqueued_ms LIMIT {PRUNED_AT_ONCE})"
        )
        removed = 0
        while True:
            with self._database.transaction():
                count = self._database.execute(sql, (before_ms, before_ms, state))
            removed += count
            if count < PRUNED_AT_ONCE:
                return removed

    def _prune_events(self, before_ms: int) -> int:
        removed = 0
        for (stream,) in self._database.rows("SELECT id FROM streams"):
            while True:
                # Sequences and times grow together, so the oldest events lie at the beginning.
                oldest = self._database.rows(
                    "SELECT seq, at_ms FROM events WHERE stream = ? "
                    f"ORDER BY seq LIMIT {PRUNED_AT_ONCE}",
                    (stream,),
                )
                old = [seq for seq, at_ms in oldest if at_ms < before_ms]
                if old:
                    with self._database.transaction():
                        removed += self._database.execute(
                            "DELETE FROM events WHERE stream = ? AND seq <= ?",
                            (stream, old[-1]),
                        )
                if len(old) < PRUNED_AT_ONCE:
                    break
        return removed
