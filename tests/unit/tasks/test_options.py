"""Options of tasks and calls: each keyword, what it accepts, and how it refuses the rest."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.contract.envelope import Retry
from mesh.contract.lifecycle import Priority
from mesh.contract.records import ErrorInfo
from mesh.errors import InvalidNameError, OptionError, TaskDefinitionError
from mesh.tasks.options import (
    NO_OVERRIDES,
    CallKeywords,
    CallOptions,
    CommonOptions,
    Pool,
    TaskOptions,
    call_options,
    check_limits,
    pool_of,
    task_options,
)
from mesh.tasks.unique import Unique

NOON = datetime(2030, 1, 31, 12, 0, tzinfo=UTC)
NOON_MS = 1_896_091_200_000

COMMON: list[tuple[str, Any, str, Any]] = [
    ("queue", "mail", "queue", "mail"),
    ("priority", "high", "priority", "high"),
    ("priority", Priority.LOW, "priority", "low"),
    ("timeout", "5m", "timeout_s", 300.0),
    ("timeout", timedelta(seconds=2), "timeout_s", 2.0),
    ("result_ttl", 60, "result_ttl_s", 60.0),
    ("failure_ttl", "7d", "failure_ttl_s", 604_800.0),
    ("expires", 1.5, "expires_s", 1.5),
    ("soft_timeout", "20s", "soft_timeout_s", 20.0),
    ("deadline", "1h", "deadline_s", 3600.0),
    ("retry", 5, "retry", Retry(max_retries=5)),
    ("retry", True, "retry", Retry()),
    ("retry", False, "retry", Retry(max_retries=0)),
    ("retry", Retry(2, "fixed", 3.0), "retry", Retry(2, "fixed", 3.0)),
    ("retry", Retry(delays_s=[1, 2]), "retry", Retry(delays_s=(1.0, 2.0))),  # type: ignore[arg-type]
    (
        "retry",
        Retry(on=(OSError, "shop.Closed")),
        "retry",
        Retry(on=("OSError", "shop.Closed")),
    ),
    ("tags", ["a", "b"], "tags", ("a", "b")),
    ("tags", (), "tags", ()),
    ("unique", True, "unique", Unique()),
    ("unique", False, "unique", False),
    ("unique", Unique("a", "5m", "reject"), "unique", Unique("a", "5m", "reject")),
]
OF_TASKS: list[tuple[str, Any, str, Any]] = [
    ("exclusive", True, "exclusive", True),
    ("exclusive", False, "exclusive", False),
]
OF_CALLS: list[tuple[str, Any, str, Any]] = [
    ("delay", "1h30m", "delay_s", 5400.0),
    ("eta", NOON, "eta_ms", NOON_MS),
    ("eta", NOON.astimezone(timezone(timedelta(hours=5, minutes=45))), "eta_ms", NOON_MS),
    ("job_id", "order-9", "job_id", "order-9"),
    ("idempotency_key", "order-9", "job_id", "order-9"),
    ("meta", {"tenant": "a"}, "meta", {"tenant": "a"}),
]
BAD: list[tuple[str, Any, str]] = [
    ("timeout", "soon", "'soon' is not a duration; give"),
    ("timeout", None, "None is not a duration"),
    ("result_ttl", -1, "-1 is not a duration"),
    ("failure_ttl", True, "True is not a duration"),
    ("expires", float("inf"), "inf is not a duration"),
    ("soft_timeout", "soon", "'soon' is not a duration; give"),
    ("deadline", "noon", "'noon' is not a duration; give"),
    ("deadline", datetime(2030, 1, 31), "no datetime with a time zone"),  # noqa: DTZ001
    ("delay", [], r"\[\] is not a duration"),
    ("retry", -1, "Expected `int` >= 0"),
    ("retry", "3", "'3' is neither a number of retries"),
    ("retry", None, "None is neither"),
    ("retry", 1.5, "1.5 is neither"),
    ("retry", Retry(on=(int,)), "<class 'int'> is no type of exceptions"),  # type: ignore[arg-type]
    ("retry", Retry(give_up_on=OSError), r"got `str` - at `\$.give_up_on`"),  # type: ignore[arg-type]
    ("retry", Retry(on=("",)), r"length >= 1 - at `\$.on"),
    ("retry", Retry(jitter=2.0), r"Expected `float` <= 1.0 - at `\$.jitter`"),
    ("retry", Retry(backoff="expo"), "Invalid enum value 'expo'"),  # type: ignore[arg-type]
    ("tags", "urgent", "Expected `array`, got `str`"),
    ("tags", [1], "Expected `str`, got `int`"),
    ("unique", "yes", "'yes' is neither True nor False nor a Unique"),
    ("unique", None, "None is neither True nor False"),
    ("meta", {"tenant": 5}, "Expected `str`, got `int`"),
    ("meta", "x", "Expected `object`, got `str`"),
    ("eta", datetime(2030, 1, 31), "no datetime with a time zone"),  # noqa: DTZ001
    ("eta", "2030-01-31", "no datetime with a time zone"),
    ("eta", NOON.date(), "no datetime with a time zone"),
]
BAD_NAMES: list[tuple[str, Any]] = [
    ("queue", "a.b"),
    ("queue", ""),
    ("queue", None),
    ("priority", "urgent"),
    ("priority", ["high"]),
    ("job_id", "a b"),
    ("job_id", 7),
]


@pytest.mark.parametrize(("keyword", "value", "field", "expected"), [*COMMON, *OF_TASKS])
def test_an_option_of_a_task_fills_its_field(
    keyword: str, value: Any, field: str, expected: Any
) -> None:
    """One keyword sets one field; all others stay the app's defaults."""
    options = task_options(CommonOptions(**{keyword: value}), Pool.THREAD)

    assert options == msgspec.structs.replace(
        TaskOptions(pool=Pool.THREAD), **{field: expected}
    )


