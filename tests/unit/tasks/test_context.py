"""What a running task may know: its context, and how to find it."""

from __future__ import annotations

import contextvars
from dataclasses import dataclass

import pytest

from mesh.tasks.context import JobContext, Progress, current_job, running_job


@dataclass
class Attempt:
    """Stands for the worker's attempt."""

    context: JobContext


def test_a_report_of_progress_goes_to_whoever_runs_the_job() -> None:
    """The latest values, as the task gave them."""
    reports: list[Progress] = []
    context = JobContext("job-1", "send", "mail", "high", 2, worker="w", sink=reports.append)

    context.progress(1)
    context.progress(5, 10, "halfway")

    assert reports == [Progress(1), Progress(5, 10, "halfway")]


def test_a_context_can_be_made_in_a_test_of_a_task() -> None:
    """Without a worker its reports go nowhere, and nothing else is missing."""
    context = JobContext("job-1", "send", "mail", "high")

    context.progress(1)

    assert context.attempt == 1
    assert context.meta == {}
    assert repr(context) == "<JobContext send job-1 attempt 1>"


def test_the_running_job_is_found_from_anywhere_inside_it() -> None:
    """And only there."""
    context = JobContext("job-1", "send", "mail", "high")

    def inside() -> JobContext:
        running_job.set(Attempt(context))
        return current_job()

    assert contextvars.copy_context().run(inside) is context
    with pytest.raises(LookupError, match="no job runs here"):
        current_job()
