"""How arguments meet parameters: as in a call, with kind errors, and the context apart."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Never, NoReturn

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, Struct

from mesh.errors import (
    ArgumentsError,
    NotSerializableError,
    ResultTypeError,
    TaskDefinitionError,
)
from mesh.tasks.context import JobContext
from mesh.tasks.signature import Signature

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from decimal import Decimal


class Order(Struct):
    number: int
    parts: list[Later] = []


class Later(Struct):
    name: str


def add(a: int, b: int = 2) -> int:
    return a + b


def send(to: str, subject: str, *, urgent: bool = False, retries: int) -> None: ...
def log(level: str, *lines: str) -> None: ...
def tag(name: str, /, **labels: int) -> None: ...
def everything(
    a: int, /, b: int, c: int = 3, *rest: int, d: int, e: int = 5, **more: int
) -> None: ...
def first(a: int, /, b: int = 2) -> None: ...
def label(a: int, **words: str) -> None: ...
def nothing() -> None: ...


FUNCTIONS: list[Callable[..., Any]] = [
    add,
    send,
    log,
    tag,
    everything,
    first,
    label,
    nothing,
]


def signature(function: Callable[..., Any]) -> Signature:
    return Signature("a_task", function)


def carried(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """The arguments as the worker gets them."""
    task = signature(function)
    encoded, named = task.encode(args, kwargs)
    return task.decode(Raw(encoded), Raw(named))


def refusal(function: Callable[..., Any], *args: Any, **kwargs: Any) -> str:
    """Why the arguments are refused, without the sentence's beginning."""
    with pytest.raises(ArgumentsError) as caught:
        signature(function).encode(args, kwargs)
    return str(caught.value).removeprefix("arguments of task 'a_task' are refused: ")


def test_arguments_come_as_they_were_given() -> None:
    """What was given by place comes by place, what was given by name by name."""
    assert carried(add, 1) == ((1,), {})
    assert carried(add, 1, 5) == ((1, 5), {})
    assert carried(add, 1, b=5) == ((1,), {"b": 5})
    assert carried(add, b=5, a=1) == ((), {"a": 1, "b": 5})
    assert carried(add, a=1) == ((), {"a": 1})
    assert carried(first, 1, b=5) == ((1,), {"b": 5})
    assert carried(label, a=1, b="x") == ((), {"a": 1, "b": "x"})
    assert carried(send, "a", "b", retries=1) == (("a", "b"), {"retries": 1})
    assert carried(log, "info", "a", "b") == (("info", "a", "b"), {})
    assert carried(tag, "x", name=1, size=2) == (("x",), {"name": 1, "size": 2})
    assert carried(nothing) == ((), {})


def test_a_default_stays_the_functions_own() -> None:
    """What is not given is not sent: the worker's version of the function decides."""
    task = signature(add)

    assert task.encode((1,), {}) == (b"[1]", b"{}")
    assert task.encode((), {"a": 1}) == (b"[]", b'{"a":1}')


@settings(deadline=None, max_examples=60)
@given(
    function=st.sampled_from(FUNCTIONS),
    args=st.lists(st.integers() | st.text(), max_size=6),
    kwargs=st.dictionaries(st.sampled_from("abcdefx"), st.integers(), max_size=4),
)
def test_a_task_takes_what_its_function_takes(
    function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]
) -> None:
    """A call that Python would refuse is refused, and what is accepted can be called."""
    try:
        function(*args, **kwargs)
        is_callable = True
    except TypeError:
        is_callable = False

    try:
        positional, named = carried(function, *args, **kwargs)
    except ArgumentsError as error:
        is_refused_by_type = "Expected `" in str(error)
    else:
        assert is_callable
        assert (list(positional), named) == (args, kwargs)
        return

    assert is_refused_by_type or not is_callable


