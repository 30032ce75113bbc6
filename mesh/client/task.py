"""A task as its users hold it: call it, enqueue it, with its parameters and result known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import (
    Any,
    Concatenate,
    Generic,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    final,
    overload,
)

from mesh.client.blocking import BlockingJob, Portal
from mesh.client.job import Job
from mesh.tasks.context import JobContext
from mesh.tasks.definition import Call, TaskDefinition
from mesh.tasks.options import (
    NO_OVERRIDES,
    CallKeywords,
    CallOptions,
    CommonOptions,
    call_options,
    check_limits,
)
from mesh.tasks.registry import Registry
from mesh.tasks.unique import Uniqueness, positional_names, uniqueness

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Enqueuer(Protocol):
    """What a task needs of its app."""

    @property
    def portal(self) -> Portal:
        """The background loop of blocking calls."""
        ...

    def enqueue(self, call: Call[R]) -> Awaitable[Job[R]]:
        """Publish a call."""
        ...


class Task(Generic[P, R_co]):
    """A registered task.

    Calling it runs the function here and now; ``enqueue`` has a worker run it.

    Attributes:
        definition: Name, function, options and signature.
        sync: The same methods for programs without an event loop.
    """

    __slots__ = ("_app", "definition", "sync")

    definition: TaskDefinition
    sync: BlockingTask[P, R_co]

    def __init__(self, definition: TaskDefinition, app: Enqueuer) -> None:
        self.definition = definition
        self._app = app
        self.sync = BlockingTask(self, app)

    @property
    def name(self) -> str:
        """The name under which jobs ask for it."""
        return self.definition.name

    @property
    def function(self) -> Callable[..., Any]:
        """The user's function."""
        return self.definition.function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the function here, as if it were no task."""
        return self.definition.function(*args, **kwargs)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Have a worker run the task with these arguments; return once the server has the job.

        Raises:
            ArgumentsError: They do not fit the task's parameters.
            NotSerializableError: One of them cannot travel.
            EnqueueUnknownError: The server never confirmed the job.
            QueueFullError: The job stream is full.
            ConnectError: No server can be reached.
        """
        return await self._app.enqueue(self.s(*args, **kwargs))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Prepare a call for ``enqueue_many`` (a task signature).

        Raises:
            ArgumentsError: They do not fit the task's parameters.
            NotSerializableError: One of them cannot travel.
        """
        return self.prepare(args, kwargs, NO_OVERRIDES)

    def options(self, **keywords: Unpack[CallKeywords]) -> TaskWithOptions[P, R_co]:
        """Say something different for the next call: ``t.options(delay="5m").enqueue(1)``.

        Args:
            **keywords: ``queue, priority, timeout, soft_timeout, deadline, retry, result_ttl,
                failure_ttl, expires, delay, eta, job_id, idempotency_key, unique, tags, meta``.

        Raises:
            OptionError: One is unknown, or its value cannot be.
            InvalidNameError: A name lies outside the grammar.
        """
        options = call_options(keywords)
        check_limits(options, self.definition.options)
        return TaskWithOptions(self, self._app, options)

    def prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Call[R_co]:
        """Check and encode arguments."""
        definition = self.definition
        encoded, named = definition.signature.encode(args, kwargs)
        call: Call[R_co] = Call(definition.name, encoded, named, options, definition)
        if definition.options.unique or options.unique:
            call.unique = _uniqueness(definition, args, kwargs, options)
        return call

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Task {self.name}>"


def _uniqueness(
    definition: TaskDefinition,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    options: CallOptions,
) -> Uniqueness | None:
    rule = definition.options.unique if options.unique is None else options.unique
    if not rule:  # The call says that it need not be, whatever its task says.
        return None
    signature = definition.signature
    names = positional_names(definition.function, takes_context=signature.takes_context)
    return uniqueness(rule, definition.name, args, kwargs, names)


class TaskWithOptions(Generic[P, R_co]):
    """A task with what the next call says differently.

    Attributes:
        sync: The same methods for programs without an event loop.
    """

    __slots__ = ("_app", "_options", "_task", "sync")

    sync: BlockingTask[P, R_co]

    def __init__(self, task: Task[P, R_co], app: Enqueuer, options: CallOptions) -> None:
        self._task = task
        self._app = app
        self._options = options
        self.sync = BlockingTask(self, app)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Have a worker run the task with these arguments; see ``Task.enqueue``."""
        return await self._app.enqueue(self.s(*args, **kwargs))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[R_co]:
        """Prepare a call for ``enqueue_many``."""
        return self._task.prepare(args, kwargs, self._options)


class BlockingTask(Generic[P, R_co]):
    """The blocking twin of a task, safe from any thread."""

    __slots__ = ("_app", "_task")

    def __init__(self, task: Task[P, R_co] | TaskWithOptions[P, R_co], app: Enqueuer) -> None:
        self._task = task
        self._app = app

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> BlockingJob[R_co]:
        """Have a worker run the task with these arguments; see ``Task.enqueue``."""
        job = self._app.portal.call(self._app.enqueue(self._task.s(*args, **kwargs)))
        return BlockingJob(job, self._app.portal)


class TaskDecorator:
    """What ``@app.task(...)`` returns: turns a function into a ``Task``."""

    __slots__ = ("_app", "_keywords", "_name", "_pool", "_tasks")

    def __init__(
        self,
        app: Enqueuer,
        tasks: Registry,
        name: str | None,
        pool: str | None,
        keywords: CommonOptions,
    ) -> None:
        self._app = app
        self._tasks = tasks
        self._name = name
        self._pool = pool
        self._keywords = keywords

    @overload
    def __call__(
        self, function: Callable[Concatenate[Stranger, P], Awaitable[R]], /
    ) -> Task[..., R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[Stranger, P], R], /) -> Task[..., R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[JobContext, P], Awaitable[R]], /
    ) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Task[..., Any]:
        """Register the function."""
        definition = TaskDefinition(function, self._name, self._pool, self._keywords)
        self._tasks.add(definition)
        return Task(definition, self._app)


@final
class Stranger:
    """Only for type checkers: a type that no function asks for.

    A function whose first parameter takes even this one takes anything: it is ``Any``,
    ``object`` or not annotated. It must not be mistaken for one that asks for the context.
    """
