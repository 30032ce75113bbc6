"""What the limits of a job mean for its outcome: pure decisions, no clock runs."""

from __future__ import annotations

from typing import Any

import pytest

from mesh.contract.envelope import Envelope
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.policy.lanes import Feed, Lane
from mesh.tasks.definition import TaskDefinition
from mesh.tasks.options import CommonOptions
from mesh.transport.puller import Delivery
from mesh.worker.attempt import Attempt, Limits
from mesh.worker.limits import limits_of, past_deadline, unless_too_late, when_late
from mesh.worker.outcomes import Crashed, Ended, Failed, HandBack, Outcome, Retry, Snoozed

NOW = 1_900_000_000_000
STORED = NOW - 5_000
ERROR = ErrorInfo("shop.Closed", "come back later")
AGAIN = b"NATS/1.0\r\nMesh-Attempt: 2\r\n\r\n"


def work() -> None:
    """The task of these tests."""


def attempt(body: dict[str, Any], *, block: bytes = b"", **own: Any) -> Attempt:
    """An attempt at a job with this body, of a task with these options."""
    lane: Lane[Attempt] = Lane("default", "normal", 1)
    reply = f"$JS.ACK._._.S.C.1.7.7.{STORED * 1_000_000}.0".encode()
    delivery = Delivery(b"mesh.jobs.default.normal.a", reply, b"", block, is_first=True)
    made = Attempt(delivery, Feed([lane], 1, is_strict=False), lane, "a", 0.0)
    made.envelope = Envelope("work", **body)
    made.definition = TaskDefinition(work, None, None, CommonOptions(**own))
    made.limits = limits_of(made)
    return made


@pytest.mark.parametrize(
    ("body", "own", "limits"),
    [
        ({}, {}, None),
        ({"timeout_s": 5.0}, {"timeout": 3}, None),
        ({"soft_timeout_s": 1.0}, {"soft_timeout": 2}, Limits(soft_timeout_s=1.0)),
        ({}, {"soft_timeout": 2}, Limits(soft_timeout_s=2.0)),
        ({"expires_at_ms": NOW}, {"expires": 9}, Limits(expires_ms=NOW)),
        ({}, {"expires": 9}, Limits(expires_ms=STORED + 9_000)),
        ({"deadline_ms": NOW}, {"deadline": 9}, Limits(deadline_ms=NOW)),
        ({}, {"deadline": 9}, Limits(deadline_ms=STORED + 9_000)),
        ({"enqueued_at_ms": 1_000}, {"deadline": 9}, Limits(deadline_ms=10_000)),
    ],
)
def test_a_body_says_more_than_its_task(
    body: dict[str, Any], own: dict[str, Any], limits: Limits | None
) -> None:
    """What a producer left out is the task's own; most jobs have no limits at all."""
    assert attempt(body, **own).limits == limits


@pytest.mark.parametrize(
    ("body", "block", "outcome"),
    [
        ({}, b"", None),
        ({"expires_at_ms": NOW + 1, "deadline_ms": NOW + 1}, b"", None),
        ({"expires_at_ms": NOW}, b"", "it was not started in time"),
        ({"expires_at_ms": NOW}, AGAIN, None),
        ({"deadline_ms": NOW}, b"", "its deadline passed before it was started"),
        ({"deadline_ms": NOW}, AGAIN, "the job had not ended by its deadline"),
        ({"expires_at_ms": NOW - 2, "deadline_ms": NOW - 1}, b"", "it was not started in time"),
    ],
)
def test_a_job_that_comes_too_late_ends(
    body: dict[str, Any], block: bytes, outcome: str | None
) -> None:
    """As expired if it never ran, as failed if it did; and once it ran it need not start."""
    match when_late(attempt(body, block=block), NOW):
        case Ended(state, reason):
            assert (state, reason) == (State.EXPIRED, outcome)
        case Failed(error):
            assert (error.type, error.message) == ("mesh.errors.JobDeadlineError", outcome)
        case nothing:
            assert nothing is outcome is None


@pytest.mark.parametrize("kind", [Retry, Crashed, Snoozed])
@pytest.mark.parametrize(("delay_s", "is_in_time"), [(9.999, True), (10.0, False)])
def test_no_job_waits_past_its_deadline(
    kind: type[Any], delay_s: float, is_in_time: bool
) -> None:
    """It fails at once, and its last error is the cause; only a snooze has none."""
    late = attempt({"deadline_ms": NOW + 10_000})
    put_off: Outcome = Snoozed(delay_s) if kind is Snoozed else kind(ERROR, delay_s)

    outcome = unless_too_late(late, put_off, NOW)

    if is_in_time:
        assert outcome is put_off
    else:
        assert isinstance(outcome, Failed)
        assert outcome.error.type == "mesh.errors.JobDeadlineError"
        assert outcome.error.cause == (None if kind is Snoozed else ERROR)


def test_other_outcomes_and_other_jobs_do_not_mind() -> None:
    """A hand-back waits for nothing, and without a deadline nothing is too late."""
    back, again = HandBack(60.0), Retry(ERROR, 1e9)

    assert unless_too_late(attempt({"deadline_ms": NOW}), back, NOW) is back
    assert unless_too_late(attempt({"soft_timeout_s": 1.0}), again, NOW) is again
    assert unless_too_late(attempt({}), again, NOW) is again


def test_a_missed_deadline_names_the_last_error_that_is_known() -> None:
    """The records keep it while the job waits for its next attempt."""
    missed = attempt({"deadline_ms": NOW}, block=AGAIN)
    missed.last_error = ERROR

    outcome = past_deadline(missed)

    assert isinstance(outcome, Failed)
    assert outcome.error.cause is ERROR
    assert "shop.Closed: come back later" in outcome.error.message