def test_a_missing_argument_is_named() -> None:
    """The message names every parameter that got nothing."""
    assert refusal(add) == "argument 'a' is missing"
    assert refusal(add, b=1) == "argument 'a' is missing"
    assert refusal(send) == "arguments 'to', 'subject', 'retries' are missing"
    assert refusal(send, "a", "b") == "argument 'retries' is missing"
    assert refusal(tag, name=1) == "argument 'name' is missing"
    assert refusal(first, b=1) == "argument 'a' is missing"


def test_too_many_arguments_are_counted() -> None:
    """The message says how many the task takes and how many came."""
    assert refusal(nothing, 1) == "it takes 0 positional arguments, 1 given"
    assert refusal(tag, "a", "b") == "it takes 1 positional argument, 2 given"
    assert refusal(add, 1, 2, 3) == "it takes 2 positional arguments, 3 given"
    assert refusal(add, 1, 2, 3, b=1) == "it takes 2 positional arguments, 3 given"


def test_an_unknown_name_is_answered_with_the_nearest_one() -> None:
    """A slip of the finger is told from something else altogether."""
    assert refusal(send, "a", "b", retrys=1) == (
        "it has no parameter 'retrys'; did you mean 'retries'?"
    )
    assert refusal(add, 1, zebra=1) == "it has no parameter 'zebra'"


def test_an_argument_given_twice_is_named() -> None:
    """Once by place and once by name is once too often."""
    assert refusal(add, 1, a=1) == "argument 'a' is given twice"


def test_a_value_without_json_form_is_named() -> None:
    """The message says which argument, of what type."""
    with pytest.raises(
        NotSerializableError, match=r"^argument 'b' of task 'a_task': object can"
    ):
        signature(add).encode((1, object()), {})
    with pytest.raises(NotSerializableError, match=r"^argument 'b' of task 'a_task': "):
        signature(add).encode((1,), {"b": {"x": object()}})
    with pytest.raises(NotSerializableError, match=r"^argument '3' of task 'a_task': "):
        signature(log).encode(("info", "a", object()), {})


@pytest.mark.parametrize(
    ("args", "kwargs", "why"),
    [
        (b"5", b"{}", "argument 'args': Expected `array`, got `int`"),
        (b"{}", b"{}", "argument 'args': Expected `array`, got `object`"),
        (b"[1]", b"[]", "argument 'kwargs': Expected `object`, got `array`"),
        (b"[1]", b"null", "argument 'kwargs': Expected `object`, got `null`"),
        (b"[1,", b"{}", "argument 'args': Input data was truncated"),
        (b"[" * 100_000, b"{}", "argument 'args': "),
    ],
)
def test_what_a_foreign_producer_writes_is_checked_the_same(
    args: bytes, kwargs: bytes, why: str
) -> None:
    """Bytes from anywhere lead to arguments or to an ``ArgumentsError``."""
    with pytest.raises(ArgumentsError) as caught:
        signature(add).decode(Raw(args), Raw(kwargs))

    assert why in str(caught.value)


def test_json_may_be_written_with_spaces() -> None:
    """Other languages put spaces where we put none."""
    assert signature(add).decode(Raw(b" [ 1 ] "), Raw(b" { } ")) == ((1,), {})
    assert signature(add).decode(Raw(b"[ ]"), Raw(b'{ "a" : 1 }')) == ((), {"a": 1})


def test_a_function_without_annotations_takes_any_json() -> None:
    """Nothing is checked but the number and the names."""

    def without_types(a: Any, b: Any = None) -> None: ...

    without_types.__annotations__.clear()

    assert carried(without_types, {"x": [1]}, b="y") == (({"x": [1]},), {"b": "y"})
    assert refusal(without_types) == "argument 'a' is missing"


