"""Every annotation a task may use: values travel as JSON and come back as they were."""

from __future__ import annotations

import enum
import math
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, Literal, NamedTuple, NewType, TypedDict

import msgspec
import pydantic
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct
from pydantic import BaseModel, ConfigDict, Field, computed_field

from mesh.errors import ArgumentsError
from mesh.tasks.signature import Signature


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Point(NamedTuple):
    x: int
    y: int


class Options(TypedDict, total=False):
    size: int


@dataclass
class Address:
    street: str
    zip_code: str = ""


@dataclass
class Person:
    name: str
    address: Address | None = None
    tags: list[str] = field(default_factory=list[str])


class Item(Struct):
    sku: str
    price: Decimal = Decimal(0)


class Cat(Struct, tag=True):
    lives: int


class Dog(Struct, tag=True):
    tricks: list[str]


class User(BaseModel):
    name: str
    born: date | None = None


class Strict(BaseModel):
    """Takes no text for a date in Python, only in JSON; its JSON names are not its own."""

    model_config = ConfigDict(strict=True, extra="forbid")

    when: datetime = Field(alias="occurredAt")
    sizes: set[int] = set()

    @computed_field
    @property
    def year(self) -> int:
        """Is written, but cannot be read back."""
        return self.when.year


UserId = NewType("UserId", int)
Positive = Annotated[int, Meta(gt=0)]
NOON = datetime(2030, 1, 31, 12, 0, 0, 123456, tzinfo=UTC)

# Annotation, a value of it, and a value that is refused.
CASES: list[tuple[Any, Any, Any]] = [
    (int, -5, "5"),
    (float, 1.5, "1.5"),
    (bool, True, 1),
    (str, "ä\0€", 5),
    (bytes, b"\x00\xff", "no base64!"),
    (type(None), None, 0),
    (list[int], [1, 2], ["1"]),
    (list[Any], [1, "a", None], {}),
    (dict[str, int], {"a": 1}, {"a": "1"}),
    (dict[int, str], {1: "a"}, {"x": "a"}),
    (set[int], {1, 2}, [1, "a"]),  # Not strings: their order, and so the id, changes.
    (frozenset[int], frozenset({1, 2}), 1),
    (tuple[int, str], (1, "a"), (1,)),
    (tuple[int, ...], (1, 2, 3), ("1",)),
    (Sequence[int], [1, 2], "12"),
    (Mapping[str, int], {"a": 1}, [1]),
    (Point, Point(1, 2), (1,)),
    (Options, {"size": 1}, {"size": "1"}),
    (Color, Color.RED, "green"),
    (Level, Level.HIGH, 3),
    (Literal["a", "b"], "a", "c"),
    (int | None, None, "x"),
    (int | str, "x", 1.5),
    (Cat | Dog, Dog(["sit"]), {"type": "Fish"}),
    (datetime, NOON, "noon"),
    (date, date(2030, 1, 31), "2030-02-31"),
    (time, time(12, 30), "25:00"),
    (timedelta, timedelta(hours=1, microseconds=5), "1 hour"),
    (uuid.UUID, uuid.UUID(int=7), "7"),
    (Decimal, Decimal("1.10"), "one"),
    (Address, Address("Main Street"), {"zip_code": "1"}),
    (Person, Person("Ada", Address("Main Street", "1"), ["x"]), {"name": "Ada", "tags": 1}),
    (Item, Item("a", Decimal("9.99")), {"sku": None}),
    (list[Item], [Item("a")], [{"price": 1}]),
    (User, User(name="Ada", born=date(1815, 12, 10)), {"born": "1815-12-10"}),
    (User | None, User(name="Ada"), {}),
    (list[User], [User(name="Ada")], [{"name": 5}]),
    (Strict, Strict(occurredAt=NOON, sizes={1, 2}), {"occurredAt": 5}),
    (UserId, 5, "5"),
    (Positive, 5, 0),
]


def task_of(annotation: Any, *, kind: str = "value") -> Signature:
    """The signature of a task with one parameter of that type, in one of four forms."""

    def plain(value: Any) -> None: ...
    def optional(value: Any = None) -> None: ...
    def spread(*value: Any) -> None: ...
    def extra(**value: Any) -> None: ...

    forms: dict[str, Callable[..., None]] = {"value": plain, "optional": optional}
    function = (forms | {"spread": spread, "extra": extra})[kind]
    function.__annotations__ = {"value": annotation, "return": None}
    return Signature("a_task", function)


def carried(signature: Signature, *args: Any, **kwargs: Any) -> Any:
    """The arguments as the worker gets them."""
    encoded, named = signature.encode(args, kwargs)
    return signature.decode(Raw(encoded), Raw(named))


@pytest.mark.parametrize(
    ("annotation", "value", "_bad"), CASES, ids=lambda case: repr(case)[:40]
)
def test_a_value_comes_back_as_it_was(annotation: Any, value: Any, _bad: Any) -> None:
    """By place, by name, in ``*args`` and ``**kwargs`` it is the same, and of the same type."""
    received = [
        carried(task_of(annotation), value)[0][0],
        carried(task_of(annotation), value=value)[1]["value"],
        carried(task_of(annotation, kind="optional"), value)[0][0],
        carried(task_of(annotation, kind="optional"), value=value)[1]["value"],
        carried(task_of(annotation, kind="spread"), value, value)[0][1],
        carried(task_of(annotation, kind="extra"), other=value)[1]["other"],
    ]

    assert received == [value] * 6
    assert {type(again) for again in received} == {type(value)}


