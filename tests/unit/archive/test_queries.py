"""Ask an archive: filters, pages, statistics, and the files that other tools read."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from support.archives import NOON_MS, event, filled, job

from mesh.app import Mesh
from mesh.archive.answers import Durations, Hour
from mesh.archive.export import write_jsonl, write_parquet
from mesh.archive.queries import BlockingArchive
from mesh.archive.selection import Which
from mesh.errors import ArchiveError, JobNotFoundError, OptionError

HOUR_MS = 3_600_000
JOBS = (
    job("a1", task="send", queue="mail", tags="\nvip\neu\n"),
    job("a2", "failed", error_type="app.BadAddress", error_message="100% wrong_one: x@y"),
    job("b1", task="bill", queue="money", tags="\nvip2\n", enqueued_ms=NOON_MS + HOUR_MS),
    job("b2", "cancelled", reason="no longer wanted", started_ms=0, duration_ms=0),
    job("c_1", "pending", enqueued_ms=NOON_MS + 2 * HOUR_MS, started_ms=0, finished_ms=0),
)


@pytest.fixture
def url(tmp_path: Path) -> str:
    """An archive with five jobs of the namespace shop, and one of another."""
    place = str(tmp_path / "archive.db")
    events = (event(1, "enqueued", "a1"), event(2, "finished", "a1", NOON_MS + 110))
    filled(place, *JOBS, job("a1")._replace(namespace="other"), events=events)
    return place


@pytest.fixture
def archive(url: str) -> Iterator[BlockingArchive]:
    """The same, opened to be read."""
    with BlockingArchive(url, "shop") as opened:
        yield opened


@pytest.mark.parametrize(
    ("which", "ids"),
    [
        ({}, ["c_1", "b1", "b2", "a2", "a1"]),
        ({"state": "failed"}, ["a2"]),
        ({"task": "bill"}, ["b1"]),
        ({"queue": "money"}, ["b1"]),
        ({"tag": "vip"}, ["a1"]),
        ({"tag": "vi"}, []),
        ({"tag": "%"}, []),
        ({"since_ms": NOON_MS + HOUR_MS}, ["c_1", "b1"]),
        ({"until_ms": NOON_MS + HOUR_MS}, ["b2", "a2", "a1"]),
        ({"error": "badaddress"}, ["a2"]),
        ({"error": "100% WRONG_"}, ["a2"]),
        ({"error": "wrong1one"}, []),
        ({"id_prefix": "a"}, ["a2", "a1"]),
        ({"id_prefix": "A"}, []),
        ({"id_prefix": "_"}, []),
        ({"id_prefix": "c_"}, ["c_1"]),
        ({"state": "succeeded", "queue": "mail", "task": "send"}, ["a1"]),
    ],
)
def test_jobs_are_found_by_what_is_known_of_them(
    archive: BlockingArchive, which: Which, ids: list[str]
) -> None:
    """Every filter means exactly what it says; together they narrow down."""
    assert [found.id for found in archive.jobs(**which).jobs] == ids


def test_pages_follow_each_other_without_gap_or_repeat(archive: BlockingArchive) -> None:
    """Each page goes on where the one before ended, also among jobs of the same millisecond."""
    ids: list[str] = []
    after: str | None = None
    for _ in range(3):
        page = archive.jobs(limit=2, after=after)
        ids += [found.id for found in page.jobs]
        after = page.next

    assert ids == ["c_1", "b1", "b2", "a2", "a1"]
    assert after is None


@pytest.mark.parametrize("after", ["", "x", "12", "x.a1"])
def test_what_no_page_ended_with_is_refused(archive: BlockingArchive, after: str) -> None:
    """The error says what to give instead."""
    with pytest.raises(OptionError, match="next"):
        archive.jobs(after=after)


def test_a_job_is_shown_with_all_that_is_known(archive: BlockingArchive) -> None:
    """Its facts and its events, the oldest first."""
    found, events = archive.job("a1"), archive.events("a1")

    assert (found.state, found.tags, found.duration_ms) == ("succeeded", ("vip", "eu"), 100)
    assert [one.kind for one in events] == ["enqueued", "finished"]


def test_an_unknown_job_is_an_error(archive: BlockingArchive) -> None:
    """The same error as everywhere."""
    with pytest.raises(JobNotFoundError):
        archive.job("nobody")


def test_statistics_count_and_rank(archive: BlockingArchive) -> None:
    """Counts by state, task and queue, failures by type, durations, and what ended by hour."""
    found = archive.statistics()

    assert found.jobs == 5
    assert found.by_state == {"succeeded": 2, "cancelled": 1, "failed": 1, "pending": 1}
    assert found.by_task == {"send": 4, "bill": 1}
    assert found.by_queue == {"mail": 4, "money": 1}
    assert found.failures == {"app.BadAddress": 1}
    assert found.hours == (
        Hour(NOON_MS // HOUR_MS * HOUR_MS, 1, 1, 1),
        Hour((NOON_MS // HOUR_MS + 1) * HOUR_MS, 1, 0, 0),
    )
    assert [ledger.highest for ledger in found.ledgers] == [2]


def test_the_ranks_of_durations_are_those_of_the_nearest_job(tmp_path: Path) -> None:
    """Of 100 jobs that ran for 1 to 100 ms, the median is 50, the 95th 95, the 99th 99."""
    url = str(tmp_path / "a.db")
    filled(url, *(job(f"j{n}", duration_ms=n) for n in range(1, 101)))

    with BlockingArchive(url, "shop") as archive:
        assert archive.statistics().durations == (Durations("send", 100, 50, 95, 99),)


def test_statistics_can_be_of_some_jobs_only(archive: BlockingArchive) -> None:
    """The filters are those of the list."""
    assert archive.statistics(task="bill").by_state == {"succeeded": 1}


async def test_async_code_asks_without_blocking(url: str) -> None:
    """The app's archive answers the same in ``async with``, and needs no server."""
    app = Mesh("nats://127.0.0.1:1", namespace="shop", archive={"url": url})

    async with app.archive() as archive:
        page = await archive.jobs(limit=1)
        found = await archive.job("a1")
        events = await archive.events("a1")
        counted = await archive.statistics()

    assert (page.jobs[0].id, found.id, len(events), counted.jobs) == ("c_1", "a1", 2, 5)


