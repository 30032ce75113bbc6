"""The tasks of one app, by name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from mesh.errors import TaskDefinitionError, UnknownTaskError
from mesh.tasks.definition import TaskDefinition


class Registry:
    """Tasks by name; a name is given once."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[str, TaskDefinition] = {}

    def add(self, task: TaskDefinition) -> None:
        """Register a task.

        Raises:
            TaskDefinitionError: Another function has that name already.
        """
        known = self._tasks.get(task.name)
        if known is not None and known.function is not task.function:
            message = (
                f"task name {task.name!r} is taken by {known.function.__module__}."
                f"{known.function.__qualname__}; give another with @app.task(name=...)"
            )
            raise TaskDefinitionError(message)
        self._tasks[task.name] = task

    def get(self, name: str) -> TaskDefinition:
        """Find a task.

        Raises:
            UnknownTaskError: There is none of that name.
        """
        task = self._tasks.get(name)
        if task is None:
            near = difflib.get_close_matches(name, self._tasks, n=1)
            raise UnknownTaskError(name, near[0] if near else None)
        return task

    def __iter__(self) -> Iterator[TaskDefinition]:
        """Go through the tasks in the order of registration."""
        return iter(self._tasks.values())

    def __len__(self) -> int:
        """Count the tasks."""
        return len(self._tasks)