@pytest.mark.parametrize(("keyword", "value", "field", "expected"), [*COMMON, *OF_CALLS])
def test_an_option_of_a_call_fills_its_field(
    keyword: str, value: Any, field: str, expected: Any
) -> None:
    """One keyword sets one field; all others stay the task's own."""
    options = call_options(CallKeywords(**{keyword: value}))

    assert options == msgspec.structs.replace(NO_OVERRIDES, **{field: expected})


def test_a_deadline_of_a_call_may_be_a_moment() -> None:
    """A moment belongs to one job: to a task only a duration can be given."""
    assert call_options({"deadline": NOON}) == CallOptions(deadline_ms=NOON_MS)
    with pytest.raises(OptionError, match="is not a duration"):
        task_options(cast("CommonOptions", {"deadline": NOON}), Pool.ASYNC)


def test_every_keyword_is_tested_here() -> None:
    """The tables above hold every keyword there is."""
    assert {case[0] for case in [*COMMON, *OF_TASKS]} == set(CommonOptions.__annotations__)
    assert {case[0] for case in [*COMMON, *OF_CALLS]} == set(CallKeywords.__annotations__)


def test_options_can_be_combined() -> None:
    """Keywords do not know each other, except delay and eta."""
    options = call_options({"queue": "mail", "delay": 5, "meta": {}, "retry": 1})

    assert options == CallOptions(queue="mail", delay_s=5.0, meta={}, retry=Retry(1))


@pytest.mark.parametrize(("keyword", "value", "words"), BAD)
def test_a_bad_value_is_refused_with_the_options_name(
    keyword: str, value: Any, words: str
) -> None:
    """The message says which option, what it was, and what it may be."""
    with pytest.raises(
        OptionError, match=f"^option '{keyword}' is refused: .*{words}"
    ) as caught:
        call_options(CallKeywords(**{keyword: value}))

    assert caught.value.option == keyword


@pytest.mark.parametrize(("keyword", "value"), BAD_NAMES)
def test_a_bad_name_is_refused_by_the_grammar(keyword: str, value: Any) -> None:
    """Names have an error of their own, with a closed code."""
    with pytest.raises(InvalidNameError, match=keyword.replace("_", " ")):
        call_options(CallKeywords(**{keyword: value}))


def test_an_unknown_option_is_answered_with_the_nearest_one() -> None:
    """A misspelt option must not be ignored in silence."""
    with pytest.raises(
        OptionError, match="'dealy' is refused: there is no such option; did you"
    ):
        call_options(cast("CallKeywords", {"dealy": 5}))
    with pytest.raises(
        OptionError, match="there is no such option; there are queue, priority,"
    ):
        task_options(cast("CommonOptions", {"zzz": 5}), Pool.ASYNC)


@pytest.mark.parametrize("keyword", [case[0] for case in OF_CALLS])
def test_a_task_has_no_options_that_make_sense_for_one_job_only(keyword: str) -> None:
    """A delay, an id or a due time cannot belong to all jobs of a task."""
    with pytest.raises(
        OptionError, match=f"option '{keyword}' is refused: there is no such opt"
    ):
        task_options(cast("CommonOptions", {keyword: 1}), Pool.ASYNC)


def test_delay_and_due_time_exclude_each_other() -> None:
    """A job is due at one moment only."""
    with pytest.raises(OptionError, match="'eta' is refused: 'delay' is given too; keep one"):
        call_options({"delay": 5, "eta": NOON})


def test_an_idempotency_key_is_a_job_id_by_another_name() -> None:
    """One job has one id."""
    with pytest.raises(OptionError, match="'idempotency_key' is refused: 'job_id' is given"):
        call_options({"job_id": "a", "idempotency_key": "a"})
    with pytest.raises(InvalidNameError, match="job id 'a b' is refused"):
        call_options({"idempotency_key": "a b"})


