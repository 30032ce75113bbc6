"""The errors: they come from one root, say what to do, and travel between processes."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import Any

import pytest

from mesh import errors
from mesh.errors import MeshError

KINDS: list[type[MeshError]] = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, MeshError) and kind.__module__ == errors.__name__
]


def example(kind: type[MeshError]) -> MeshError:
    """Make one, with a value for each thing that it is told."""
    values: dict[str, Any] = {"faults": ["no url", "no file"], "seconds": 2.5}
    try:
        told = inspect.signature(kind).parameters
    except ValueError:  # It has no way of its own to be made, only Python's.
        return kind("something happened; do this")
    return kind(*(values.get(name, f"the {name}") for name in told))


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_survives_the_way_to_another_process(kind: type[MeshError]) -> None:
    """A pool of processes that pickles an error gets back the same one, facts included."""
    error = example(kind)
    error.add_note("seen by a test")

    for again in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - its own pickle
        assert type(again) is kind
        assert str(again) == str(error)
        assert vars(again) == vars(error)


@pytest.mark.parametrize("kind", KINDS)
def test_the_facts_of_an_error_stand_in_its_message(kind: type[MeshError]) -> None:
    """Whoever reads only the message misses nothing but the traceback."""
    error = example(kind)

    for name, fact in vars(error).items():
        for part in error.faults if isinstance(error, errors.SettingsError) else [fact]:
            assert name == "traceback" or str(part) in str(error)


def test_an_unknown_task_names_the_nearest_one() -> None:
    """The hint ends in a question; without one the sentence just ends."""
    near = str(errors.UnknownTaskError("sned", "send"))
    far = str(errors.UnknownTaskError("sned"))

    assert "in this app; did you mean 'send'? Register it" in near
    assert "in this app. Register it" in far


def test_a_name_that_is_refused_is_shown_shortened() -> None:
    """A hostile name does not flood the log."""
    error = errors.InvalidNameError("queue", "x" * 10_000, "too-long", "at most 64")

    assert len(str(error)) < 200
    assert error.name == "x" * 10_000


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (errors.InvalidNameError, ValueError),
        (errors.InvalidDurationError, ValueError),
        (errors.OptionError, ValueError),
        (errors.ArgumentsError, TypeError),
        (errors.TaskDefinitionError, TypeError),
        (errors.UnknownTaskError, LookupError),
        (errors.JobNotFoundError, LookupError),
        (errors.ResultTimeoutError, TimeoutError),
        (errors.ConnectError, ConnectionError),
        (errors.BlockingCallError, RuntimeError),
    ],
)
def test_errors_are_also_what_python_calls_them(
    kind: type[MeshError], builtin: type[Exception]
) -> None:
    """A caller who catches the builtin kind catches ours."""
    assert issubclass(kind, builtin)
