"""How jobs look in a list, and one of them with everything that is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mesh.cli.happenings import clock, line
from mesh.cli.output import table
from mesh.cli.statuses import details, values
from mesh.client.happenings import LedgerEvent
from mesh.client.status import JobStatus

_HEAD = ("SINCE", "JOB", "STATE", "TASK", "QUEUE", "PRIORITY", "ATTEMPT", "MESSAGE")
_LONGEST_MESSAGE = 60


def listed(jobs: Sequence[JobStatus]) -> str:
    """The jobs as a table."""
    if not jobs:
        return "no jobs"
    return table(_HEAD, [_row(job) for job in jobs])


def everything(status: JobStatus, history: Sequence[LedgerEvent], result: object) -> str:
    """All that is known of a job: its status, its result, its life."""
    parts = [details(status)]
    if result is not None:
        parts.append(f"result\n  {result}")
    if history:
        parts.append("history\n" + "\n".join(f"  {line(event)}" for event in history))
    return "\n\n".join(parts)


def as_values(
    status: JobStatus, history: Sequence[LedgerEvent], result: object
) -> dict[str, Any]:
    """The same for programs."""
    return values(status) | {"result": result, "history": list(history)}


def _row(job: JobStatus) -> tuple[object, ...]:
    when = job.finished_at_ms or job.started_at_ms or job.enqueued_at_ms
    words = job.message
    if job.error is not None:
        words = f"{job.error.type}: {job.error.message}"
    if job.due_at_ms and not job.is_finished:
        words = f"due {clock(job.due_at_ms, with_day=True)}  {words}".rstrip()
    words = " ".join(words.split())
    if len(words) > _LONGEST_MESSAGE:
        words = words[: _LONGEST_MESSAGE - 3] + "..."
    since = clock(when, with_day=True) if when else "-"
    attempt = job.attempt or "-"
    return (since, job.job_id, job.state, job.task, job.queue, job.priority, attempt, words)
