"""The blocking twin of ``Schedules``: the same names, for scripts, views and notebooks."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Unpack

from mesh.client.blocking import BlockingJob, Portal
from mesh.client.schedule_making import ScheduleKeywords, TimetableKeywords
from mesh.client.schedule_views import Backfilled, ScheduleRun, ScheduleView, SyncReport
from mesh.client.schedules import Schedules
from mesh.durations import Duration
from mesh.tasks.definition import Call


class BlockingSchedules:
    """The schedules of an app's namespace, safe from any thread."""

    __slots__ = ("_portal", "_schedules")

    def __init__(self, schedules: Schedules, portal: Portal) -> None:
        self._schedules = schedules
        self._portal = portal

    def upsert(
        self, schedule_id: str, call: Call[Any], **keywords: Unpack[ScheduleKeywords]
    ) -> ScheduleView:
        """Make or change a schedule; see ``Schedules.upsert``."""
        return self._portal.call(self._schedules.upsert(schedule_id, call, **keywords))

    def get(self, schedule_id: str) -> ScheduleView:
        """Look at a schedule; see ``Schedules.get``."""
        return self._portal.call(self._schedules.get(schedule_id))

    def pause(
        self,
        schedule_id: str,
        *,
        note: str = "",
        until: datetime | Duration | None = None,
        by: str = "",
    ) -> ScheduleView:
        """Let a schedule rest; see ``Schedules.pause``."""
        paused = self._schedules.pause(schedule_id, note=note, until=until, by=by)
        return self._portal.call(paused)

    def resume(self, schedule_id: str) -> ScheduleView:
        """Let a schedule go on; see ``Schedules.resume``."""
        return self._portal.call(self._schedules.resume(schedule_id))

    def trigger(self, schedule_id: str) -> BlockingJob[Any]:
        """Run a schedule's job now; see ``Schedules.trigger``."""
        return BlockingJob(
            self._portal.call(self._schedules.trigger(schedule_id)), self._portal
        )

    def remove(self, schedule_id: str) -> None:
        """Remove a schedule; see ``Schedules.remove``."""
        self._portal.call(self._schedules.remove(schedule_id))

    def preview(
        self,
        schedule_id: str | None = None,
        *,
        n: int = 10,
        after: datetime | None = None,
        **keywords: Unpack[TimetableKeywords],
    ) -> list[datetime]:
        """Calculate the next ticks; see ``Schedules.preview``."""
        ticks = self._schedules.preview(schedule_id, n=n, after=after, **keywords)
        return self._portal.call(ticks)

    def backfill(self, schedule_id: str, start: datetime, end: datetime) -> Backfilled:
        """Enqueue the ticks of a time that is over; see ``Schedules.backfill``."""
        return self._portal.call(self._schedules.backfill(schedule_id, start, end))

    def history(self, schedule_id: str, *, limit: int = 20) -> list[ScheduleRun]:
        """Look up the jobs of the last ticks; see ``Schedules.history``."""
        return self._portal.call(self._schedules.history(schedule_id, limit=limit))

    def sync(self, *, prune: bool = False) -> SyncReport:
        """Bring the stored schedules in line with the declared ones; see ``Schedules.sync``."""
        return self._portal.call(self._schedules.sync(prune=prune))

    # The last one with a name of its own: it hides the type from annotations below it.
    def list(self) -> list[ScheduleView]:
        """List the schedules; see ``Schedules.list``."""
        return self._portal.call(self._schedules.list())
