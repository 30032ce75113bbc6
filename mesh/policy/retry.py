"""When to try a failed job again: a pure function of rule, attempt and a random number."""

from __future__ import annotations

from mesh.contract.envelope import Retry

_LONGEST_EXPONENT = 62


def wait_before_retry(rule: Retry, attempt: int, chance: float) -> float | None:
    """Say how many seconds to wait after a failed attempt.

    Args:
        rule: The job's retry rule, within the bounds of the contract.
        attempt: Number of the attempt that failed, from 1.
        chance: A random number in [0, 1) that spreads the wait.

    Returns:
        Seconds until the next attempt, or None to give up.
    """
    if attempt > rule.max_retries:
        return None
    wait = min(_planned_wait(rule, attempt), rule.max_delay_s)
    return wait * (1 + rule.jitter * (2 * chance - 1))


def _planned_wait(rule: Retry, attempt: int) -> float:
    if rule.delays_s:
        return rule.delays_s[min(attempt, len(rule.delays_s)) - 1]
    if rule.backoff == "fixed":
        return rule.delay_s
    if rule.backoff == "linear":
        return rule.delay_s * attempt
    return rule.delay_s * 2.0 ** min(attempt - 1, _LONGEST_EXPONENT)
