"""Schedules: declared beside a task, changed at run time, made up for by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from support.running import RunningApp

from mesh import JobContext, State
from mesh.clock import SYSTEM_CLOCK


async def test_a_report_runs_every_morning_and_for_the_days_that_were_missed(
    mesh: RunningApp,
) -> None:
    """A report is declared for eight in the morning; last week is made up for in one call."""
    app = mesh.app
    days: list[str] = []

    @app.cron("0 8 * * 1-5", tz="Europe/Berlin", id="daily-report", about="for the board")
    @app.task(queue="reports")
    async def report(ctx: JobContext) -> str:
        assert ctx.scheduled_for is not None
        days.append(f"{ctx.scheduled_for:%a}")
        return ctx.schedule

    now = datetime.fromtimestamp(SYSTEM_CLOCK.now_ms() / 1000, UTC)
    async with mesh.worker(worker__queues="reports"):
        synced = await app.schedules.sync()
        seen = await app.schedules.get("daily-report")

        assert synced.created == ("daily-report",)
        assert (await app.schedules.sync()).unchanged == ("daily-report",)
        assert (seen.schedule.queue, seen.schedule.origin) == ("reports", "code")
        assert seen.next_ms is not None
        assert seen.next_ms > now.timestamp() * 1000
        assert all(tick.hour == 8 for tick in await app.schedules.preview("daily-report", n=9))

        week = (now - timedelta(days=7), now)
        filled = await app.schedules.backfill("daily-report", *week)
        for job_id in filled.enqueued:
            assert await app.job(job_id).result(timeout=20) == "daily-report"
        again = await app.schedules.backfill("daily-report", *week)

        assert sorted(days) == ["Fri", "Mon", "Thu", "Tue", "Wed"]
        assert (again.enqueued, again.skipped) == ((), filled.enqueued)

        resting = await app.schedules.pause("daily-report", note="holidays", until="30d")
        by_hand = await app.schedules.trigger("daily-report")

        assert resting.is_paused
        assert await by_hand.result(timeout=20) == "daily-report"
        assert (await by_hand.status()).state is State.SUCCEEDED
        assert not (await app.schedules.resume("daily-report")).is_paused

        await app.schedules.remove("daily-report")
        assert await app.schedules.list() == []
