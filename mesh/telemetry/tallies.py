"""What a worker counts, in plain numbers, and how they become samples when Prometheus asks.

The client library's own counters take a lock at every step, four times a job.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

from msgspec import Struct
from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import Exemplar, Metric
from prometheus_client.registry import Collector

from mesh.clock import SYSTEM_CLOCK
from mesh.telemetry import metrics
from mesh.telemetry.metrics import BUCKETS_S

_BOUNDS = (*(str(bound) for bound in BUCKETS_S), "+Inf")

Buckets = list[tuple[str, float] | tuple[str, float, Exemplar]]


class Distribution:
    """How often a duration fell into each bucket, the sum of all, and an example for each.

    Attributes:
        counts: How many durations fell into each bucket.
        total_s: Their sum.
        exemplars: The trace of the last duration in a bucket, where one is known.
    """

    __slots__ = ("counts", "exemplars", "total_s")

    def __init__(self) -> None:
        self.counts = [0] * len(_BOUNDS)
        self.total_s = 0.0
        self.exemplars: dict[int, Exemplar] = {}

    def observe(self, seconds: float, trace_id: str = "") -> None:
        """Take in one duration.

        Args:
            seconds: How long it was.
            trace_id: The trace it belongs to; empty: none is known.
        """
        bucket = bisect_left(BUCKETS_S, seconds)
        self.counts[bucket] += 1
        self.total_s += seconds
        if trace_id:
            now_s = SYSTEM_CLOCK.now_ms() / 1000
            self.exemplars[bucket] = Exemplar({"trace_id": trace_id}, seconds, now_s)

    def buckets(self) -> Buckets:
        """Say how many durations were at most each bound."""
        running = 0
        cumulative: Buckets = []
        for index, (bound, count) in enumerate(zip(_BOUNDS, self.counts, strict=True)):
            running += count
            exemplar = self.exemplars.get(index)
            cumulative.append(
                (bound, running) if exemplar is None else (bound, running, exemplar)
            )
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

    def ran(
        self,
        result: str,
        enqueued_ms: int,
        started_ms: int,
        finished_ms: int,
        trace_id: str = "",
    ) -> None:
        """Count an attempt; times are milliseconds since the epoch.

        Args:
            result: How it ended.
            enqueued_ms: When its job was enqueued.
            started_ms: When it started.
            finished_ms: When it ended.
            trace_id: The trace it belongs to; empty: none is known.
        """
        self.attempts[result] = self.attempts.get(result, 0) + 1
        self.duration.observe((finished_ms - started_ms) / 1000, trace_id)
        self.wait.observe(max(0, started_ms - enqueued_ms) / 1000, trace_id)


class WorkerGauges(Struct, frozen=True, kw_only=True):
    """What a worker is just now.

    Attributes:
        worker: Its id; empty: there is none in this process.
        version: Its version of mesh.
        slots: How many jobs it may run at once.
        running: How many slots are taken.
        is_ready: Whether it takes jobs.
        is_connected: Whether the server can be reached.
        stuck_s: For how long jobs have waited while it had free slots and was given none.
    """

    worker: str = ""
    version: str = ""
    slots: int = 0
    running: int = 0
    is_ready: bool = False
    is_connected: bool = False
    stuck_s: float = 0.0


def _nobody() -> WorkerGauges:
    return WorkerGauges()


class WorkerMetrics(Collector):
    """What a worker counts; a collector of the registry it is given.

    Attributes:
        fenced: Outcomes refused: the job had ended already, or was another worker's.
        dropped_events: Events of jobs that found no room on their way to the ledger.
        taken_over: Jobs taken over from a worker that died, froze or was cut off.
        reconnects: Times the server was lost and found again.
        trouble: What was noticed of the server, by kind.
        gauges: Says what the worker is just now; set by the worker, called by any thread.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.fenced = 0
        self.dropped_events = 0
        self.taken_over = 0
        self.reconnects = 0
        self.trouble: dict[str, int] = {}
        self.gauges = _nobody
        self._tallies: dict[tuple[str, str], TaskTally] = {}
        registry.register(self)

    def noticed(self, kind: str) -> None:
        """Count something that is wrong with the server: ``consumer-missing`` and the like."""
        self.trouble[kind] = self.trouble.get(kind, 0) + 1

    def reconnected(self) -> None:
        """Count that the server was found again."""
        self.reconnects += 1

    def of(self, queue: str, task: str) -> TaskTally:
        """The tally of one task in one queue."""
        tally = self._tallies.get((queue, task))
        if tally is None:
            tally = self._tallies[queue, task] = TaskTally()
        return tally

    def describe(self) -> Iterable[Metric]:
        """Name what will be collected, without collecting it."""
        return (instrument.family() for instrument in _OF_WORKERS)

    def collect(self) -> Iterator[Metric]:
        """Turn the tallies into samples."""
        yield from self._of_tasks()
        yield from self._of_worker()
        trouble = metrics.SERVER_TROUBLE.family()
        for kind, count in list(self.trouble.items()):
            trouble.add_metric((kind,), count)
        yield trouble
        for instrument, count in (
            (metrics.RESULTS_FENCED, self.fenced),
            (metrics.EVENTS_DROPPED, self.dropped_events),
            (metrics.JOBS_TAKEN_OVER, self.taken_over),
            (metrics.NATS_RECONNECTS, self.reconnects),
        ):
            family = instrument.family()
            family.add_metric((), count)
            yield family

    def _of_tasks(self) -> Iterator[Metric]:
        finished = metrics.JOBS_FINISHED.family()
        attempts = metrics.JOB_ATTEMPTS.family()
        duration = metrics.JOB_DURATION.family()
        wait = metrics.JOB_QUEUE_WAIT.family()
        for labels, tally in list(self._tallies.items()):
            for outcome, count in list(tally.finished.items()):
                finished.add_metric((*labels, outcome), count)
            for result, count in list(tally.attempts.items()):
                attempts.add_metric((*labels, result), count)
            duration.add_metric(labels, tally.duration.buckets(), tally.duration.total_s)
            wait.add_metric(labels, tally.wait.buckets(), tally.wait.total_s)
        yield from (finished, attempts, duration, wait)

    def _of_worker(self) -> Iterator[Metric]:
        now = self.gauges()
        info = metrics.WORKER_INFO.family()
        build = metrics.BUILD_INFO.family()
        if now.worker:
            info.add_metric((now.worker, now.version), 1)
            build.add_metric((now.version,), 1)
        yield from (info, build)
        for instrument, value in (
            (metrics.JOBS_RUNNING, now.running),
            (metrics.WORKER_SLOTS, now.slots),
            (metrics.WORKER_SLOTS_USED, now.running),
            (metrics.WORKER_READY, now.is_ready),
            (metrics.WORKER_STUCK, now.stuck_s),
            (metrics.NATS_CONNECTED, now.is_connected),
        ):
            family = instrument.family()
            family.add_metric((), value)
            yield family


_OF_WORKERS = (
    *(metrics.JOBS_FINISHED, metrics.JOB_ATTEMPTS, metrics.JOB_DURATION),
    *(metrics.JOB_QUEUE_WAIT, metrics.JOBS_RUNNING, metrics.RESULTS_FENCED),
    *(metrics.JOBS_TAKEN_OVER, metrics.SERVER_TROUBLE, metrics.EVENTS_DROPPED),
    metrics.WORKER_INFO,
    *(metrics.WORKER_SLOTS, metrics.WORKER_SLOTS_USED, metrics.WORKER_READY),
    *(metrics.WORKER_STUCK, metrics.NATS_CONNECTED, metrics.NATS_RECONNECTS),
    metrics.BUILD_INFO,
)

_default: WorkerMetrics | None = None


def default_metrics() -> WorkerMetrics:
    """The instruments in Prometheus's default registry, made once for each process."""
    global _default  # noqa: PLW0603 - a process has one default registry, and so one set
    if _default is None:
        _default = WorkerMetrics(REGISTRY)
    return _default
