"""Count and rank archived jobs; all of it in SQL that SQLite and PostgreSQL both read."""

from __future__ import annotations

from typing import Final

from mesh.archive.answers import Durations, Hour, Ledger, Statistics
from mesh.archive.database import Database, Row
from mesh.archive.selection import Condition

MOST_LINES: Final = 50
"""How many tasks, queues and types of errors are listed."""

_HOUR_MS = 3_600_000
_MOST_HOURS = 168


def statistics(database: Database, namespace: str, which: Condition) -> Statistics:
    """Put together what some jobs of a namespace come to."""
    by_state = _counts(database, "state", which)
    failed = Condition(f"{which.sql} AND state = ?", (*which.values, "failed"))
    return Statistics(
        sum(by_state.values()),
        by_state,
        _counts(database, "task", which),
        _counts(database, "queue", which),
        _counts(database, "error_type", failed),
        _durations(database, which),
        _hours(database, which),
        _ledgers(database, namespace),
    )


def _counts(database: Database, column: str, which: Condition) -> dict[str, int]:
    found = database.rows(
        f"SELECT {column}, COUNT(*) FROM jobs WHERE {which.sql} "
        f"GROUP BY {column} ORDER BY 2 DESC, 1 LIMIT {MOST_LINES}",
        which.values,
    )
    return {str(name): int(count) for name, count in found}


def _durations(database: Database, which: Condition) -> tuple[Durations, ...]:
    """The nearest rank: the least duration that so many percent are not above."""
    ranks = ", ".join(
        f"MAX(CASE WHEN place <= (total * {percent} + 99) / 100 THEN duration_ms END)"
        for percent in (50, 95, 99)
    )
    found = database.rows(
        f"SELECT task, total, {ranks} FROM ("
        "SELECT task, duration_ms, ROW_NUMBER() OVER (PARTITION BY task ORDER BY duration_ms) "
        "AS place, COUNT(*) OVER (PARTITION BY task) AS total "
        f"FROM jobs WHERE {which.sql} AND started_ms > 0 AND finished_ms > 0) AS ranked "
        f"GROUP BY task, total ORDER BY 3 DESC, 1 LIMIT {MOST_LINES}",
        which.values,
    )
    return tuple(Durations(str(row[0]), *_whole(row[1:])) for row in found)


def _hours(database: Database, which: Condition) -> tuple[Hour, ...]:
    found = database.rows(
        f"SELECT finished_ms / {_HOUR_MS}, "
        "SUM(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN state = 'failed' THEN 1 ELSE 0 END), "
        "SUM(CASE WHEN state IN ('succeeded', 'failed') THEN 0 ELSE 1 END) "
        f"FROM jobs WHERE {which.sql} AND finished_ms > 0 "
        f"GROUP BY 1 ORDER BY 1 DESC LIMIT {_MOST_HOURS}",
        which.values,
    )
    return tuple(Hour(int(row[0]) * _HOUR_MS, *_whole(row[1:])) for row in reversed(found))


def _ledgers(database: Database, namespace: str) -> tuple[Ledger, ...]:
    found = database.rows(
        "SELECT name, created, highest, complete_to FROM streams WHERE namespace = ? "
        "ORDER BY id",
        (namespace,),
    )
    return tuple(Ledger(*row) for row in found)


def _whole(values: Row) -> list[int]:
    """PostgreSQL's sums are decimals."""
    return [int(value) for value in values]
