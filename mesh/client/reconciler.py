"""``mesh fsck``: compare what a namespace holds, look again, and put right what is still wrong.

A job that moves may look lost, doubled or left over. So whatever the first look suspects is
looked at once more when a lease has passed, and only what has not changed by then is a finding.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypedDict, TypeVar

import anyio
from msgspec.structs import replace

from mesh.client.client import Client
from mesh.client.drift import drift, missing_streams
from mesh.client.evidence import Evidence
from mesh.client.findings import Finding, FsckReport, Kind
from mesh.client.inventory import Lanes, judge
from mesh.client.repairs import Repairs
from mesh.client.screening import Screening, Tell
from mesh.client.strays import Strays
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.durations import Duration, seconds
from mesh.transport.buckets import Shelf

T = TypeVar("T")

WAITING = "waiting to look again"
"""What is told once a second before the second look."""

_AT_ONCE = 50
_MARGIN_S = 2.0
_NS = 1_000_000_000
_NOT_OF_JOBS = frozenset(
    {
        Kind.UNSERVED,
        Kind.UNROUTABLE,
        Kind.STRAY_ARGUMENTS,
        Kind.STRAY_RESULT,
        Kind.STRAY_KEY,
    }
)


class FsckOptions(TypedDict, total=False):
    """How a namespace is checked.

    ``repair``: put right what can be; else nothing is changed. ``settle``: how long to wait
    before the second look; without it, longer than a lease. ``on_progress``: told what is being
    looked at, and how much of it since the last call.
    """

    repair: bool
    settle: Duration | None
    on_progress: Tell | None


async def fsck(client: Client, queues: Sequence[str], options: FsckOptions) -> FsckReport:
    """Check a namespace; see ``Reconciler``."""
    settle = options.get("settle")
    reconciler = Reconciler(
        client,
        queues,
        settle_s=None if settle is None else seconds(settle),
        tell=options.get("on_progress"),
    )
    return await reconciler.run(repair=options.get("repair", False))


class Reconciler:
    """Checks one namespace, and repairs it if told to.

    Args:
        client: A connection.
        queues: The queues that must have lanes.
        settle_s: How long to wait before the second look; None: as long as a lease and a
            publish may last.
        tell: Told how it goes on.
        clock: The time.
    """

    def __init__(
        self,
        client: Client,
        queues: Sequence[str],
        *,
        settle_s: float | None = None,
        tell: Tell | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._names = client.names
        self._queues = queues
        self._settle_s = settle_s
        self._tell = tell or _say_nothing
        self._clock = clock
        self._repairs = Repairs(client, clock)

    async def run(self, *, repair: bool = False) -> FsckReport:
        """Look, look again, and put right what can be.

        Args:
            repair: Put right what can be; else change nothing.

        Raises:
            BrokerError: The server could not be asked, or refused; to run it again is safe.
        """
        began = self._clock.monotonic()
        missing = await missing_streams(self._client)
        events = self._names.events_stream
        has_ledger = self._client.settings.events.enabled and events not in missing
        report = FsckReport(namespace=self._names.namespace, has_ledger=has_ledger)
        queues: set[str] = set(self._queues)
        # What is not there cannot be compared with the rest.
        if not missing - {events}:
            evidence = Evidence(self._client, has_ledger=has_ledger)
            strays = Strays(self._client, evidence, self._tell)
            lanes = await evidence.lanes()
            queues |= lanes.queues
            report = await self._compare(report, lanes, evidence, strays, repair=repair)
        known = {finding.name for finding in report.findings if finding.kind is Kind.UNSERVED}
        found = [one for one in await drift(self._client, queues) if one.name not in known]
        took_s = self._clock.monotonic() - began
        return replace(report, findings=(*found, *report.findings), took_s=took_s)

    async def _compare(
        self,
        report: FsckReport,
        lanes: Lanes,
        evidence: Evidence,
        strays: Strays,
        *,
        repair: bool,
    ) -> FsckReport:
        screening = Screening(
            self._client, lanes, has_ledger=report.has_ledger, tell=self._tell
        )
        suspects = await screening.run()
        suspected = [*suspects.findings, *await strays.look(suspects)]

        async def closely(job_id: str) -> list[Finding]:
            self._tell("suspects", 1)
            facts = await evidence.try_of(job_id)
            return [] if facts is None else judge(facts, lanes, self._clock.now_ms())

        for found in await _each(closely, list(suspects.jobs)):
            suspected += found
        looks = 2 if suspected else 1
        if suspected:
            await self._wait(lanes)
            suspected = await self._look_again(suspected, evidence, strays, repair=repair)
        return replace(
            report,
            findings=tuple(suspected),
            looked_at=suspects.looked_at,
            looks=looks,
            is_partial=suspects.is_partial,
        )

    async def _wait(self, lanes: Lanes) -> None:
        """Let what moves arrive: a lease, and a publish that is being repeated."""
        if self._settle_s is not None:
            settle_s = self._settle_s
        else:
            settings = self._client.settings
            waits = [state.config["ack_wait"] / _NS for state in lanes.states.values()]
            lease_s = max([settings.worker.ack_wait_s, *waits])
            settle_s = lease_s + settings.publish.deadline_s + _MARGIN_S
        end = self._clock.monotonic() + settle_s
        while (left_s := end - self._clock.monotonic()) > 0:
            self._tell(WAITING, 1)
            await anyio.sleep(min(1.0, left_s))

    async def _look_again(
        self, suspected: list[Finding], evidence: Evidence, strays: Strays, *, repair: bool
    ) -> list[Finding]:
        """Keep what is still so, and put it right at once, before it can move again."""
        lanes = await evidence.lanes()
        before = {finding.identity for finding in suspected}
        jobs = dict.fromkeys(one.name for one in suspected if one.kind not in _NOT_OF_JOBS)

        async def settle(job_id: str) -> list[Finding]:
            facts = await evidence.try_of(job_id)
            # What has other places now has moved: the job is on its way.
            found = [] if facts is None else judge(facts, lanes, self._clock.now_ms())
            return [
                await self._mended(one, repair, self._repairs.of_job, facts, lanes)
                for one in found
                if one.identity in before and facts is not None
            ]

        left = await self._places_again(suspected, lanes, repair=repair)
        for found in await _each(settle, list(jobs)):
            left += found
        for one in await strays.look_again(suspected):
            if one.identity in before:
                left.append(await self._mended(one, repair, self._repairs.of_stray))
        return left

    async def _places_again(
        self, suspected: list[Finding], lanes: Lanes, *, repair: bool
    ) -> list[Finding]:
        """Look at lanes and subjects again, and give the lanes their consumers."""
        shelf = Shelf(self._client.connection, self._names.jobs_stream)
        left: list[Finding] = []
        for one in suspected:
            if one.kind is Kind.UNROUTABLE and await shelf.last(one.name) is not None:
                left.append(one)
            if one.kind is Kind.UNSERVED and one.name not in lanes.states:
                queue = one.name.rpartition("-")[0]
                can = repair and queue in lanes.queues
                left.append(await self._mended(one, can, self._repairs.of_lane, queue))
        return left

    async def _mended(
        self,
        finding: Finding,
        repair: bool,
        mend: Callable[..., Awaitable[bool]],
        *more: object,
    ) -> Finding:
        return finding.repaired() if repair and await mend(finding, *more) else finding


async def _each(work: Callable[[str], Awaitable[T]], names: list[str]) -> list[T]:
    """Do something for each of many names, some at a time; the answers are in their order."""
    answers: dict[str, T] = {}
    places = anyio.CapacityLimiter(_AT_ONCE)

    async def one(name: str) -> None:
        async with places:
            answers[name] = await work(name)

    async with anyio.create_task_group() as group:
        for name in names:
            group.start_soon(one, name)
    return [answers[name] for name in names]


def _say_nothing(_what: str, _count: int) -> None:
    pass