@settings(deadline=None, max_examples=30)
@given(st.integers(-62_135_596_800_000, 253_402_300_799_999))
def test_a_due_time_is_kept_to_the_millisecond(milliseconds: int) -> None:
    """No float rounds it."""
    eta = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)

    assert call_options({"eta": eta}).eta_ms == milliseconds


@pytest.mark.parametrize(
    ("name", "is_async", "pool"),
    [
        (None, True, Pool.ASYNC),
        (None, False, Pool.THREAD),
        ("async", True, Pool.ASYNC),
        ("thread", False, Pool.THREAD),
        ("process", False, Pool.PROCESS),
        ("process", True, Pool.PROCESS),
        (Pool.PROCESS, False, Pool.PROCESS),
    ],
)
def test_a_function_runs_where_it_can(name: str | None, is_async: bool, pool: Pool) -> None:
    """Async functions in the loop, plain ones in a thread, both in a process if told."""
    assert pool_of(name, is_async=is_async) is pool


def test_a_pool_that_does_not_suit_the_function_is_refused() -> None:
    """An async function has no use for a thread, a plain one would block the loop."""
    with pytest.raises(TaskDefinitionError, match="an async function runs in the loop or in a"):
        pool_of("thread", is_async=True)
    with pytest.raises(TaskDefinitionError, match="a plain function would block the loop"):
        pool_of("async", is_async=False)
    with pytest.raises(OptionError, match="'gpu' is not one of async, thread, process"):
        pool_of("gpu", is_async=False)


def test_a_policy_stays_with_its_task() -> None:
    """A function in the place of a rule is kept as it is."""

    def policy(attempt: int, error: ErrorInfo) -> int:
        return attempt + len(error.notes)

    options = task_options({"retry": policy, "queue": "mail"}, Pool.THREAD)

    assert (options.policy, options.retry, options.queue) == (policy, None, "mail")


async def _slow_policy(_attempt: int, _error: ErrorInfo) -> int:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        (Retry, r"did you mean Retry\(\.\.\.\)"),
        (OSError, r"did you mean Retry\(on="),
        (_slow_policy, "is async"),
        (lambda: 1, "must take two arguments"),
    ],
)
def test_what_cannot_be_a_policy_is_refused(policy: Any, words: str) -> None:
    """Classes, coroutine functions and functions of other shapes are named as what they are."""
    with pytest.raises(OptionError, match=words):
        task_options({"retry": policy}, Pool.ASYNC)


def test_a_policy_cannot_travel_with_a_call() -> None:
    """A call is told that a function belongs to the task."""
    with pytest.raises(OptionError, match="cannot travel; give it to the task"):
        call_options(cast("CallKeywords", {"retry": max}))


IMPOSSIBLE: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"timeout": 10, "soft_timeout": 10}, {}, "soft_timeout"),
    ({}, {"timeout": 10, "soft_timeout": 11}, "soft_timeout"),
    ({"timeout": 10}, {"soft_timeout": 10}, "soft_timeout"),
    ({"timeout": 10, "soft_timeout": 5}, {"timeout": 5}, "soft_timeout"),
    ({}, {"delay": "2h", "deadline": "2h"}, "deadline"),
    ({"deadline": "1h"}, {"delay": "2h"}, "deadline"),
    ({}, {"eta": NOON, "deadline": NOON}, "deadline"),
]
POSSIBLE: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"timeout": 10, "soft_timeout": 9}, {"timeout": 20, "soft_timeout": 15}),
    ({"soft_timeout": 9}, {"delay": 20}),
    ({"deadline": "1h"}, {"delay": "2h", "deadline": "3h"}),
    ({"deadline": "1h"}, {"delay": "2h", "deadline": NOON}),
]


@pytest.mark.parametrize(("own", "of_call", "option"), IMPOSSIBLE)
def test_limits_that_contradict_each_other_are_refused(
    own: dict[str, Any], of_call: dict[str, Any], option: str
) -> None:
    """Where both are known: a soft timeout ends first, and a job is due before its deadline."""
    with pytest.raises(OptionError, match=f"option '{option}'"):
        check_limits(
            call_options(CallKeywords(**of_call)),
            task_options(CommonOptions(**own), Pool.ASYNC),
        )


@pytest.mark.parametrize(("own", "of_call"), POSSIBLE)
def test_a_calls_limits_are_compared_in_the_place_of_its_tasks(
    own: dict[str, Any], of_call: dict[str, Any]
) -> None:
    """What a call says differently is what counts."""
    check_limits(
        call_options(CallKeywords(**of_call)), task_options(CommonOptions(**own), Pool.ASYNC)
    )
