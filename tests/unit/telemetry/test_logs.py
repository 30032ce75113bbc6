"""Levels of single loggers, and lines that cannot be forged."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from mesh.errors import SettingsError
from mesh.settings.loading import load
from mesh.telemetry.logs import (
    JobFilter,
    JsonLines,
    Lines,
    no_job,
    read_levels,
    set_levels,
    toggle_debug,
)


@pytest.fixture(autouse=True)
def _levels_put_back() -> Iterator[None]:
    """Leave the levels as they were."""
    names = ("mesh", "mesh.x", "mesh.y")
    before = {name: logging.getLogger(name).level for name in names}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


def record(message: str, **fields: object) -> logging.LogRecord:
    """A log record with fields of its own."""
    made = logging.LogRecord("mesh.x", logging.INFO, "x.py", 1, message, (), None)
    vars(made).update(fields)
    return made


def test_levels_are_changed_while_the_process_runs() -> None:
    """One logger each; an empty level leaves it to the logger above."""
    set_levels(read_levels(["mesh.x=debug", "mesh.y=error"]))
    assert logging.getLogger("mesh.x").level == logging.DEBUG
    assert logging.getLogger("mesh.y").level == logging.ERROR

    set_levels({"mesh.x": ""})
    assert logging.getLogger("mesh.x").level == logging.NOTSET


def test_an_unknown_level_changes_nothing() -> None:
    """Not even the loggers named before it."""
    with pytest.raises(ValueError, match="'loud' is no log level; use debug"):
        set_levels({"mesh.x": "debug", "mesh.y": "loud"})

    assert logging.getLogger("mesh.x").level == logging.NOTSET


def test_debug_is_switched_on_and_off() -> None:
    """By one switch, as a signal is."""
    assert toggle_debug()
    assert logging.getLogger("mesh").level == logging.DEBUG
    assert not toggle_debug()
    assert logging.getLogger("mesh").level == logging.NOTSET


def test_the_settings_hold_levels_of_loggers() -> None:
    """As a list in a variable; a word that is no level is refused."""
    settings = load(environ={"MESH_LOG_LEVELS": "mesh.worker=debug, httpx=error"})

    assert settings.log_levels == ("mesh.worker=debug", "httpx=error")
    with pytest.raises(SettingsError, match="a logger and its level"):
        load(environ={"MESH_LOG_LEVELS": "mesh.worker=loud"})


@pytest.mark.parametrize(
    "break_", ["\n", "\r", "\x1b[2J", "\u2028", "\x85"], ids=["lf", "cr", "esc", "ls", "nel"]
)
def test_a_record_cannot_pass_for_two(break_: str) -> None:
    """Line breaks and escapes in messages and fields are written as such."""
    forged = f"ok{break_}12:00:00 ERROR    mesh.x: forged"

    for formatter in (Lines(is_coloured=False), JsonLines()):
        said = formatter.format(record(forged, who=forged))
        assert break_ not in said
        assert len(said.splitlines()) == 1


def test_a_traceback_is_indented() -> None:
    """So that no line of it passes for a record."""
    made = record("failed")
    error = ValueError("x\n12:00:00 ERROR    mesh.x: forged")
    made.exc_info = (ValueError, error, None)

    first, *others = Lines(is_coloured=False).format(made).splitlines()

    assert first.endswith("mesh.x: failed")
    assert all(line.startswith("  ") for line in others)


def test_a_record_keeps_its_own_job() -> None:
    """What the code says beats what runs around it."""
    made = record("settled", job="mine")
    JobFilter(lambda: {"job": "other", "task": "t"}).filter(made)

    assert (vars(made)["job"], vars(made)["task"]) == ("mine", "t")


def test_outside_a_job_nothing_is_added() -> None:
    """No empty fields."""
    made = record("hello")
    before = dict(vars(made))
    JobFilter(no_job).filter(made)

    assert vars(made) == before
