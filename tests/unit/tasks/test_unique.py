"""What makes two calls the same job: the rule, and the key that follows from a call."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh import JobContext, Mesh, Unique
from mesh.client.task import Task
from mesh.contract.envelope import Until
from mesh.errors import NotSerializableError, OptionError
from mesh.tasks.options import call_options
from mesh.tasks.unique import uniqueness


@pytest.fixture
def app() -> Mesh:
    """An app that is never connected."""
    return Mesh()


def sync_of(app: Mesh, unique: Unique | bool) -> Task[..., None]:
    """A task that is unique by the rule."""

    @app.task(unique=unique)
    async def sync(ctx: JobContext, user: int, region: str = "eu", *rest: int) -> None: ...

    return sync


def key(task: Task[..., None], *args: Any, **kwargs: Any) -> str:
    """The key of a call."""
    unique = task.s(*args, **kwargs).unique
    return "" if unique is None else unique.digest


def by_user(user: int, region: str = "eu") -> object:
    return {"user": user}


def by_nothing(user: int) -> object:
    return object()


def test_the_same_arguments_are_the_same_job_however_they_are_given(app: Mesh) -> None:
    """By place or by name; another value, or another number of values, is another job."""
    sync = sync_of(app, unique=True)

    same = {key(sync, 7, "us"), key(sync, 7, region="us"), key(sync, region="us", user=7)}
    others = {key(sync, 7), key(sync, 8, "us"), key(sync, 7, "us", 1), key(sync, 7, "us", 1, 2)}

    assert len(same) == 1
    assert len(others | same) == 5


def test_a_call_by_name_has_the_same_key_if_it_names_its_arguments(app: Mesh) -> None:
    """It need not know the task: it says which parameter each argument is for."""
    sync = sync_of(app, unique=True)

    by_name = uniqueness(Unique(), "sync", [], {"region": "us", "user": 7})

    assert by_name.digest == key(sync, 7, "us")


def test_a_function_says_what_counts(app: Mesh) -> None:
    """It gets the arguments of the call, without the context."""
    sync = sync_of(app, Unique(key=by_user))

    assert key(sync, 7, "us") == key(sync, user=7) != key(sync, 8)


def test_a_text_is_the_key_for_all_calls_of_the_task(app: Mesh) -> None:
    """The same text at another task is another key."""
    sync = sync_of(app, Unique(key="one"))

    @app.task(unique=Unique(key="one"))
    async def other(user: int) -> None: ...

    assert key(sync, 7) == key(sync, 8)
    assert key(sync, 7) != getattr(other.s(7).unique, "digest", "")


def test_a_call_may_say_otherwise_than_its_task(app: Mesh) -> None:
    """It can be unique by another rule, or not at all."""
    sync = sync_of(app, unique=True)

    alone = sync.options(unique=Unique(key="x", on_conflict="reject")).s(7)
    free = sync.options(unique=False).s(7)
    same = sync.options(delay=5).s(7)

    assert alone.unique is not None
    assert alone.unique.rule.on_conflict == "reject"
    assert free.unique is None
    assert same.unique is not None
    assert same.unique.digest == key(sync, 7)
    assert sync_of(Mesh(), unique=False).s(7).unique is None


def test_a_key_without_a_json_form_is_refused(app: Mesh) -> None:
    """It must mean the same in every process."""
    sync = sync_of(app, Unique(key=by_nothing))

    with pytest.raises(NotSerializableError):
        sync.s(7)


@pytest.mark.parametrize(
    ("until", "ends", "period_s"),
    [
        ("done", Until.DONE, 0.0),
        ("started", Until.STARTED, 0.0),
        ("5m", Until.TIME, 300.0),
        (1, Until.TIME, 1.0),
        (timedelta(hours=1), Until.TIME, 3600.0),
    ],
)
def test_a_key_is_held_to_an_end_or_for_a_time(
    until: Any, ends: Until, period_s: float
) -> None:
    """Two words have a meaning; all else is a duration."""
    rule = Unique(until=until)

    assert (rule.ends, rule.period_s) == (ends, period_s)


@pytest.mark.parametrize(
    ("values", "option", "words"),
    [
        ({"until": "dnoe"}, "unique.until", "'dnoe' is neither 'done' nor 'started' nor a dur"),
        ({"until": 0.5}, "unique.until", "0.5 is not between 1 s and ten years"),
        ({"until": "2000w"}, "unique.until", "not between"),
        ({"until": None}, "unique.until", "None is neither"),
        ({"on_conflict": "queue"}, "unique.on_conflict", "not one of return, reject, replace"),
        ({"key": 7}, "unique.key", "7 is neither a text nor a function"),
    ],
)
def test_a_rule_that_cannot_be_is_refused_where_it_is_made(
    values: dict[str, Any], option: str, words: str
) -> None:
    """Not at the first enqueue."""
    with pytest.raises(OptionError, match=f"option '{option}' is refused: .*{words}"):
        Unique(**values)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers()), st.dictionaries(st.text(), st.integers()))
def test_a_key_is_64_hex_digits_and_does_not_heed_the_order_of_names(
    args: list[int], kwargs: dict[str, int]
) -> None:
    """It becomes part of a subject, so it must be the same token for equal arguments."""
    one = uniqueness(call_options({"unique": True}).unique or Unique(), "t", args, kwargs)
    two = uniqueness(Unique(), "t", args, dict(reversed(kwargs.items())))

    assert one.digest == two.digest
    assert len(one.digest) == 64
    assert set(one.digest) <= set("0123456789abcdef")
