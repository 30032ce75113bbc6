"""What a function needs to be a task, and what a call by name needs."""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from mesh.errors import (
    ArgumentsError,
    InvalidNameError,
    NotSerializableError,
    OptionError,
    TaskDefinitionError,
)
from mesh.tasks.definition import TaskDefinition, call_by_name
from mesh.tasks.options import NO_OVERRIDES, CommonOptions, Pool


def compute(number: int) -> int:
    """A plain function at the top of a module."""
    return number


async def fetch(url: str) -> bytes:
    """An async one."""
    return url.encode()


def define(
    function: Callable[..., Any],
    name: str | None = None,
    pool: str | None = None,
    **keywords: Any,
) -> TaskDefinition:
    return TaskDefinition(function, name, pool, CommonOptions(**keywords))


def test_a_task_has_its_functions_name_unless_told_otherwise() -> None:
    """The name is what jobs ask for."""
    assert define(compute).name == "compute"
    assert define(compute, "maths.compute").name == "maths.compute"
    assert define(lambda: None).name == "<lambda>"


@pytest.mark.parametrize("name", ["", "two words", "line\nbreak", "x" * 201])
def test_a_bad_name_is_refused(name: str) -> None:
    """An empty one too: it does not mean the function's own."""
    with pytest.raises(InvalidNameError):
        define(compute, name)


def test_a_function_without_a_name_needs_one() -> None:
    """A partial function has none of its own."""
    partial = functools.partial(compute, 1)

    with pytest.raises(InvalidNameError, match="empty"):
        define(partial)
    assert define(partial, "one").signature.encode((), {}) == (b"[]", b"{}")


def test_where_a_task_runs_follows_from_its_function() -> None:
    """And can be seen."""
    assert define(compute).options.pool is Pool.THREAD
    assert define(fetch).options.pool is Pool.ASYNC
    assert define(fetch).is_async
    assert not define(compute).is_async
    assert repr(define(compute, pool="process")) == "<TaskDefinition compute pool=process>"


def test_a_generator_is_no_task() -> None:
    """A task returns one value."""

    def many() -> Iterator[int]:
        yield 1

    async def many_async() -> AsyncIterator[int]:
        yield 1

    for function in (many, many_async):
        with pytest.raises(
            TaskDefinitionError, match="is a generator; a task returns one value"
        ):
            define(function)


def test_a_nested_function_cannot_run_in_a_process() -> None:
    """A child finds tasks by name, and nobody can import what a function holds."""

    def nested() -> None: ...

    assert define(nested, pool="thread").options.pool is Pool.THREAD
    with pytest.raises(
        TaskDefinitionError, match="'nested' runs in the process pool, so it must"
    ):
        define(nested, pool="process")


def test_options_are_checked_when_the_task_is_defined() -> None:
    """Not when its first job is enqueued."""
    assert define(compute, timeout="5m").options.timeout_s == 300
    with pytest.raises(OptionError, match="'timeout' is refused"):
        define(compute, timeout="soon")
    with pytest.raises(OptionError, match="'pool' is refused"):
        define(compute, pool="gpu")


def test_a_call_by_name_needs_no_task() -> None:
    """Arguments are encoded as they are: only the worker knows the parameters."""
    call = call_by_name("send", (1, {"a": b"x"}), {"b": None}, NO_OVERRIDES)

    assert (call.task, call.args, call.kwargs) == ("send", b'[1,{"a":"eA=="}]', b'{"b":null}')
    assert call.definition is None
    assert call_by_name("send", deque([1, 2]), {}, NO_OVERRIDES).args == b"[1,2]"


def test_a_call_does_not_show_its_arguments() -> None:
    """They may be secret, and calls end up in logs."""
    assert repr(call_by_name("send", ["password"], {}, NO_OVERRIDES)) == "<Call of send>"


@pytest.mark.parametrize(
    ("args", "kwargs", "words"),
    [
        ("text", {}, "args is a str, not a list"),
        (b"text", {}, "args is a bytes, not a list"),
        (5, {}, "args is a int, not a list"),
        ({"a": 1}, {}, "args is a dict, not a list"),
        ([], ["a"], "kwargs is a list, not a dict"),
    ],
)
def test_arguments_by_name_are_a_list_and_a_dict(args: Any, kwargs: Any, words: str) -> None:
    """A text is not taken for a list of its letters."""
    with pytest.raises(ArgumentsError, match=words):
        call_by_name("send", args, kwargs, NO_OVERRIDES)


def test_a_call_by_name_is_checked_as_far_as_it_can_be() -> None:
    """Its name must be one, and its arguments must travel."""
    with pytest.raises(InvalidNameError):
        call_by_name("two words", [], {}, NO_OVERRIDES)
    with pytest.raises(NotSerializableError):
        call_by_name("send", [object()], {}, NO_OVERRIDES)
