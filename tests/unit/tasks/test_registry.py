"""The registry: each name once, and a hint for a name that is nearly right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from mesh.errors import TaskDefinitionError, UnknownTaskError
from mesh.tasks.definition import TaskDefinition
from mesh.tasks.registry import Registry


def send_mail() -> None:
    """One task."""


def send_text() -> None:
    """Another."""


def define(function: Callable[..., Any], name: str | None = None) -> TaskDefinition:
    return TaskDefinition(function, name, None, {})


def test_tasks_are_found_by_name_in_the_order_of_registration() -> None:
    """The same function may stand under several names."""
    registry = Registry()
    tasks = [define(send_text), define(send_mail), define(send_mail, "post")]
    for task in tasks:
        registry.add(task)

    assert list(registry) == tasks
    assert len(registry) == 3
    assert registry.get("post") is tasks[2]


def test_a_name_is_given_once() -> None:
    """The message says who has it and how to choose another."""
    registry = Registry()
    registry.add(define(send_mail))

    with pytest.raises(
        TaskDefinitionError, match=r"'send_mail' is taken by \S+test_registry.send_mail; give"
    ):
        registry.add(define(send_text, "send_mail"))

    assert registry.get("send_mail").function is send_mail


def test_the_same_function_may_be_registered_again() -> None:
    """The newest options count."""
    registry = Registry()
    again = define(send_mail)
    registry.add(define(send_mail))
    registry.add(again)

    assert list(registry) == [again]


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    """A slip of the finger is told; something else altogether is not."""
    registry = Registry()
    registry.add(define(send_mail))
    registry.add(define(send_text))

    with pytest.raises(UnknownTaskError) as near:
        registry.get("sendmail")
    with pytest.raises(UnknownTaskError) as far:
        registry.get("zzz")

    assert (near.value.task, near.value.nearest) == ("sendmail", "send_mail")
    assert far.value.nearest is None
