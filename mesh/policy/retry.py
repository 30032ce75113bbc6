"""When to try a failed job again: pure functions of rule, attempt, error, random number."""

from __future__ import annotations

from collections.abc import Collection

from mesh.contract.envelope import Retry

_LONGEST_EXPONENT = 62
_FIRST_AFTER_CRASH_S = 0.5
_LONGEST_AFTER_CRASH_S = 5.0


def type_name(kind: type[BaseException]) -> str:
    """Name a type of errors: with its module, unless it is built in."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"


def may_retry(rule: Retry, kinds: Collection[str]) -> bool:
    """Say whether the rule tries such a failure again at all.

    Args:
        rule: The job's retry rule.
        kinds: The names of the error's type and of all types it derives from.
    """
    if any(name in kinds for name in rule.give_up_on):
        return False
    return not rule.on or any(name in kinds for name in rule.on)


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


def wait_after_crash(crashes: int, limit: int) -> float | None:
    """Say how many seconds to wait after the process that ran a job died.

    Args:
        crashes: How often it has died, this time included.
        limit: After how many crashes to give up.

    Returns:
        Seconds until the job runs again, or None to give up.
    """
    if crashes >= limit:
        return None
    wait = _FIRST_AFTER_CRASH_S * 2.0 ** min(crashes - 1, _LONGEST_EXPONENT)
    return min(wait, _LONGEST_AFTER_CRASH_S)


def _planned_wait(rule: Retry, attempt: int) -> float:
    if rule.delays_s:
        return rule.delays_s[min(attempt, len(rule.delays_s)) - 1]
    if rule.backoff == "fixed":
        return rule.delay_s
    if rule.backoff == "linear":
        return rule.delay_s * attempt
    return rule.delay_s * 2.0 ** min(attempt - 1, _LONGEST_EXPONENT)
