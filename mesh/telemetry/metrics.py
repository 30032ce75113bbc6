"""Every Prometheus instrument, declared once with unit and help; none is labelled by job id."""

from __future__ import annotations

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram

BUCKETS_S = (
    *(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0),
)


class WorkerMetrics:
    """What a worker counts.

    Attributes:
        finished: Jobs that ended, by outcome.
        attempts: Attempts, by result.
        duration: How long attempts ran.
        wait: How long jobs waited from enqueue to start.
        running: Jobs that run now.
        fenced: Results refused because the job had ended already.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.finished = Counter(
            "mesh_jobs_finished",
            "Jobs that ended, by outcome.",
            ("queue", "task", "outcome"),
            registry=registry,
        )
        self.attempts = Counter(
            "mesh_job_attempts",
            "Attempts that ended, by result.",
            ("queue", "task", "result"),
            registry=registry,
        )
        self.duration = Histogram(
            "mesh_job_duration_seconds",
            "How long attempts ran.",
            ("queue", "task"),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.wait = Histogram(
            "mesh_job_queue_wait_seconds",
            "How long jobs waited from enqueue to start.",
            ("queue",),
            buckets=BUCKETS_S,
            registry=registry,
        )
        self.running = Gauge("mesh_jobs_running", "Jobs that run now.", registry=registry)
        self.fenced = Counter(
            "mesh_results_fenced",
            "Results refused because the job had ended already.",
            registry=registry,
        )


class TaskMetrics:
    """The instruments of one task in one queue, with their labels bound once.

    Attributes:
        ok: Attempts that returned.
        retried: Attempts that are followed by another.
        dead: Attempts that were the job's last, and failed.
    """

    __slots__ = (
        "_duration",
        "_ended",
        "_metrics",
        "_names",
        "_succeeded",
        "_wait",
        "dead",
        "ok",
        "retried",
    )

    def __init__(self, metrics: WorkerMetrics, queue: str, task: str) -> None:
        self._metrics = metrics
        self._names = (queue, task)
        self._duration = metrics.duration.labels(queue, task)
        self._wait = metrics.wait.labels(queue)
        self._succeeded = metrics.finished.labels(queue, task, "succeeded")
        self.ok = metrics.attempts.labels(queue, task, "ok")
        self.retried = metrics.attempts.labels(queue, task, "retry")
        self.dead = metrics.attempts.labels(queue, task, "dead")

    def succeeded(self, enqueued_at_ms: int, started_ms: int, finished_ms: int) -> None:
        """Count a job that returned its result."""
        self.ok.inc()
        self._succeeded.inc()
        self.ran(enqueued_at_ms, started_ms, finished_ms)

    def ran(self, enqueued_at_ms: int, started_ms: int, finished_ms: int) -> None:
        """Note how long an attempt waited and ran; times are milliseconds since the epoch."""
        self._duration.observe((finished_ms - started_ms) / 1000)
        self._wait.observe(max(0, started_ms - enqueued_at_ms) / 1000)

    def finished(self, outcome: str) -> None:
        """Count a job that ended in another way."""
        self._metrics.finished.labels(*self._names, outcome).inc()


_default: WorkerMetrics | None = None


def default_metrics() -> WorkerMetrics:
    """The instruments in Prometheus's default registry, made once for each process."""
    global _default  # noqa: PLW0603 - a process has one default registry, and so one set of instruments
    if _default is None:
        _default = WorkerMetrics(REGISTRY)
    return _default
