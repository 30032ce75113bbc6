"""A registered task: its name, function, options and compiled signature; and a call of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from mesh.errors import NotSerializableError, TaskDefinitionError
from mesh.identifiers import check_task_name
from mesh.tasks import codec
from mesh.tasks.options import CallOptions, CommonOptions, Pool, TaskOptions, pool_of, task_options
from mesh.tasks.signature import Signature

R = TypeVar("R")


class TaskDefinition:
    """What an app knows of one task.

    Attributes:
        name: The name under which jobs ask for it.
        function: The user's function.
        options: Its options; None in a field means the app's default.
        signature: Its parameters as decoders.
        is_async: Whether the function is a coroutine function.
    """

    __slots__ = ("function", "is_async", "name", "options", "signature")

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None,
        pool: str | None,
        keywords: CommonOptions,
    ) -> None:
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            raise TaskDefinitionError(f"{function!r} is a generator; a task returns one value")
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = check_task_name(name or getattr(function, "__name__", ""))
        self.options: TaskOptions = task_options(keywords, pool_of(pool, is_async=self.is_async))
        self.signature = Signature(self.name, function)
        self._check_child_can_find_it()

    def _check_child_can_find_it(self) -> None:
        if self.options.pool is Pool.PROCESS and "<locals>" in self.function.__qualname__:
            raise TaskDefinitionError(
                f"task {self.name!r} runs in the process pool, so it must be defined at the top of a "
                "module: a child process finds it by name"
            )

    def __repr__(self) -> str:
        """Show the name and where it runs."""
        return f"<TaskDefinition {self.name} pool={self.options.pool}>"


class Call(Generic[R]):
    """A task with its arguments, encoded and checked, ready to be enqueued.

    Attributes:
        task: The task's name.
        args: Positional arguments as a JSON array.
        kwargs: Keyword arguments as a JSON object.
        options: What this call says differently from the task.
        definition: The task, or None when it is called by name only.
    """

    __slots__ = ("args", "definition", "kwargs", "options", "task")

    def __init__(
        self,
        task: str,
        args: bytes,
        kwargs: bytes,
        options: CallOptions,
        definition: TaskDefinition | None,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.definition = definition

    def __repr__(self) -> str:
        """Show the task; arguments may be secret."""
        return f"<Call of {self.task}>"


def call_by_name(
    task: str, args: list[Any] | tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
) -> Call[Any]:
    """Prepare a call of a task this program need not know.

    Raises:
        InvalidNameError: The task's name lies outside the grammar.
        NotSerializableError: An argument has no JSON form.
    """
    if not isinstance(args, list | tuple):
        raise NotSerializableError(f"args is a list of arguments, not a {type(args).__name__}")
    return Call(check_task_name(task), codec.encode(args), codec.encode(kwargs), options, None)
