"""What `mesh bench` reports, and how it is put together from the rounds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median, quantiles

from msgspec import Struct


class Report(Struct, frozen=True, kw_only=True):
    """The figures of one run; each is the median of its rounds.

    Attributes:
        enqueue_per_s: Jobs a second through ``app.enqueue_many``, the making of calls included.
        raw_enqueue_per_s: The same messages, published by the bare loop.
        enqueue_ratio: The median of what mesh reached of the bare loop, round by round.
        drain_per_s: Jobs that one worker brought to a stored result in a second.
        raw_drain_per_s: The same exchange, by the bare loop.
        drain_ratio: The median of what mesh reached of the bare loop, round by round.
        roundtrip_p50_ms: From ``enqueue`` to the end of ``result``, job by job: the median.
        roundtrip_p99_ms: The same; 99 of 100 were at least as quick.
        raw_roundtrip_p50_ms: The same exchange, by bare loops: the median.
        worker_rss_mib: Memory of the worker's process after a drain.
        startup_to_first_job_ms: From the start of the worker's process to its first result.
        jobs: How many jobs each drain had.
        missing_results: Of all jobs of mesh, how many have no record that says succeeded.
    """

    enqueue_per_s: float
    raw_enqueue_per_s: float
    enqueue_ratio: float
    drain_per_s: float
    raw_drain_per_s: float
    drain_ratio: float
    roundtrip_p50_ms: float
    roundtrip_p99_ms: float
    raw_roundtrip_p50_ms: float
    worker_rss_mib: float
    startup_to_first_job_ms: float
    jobs: int
    missing_results: int


class CrashReport(Struct, frozen=True):
    """What became of the jobs of a worker that was killed.

    Attributes:
        crash_recovered_s: From the kill to the last terminal record.
        crash_lost: Jobs that had none when the wait for it was over.
        crash_doubled: Jobs with more than one terminal record, or that ran again after ending.
    """

    crash_recovered_s: float
    crash_lost: int
    crash_doubled: int


class DelayedReport(Struct, frozen=True, kw_only=True):
    """How punctual delayed jobs were on an idle worker.

    Attributes:
        lateness_p50_ms: From when a job was due to the start of its task: the median.
        lateness_p99_ms: The same; 99 of 100 were at least as punctual.
        lateness_max_ms: The same; the least punctual.
        early: How many started before they were due.
        missing: How many did not start at all.
        jobs: How many there were.
    """

    lateness_p50_ms: float
    lateness_p99_ms: float
    lateness_max_ms: float
    early: int
    missing: int
    jobs: int


class OutageReport(Struct, frozen=True, kw_only=True):
    """What became of delayed jobs that were due while the server was away.

    Attributes:
        outage_s: From the kill of the server until it was ready again.
        excess_s: By how much the latest job was later than that.
        missing: How many did not start at all.
        doubled: How many started more than once.
        jobs: How many there were.
    """

    outage_s: float
    excess_s: float
    missing: int
    doubled: int
    jobs: int


class Pace(Struct, frozen=True):
    """What both mesh and the bare loop are measured by, in one round.

    Attributes:
        enqueue_per_s: Jobs enqueued in a second.
        drain_per_s: Jobs drained in a second.
        round_trips_s: The seconds of each round trip.
    """

    enqueue_per_s: float
    drain_per_s: float
    round_trips_s: list[float]


class WorkerFacts(Struct, frozen=True):
    """What only a worker of mesh is measured by, in one round.

    Attributes:
        startup_s: From the start of its process to its first stored result.
        rss_mib: Its memory after the drain.
        missing_results: Jobs without a record that says succeeded.
    """

    startup_s: float
    rss_mib: float
    missing_results: int


class Round(Struct, frozen=True):
    """One round: mesh and the bare loop, one right after the other."""

    mesh: Pace
    worker: WorkerFacts
    raw: Pace


def summarise(jobs: int, rounds: Sequence[Round]) -> Report:
    """Put the rounds together.

    Args:
        jobs: How many jobs each drain had.
        rounds: What was measured.
    """

    def middle(figure: Callable[[Round], float], digits: int = 1) -> float:
        return round(median(map(figure, rounds)), digits)

    return Report(
        enqueue_per_s=middle(lambda r: r.mesh.enqueue_per_s),
        raw_enqueue_per_s=middle(lambda r: r.raw.enqueue_per_s),
        enqueue_ratio=middle(lambda r: r.mesh.enqueue_per_s / r.raw.enqueue_per_s, 3),
        drain_per_s=middle(lambda r: r.mesh.drain_per_s),
        raw_drain_per_s=middle(lambda r: r.raw.drain_per_s),
        drain_ratio=middle(lambda r: r.mesh.drain_per_s / r.raw.drain_per_s, 3),
        roundtrip_p50_ms=middle(lambda r: 1000 * percentile(r.mesh.round_trips_s, 50), 3),
        roundtrip_p99_ms=middle(lambda r: 1000 * percentile(r.mesh.round_trips_s, 99), 3),
        raw_roundtrip_p50_ms=middle(lambda r: 1000 * percentile(r.raw.round_trips_s, 50), 3),
        worker_rss_mib=middle(lambda r: r.worker.rss_mib),
        startup_to_first_job_ms=middle(lambda r: 1000 * r.worker.startup_s),
        jobs=jobs,
        missing_results=sum(r.worker.missing_results for r in rounds),
    )


def percentile(values: Sequence[float], percent: int) -> float:
    """The value that so many percent of all are not above.

    Args:
        values: At least one.
        percent: From 1 to 99.
    """
    if len(values) < 2:
        return values[0]
    return quantiles(values, n=100, method="inclusive")[percent - 1]
