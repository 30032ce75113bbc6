"""Keep the schedules of a namespace armed, while this replica leads: look, decide, write.

Whatever is left half done - a leader that dies between arming and saying so - is done again by
the next look, whoever takes it, and comes to the same.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from msgspec.structs import replace

from mesh.client.admission import at_once
from mesh.clock import Clock
from mesh.contract.schedules import Schedule, ScheduleStatus
from mesh.errors import MeshError, PayloadTooLargeError, TimetableError
from mesh.policy.arming import Arming, Reach, arming, is_current, is_of_record
from mesh.policy.schedule_ticks import TickJob, tick_job
from mesh.scheduler.armer import Armer
from mesh.scheduler.catalogue import Catalogue, Known

log = logging.getLogger("mesh.scheduler")

_MOST_TICKS = 2_000
_THOROUGH_EVERY_S = 5.0


class Work(NamedTuple):
    """What is to be done about one schedule.

    Attributes:
        known: The schedule.
        schedule: Its record.
        arming: What to arm.
        status: What is to be said of it then.
    """

    known: Known
    schedule: Schedule
    arming: Arming
    status: ScheduleStatus


class Keeper:
    """Arms what is due to be armed, and takes back what has changed.

    Args:
        catalogue: The schedules.
        armer: Talks to the server.
        clock: The time.
        reach: How far ahead ticks are armed.
    """

    def __init__(self, catalogue: Catalogue, armer: Armer, clock: Clock, reach: Reach) -> None:
        self._catalogue = catalogue
        self._armer = armer
        self._clock = clock
        self._reach = reach
        self._thorough_s = clock.monotonic() + _THOROUGH_EVERY_S

    async def look(self) -> None:
        """Take in what has changed, and bring what is armed in line with it.

        Raises:
            NotLeadingError: Another replica may lead by now.
            BrokerError: The server could not be asked, or refused; the next look goes on.
        """
        now_s = self._clock.monotonic()
        is_thorough = now_s >= self._thorough_s
        if is_thorough:
            self._thorough_s = now_s + _THOROUGH_EVERY_S
        await self._catalogue.refresh(thoroughly=is_thorough)
        await self._withdraw()
        now_ms = self._clock.now_ms()
        for works in self._parts(now_ms):
            await self._carry_out(works, now_ms)

    async def _withdraw(self) -> None:
        """Take back the ticks of schedules that have changed, or are gone."""
        known = self._catalogue.known
        gone = [one for one in known.values() if one.schedule is None and not one.is_faulty]
        changed = {one.id for one in known.values() if _has_changed(one)}
        if not gone and not changed:
            return
        counts = await self._armer.withdraw(changed | {one.id for one in gone})
        for one in gone:
            await self._catalogue.forget(one)
        for schedule_id in changed:
            status = known[schedule_id].status
            if status is not None:
                runs = max(0, status.runs - counts[schedule_id])
                known[schedule_id].status = replace(status, runs=runs)

    def _parts(self, now_ms: int) -> Iterator[list[Work]]:
        """Decide about schedule after schedule; yield what is to be done in portions."""
        works: list[Work] = []
        count = 0
        for known in list(self._catalogue.known.values()):
            work = self._decide(known, now_ms)
            if work is not None:
                works.append(work)
                count += 1 + len(work.arming.ticks)
            if count >= _MOST_TICKS:
                yield works
                works, count = [], 0
        if works:
            yield works

    def _decide(self, known: Known, now_ms: int) -> Work | None:
        schedule, status = known.schedule, known.status
        if schedule is None or known.is_faulty:
            return None
        if status is None or not is_of_record(schedule, status):
            # Nothing is known of what was before; a removed one of the same id does not count.
            status = ScheduleStatus(schedule.edition, schedule.created_at_ms)
        try:
            plan = arming(schedule, known.status, now_ms, self._reach, runs=status.runs)
        except TimetableError as error:
            log.warning("schedule %s is never due: %s", known.id, error)
            known.is_faulty = True
            return None
        if plan is None:
            return None
        told = replace(
            status,
            edition=schedule.edition,
            armed_until_ms=plan.until_ms,
            runs=status.runs + len(plan.ticks),
            missed=status.missed + plan.missed,
            updated_at_ms=now_ms,
        )
        return Work(known, schedule, plan, told)

    async def _carry_out(self, works: Sequence[Work], now_ms: int) -> None:
        jobs: list[TickJob] = []
        for work in works:
            jobs += (
                tick_job(work.known.id, work.schedule, tick, now_ms)
                for tick in work.arming.ticks
            )
        outcomes = iter(await self._armer.arm(jobs))
        done: list[Work] = []
        for work in works:
            own = islice(outcomes, len(work.arming.ticks))
            faults = [fault for fault in own if fault is not None]
            if faults:
                # Nothing is said of it, so that the next look tries again.
                log.warning("ticks of schedule %s: %s", work.known.id, faults[0])
                work.known.is_faulty = isinstance(faults[0], PayloadTooLargeError)
            else:
                done.append(work)
        self._armer.check()
        for work, told in zip(done, await at_once(self._tell, done), strict=True):
            if isinstance(told, MeshError):
                log.warning("the status of schedule %s: %s", work.known.id, told)

    async def _tell(self, work: Work) -> None:
        if work.arming.missed:
            log.warning(
                "ticks were missed and are not made up for",
                extra={"schedule": work.known.id, "count": work.arming.missed},
            )
        await self._catalogue.tell(work.known, work.status)


def _has_changed(known: Known) -> bool:
    """Whether what is armed of a schedule is of another edition."""
    return (
        known.schedule is not None
        and known.status is not None
        and not known.is_faulty
        and not is_current(known.schedule, known.status)
    )
