"""A registered task: its name, function, options and compiled signature; and a call of it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar, cast

from mesh.errors import ArgumentsError, TaskDefinitionError
from mesh.identifiers import check_task_name
from mesh.tasks import codec
from mesh.tasks.options import (
    CallOptions,
    CommonOptions,
    Pool,
    TaskOptions,
    pool_of,
    task_options,
)
from mesh.tasks.signature import Signature
from mesh.tasks.unique import Uniqueness, uniqueness

R_co = TypeVar("R_co", covariant=True)


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

    function: Callable[..., Any]
    is_async: bool
    name: str
    options: TaskOptions
    signature: Signature

    def __init__(
        self,
        function: Callable[..., Any],
        name: str | None,
        pool: str | None,
        keywords: CommonOptions,
    ) -> None:
        if inspect.isasyncgenfunction(function) or inspect.isgeneratorfunction(function):
            message = f"{function!r} is a generator; a task returns one value"
            raise TaskDefinitionError(message)
        own_name: str = getattr(function, "__name__", "")
        self.function = function
        self.is_async = inspect.iscoroutinefunction(function)
        self.name = check_task_name(own_name if name is None else name)
        self.options = task_options(keywords, pool_of(pool, is_async=self.is_async))
        self.signature = Signature(self.name, function)
        self._check_child_can_find_it()

    def _check_child_can_find_it(self) -> None:
        if self.options.pool is Pool.PROCESS and "<locals>" in self.function.__qualname__:
            message = (
                f"task {self.name!r} runs in the process pool, so it must be defined at the "
                "top of a module: a child process finds it by name"
            )
            raise TaskDefinitionError(message)

    def __repr__(self) -> str:
        """Show the name and where it runs."""
        return f"<TaskDefinition {self.name} pool={self.options.pool}>"


class Call(Generic[R_co]):
    """A task with its arguments, encoded and checked, ready to be enqueued.

    Attributes:
        task: The task's name.
        args: Positional arguments as a JSON array.
        kwargs: Keyword arguments as a JSON object.
        options: What this call says differently from the task.
        definition: The task, or None when it is called by name only.
        unique: What makes the call unique; None: it need not be.
    """

    __slots__ = ("args", "definition", "kwargs", "options", "task", "unique")

    args: bytes
    definition: TaskDefinition | None
    kwargs: bytes
    options: CallOptions
    task: str
    unique: Uniqueness | None

    def __init__(
        self,
        task: str,
        args: bytes,
        kwargs: bytes,
        options: CallOptions,
        definition: TaskDefinition | None,
        *,
        unique: Uniqueness | None = None,
    ) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs
        self.options = options
        self.definition = definition
        self.unique = unique

    def __repr__(self) -> str:
        """Show the task; arguments may be secret."""
        return f"<Call of {self.task}>"


def call_by_name(task: str, args: object, kwargs: object, options: CallOptions) -> Call[Any]:
    """Prepare a call of a task this program need not know.

    Raises:
        InvalidNameError: The task's name lies outside the grammar.
        ArgumentsError: ``args`` is no list, or ``kwargs`` no dict.
        NotSerializableError: An argument has no JSON form.
    """
    check_task_name(task)
    # A text is a sequence too, but surely not one of arguments.
    if not isinstance(args, Sequence) or isinstance(args, str | bytes):
        raise ArgumentsError(task, f"args is a {type(args).__name__}, not a list")
    if not isinstance(kwargs, Mapping):
        raise ArgumentsError(task, f"kwargs is a {type(kwargs).__name__}, not a dict")
    given, names = cast("Sequence[object]", args), cast("Mapping[str, object]", kwargs)
    unique = uniqueness(options.unique, task, given, names) if options.unique else None
    positional, named = codec.encode(list(given)), codec.encode(dict(names))
    return Call(task, positional, named, options, None, unique=unique)
