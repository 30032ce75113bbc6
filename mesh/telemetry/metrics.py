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


_default: WorkerMetrics | None = None


def default_metrics() -> WorkerMetrics:
    """The instruments in Prometheus's default registry, made once for each process."""
    global _default  # noqa: PLW0603 - a process has one default registry, and so one set of instruments
    if _default is None:
        _default = WorkerMetrics(REGISTRY)
    return _default
