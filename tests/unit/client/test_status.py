"""A job's status, put together from its records."""

from __future__ import annotations

import pytest

from mesh.client.status import JobStatus, ended, under_way
from mesh.contract.lifecycle import TERMINAL, State
from mesh.contract.records import ErrorInfo, ProgressRecord, ResultRecord

ERROR = ErrorInfo("builtins.ValueError", "no")


def test_the_terminal_record_tells_how_a_job_ended() -> None:
    """Its reason is the message; progress is over."""
    record = ResultRecord(
        State.CANCELLED,
        "send",
        "mail",
        "high",
        attempt=2,
        worker="w",
        enqueued_at_ms=1,
        started_at_ms=2,
        finished_at_ms=3,
        reason="not needed",
        error=ERROR,
    )

    assert ended("job-1", record) == JobStatus(
        job_id="job-1",
        state=State.CANCELLED,
        task="send",
        queue="mail",
        priority="high",
        attempt=2,
        worker="w",
        enqueued_at_ms=1,
        started_at_ms=2,
        finished_at_ms=3,
        message="not needed",
        error=ERROR,
    )


def test_the_running_record_tells_how_far_a_job_is() -> None:
    """Progress, and when the next attempt is due."""
    record = ProgressRecord(
        State.RETRYING,
        "send",
        "mail",
        "high",
        3,
        worker="w",
        started_at_ms=2,
        current=5.0,
        total=10.0,
        message="halfway",
        error=ERROR,
        next_attempt_at_ms=9,
    )

    assert under_way("job-1", record) == JobStatus(
        job_id="job-1",
        state=State.RETRYING,
        task="send",
        queue="mail",
        priority="high",
        attempt=3,
        worker="w",
        due_at_ms=9,
        started_at_ms=2,
        current=5.0,
        total=10.0,
        message="halfway",
        error=ERROR,
    )


@pytest.mark.parametrize("state", State)
def test_a_job_is_finished_in_its_terminal_states(state: State) -> None:
    """And in no other."""
    assert JobStatus(job_id="job-1", state=state).is_finished is (state in TERMINAL)
