"""Say of each schedule which tick came last and what became of its job."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

import msgspec
from msgspec.structs import replace

from mesh.client.admission import at_once
from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import records
from mesh.contract.schedules import Schedule
from mesh.contract.subjects import kv_stream
from mesh.errors import MeshError, TimetableError
from mesh.policy.arming import is_current, last_tick
from mesh.policy.schedule_ticks import schedule_ticks, tick_job_id
from mesh.policy.ticks import LAST_MS
from mesh.scheduler.catalogue import Catalogue, Known
from mesh.transport.buckets import Entry
from mesh.transport.reading import StreamReader

log = logging.getLogger("mesh.scheduler")

LOOK_EVERY_S = 1.0
_TELL_EVERY_S = 3.0
_AT_ONCE = 500


class _Run:
    """The last tick of a schedule, and its job."""

    __slots__ = ("edition", "finished_at_ms", "job_id", "next_ms", "state", "tick_ms", "told_s")

    def __init__(self, edition: int) -> None:
        self.edition = edition
        self.tick_ms = 0
        self.job_id = ""
        self.state = ""
        self.finished_at_ms = 0
        self.next_ms = 0
        self.told_s = 0.0


class Chronicle:
    """Follows the schedules of one namespace.

    Args:
        client: A connection.
        catalogue: The schedules; what is said is written through it.
        clock: The time.
    """

    def __init__(self, client: Client, catalogue: Catalogue, clock: Clock) -> None:
        self._names = client.names
        self._catalogue = catalogue
        self._clock = clock
        self._results = StreamReader(client.connection, kv_stream(client.names.results_bucket))
        self._runs: dict[str, _Run] = {}
        self._look_s = 0.0

    async def look(self) -> None:
        """Take in what has happened since the last look, and write what is new.

        Raises:
            BrokerError: The results could not be read.
        """
        now_s = self._clock.monotonic()
        if now_s < self._look_s:
            return
        self._look_s = now_s + LOOK_EVERY_S
        now_ms = self._clock.now_ms()
        known = self._catalogue.known
        self._runs = {name: run for name, run in self._runs.items() if name in known}
        current = [one for one in known.values() if self._follow(one, now_ms)]
        open_runs = [
            run for one in current if (run := self._runs[one.id]).job_id and not run.state
        ]
        for start in range(0, len(open_runs), _AT_ONCE):
            await self._read_results(open_runs[start : start + _AT_ONCE])
        news = list(self._news(current, now_s))
        for one, told in zip(news, await at_once(self._tell, news), strict=True):
            if isinstance(told, MeshError):
                log.warning("the status of schedule %s: %s", one.id, told)

    def _follow(self, known: Known, now_ms: int) -> bool:
        """Bring the last tick of a schedule up to date; whether there may be something new."""
        schedule, status = known.schedule, known.status
        if schedule is None or status is None or known.is_faulty:
            return False
        if not is_current(schedule, status):
            return False
        run = self._runs.get(known.id)
        if run is None or run.edition != schedule.edition:
            run = self._runs[known.id] = _Run(schedule.edition)
            run.tick_ms, run.job_id = status.last_tick_ms, status.last_job_id
            run.state, run.finished_at_ms = status.last_state, status.last_finished_at_ms
        if now_ms >= run.next_ms:
            try:
                self._advance(known.id, schedule, run, min(now_ms, status.armed_until_ms))
            except TimetableError:  # Whoever arms it says so.
                return False
        return True

    def _advance(self, schedule_id: str, schedule: Schedule, run: _Run, now_ms: int) -> None:
        tick = last_tick(schedule, max(run.tick_ms, schedule.since_ms - 1), now_ms)
        if tick > run.tick_ms:
            run.tick_ms, run.job_id = tick, tick_job_id(schedule_id, tick)
            run.state, run.finished_at_ms = "", 0
        run.next_ms = next(schedule_ticks(schedule, now_ms), LAST_MS)

    async def _read_results(self, runs: Sequence[_Run]) -> None:
        of_subject = {self._names.result(run.job_id): run for run in runs}
        for entry in await self._results.last_of(list(of_subject)):
            _take(of_subject[entry.subject], entry)

    def _news(self, current: Sequence[Known], now_s: float) -> Iterator[Known]:
        for known in current:
            run, status = self._runs[known.id], known.status
            if status is None or now_s < run.told_s + _TELL_EVERY_S:
                continue
            if (run.job_id, run.state) != (status.last_job_id, status.last_state):
                run.told_s = now_s
                yield known

    async def _tell(self, known: Known) -> None:
        run, status = self._runs[known.id], known.status
        if status is not None:
            told = replace(
                status,
                last_tick_ms=run.tick_ms,
                last_job_id=run.job_id,
                last_state=run.state,
                last_finished_at_ms=run.finished_at_ms,
                updated_at_ms=self._clock.now_ms(),
            )
            await self._catalogue.tell(known, told)


def _take(run: _Run, entry: Entry) -> None:
    try:
        result = records.read_result(entry.value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        run.state = "failed"  # Its job has ended, and nobody can read how.
    else:
        run.state, run.finished_at_ms = str(result.state), result.finished_at_ms