def test_blocking_code_has_the_same(url: str) -> None:
    """``app.sync.archive()`` is the blocking twin."""
    with Mesh(namespace="shop").sync.archive(url) as archive:
        assert archive.job("a1").task == "send"


def test_an_archive_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    """To ask it is an error that says how to fill one."""
    with pytest.raises(ArchiveError, match="mesh archive"):
        BlockingArchive(str(tmp_path / "none.db"))

    assert list(tmp_path.iterdir()) == []


def test_json_lines_hold_every_job(archive: BlockingArchive) -> None:
    """One object on a line, with the names of the API."""
    target = io.BytesIO()

    count = write_jsonl(archive.each(), target)

    lines = [json.loads(line) for line in target.getvalue().splitlines()]
    assert count == len(lines) == 5
    assert lines[-1]["tags"] == ["vip", "eu"]


def test_parquet_holds_every_job_with_types(archive: BlockingArchive, tmp_path: Path) -> None:
    """Times are timestamps and null where there is none, tags are lists."""
    parquet: Any = import_module("pyarrow.parquet")
    file = tmp_path / "jobs.parquet"

    count = write_parquet(archive.each(), file)

    found: list[dict[str, Any]] = parquet.read_table(file).to_pylist()
    by_id = {one["id"]: one for one in found}
    assert count == len(by_id) == 5
    assert by_id["a1"]["tags"] == ["vip", "eu"]
    assert int(by_id["a1"]["enqueued_ms"].timestamp() * 1000) == NOON_MS
    assert by_id["c_1"]["finished_ms"] is None
