"""The limits of jobs in time: soft timeout, timeout, time to start, deadline.

What they mean for an outcome is decided here, apart from the clock that watches over them.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Iterable

from mesh.clock import Clock
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.errors import JobDeadlineError
from mesh.policy.retry import type_name
from mesh.worker.attempt import Attempt, Limits
from mesh.worker.outcomes import Crashed, Ended, Failed, Outcome, Retry, Snoozed

_NOT_STARTED = "it was not started in time"
_NOT_STARTED_BY_DEADLINE = "its deadline passed before it was started"


def limits_of(attempt: Attempt) -> Limits | None:
    """Put together what limits an attempt besides its timeout; None: nothing, as most."""
    body, own = attempt.envelope, attempt.definition.options
    if (
        body.deadline_ms is None
        and body.expires_at_ms is None
        and body.soft_timeout_s is None
        and own.soft_timeout_s is None
        and own.expires_s is None
        and own.deadline_s is None
    ):
        return None
    soft_s = own.soft_timeout_s if body.soft_timeout_s is None else body.soft_timeout_s
    expires_ms, deadline_ms = body.expires_at_ms, body.deadline_ms
    # A producer that does not know the task did not say them.
    if expires_ms is None and own.expires_s is not None:
        expires_ms = attempt.delivery.stored_at_ms + round(own.expires_s * 1000)
    if deadline_ms is None and own.deadline_s is not None:
        deadline_ms = attempt.enqueued_at_ms + round(own.deadline_s * 1000)
    return Limits(soft_s, expires_ms, deadline_ms)


def when_late(attempt: Attempt, now_ms: int) -> Outcome | None:
    """Say how a job ends whose time was over before this attempt; None: it may run."""
    limits = attempt.limits
    if limits is None:
        return None
    if limits.deadline_ms is not None and limits.deadline_ms <= now_ms:
        return past_deadline(attempt) if attempt.ran_before else not_started(limits)
    if limits.expires_ms is None or attempt.ran_before or limits.expires_ms > now_ms:
        return None
    return not_started(limits)


def not_started(limits: Limits | None) -> Outcome:
    """Say how a job ends that nobody started in time."""
    if limits is None or limits.deadline_ms is None:
        return Ended(State.EXPIRED, _NOT_STARTED)
    is_by_deadline = limits.expires_ms is None or limits.expires_ms > limits.deadline_ms
    return Ended(State.EXPIRED, _NOT_STARTED_BY_DEADLINE if is_by_deadline else _NOT_STARTED)


def past_deadline(attempt: Attempt) -> Outcome:
    """Say how a job ends that was started and had not ended by its deadline."""
    return _missed("the job had not ended by its deadline", attempt.last_error)


def unless_too_late(attempt: Attempt, outcome: Outcome, now_ms: int) -> Outcome:
    """Fail a job at once that would have to wait past its deadline."""
    limits = attempt.limits
    if limits is None or limits.deadline_ms is None:
        return outcome
    match outcome:
        case Retry() | Crashed() | Snoozed():
            if now_ms + outcome.delay_s * 1000 < limits.deadline_ms:
                return outcome
            error = None if isinstance(outcome, Snoozed) else outcome.error
            return _missed("the job would run again only after its deadline", error)
        case _:
            return outcome


def _missed(what: str, last: ErrorInfo | None) -> Outcome:
    if last is not None:
        what += f"; its last attempt failed with {last.type}: {last.message}"
    return Failed(ErrorInfo(type_name(JobDeadlineError), what, cause=last))


class TimeKeeper:
    """Tells attempts when their time is up; it lives on the loop on which they run.

    Args:
        clock: The time.
        timeout_of: Returns an attempt's timeout in seconds.

    Attributes:
        timeout_of: The same.
    """

    def __init__(self, clock: Clock, timeout_of: Callable[[Attempt], float]) -> None:
        self._clock = clock
        self.timeout_of = timeout_of
        self._now = asyncio.get_running_loop().time

    def begin(self, attempt: Attempt) -> None:
        """Start the clocks of an attempt whose turn has come."""
        now = self._now()
        attempt.limit_s = end_s = now + self.timeout_of(attempt)
        limits = attempt.limits
        if limits is None:
            return
        limits.end_s, limits.end_reason = end_s, "timeout"
        if limits.deadline_ms is not None:
            deadline_s = now + (limits.deadline_ms - self._clock.now_ms()) / 1000
            if deadline_s < end_s:
                limits.end_s, limits.end_reason = deadline_s, "deadline"
        soft_s = limits.soft_timeout_s
        attempt.limit_s = limits.end_s if soft_s is None else min(now + soft_s, limits.end_s)

    def wait(self, attempt: Attempt) -> None:
        """Let an attempt wait for its turn: till then only the limits of its job count."""
        attempt.limit_s = math.inf
        limits = attempt.limits
        if limits is None:
            return
        is_first = not attempt.ran_before
        ends = [limits.deadline_ms, limits.expires_ms if is_first else None]
        known = [end_ms for end_ms in ends if end_ms is not None]
        if known:
            left_s = (min(known) - self._clock.now_ms()) / 1000
            attempt.limit_s = limits.end_s = self._now() + left_s
            limits.end_reason = "expired" if is_first else "deadline"

    def tick(self, attempts: Iterable[Attempt]) -> None:
        """Look at every attempt once."""
        now = self._now()
        for attempt in attempts:
            if now >= attempt.limit_s and not attempt.finished_ms:
                _pass(attempt, now)


def _pass(attempt: Attempt, now: float) -> None:
    """Do what is due when one of an attempt's limits has passed."""
    limits = attempt.limits
    if limits is None or now >= limits.end_s:
        attempt.limit_s = math.inf
        attempt.stop("timeout" if limits is None else limits.end_reason)
    elif limits.interrupt is None or limits.interrupt():  # A child process tells it by itself.
        attempt.limit_s = limits.end_s
