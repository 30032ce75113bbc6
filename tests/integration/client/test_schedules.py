"""Schedules on the real server: what is stored, who wins, what is refused."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import anyio
import pytest
from msgspec.structs import replace
from support.running import RunningApp

from mesh import JobContext
from mesh.client.schedule_book import ScheduleBook
from mesh.client.schedules import Schedules
from mesh.contract import schedules
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.errors import (
    InvalidNameError,
    OptionError,
    PayloadTooLargeError,
    ScheduleNotFoundError,
    UnreadableScheduleError,
)

HOUR_MS = 3_600_000
START = datetime(2030, 1, 1, tzinfo=UTC)


class HandClock:
    """A clock that is set by hand."""

    def __init__(self, now: datetime) -> None:
        self.now = now

    def now_ms(self) -> int:
        return round(self.now.timestamp() * 1000)

    def monotonic(self) -> float:
        return self.now.timestamp()


async def ready(mesh: RunningApp) -> tuple[Schedules, HandClock]:
    """The schedules of a namespace that is set up, by a clock of their own."""
    await mesh.app.setup()
    clock = HandClock(START)
    return Schedules(mesh.app.client, mesh.app.declared_schedules, clock), clock


async def test_a_change_is_written_and_a_repetition_is_not(mesh: RunningApp) -> None:
    """The edition goes up with each change only; a pause outlives a new timetable."""
    them, clock = await ready(mesh)
    task = mesh.app.task(name="make", queue="reports", expires="1h")(_make)

    first = await them.upsert("r", task.s("a"), cron="@daily")
    clock.now += timedelta(hours=1)
    same = await them.upsert("r", task.s("a"), cron="@daily")
    await them.pause("r", note="n", by="ada")
    other = await them.upsert("r", task.options(priority="high").s("b"), every="1h")

    assert (first.schedule.queue, first.schedule.expires_s) == ("reports", 3600.0)
    assert same == first
    assert other.schedule.edition == 3
    assert other.schedule.priority == "high"
    assert other.is_paused
    assert other.schedule.created_at_ms == first.schedule.created_at_ms
    assert other.schedule.since_ms == clock.now_ms()


async def test_ticks_of_a_pause_are_none_of_its_own(mesh: RunningApp) -> None:
    """A pause that ends by itself has its next tick behind its end."""
    them, clock = await ready(mesh)
    await them.upsert("r", mesh.app.task(name="make")(_make).s("a"), every="1h")

    for_a_while = await them.pause("r", until=START + timedelta(hours=3))
    clock.now += timedelta(hours=1)
    for_ever = await them.pause("r")
    resumed = await them.resume("r")
    again = await them.resume("r")

    assert for_a_while.next_ms == clock.now_ms() + 2 * HOUR_MS
    assert for_ever.next_ms is None
    assert resumed.next_ms == clock.now_ms() + HOUR_MS
    assert resumed.schedule.since_ms == clock.now_ms()
    assert again == resumed


async def test_everyone_changes_at_once_and_no_change_is_lost(mesh: RunningApp) -> None:
    """Eight programs change one schedule at the same time; all eight changes are there."""
    them, _clock = await ready(mesh)
    await them.upsert("r", mesh.app.task(name="make")(_make).s("a"), every="1h")
    book = ScheduleBook(await mesh.client())

    def tagged(number: int) -> None:
        def add(old: Schedule | None) -> Schedule:
            assert old is not None
            return replace(old, tags=(*old.tags, f"t{number}"), edition=old.edition + 1)

        group.start_soon(book.change, "r", add)

    async with anyio.create_task_group() as group:
        for number in range(8):
            tagged(number)

    assert sorted((await book.read("r")).schedule.tags) == [f"t{number}" for number in range(8)]
    assert (await book.read("r")).schedule.edition == 9


async def test_a_removed_schedule_is_gone_and_can_be_made_anew(mesh: RunningApp) -> None:
    """Its mark is no schedule; what is removed twice is told."""
    them, _clock = await ready(mesh)
    call = mesh.app.task(name="make")(_make).s("a")
    await them.upsert("r", call, every="1h")

    await them.remove("r")

    assert await them.list() == []
    for act in (them.get, them.remove, them.pause, them.resume, them.trigger, them.history):
        with pytest.raises(ScheduleNotFoundError):
            await act("r")
    assert (await them.upsert("r", call, every="2h")).schedule.edition == 1


async def test_history_tells_the_jobs_of_past_ticks(mesh: RunningApp) -> None:
    """Each tick with its job and how that ended; one that never ran has no state."""
    them, clock = await ready(mesh)
    told: list[str] = []

    @mesh.app.task
    async def note(ctx: JobContext) -> None:
        told.append(f"{ctx.schedule} {ctx.scheduled_for}")

    await them.upsert("hourly", note.s(), cron="0 * * * *")
    clock.now += timedelta(hours=3, minutes=1)
    async with mesh.worker():
        filled = await them.backfill("hourly", START, START + timedelta(hours=2))
        for job_id in filled.enqueued:
            await mesh.app.job(job_id).result(timeout=20)
        history = await them.history("hourly")
        seen = await them.get("hourly")

    assert [run.state for run in history] == [None, "succeeded", "succeeded", "succeeded"]
    assert history[1].job_id == "hourly-20300101T020000Z"
    assert min(told) == "hourly 2030-01-01 00:00:00+00:00"
    assert seen.last is None  # The last tick has no job, and no scheduler told of another.


async def test_what_the_scheduler_says_is_shown(mesh: RunningApp) -> None:
    """The list has the last run and its outcome from the scheduler's own record."""
    them, _clock = await ready(mesh)
    await them.upsert("r", mesh.app.task(name="make")(_make).s("a"), every="1h", max_runs=3)
    client = await mesh.client()
    status = ScheduleStatus(
        1, last_tick_ms=5, last_job_id="r-x", last_state="failed", runs=3, armed_until_ms=9
    )
    subject = client.names.schedule_status("r")
    await client.publisher.publish(subject, b"", schedules.encode(status))

    (seen,) = await them.list()

    assert seen.last is not None
    assert (seen.last.tick_ms, seen.last.state) == (5, "failed")
    assert seen.next_ms is None  # It has had all its runs.
    assert seen.status == status


