"""The schedules that an app declares: by decorators in its code, by tables in its file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar, cast

from mesh.client.schedule_making import (
    SCHEDULE_WORDS,
    TIMETABLE_WORDS,
    Declared,
    ScheduleKeywords,
    make_timetable,
)
from mesh.errors import MeshError, OptionError, SettingsError
from mesh.identifiers import check_schedule_id
from mesh.settings.schedules import Tables
from mesh.tasks.definition import Call, call_by_name
from mesh.tasks.options import NO_OVERRIDES, CallKeywords, call_options
from mesh.tasks.registry import Registry

_OF_JOBS = tuple(name for name in CallKeywords.__annotations__ if name not in {"delay", "eta"})
_WORDS = ("task", "args", "kwargs", *SCHEDULE_WORDS, *_OF_JOBS)


class Schedulable(Protocol):
    """A task, or a task with options."""

    @property
    def s(self) -> Callable[..., Call[Any]]:
        """Prepares a call."""
        ...


S = TypeVar("S", bound=Schedulable)


class CodeSchedules:
    """What the code of an app declares.

    Attributes:
        declared: The schedules, in the order of their declarations.
    """

    declared: list[Declared]

    def __init__(self) -> None:
        self.declared = []

    def decorator(
        self,
        schedule_id: str | None,
        args: Sequence[Any],
        kwargs: Mapping[str, Any] | None,
        keywords: ScheduleKeywords,
    ) -> Callable[[S], S]:
        """Make a decorator that declares a schedule of a task, and returns the task.

        Args:
            schedule_id: The schedule's id; None: the task's name.
            args: What it is run with.
            kwargs: What it is run with, by name.
            keywords: When, and what becomes of ticks.
        """

        def declare(task: S) -> S:
            if not callable(getattr(task, "s", None)):
                option = "cron"
                why = f"{task!r} is no task; put @app.task below, next to the function"
                raise OptionError(option, why)
            call = task.s(*args, **(kwargs or {}))
            self.add(Declared(_id_of(schedule_id, call), call, keywords, "code"))
            return task

        return declare

    def add(self, declared: Declared) -> None:
        """Add a declaration, checked as far as it can be without settings.

        Raises:
            InvalidNameError: No schedule can be called so.
            OptionError: The id is declared already, or the timetable's words cannot be.
            TimetableError: The timetable says what cannot be.
        """
        if any(declared.schedule_id == other.schedule_id for other in self.declared):
            option = "id"
            raise OptionError(option, f"there is a schedule {declared.schedule_id!r} already")
        _check_times(declared.keywords)
        self.declared.append(declared)


def declared_in_file(tables: Tables, tasks: Registry) -> list[Declared]:
    """Read the schedules of a settings file.

    Args:
        tables: What the file says, by the ids of the schedules.
        tasks: The app's tasks, which know their own options.

    Raises:
        SettingsError: Anything is wrong; all faults are named.
    """
    declared: list[Declared] = []
    faults: list[str] = []
    for name, table in tables.items():
        try:
            declared.append(_read_table(name, table, tasks))
        except MeshError as error:
            faults.append(f"schedules.{name}: {error}")
    if faults:
        raise SettingsError(faults)
    return declared


def _read_table(name: str, table: Mapping[str, object], tasks: Registry) -> Declared:
    for word in table:
        if word not in _WORDS:
            near = difflib.get_close_matches(word, _WORDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(_WORDS)}"
            raise OptionError(word, f"there is no such option; {hint}")
    task = table.get("task")
    if not isinstance(task, str):
        option = "task"
        raise OptionError(option, "say which task is to be run, by its name")
    options = {word: table[word] for word in _OF_JOBS if word in table}
    given = call_options(cast("CallKeywords", options)) if options else NO_OVERRIDES
    call = call_by_name(task, table.get("args", ()), table.get("kwargs", {}), given)
    call.definition = next((known for known in tasks if known.name == task), None)
    if call.definition is not None:
        call.definition.signature.decode(call.args, call.kwargs)
    keywords = {word: table[word] for word in SCHEDULE_WORDS if word in table}
    _check_times(keywords)
    return Declared(check_schedule_id(name), call, cast("ScheduleKeywords", keywords), "file")


def _check_times(keywords: Mapping[str, Any]) -> None:
    make_timetable({word: keywords[word] for word in TIMETABLE_WORDS if word in keywords})


def _id_of(schedule_id: str | None, call: Call[Any]) -> str:
    """The id that was given, or the task's name with hyphens for what no id may have."""
    if schedule_id is not None:
        return check_schedule_id(schedule_id)
    return check_schedule_id("-".join(call.task.split(".")))
