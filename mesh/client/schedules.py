"""The schedules of a namespace: declare, list, pause, resume, trigger, backfill, remove them.

Nothing here arms a tick: the scheduler that leads follows the records and does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Unpack

from msgspec.structs import replace

from mesh.client.client import Client
from mesh.client.job import Job
from mesh.client.schedule_book import ScheduleBook
from mesh.client.schedule_jobs import backfill, enqueue_now, last_runs
from mesh.client.schedule_making import (
    Declared,
    ScheduleKeywords,
    TimetableKeywords,
    make_timetable,
    moment_ms,
)
from mesh.client.schedule_sync import declare, sync
from mesh.client.schedule_views import (
    Backfilled,
    ScheduleRun,
    ScheduleView,
    SyncReport,
    in_zone,
    run_told,
    view,
)
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.schedules import Pause, Schedule
from mesh.durations import Duration, seconds
from mesh.errors import OptionError, ScheduleNotFoundError
from mesh.identifiers import check_schedule_id
from mesh.policy.ticks import next_ticks
from mesh.tasks.definition import Call

Declarations = Callable[[], Sequence[Declared]]
"""Names the schedules that an app declares, in code and in its settings file."""


class Schedules:
    """The schedules of an app's namespace.

    Args:
        client: Gives the running loop's connection.
        declarations: Names what the app declares.
        clock: The time.
    """

    def __init__(
        self,
        client: Callable[[], Awaitable[Client]],
        declarations: Declarations,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._declarations = declarations
        self._clock = clock

    async def upsert(
        self, schedule_id: str, call: Call[Any], **keywords: Unpack[ScheduleKeywords]
    ) -> ScheduleView:
        """Make a schedule, or change it to what is said here; a pause stays.

        Args:
            schedule_id: Its id: 1-64 characters of A-Z, a-z, 0-9, ``_`` and ``-``.
            call: What it runs: ``task.s(...)`` or ``task.options(...).s(...)``.
            **keywords: One of ``cron``, ``every``, ``at``; and ``tz, start, end, jitter,
                dst_gap, dst_overlap, misfire, catchup, catchup_limit, overlap, max_runs,
                about``; see ``ScheduleKeywords``.

        Raises:
            InvalidNameError: No schedule can be called so.
            OptionError: A keyword is unknown, or its value cannot be.
            TimetableError: The timetable says what cannot be.
            PayloadTooLargeError: The arguments are too large to be kept in a schedule.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        declared = Declared(check_schedule_id(schedule_id), call, keywords, "api")
        await declare(await self._client(), declared, self._clock.now_ms())
        return await self.get(schedule_id)

    async def get(self, schedule_id: str) -> ScheduleView:
        """Look at a schedule: what it says, its last run and that one's outcome, its next tick.

        Raises:
            ScheduleNotFoundError: There is none.
            BrokerError: It could not be read.
        """
        client = await self._client()
        book = ScheduleBook(client)
        stored = await book.read(check_schedule_id(schedule_id))
        status = await book.status(schedule_id)
        now_ms = self._clock.now_ms()
        runs = await last_runs(client, stored, now_ms, limit=1)
        last = next((run for run in runs if run.state is not None), run_told(status))
        return view(schedule_id, stored.schedule, status, last, now_ms)

    async def pause(
        self,
        schedule_id: str,
        *,
        note: str = "",
        until: datetime | Duration | None = None,
        by: str = "",
    ) -> ScheduleView:
        """Let a schedule rest: it has no ticks until it is resumed, and makes up for none.

        Args:
            schedule_id: The schedule.
            note: Why, for people.
            until: When it goes on by itself: a moment with a time zone, or a duration.
            by: Who does it, for people.

        Raises:
            ScheduleNotFoundError: There is none.
            OptionError: ``until`` is over, or nobody can tell when that is.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        now_ms = self._clock.now_ms()
        pause = Pause(now_ms, self._end_of_pause(until, now_ms), note, by)

        def rest(schedule: Schedule) -> Schedule:
            return replace(
                schedule, pause=pause, edition=schedule.edition + 1, updated_at_ms=now_ms
            )

        return await self._change(schedule_id, rest)

    async def resume(self, schedule_id: str) -> ScheduleView:
        """Let a schedule go on; the ticks of its pause are none of its own.

        Raises:
            ScheduleNotFoundError: There is none.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        now_ms = self._clock.now_ms()

        def go_on(schedule: Schedule) -> Schedule:
            if schedule.pause is None:
                return schedule
            return replace(
                schedule,
                pause=None,
                since_ms=min(schedule.pause.until_ms or now_ms, now_ms),
                edition=schedule.edition + 1,
                updated_at_ms=now_ms,
            )

        return await self._change(schedule_id, go_on)

    async def trigger(self, schedule_id: str) -> Job[Any]:
        """Run a schedule's job now, beside its ticks and also while it rests.

        Raises:
            ScheduleNotFoundError: There is none.
            EnqueueUnknownError: The server never confirmed the job.
            BrokerError: The server refused.
        """
        client = await self._client()
        stored = await ScheduleBook(client).read(check_schedule_id(schedule_id))
        job_id = await enqueue_now(
            client, schedule_id, stored.schedule, now_ms=self._clock.now_ms()
        )
        return Job(job_id, self._client, is_known=True)

    async def remove(self, schedule_id: str) -> None:
        """Remove a schedule; its ticks that are armed are withdrawn by the scheduler.

        Raises:
            ScheduleNotFoundError: There is none.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        was_there = False

        def away(schedule: Schedule | None) -> None:
            nonlocal was_there
            was_there = was_there or schedule is not None

        book = ScheduleBook(await self._client())
        await book.change(check_schedule_id(schedule_id), away)
        if not was_there:
            raise ScheduleNotFoundError(schedule_id)

    async def preview(
        self,
        schedule_id: str | None = None,
        *,
        n: int = 10,
        after: datetime | None = None,
        **keywords: Unpack[TimetableKeywords],
    ) -> list[datetime]:
        """Calculate the next ticks, of a stored schedule or of a timetable that is said here.

        Args:
            schedule_id: The schedule; None: the timetable of the keywords, without a server.
            n: How many.
            after: Ticks after this moment; None: from now on.
            **keywords: ``cron="0 8 * * *", tz="Europe/Berlin"``; see ``TimetableKeywords``.

        Returns:
            The ticks, by the wall clock of the schedule's time zone; pauses are left out of
            account.

        Raises:
            ScheduleNotFoundError: There is none.
            OptionError: A keyword is unknown, or its value cannot be.
            TimetableError: The timetable says what cannot be.
        """
        if schedule_id is None:
            table = make_timetable(keywords)
        else:
            book = ScheduleBook(await self._client())
            table = (await book.read(check_schedule_id(schedule_id))).schedule.timetable
        after_ms = self._clock.now_ms() if after is None else moment_ms("after", after)
        return [in_zone(table, tick) for tick in next_ticks(table, after_ms, limit=n)]

    async def backfill(self, schedule_id: str, start: datetime, end: datetime) -> Backfilled:
        """Enqueue the ticks of a time that is over, each unless its job is there already.

        Args:
            schedule_id: The schedule.
            start: From this moment on.
            end: Up to this moment, itself included; the future is left out.

        Raises:
            ScheduleNotFoundError: There is none.
            OptionError: Nobody can tell when that is, or it has more than 10,000 ticks.
            ExceptionGroup: Some jobs were not stored, or may not be; to do it again is safe.
        """
        client = await self._client()
        stored = await ScheduleBook(client).read(check_schedule_id(schedule_id))
        now_ms = self._clock.now_ms()
        start_ms, end_ms = moment_ms("start", start), min(moment_ms("end", end), now_ms)
        return await backfill(client, stored, start_ms, end_ms, now_ms)

    async def history(self, schedule_id: str, *, limit: int = 20) -> list[ScheduleRun]:
        """Look up the jobs of the last ticks, the newest first; those triggered are not seen.

        Args:
            schedule_id: The schedule.
            limit: How many ticks.

        Raises:
            ScheduleNotFoundError: There is none.
            BrokerError: The records could not be read.
        """
        client = await self._client()
        stored = await ScheduleBook(client).read(check_schedule_id(schedule_id))
        return await last_runs(client, stored, self._clock.now_ms(), limit=limit)

    async def sync(self, *, prune: bool = False) -> SyncReport:
        """Bring the stored schedules in line with those that the app declares.

        Args:
            prune: Remove those that were declared where this app declares (code, settings
                file) and are not any more. Only for an app that has its namespace for itself.

        Raises:
            OptionError: A declaration says what cannot be.
            TimetableError: A timetable says what cannot be.
            SettingsError: The schedules of the settings file are wrong.
            BrokerError: The server refused, or never confirmed it: to do it again is safe.
        """
        client = await self._client()
        return await sync(client, self._declarations(), self._clock.now_ms(), prune=prune)

    # The last one with a name of its own: it hides the type from annotations below it.
    async def list(self) -> list[ScheduleView]:
        """List the schedules by their ids, each with its last run as the scheduler tells it.

        Raises:
            BrokerError: They could not be read.
        """
        book = ScheduleBook(await self._client())
        stored = await book.all()
        statuses = await book.statuses()
        now_ms = self._clock.now_ms()
        views: list[ScheduleView] = []
        for schedule_id, schedule, _ in sorted(stored, key=lambda each: each.schedule_id):
            status = statuses.get(schedule_id)
            views.append(view(schedule_id, schedule, status, run_told(status), now_ms))
        return views

    async def _change(
        self, schedule_id: str, change: Callable[[Schedule], Schedule]
    ) -> ScheduleView:
        def of_present(old: Schedule | None) -> Schedule:
            if old is None:
                raise ScheduleNotFoundError(schedule_id)
            return change(old)

        book = ScheduleBook(await self._client())
        await book.change(check_schedule_id(schedule_id), of_present)
        return await self.get(schedule_id)

    def _end_of_pause(self, until: datetime | Duration | None, now_ms: int) -> int:
        if until is None:
            return 0
        if isinstance(until, datetime):
            end_ms = moment_ms("until", until)
        else:
            end_ms = now_ms + round(seconds(until) * 1000)
        if end_ms <= now_ms:
            option = "until"
            raise OptionError(option, f"{until} is over; give a time in the future")
        return end_ms
