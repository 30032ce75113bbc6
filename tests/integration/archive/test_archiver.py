"""The ledger of a real server goes into the database: all of it, once, whatever happens."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

import anyio
import pytest
from support.archives import rows
from support.command_line import CommandLine
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh, Retry
from mesh.archive.archiver import Archiver, Options
from mesh.archive.queries import BlockingArchive
from mesh.archive.store import Keep
from mesh.errors import ArchiveError, JobEndedError, NotProvisionedError

FOR_EVER = Keep(0, 0)
LIMIT_S = 30.0


@pytest.fixture
def url(tmp_path: Path) -> str:
    """Where the archive is to be."""
    return str(tmp_path / "archive.db")


async def archive(app: Mesh, url: str, **how: Any) -> int:
    """Archive what the ledger holds, and say how many events that were."""
    options = Options(url, "archive", FOR_EVER, is_once=True)._replace(**how)
    with anyio.fail_after(LIMIT_S):
        return await Archiver(await app.client(), options).run()


@contextlib.asynccontextmanager
async def archiving(app: Mesh, url: str) -> AsyncGenerator[Archiver]:
    """Archive in the background; all that was taken in is written at the end."""
    archiver = Archiver(await app.client(), Options(url, "archive", FOR_EVER))
    async with anyio.create_task_group() as group:
        group.start_soon(archiver.run)
        try:
            yield archiver
        finally:
            archiver.stop()


async def enqueue(mesh: RunningApp, count: int) -> None:
    """Enqueue jobs that nobody runs: each is one event."""
    await mesh.app.enqueue_many([NOTHING.s(number) for number in range(count)])


def _nothing(number: int) -> int:
    return number


NOTHING = Mesh().task(_nothing)


def sequences(url: str) -> list[int]:
    """The places in the ledger of all archived events."""
    return [seq for (seq,) in rows(url, "SELECT seq FROM events ORDER BY stream, seq")]


def lies_in(url: str, count: int) -> bool:
    """Whether so many events are archived."""
    try:
        return len(sequences(url)) >= count
    except ArchiveError:  # There is no file yet, or there are no tables in it.
        return False


async def test_jobs_can_be_asked_for_when_the_ledger_has_been_read(
    mesh: RunningApp, url: str
) -> None:
    """What succeeded, failed and was cancelled is known with attempts, times and errors."""

    @mesh.app.task
    def add(one: int, other: int) -> int:
        return one + other

    @mesh.app.task(retry=Retry(max_retries=1, delay_s=0.01))
    def fail() -> None:
        raise ValueError("no such thing")

    async with mesh.worker():
        good = await add.enqueue(1, 2)
        bad = await fail.enqueue()
        await good.result()
        with pytest.raises(JobEndedError):
            await bad.result()
        late = await add.options(delay=60).enqueue(3, 4)
        await late.cancel("no longer wanted")
        await until(lambda: _has(mesh, "dead", bad.id), "the dead letter is announced")

    await archive(mesh.app, url)

    with BlockingArchive(url, mesh.app.settings.namespace) as asked:
        succeeded, failed, cancelled = (asked.job(one.id) for one in (good, bad, late))
        kinds = [one.kind for one in asked.events(bad.id)]
        counts = asked.statistics().by_state
    assert (succeeded.state, succeeded.task, succeeded.attempts) == ("succeeded", add.name, 1)
    assert 0 < succeeded.enqueued_ms <= succeeded.started_ms <= succeeded.finished_ms
    assert (failed.state, failed.attempts) == ("failed", 2)
    assert (failed.error_type, failed.error_message) == ("ValueError", "no such thing")
    assert failed.worker
    assert (cancelled.state, cancelled.reason) == ("cancelled", "no longer wanted")
    assert kinds[0] == "enqueued"
    assert {"retrying", "finished", "dead"} <= set(kinds)
    assert counts == {"succeeded": 1, "failed": 1, "cancelled": 1}


async def _has(mesh: RunningApp, kind: str, job_id: str) -> bool:
    names = (await mesh.client()).names
    client = await mesh.client()
    request = {"subjects_filter": names.event(kind, job_id)}
    info = await client.connection.api(f"STREAM.INFO.{names.events_stream}", request)
    return bool(info["state"].get("subjects"))


async def test_an_archive_that_is_killed_misses_nothing_and_doubles_nothing(
    mesh: RunningApp, url: str, tmp_path: Path
) -> None:
    """It dies with a batch in hand that is not in the database; the next one gets it again."""
    app = mesh.app
    app.override({"worker.ack_wait_s": 1.0, "worker.heartbeat_s": 0.3})
    await app.setup()
    await enqueue(mesh, 100)
    environment = {"MESH_WORKER_ACK_WAIT": "1s", "MESH_WORKER_HEARTBEAT": "0.3s"}
    cli = CommandLine(app.settings.url, app.settings.namespace, tmp_path, None)
    with cli.start("archive", "--database", url, **environment) as program:
        await until(lambda: lies_in(url, 100), "the first events are archived", LIMIT_S)
        with contextlib.closing(sqlite3.connect(url, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")  # From here on it can write nothing.
            await enqueue(mesh, 3000)
            await until(lambda: _has_in_hand(mesh), "it has taken in a batch", LIMIT_S)
            program.kill()
            other.execute("ROLLBACK")
    assert sequences(url) == list(range(1, 101))

    again = await archive(app, url)

    assert sequences(url) == list(range(1, 3101))
    assert rows(url, "SELECT COUNT(*) FROM jobs") == [(3100,)]
    assert again >= 3000


async def _has_in_hand(mesh: RunningApp) -> bool:
    client = await mesh.client()
    place = f"{client.names.events_stream}.archive"
    return bool((await client.connection.api(f"CONSUMER.INFO.{place}"))["num_ack_pending"])


async def test_two_archives_into_one_database_share_the_work(
    mesh: RunningApp, url: str
) -> None:
    """They read through one consumer, and each event is archived once."""
    await mesh.app.setup()
    await enqueue(mesh, 3000)
    settings = mesh.app.settings
    other = Mesh(settings.url, namespace=settings.namespace)
    async with other, anyio.create_task_group() as group:
        group.start_soon(archive, mesh.app, url)
        group.start_soon(archive, other, url)

    assert sequences(url) == list(range(1, 3001))
    assert 0 < rows(url, "SELECT complete_to FROM streams")[0][0] <= 3000


async def test_a_consumer_feeds_one_archive_only(mesh: RunningApp, tmp_path: Path) -> None:
    """A second database must have a consumer of its own, or take over on purpose."""
    first, second = str(tmp_path / "first.db"), str(tmp_path / "second.db")
    await mesh.app.setup()
    await enqueue(mesh, 10)
    await archive(mesh.app, first)

    with pytest.raises(ArchiveError, match="feeds another archive"):
        await archive(mesh.app, second)

    assert await archive(mesh.app, second, consumer="second") == 10
    assert await archive(mesh.app, second, again=True) == 10
    assert sequences(first) == sequences(second)


async def test_a_ledger_that_is_created_anew_is_noticed(mesh: RunningApp, url: str) -> None:
    """The archive goes on with the new one, beside what it has of the old one."""
    await mesh.app.setup()
    await enqueue(mesh, 5)
    client = await mesh.client()
    async with archiving(mesh.app, url):
        await until(lambda: lies_in(url, 5), "the old ledger is archived", LIMIT_S)
        await client.connection.api(f"STREAM.DELETE.{client.names.events_stream}")
        await mesh.app.setup()
        await enqueue(mesh, 3)
        await until(lambda: lies_in(url, 8), "the new ledger is archived", LIMIT_S)

    assert sequences(url) == [1, 2, 3, 4, 5, 1, 2, 3]


async def test_an_older_copy_of_the_database_is_completed(
    mesh: RunningApp, url: str, tmp_path: Path
) -> None:
    """What was acknowledged and is not there, after a power cut or a restore, is read again."""
    await mesh.app.setup()
    await enqueue(mesh, 10)
    await archive(mesh.app, url)
    copy = str(tmp_path / "copy.db")
    shutil.copy(url, copy)
    await enqueue(mesh, 10)
    await archive(mesh.app, url)

    shutil.copy(copy, url)
    await archive(mesh.app, url)

    assert sequences(url) == list(range(1, 21))


async def test_a_lost_consumer_begins_where_the_archive_is(mesh: RunningApp, url: str) -> None:
    """Only what is not yet archived is read."""
    await mesh.app.setup()
    await enqueue(mesh, 20)
    await archive(mesh.app, url)
    client = await mesh.client()
    await client.connection.api(f"CONSUMER.DELETE.{client.names.events_stream}.archive")
    await enqueue(mesh, 2)

    assert await archive(mesh.app, url) == 2


async def test_the_archive_goes_on_after_a_lost_connection(mesh: RunningApp, url: str) -> None:
    """What comes after the reconnect is archived too, and nothing is missing."""
    await mesh.app.setup()
    await enqueue(mesh, 5)
    client = await mesh.client()
    async with archiving(mesh.app, url):
        await until(lambda: lies_in(url, 5), "the first events are archived", LIMIT_S)
        await client.connection.reconnect()
        await until(lambda: client.connection.is_connected, "the server is back", LIMIT_S)
        await enqueue(mesh, 5)
        await until(lambda: lies_in(url, 10), "the others are archived", LIMIT_S)

    assert sequences(url) == list(range(1, 11))


async def test_large_bodies_are_taken_in_within_bounds(mesh: RunningApp, url: str) -> None:
    """A ledger that keeps bodies is archived all the same, without them."""
    mesh.app.override({"events.bodies": True, "limits.payload_inline_bytes": 900_000})
    await mesh.app.setup()
    for _ in range(60):
        await mesh.app.send("big", ["x" * 400_000], tags=["big"])

    assert await archive(mesh.app, url) == 60
    with BlockingArchive(url, mesh.app.settings.namespace) as asked:
        assert len(asked.jobs(tag="big").jobs) == 60
    assert rows(url, "SELECT SUM(LENGTH(detail)) FROM events") == [(None,)]


async def test_without_a_ledger_there_is_nothing_to_archive(mesh: RunningApp, url: str) -> None:
    """The error names the setting, or the command that makes the streams."""
    with pytest.raises(NotProvisionedError, match="mesh setup"):
        await archive(mesh.app, url)
    await mesh.app.close()
    mesh.app.override({"events.enabled": False})

    with pytest.raises(ArchiveError, match=r"events\.enabled"):
        await archive(mesh.app, url)
