"""A task as its users hold it: call it, enqueue it, with its parameters and result type known."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, Unpack

from mesh.client.blocking import BlockingJob, Portal
from mesh.client.job import Job
from mesh.tasks.definition import Call, TaskDefinition
from mesh.tasks.options import NO_OVERRIDES, CallKeywords, CallOptions, call_options

P = ParamSpec("P")
R = TypeVar("R")


class Enqueuer(Protocol):
    """What a task needs of its app."""

    @property
    def portal(self) -> Portal:
        """The background loop of blocking calls."""
        ...

    def enqueue(self, call: Call[R]) -> Awaitable[Job[R]]:
        """Publish a call."""
        ...


class Task(Generic[P, R]):
    """A registered task.

    Calling it runs the function here and now; ``enqueue`` has a worker run it.

    Attributes:
        definition: Name, function, options and signature.
        sync: The same methods for programs without an event loop.
    """

    __slots__ = ("_app", "definition", "sync")

    def __init__(self, definition: TaskDefinition, app: Enqueuer) -> None:
        self.definition = definition
        self._app = app
        self.sync: BlockingTask[P, R] = BlockingTask(self, app)

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

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Have a worker run the task with these arguments; return once the server has the job.

        Raises:
            ArgumentsError: They do not fit the task's parameters.
            NotSerializableError: One of them cannot travel.
            EnqueueUnknownError: The server never confirmed the job.
            QueueFullError: The job stream is full.
            ConnectError: No server can be reached.
        """
        return await self._app.enqueue(self.s(*args, **kwargs))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Prepare a call for ``enqueue_many`` (a task signature).

        Raises:
            ArgumentsError: They do not fit the task's parameters.
            NotSerializableError: One of them cannot travel.
        """
        return self.prepare(args, kwargs, NO_OVERRIDES)

    def options(self, **keywords: Unpack[CallKeywords]) -> TaskWithOptions[P, R]:
        """Say something different for the next call: ``await t.options(delay="5m").enqueue(1)``.

        Args:
            **keywords: ``queue, priority, timeout, retry, result_ttl, failure_ttl, expires, delay,
                eta, job_id, tags, meta``.

        Raises:
            InvalidNameError: A name lies outside the grammar.
            ValueError: A duration or time cannot be read.
        """
        return TaskWithOptions(self, self._app, call_options(keywords))

    def prepare(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], options: CallOptions
    ) -> Call[R]:
        """Check and encode arguments."""
        definition = self.definition
        encoded, named = definition.signature.encode(args, kwargs)
        return Call(definition.name, encoded, named, options, definition)

    def __repr__(self) -> str:
        """Show the name."""
        return f"<Task {self.name}>"


class TaskWithOptions(Generic[P, R]):
    """A task with what the next call says differently.

    Attributes:
        sync: The same methods for programs without an event loop.
    """

    __slots__ = ("_app", "_options", "_task", "sync")

    def __init__(self, task: Task[P, R], app: Enqueuer, options: CallOptions) -> None:
        self._task = task
        self._app = app
        self._options = options
        self.sync: BlockingTask[P, R] = BlockingTask(self, app)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Have a worker run the task with these arguments; see ``Task.enqueue``."""
        return await self._app.enqueue(self.s(*args, **kwargs))

    def s(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Prepare a call for ``enqueue_many``."""
        return self._task.prepare(args, kwargs, self._options)


class BlockingTask(Generic[P, R]):
    """The blocking twin of a task, safe from any thread."""

    __slots__ = ("_app", "_task")

    def __init__(self, task: Task[P, R] | TaskWithOptions[P, R], app: Enqueuer) -> None:
        self._task = task
        self._app = app

    def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> BlockingJob[R]:
        """Have a worker run the task with these arguments; see ``Task.enqueue``."""
        job = self._app.portal.call(self._app.enqueue(self._task.s(*args, **kwargs)))
        return BlockingJob(job, self._app.portal)
