"""Say which job runs here, for log records."""

from __future__ import annotations

from collections.abc import Mapping

from mesh.tasks.context import running_job


def job_fields() -> Mapping[str, object]:
    """The running job's id, task, queue and attempt; empty where no job runs."""
    running = running_job.get(None)
    if running is None:
        return {}
    context = running.context
    return {
        "job": context.job_id,
        "task": context.task,
        "queue": context.queue,
        "attempt": context.attempt,
    }