async def test_a_foreign_record_is_told_and_hides_no_other(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that mesh did not write is an error by itself, and left out of the list."""
    them, _clock = await ready(mesh)
    await them.upsert("good", mesh.app.task(name="make")(_make).s("a"), every="1h")
    client = await mesh.client()
    await client.publisher.publish(client.names.schedule("bad"), b"", b"{")

    with caplog.at_level(logging.WARNING, "mesh.client"):
        listed = [view.id for view in await them.list()]

    assert listed == ["good"]
    assert "bad" in caplog.text
    with pytest.raises(UnreadableScheduleError, match="remove it"):
        await them.get("bad")


async def test_what_no_schedule_can_be_is_refused(mesh: RunningApp) -> None:
    """Names, options of single jobs, moments without a zone, large arguments."""
    them, _clock = await ready(mesh)
    task = mesh.app.task(name="make")(_make)

    with pytest.raises(InvalidNameError):
        await them.upsert("a.b", task.s("a"), every="1h")
    with pytest.raises(OptionError, match="delay"):
        await them.upsert("r", task.options(delay="5m").s("a"), every="1h")
    with pytest.raises(OptionError, match="no time zone"):
        await them.upsert("r", task.s("a"), at=datetime(2030, 1, 1))  # noqa: DTZ001
    with pytest.raises(OptionError, match="did you mean 'overlap'"):
        await them.upsert("r", task.s("a"), every="1h", overlaps="skip")  # type: ignore[call-arg]
    with pytest.raises(PayloadTooLargeError, match="each tick"):
        await them.upsert("r", task.s("x" * 600_000), every="1h")
    await them.upsert("r", task.s("a"), every="1s")
    with pytest.raises(OptionError, match="more than 10,000"):
        await them.backfill("r", START - timedelta(days=1), START)


async def _make(kind: str) -> str:
    return kind
