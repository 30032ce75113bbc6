"""When a failed job is tried again: the planned waits, their spread and their bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.contract.envelope import Retry
from mesh.policy.retry import may_retry, type_name, wait_after_crash, wait_before_retry

NUMBERS = st.floats(0, 1e11)
RULES = st.builds(
    Retry,
    max_retries=st.integers(0, 50),
    backoff=st.sampled_from(["fixed", "linear", "exponential"]),
    delay_s=NUMBERS,
    max_delay_s=NUMBERS,
    jitter=st.floats(0, 1),
    delays_s=st.lists(NUMBERS, max_size=4).map(tuple),
)
CHANCES = st.floats(0, 1, exclude_max=True)
ATTEMPTS = st.integers(1, 10_000)


def waits(rule: Retry) -> list[float | None]:
    """The waits after each of the first five attempts, without jitter."""
    return [wait_before_retry(rule, attempt, 0.5) for attempt in range(1, 6)]


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Retry(4, "fixed", delay_s=2), [2, 2, 2, 2, None]),
        (Retry(4, "linear", delay_s=2), [2, 4, 6, 8, None]),
        (Retry(4, "exponential", delay_s=2), [2, 4, 8, 16, None]),
        (Retry(9, "exponential", delay_s=2, max_delay_s=5), [2, 4, 5, 5, 5]),
        (Retry(9, delays_s=(1, 7)), [1, 7, 7, 7, 7]),
        (Retry(9, delays_s=(1, 7), max_delay_s=3), [1, 3, 3, 3, 3]),
        (Retry(0), [None] * 5),
    ],
)
def test_waits_grow_as_the_rule_says(rule: Retry, expected: list[float | None]) -> None:
    """Without chance the waits are the rule's own, and after the last retry there is none."""
    assert waits(rule) == expected


@settings(deadline=None, max_examples=60)
@given(rule=RULES, attempt=ATTEMPTS, chance=CHANCES)
def test_a_wait_stays_within_its_bounds(rule: Retry, attempt: int, chance: float) -> None:
    """It is at most the longest delay, spread by the jitter; and None means to give up."""
    wait = wait_before_retry(rule, attempt, chance)

    if attempt > rule.max_retries:
        assert wait is None
    else:
        assert wait is not None
        assert 0 <= wait <= rule.max_delay_s * (1 + rule.jitter) * (1 + 1e-12)


@settings(deadline=None, max_examples=40)
@given(rule=RULES, attempt=ATTEMPTS)
def test_chance_spreads_a_wait_evenly_around_its_plan(rule: Retry, attempt: int) -> None:
    """The lowest and the highest wait lie equally far from the planned one."""
    low, plan, high = (wait_before_retry(rule, attempt, chance) for chance in (0.0, 0.5, 1.0))

    if low is not None and plan is not None and high is not None:
        assert high - plan == pytest.approx(plan - low, rel=1e-6, abs=1e-6)
        assert high - plan == pytest.approx(plan * rule.jitter, rel=1e-6, abs=1e-6)


KINDS = ("builtins.Nothing", "ConnectionError", "OSError", "Exception", "BaseException")


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Retry(), True),
        (Retry(on=("OSError",)), True),
        (Retry(on=("ValueError", "ConnectionError")), True),
        (Retry(on=("ValueError",)), False),
        (Retry(give_up_on=("ValueError",)), True),
        (Retry(give_up_on=("OSError",)), False),
        (Retry(on=("ConnectionError",), give_up_on=("OSError",)), False),
    ],
)
def test_a_rule_picks_its_errors_by_name(rule: Retry, expected: bool) -> None:
    """An error may be named by its own type or any it derives from; giving up is stronger."""
    assert may_retry(rule, KINDS) is expected


def test_waits_after_crashes_grow_and_end() -> None:
    """They double from half a second to five, and at the limit there is none."""
    waits = [wait_after_crash(crashes, 7) for crashes in range(1, 8)]

    assert waits == [0.5, 1.0, 2.0, 4.0, 5.0, 5.0, None]


def test_types_are_named_with_their_module() -> None:
    """Builtins go without one, as in the records of failures."""

    class OwnError(Exception):
        """An error of these tests."""

    assert type_name(IOError) == "OSError"
    assert type_name(OwnError) == f"{__name__}.{OwnError.__qualname__}"
