"""Every Prometheus instrument, declared once with unit and help; none is labelled by job id.

The worker counts in plain numbers and turns them into samples when Prometheus asks: the client
library's counters take a lock at every step, four times a job.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)
_BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")


class Distribution:
    """How often a duration fell into each bucket, and the sum of all."""

    __slots__ = ("counts", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.total_s = 0.0

    def observe(self, seconds: float) -> None:
        """Take in one duration."""
        self.counts[bisect_left(BUCKETS_S, seconds)] += 1
        self.total_s += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Say how many durations were at most each bound."""
        running = 0
        cumulative: list[tuple[str, float]] = []
        for bound, count in zip(_BOUNDS, self.counts, strict=True):
            running += count
            cumulative.append((bound, running))
        return cumulative


class TaskTally:
    """What is counted of one task in one queue.

    Attributes:
        finished: Jobs that ended, by outcome.
        attempts: Attempts that ended, by result: ``ok``, ``retry``, ``snooze``, ``crash``,
            ``dead``.
        duration: How long attempts ran.
        wait: How long jobs waited from enqueue to start.
    """

    __slots__ = ("attempts", "duration", "finished", "wait")

    def __init__(self) -> None:
        self.finished: dict[str, int] = {}
        self.attempts: dict[str, int] = {}
        self.duration = Distribution()
        self.wait = Distribution()

    def end(self, outcome: str) -> None:
        """Count a job that ended."""
        self.finished[outcome] = self.finished.get(outcome, 0) + 1

    def ran(self, result: str, enqueued_ms: int, started_ms: int, finished_ms: int) -> None:
        """Count an attempt; times are milliseconds since the epoch."""
        self.attempts[result] = self.attempts.get(result, 0) + 1
        self.duration.observe((finished_ms - started_ms) / 1000)
        self.wait.observe(max(0, started_ms - enqueued_ms) / 1000)


class WorkerMetrics(Collector):
    """What a worker counts; a collector of the registry it is given.

    Attributes:
        fenced: Outcomes refused: the job had ended already, or was another worker's.
        taken_over: Jobs taken over from a worker that died, froze or was cut off.
        dropped_events: Events of jobs that found no room on their way to the ledger.
        trouble: What was noticed of the server, by kind.
        running: Says how many jobs run now; set by the worker.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fenced = 0
        self.taken_over = 0
        self.dropped_events = 0
        self.trouble: dict[str, int] = {}
        self.running: Callable[[], int] = _none
        self._tallies: dict[tuple[str, str], TaskTally] = {}
        registry.register(self)

    def noticed(self, kind: str) -> None:
        """Count something that is wrong with the server: ``consumer-missing`` and the like."""
        self.trouble[kind] = self.trouble.get(kind, 0) + 1

    def of(self, queue: str, task: str) -> TaskTally:
        """The tally of one task in one queue."""
        tally = self._tallies.get((queue, task))
        if tally is None:
            tally = self._tallies[queue, task] = TaskTally()
        return tally

    def describe(self) -> Iterable[Metric]:
        """Name what will be collected, without collecting it."""
        return (*_families(), _trouble_family(), _dropped_family())

    def collect(self) -> Iterator[Metric]:
        """Turn the tallies into samples."""
        finished, attempts, duration, wait, running, fenced, taken_over = _families()
        for labels, tally in list(self._tallies.items()):
            for outcome, count in list(tally.finished.items()):
                finished.add_metric((*labels, outcome), count)
            for result, count in list(tally.attempts.items()):
                attempts.add_metric((*labels, result), count)
            duration.add_metric(labels, tally.duration.buckets(), tally.duration.total_s)
            wait.add_metric(labels, tally.wait.buckets(), tally.wait.total_s)
        running.add_metric((), self.running())
        fenced.add_metric((), self.fenced)
        taken_over.add_metric((), self.taken_over)
        yield from (finished, attempts, duration, wait, running, fenced, taken_over)
        dropped = _dropped_family()
        dropped.add_metric((), self.dropped_events)
        yield dropped
        trouble = _trouble_family()
        for kind, count in list(self.trouble.items()):
            trouble.add_metric((kind,), count)
        yield trouble


def _families() -> tuple[
    CounterMetricFamily,
    CounterMetricFamily,
    HistogramMetricFamily,
    HistogramMetricFamily,
    GaugeMetricFamily,
    CounterMetricFamily,
    CounterMetricFamily,
]:
    by_task = ("queue", "task")
    return (
        CounterMetricFamily(
            "mesh_jobs_finished", "Jobs that ended, by outcome.", labels=(*by_task, "outcome")
        ),
        CounterMetricFamily(
            "mesh_job_attempts", "Attempts that ended, by result.", labels=(*by_task, "result")
        ),
        HistogramMetricFamily(
            "mesh_job_duration_seconds", "How long attempts ran.", labels=by_task
        ),
        HistogramMetricFamily(
            "mesh_job_queue_wait_seconds",
            "How long jobs waited from enqueue to start.",
            labels=by_task,
        ),
        GaugeMetricFamily("mesh_jobs_running", "Jobs that run now."),
        CounterMetricFamily(
            "mesh_results_fenced",
            "Outcomes refused: the job had ended already, or was another worker's.",
        ),
        CounterMetricFamily(
            "mesh_jobs_taken_over",
            "Jobs taken over from a worker that died, froze or was cut off.",
        ),
    )


def _trouble_family() -> CounterMetricFamily:
    return CounterMetricFamily(
        "mesh_server_trouble",
        "What the worker noticed of the server, by kind.",
        labels=("kind",),
    )


def _dropped_family() -> CounterMetricFamily:
    return CounterMetricFamily(
        "mesh_events_dropped",
        "Events of jobs that found no room on their way to the ledger.",
    )


def _none() -> int:
    return 0


_default: WorkerMetrics | None = None


def default_metrics() -> WorkerMetrics:
    """The instruments in Prometheus's default registry, made once for each process."""
    global _default  # noqa: PLW0603 - a process has one default registry, and so one set
    if _default is None:
        _default = WorkerMetrics(REGISTRY)
    return _default