def test_the_context_is_no_argument() -> None:
    """A first parameter annotated ``JobContext`` is filled by the worker."""

    def report(ctx: JobContext, size: int) -> None: ...
    def maybe(ctx: JobContext | None = None, size: int = 1) -> None: ...
    def annotated(ctx: Annotated[JobContext, "x"], size: int) -> None: ...

    for function in (report, maybe, annotated):
        assert signature(function).takes_context
        assert carried(function, 5) == ((5,), {})
        assert refusal(function, 5, 6) == "it takes 1 positional argument, 2 given"
        assert refusal(function, ctx=1, size=1) == "it has no parameter 'ctx'"
    assert not signature(add).takes_context


def test_the_context_stands_first_or_nowhere() -> None:
    """In any other place nobody would fill it."""

    def second(size: int, ctx: JobContext) -> None: ...
    def twice(ctx: JobContext, other: JobContext) -> None: ...
    def by_name(*, ctx: JobContext) -> None: ...
    def many(*ctx: JobContext) -> None: ...

    for function, name in ((second, "ctx"), (twice, "other"), (by_name, "ctx"), (many, "ctx")):
        with pytest.raises(
            TaskDefinitionError, match=f"parameter '{name}' of task 'a_task' is a"
        ):
            signature(function)


def test_types_may_be_defined_below_the_task() -> None:
    """Annotations are read when the task is made, forward references included."""

    def place(order: Order, spare: Later | None = None) -> None: ...

    order = Order(1, [Later("wheel")])

    assert carried(place, order) == ((order,), {})


def test_a_return_type_may_exist_for_type_checkers_only() -> None:
    """It is no reason to refuse the task; its results come as plain JSON."""

    def price(number: int) -> Decimal: ...  # pyright: ignore[reportReturnType]

    assert carried(price, 5) == ((5,), {})
    assert signature(price).decode_result(Raw(b'"1.10"')) == "1.10"


def test_a_parameters_type_must_exist_at_run_time() -> None:
    """Without it nothing could be checked; the message says which and what to do."""

    def pay(amount: Decimal) -> None: ...
    def follow(number: int, feed: AsyncIterator[int]) -> None: ...

    with pytest.raises(
        TaskDefinitionError, match=r"parameter 'amount' .*outside of TYPE_CHECK"
    ):
        signature(pay)
    with pytest.raises(TaskDefinitionError, match="parameter 'feed'"):
        signature(follow)


def test_a_type_that_json_cannot_tell_apart_is_refused_at_once() -> None:
    """The task fails when it is defined, not when its first job runs."""

    def draw(shape: Order | Later) -> None: ...
    def find(number: int) -> Order | Later: ...  # pyright: ignore[reportReturnType]
    def name(*shapes: Order | Later) -> None: ...

    for function, what in ((draw, "'shape'"), (find, "its return type"), (name, "'shapes'")):
        with pytest.raises(TaskDefinitionError, match=rf"'a_task' cannot be enqueued.*{what}"):
            signature(function)


def test_a_decorated_function_keeps_its_signature() -> None:
    """``functools.wraps`` leads to the parameters and types of the function inside."""

    @functools.wraps(add)
    def wrapper(*args: Any, **kwargs: Any) -> Any: ...

    assert carried(wrapper, 1, b=2) == ((1,), {"b": 2})
    assert refusal(wrapper, "x") == "argument 'a': Expected `int`, got `str`"


def test_a_task_may_never_return() -> None:
    """``Never`` and ``NoReturn`` say nothing about a result, because there is none."""

    def forever() -> Never: ...  # pyright: ignore[reportReturnType]
    def exits() -> NoReturn: ...  # pyright: ignore[reportReturnType]

    for function in (forever, exits):
        assert signature(function).decode_result(Raw(b"null")) is None


def test_a_result_that_does_not_fit_its_annotation_is_an_error_of_its_own() -> None:
    """The caller learns which task broke its word."""
    with pytest.raises(
        ResultTypeError, match=r"result of task 'a_task'.*Expected `int`, got `s"
    ):
        signature(add).decode_result(Raw(b'"x"'))