@pytest.mark.parametrize(
    ("annotation", "_value", "bad"), CASES, ids=lambda case: repr(case)[:40]
)
def test_a_bad_value_is_refused_by_name(annotation: Any, _value: Any, bad: Any) -> None:
    """The producer learns which argument is wrong before anything is sent."""
    plain, optional = task_of(annotation), task_of(annotation, kind="optional")
    spread, extra = task_of(annotation, kind="spread"), task_of(annotation, kind="extra")

    for name, signature, args, kwargs in (
        ("value", plain, (bad,), {}),
        ("value", plain, (), {"value": bad}),
        ("value", optional, (bad,), {}),
        (r"value\[0\]", spread, (bad,), {}),
        ("other", extra, (), {"other": bad}),
    ):
        with pytest.raises(
            ArgumentsError, match=f"task 'a_task' are refused: argument '{name}'"
        ):
            signature.encode(args, kwargs)


@pytest.mark.parametrize(
    ("annotation", "value", "_bad"), CASES, ids=lambda case: repr(case)[:40]
)
def test_a_result_is_read_by_the_return_annotation(
    annotation: Any, value: Any, _bad: Any
) -> None:
    """What a task returns reaches the caller as the annotated type."""

    def function() -> None: ...

    function.__annotations__ = {"return": annotation}
    encoded, _ = task_of(annotation).encode((value,), {})

    assert Signature("a_task", function).decode_result(Raw(encoded[1:-1])) == value


NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
AWARE = st.datetimes(timezones=st.just(UTC))
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False)
STRATEGIES: list[tuple[Any, st.SearchStrategy[Any]]] = [
    (Any, JSON_VALUES),
    (float, st.floats(allow_nan=False, allow_infinity=False)),
    (bytes, st.binary(max_size=20)),
    (datetime, AWARE | st.datetimes()),
    (Decimal, DECIMALS),
    (uuid.UUID, st.uuids()),
    (dict[int, set[str]], st.dictionaries(st.integers(), st.sets(st.text(max_size=3)))),
    (
        Person,
        st.builds(
            Person, st.text(), st.none() | st.builds(Address, st.text()), st.lists(st.text())
        ),
    ),
    (list[Item], st.lists(st.builds(Item, st.text(), DECIMALS), max_size=3)),
    (Cat | Dog, st.builds(Cat, st.integers()) | st.builds(Dog, st.lists(st.text()))),
    (User, st.builds(User, name=st.text(), born=st.none() | st.dates())),
    (Strict, st.builds(Strict, occurredAt=AWARE, sizes=st.sets(st.integers(), max_size=3))),
]


@pytest.mark.parametrize(("annotation", "values"), STRATEGIES, ids=lambda case: repr(case)[:30])
def test_no_value_changes_on_its_way(annotation: Any, values: st.SearchStrategy[Any]) -> None:
    """Decoding what was encoded gives the same value, whichever it is."""
    signature = task_of(annotation)

    @settings(deadline=None, max_examples=15)
    @given(values)
    def comes_back(value: Any) -> None:
        assert carried(signature, value) == ((value,), {})
        assert carried(signature, value=value) == ((), {"value": value})

    comes_back()


def test_numbers_that_json_lacks_are_refused_where_a_float_is_annotated() -> None:
    """NaN and the infinities would arrive as null."""
    for number in (math.nan, math.inf, -math.inf):
        with pytest.raises(ArgumentsError, match="argument 'value': Expected `float`"):
            task_of(float).encode((number,), {})


def test_a_pydantic_fault_is_told_in_one_line_and_without_the_value() -> None:
    """Which field and why, and where in the argument; what was given may be secret."""
    with pytest.raises(ArgumentsError) as caught:
        task_of(list[User]).encode(([{"name": 12345, "born": "never"}],), {})

    assert "argument 'value': name: Input should be a valid string; born: " in str(caught.value)
    assert str(caught.value).endswith(" - at `value[0]`")
    assert "12345" not in str(caught.value)


def test_a_nested_fault_says_its_place() -> None:
    """The place is told from the argument on."""
    with pytest.raises(ArgumentsError, match=r"Expected `str`, got `int` - at `value.name`$"):
        task_of(Person).encode(({"name": 5},), {})


def test_whatever_a_type_raises_while_it_is_made_is_an_arguments_error() -> None:
    """A hook of the user's that breaks refuses the job; it does not break the worker."""

    class Moody(Struct):
        mood: str

        def __post_init__(self) -> None:
            raise KeyError(self.mood)

    class Picky(BaseModel):
        @pydantic.field_validator("*")
        @classmethod
        def never(cls, value: Any) -> Any:
            raise KeyError(value)

        size: int

    for annotation, value in ((Moody, {"mood": "bad"}), (Picky, {"size": 1})):
        for kwargs in (Raw(b"{}"), Raw(b"{ }")):
            with pytest.raises(ArgumentsError, match="argument 'value'"):
                task_of(annotation).decode(Raw(msgspec.json.encode([value])), kwargs)
