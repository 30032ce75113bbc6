"""Mesh: the app that tasks belong to; opens connections when they are first needed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeVar, Unpack, cast, overload

from mesh.archive.queries import Archive, BlockingArchive
from mesh.client.admission import Enqueued
from mesh.client.blocking import BlockingJob, Portal, stepped
from mesh.client.blocking_letters import BlockingDeadLetters
from mesh.client.blocking_queues import BlockingQueue
from mesh.client.blocking_schedules import BlockingSchedules
from mesh.client.client import Client
from mesh.client.dead_letters import DeadLetters
from mesh.client.feed import Feed
from mesh.client.findings import FsckReport
from mesh.client.happenings import LedgerEvent
from mesh.client.job import Job
from mesh.client.listing import find_jobs
from mesh.client.loops import ClientsOfLoops
from mesh.client.queues import Queue, QueueStatus, queue_statuses
from mesh.client.reconciler import FsckOptions, fsck
from mesh.client.schedule_declaring import CodeSchedules, Schedulable, declared_in_file
from mesh.client.schedule_making import CronKeywords, Declared, ScheduleKeywords
from mesh.client.schedules import Schedules
from mesh.client.status import JobStatus
from mesh.client.task import Stranger, Task, TaskDecorator
from mesh.client.workers import BlockingWorkers, Workers
from mesh.contract.lifecycle import State
from mesh.durations import Duration
from mesh.errors import MeshError, SettingsError
from mesh.identifiers import check_job_id
from mesh.settings.loading import load
from mesh.settings.model import Settings
from mesh.settings.schedules import read_schedule_tables
from mesh.tasks.context import JobContext
from mesh.tasks.definition import Call, call_by_name
from mesh.tasks.options import CallKeywords, CommonOptions, call_options
from mesh.tasks.registry import Registry
from mesh.transport.provisioner import Step

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound=Schedulable)


class Mesh:
    """A job app: its tasks, its settings, its connections.

    Nothing is read or connected when it is made. Settings are read when first needed (command
    line, then arguments, then ``MESH_*``, then the settings file, then defaults); each event
    loop gets a connection when it first enqueues or asks.

    Args:
        url: Addresses of the NATS servers, separated by commas.
        namespace: The prefix of every subject, stream and bucket.
        config: The settings file; None: ``MESH_CONFIG``, else what lies in the working
            directory.
        **arguments: Any other setting, nested as in the file: ``worker={"concurrency": 10}``.

    Attributes:
        tasks: The registered tasks, by name.
        portal: The background loop of blocking calls.
        sync: The blocking twin, for scripts, views and notebooks.
    """

    tasks: Registry
    portal: Portal
    sync: BlockingMesh

    def __init__(
        self,
        url: str | None = None,
        *,
        namespace: str | None = None,
        config: str | Path | None = None,
        **arguments: Any,
    ) -> None:
        named = {"url": url, "namespace": namespace}
        self._arguments = arguments | {k: v for k, v in named.items() if v is not None}
        self._config = None if config is None else Path(config)
        self._cli: dict[str, Any] = {}
        self._settings: Settings | None = None
        self._clients = ClientsOfLoops()
        self._code_schedules = CodeSchedules()
        self.tasks = Registry()
        self.portal = Portal(self.close)
        self.sync = BlockingMesh(self)

    @property
    def settings(self) -> Settings:
        """The settings, read on first use and frozen.

        Raises:
            SettingsError: They are wrong; all faults are named.
        """
        if self._settings is None:
            self._settings = load(cli=self._cli, arguments=self._arguments, file=self._config)
        return self._settings

    def override(self, values: Mapping[str, Any]) -> None:
        """Lay command-line values over every other source; before the settings are first used.

        Args:
            values: Settings as dotted keys, for example ``{"worker.concurrency": 10}``.
        """
        self._cli |= values
        self._settings = None

    @overload
    def task(
        self, function: Callable[Concatenate[Stranger, P], Awaitable[R]], /
    ) -> Task[..., R]: ...
    @overload
    def task(self, function: Callable[Concatenate[Stranger, P], R], /) -> Task[..., R]: ...
    @overload
    def task(
        self, function: Callable[Concatenate[JobContext, P], Awaitable[R]], /
    ) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[Concatenate[JobContext, P], R], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, Awaitable[R]], /) -> Task[P, R]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R]: ...
    @overload
    def task(
        self,
        function: None = None,
        /,
        *,
        name: str | None = None,
        pool: str | None = None,
        **keywords: Unpack[CommonOptions],
    ) -> TaskDecorator: ...
    def task(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        name: str | None = None,
        pool: str | None = None,
        **keywords: Unpack[CommonOptions],
    ) -> Task[..., Any] | TaskDecorator:
        """Register a function as a task: ``@app.task`` or ``@app.task(queue="mail", ...)``.

        A first parameter annotated ``JobContext`` receives the job's context.

        Args:
            function: The function, when used without parentheses.
            name: The name under which jobs ask for it; None: the function's own.
            pool: ``async``, ``thread`` or ``process``; None: async functions in the loop, plain
                ones in a thread.
            **keywords: ``queue, priority, timeout, soft_timeout, deadline, retry, result_ttl,
                failure_ttl, expires, unique, tags, exclusive``.

        Raises:
            TaskDefinitionError: The function cannot be a task.
            OptionError: An option is unknown, or its value cannot be.
            InvalidNameError: A name lies outside the grammar.
        """
        decorator = TaskDecorator(self, self.tasks, name, pool, keywords)
        return decorator if function is None else decorator(function)

    def cron(
        self,
        expression: str,
        *,
        id: str | None = None,  # noqa: A002 - it is the id of the schedule, for whoever reads it
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **keywords: Unpack[CronKeywords],
    ) -> Callable[[S], S]:
        """Declare a schedule of the task below: ``@app.cron("0 8 * * 1-5", tz=...)``.

        It is stored when ``mesh scheduler`` starts with this app, or by ``mesh schedule sync``.

        Args:
            expression: Five fields, six with the seconds in front, or such as ``@daily``.
            id: The schedule's id; None: the task's name, with hyphens for dots.
            args: Positional arguments of its jobs.
            kwargs: Named arguments of its jobs.
            **keywords: ``tz, start, end, jitter, dst_gap, dst_overlap, misfire, catchup,
                catchup_limit, overlap, max_runs, about``; see ``ScheduleKeywords``.

        Raises:
            OptionError: A keyword is unknown, its value cannot be, or the id is taken.
            TimetableError: The expression or the zone cannot be.
            ArgumentsError: The arguments do not fit the task.
        """
        said = cast("ScheduleKeywords", {**keywords, "cron": expression})
        return self._code_schedules.decorator(id, args, kwargs, said)

    def every(
        self,
        interval: Duration,
        *,
        id: str | None = None,  # noqa: A002 - as for cron
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **keywords: Unpack[CronKeywords],
    ) -> Callable[[S], S]:
        """Declare a schedule of the task below, due again and again: ``@app.every("5m")``.

        Args:
            interval: The time from tick to tick, at least a second.
            id: The schedule's id; None: the task's name, with hyphens for dots.
            args: Positional arguments of its jobs.
            kwargs: Named arguments of its jobs.
            **keywords: As for ``cron``.

        Raises:
            OptionError: A keyword is unknown, its value cannot be, or the id is taken.
            TimetableError: The interval cannot be.
            ArgumentsError: The arguments do not fit the task.
        """
        said = cast("ScheduleKeywords", {**keywords, "every": interval})
        return self._code_schedules.decorator(id, args, kwargs, said)

    def declared_schedules(self) -> list[Declared]:
        """The schedules that the app's code and its settings file declare.

        Raises:
            SettingsError: Those of the file are wrong, or one is declared in both.
        """
        in_code = self._code_schedules.declared
        in_file = declared_in_file(read_schedule_tables(file=self._config), self.tasks)
        doubled = {each.schedule_id for each in in_code} & {one.schedule_id for one in in_file}
        if doubled:
            names = ", ".join(sorted(doubled))
            raise SettingsError([f"declared in code and in the settings file: {names}"])
        return [*in_code, *in_file]

    @property
    def schedules(self) -> Schedules:
        """The schedules of the namespace: declare, list, pause, trigger, remove them."""
        return Schedules(self.client, self.declared_schedules)

    async def enqueue(self, call: Call[R]) -> Job[R]:
        """Enqueue a prepared call; see ``Task.enqueue``."""
        client = await self.client()
        return self._job_of(call, await client.enqueue(call))

    async def enqueue_many(
        self, calls: Sequence[Call[R]], *, atomic: bool = False
    ) -> list[Job[R]]:
        """Enqueue many calls, pipelined.

        Args:
            calls: Made with ``task.s(...)``.
            atomic: The server stores all or none; at most 1,000, none of them delayed.

        Raises:
            ExceptionGroup: Some were not stored, or may not be, each with its error; the others
                are stored.
            JobConflictError: With ``atomic``: a call has the id or the unique key of another
                job, and none is stored.
            EnqueueUnknownError: With ``atomic``: the batch was never confirmed.
            BrokerError: With ``atomic``: the batch was refused, and none is stored.
        """
        client = await self.client()
        outcomes = await client.enqueue_many(calls, atomic=atomic)
        errors = [outcome for outcome in outcomes if isinstance(outcome, MeshError)]
        if errors:
            message = f"{len(errors):,} of {len(outcomes):,} jobs were not confirmed"
            raise ExceptionGroup(message, errors)
        return [
            self._job_of(call, outcome)
            for outcome, call in zip(outcomes, calls, strict=True)
            if not isinstance(outcome, MeshError)
        ]

    def _job_of(self, call: Call[R], enqueued: Enqueued) -> Job[R]:
        job_id, is_duplicate = enqueued
        return Job(
            job_id, self.client, call.definition, is_known=True, is_duplicate=is_duplicate
        )

    async def send(
        self,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> Job[Any]:
        """Enqueue a job by its task's name, without importing the task.

        Args:
            task: The task's name.
            args: Positional arguments.
            kwargs: Keyword arguments.
            **keywords: As for ``task.options``.

        Raises:
            OptionError: An option is unknown, or its value cannot be.
            InvalidNameError: A name lies outside the grammar.
            ArgumentsError: ``args`` is no list, or ``kwargs`` no dict.
            NotSerializableError: An argument cannot travel.
            EnqueueUnknownError: The server never confirmed the job.
        """
        kwargs = {} if kwargs is None else kwargs
        return await self.enqueue(call_by_name(task, args, kwargs, call_options(keywords)))

    def job(self, job_id: str) -> Job[Any]:
        """The handle of a job enqueued elsewhere.

        Raises:
            InvalidNameError: That can be no job's id.
        """
        return Job(check_job_id(job_id), self.client)

    async def find_jobs(
        self,
        *,
        state: State | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        limit: int = 50,
    ) -> AsyncGenerator[JobStatus]:
        """Yield jobs wherever they are, those that something happened to last first.

        Args:
            state: Only jobs in this state.
            queue: Only jobs of this queue.
            task: Only jobs of this task.
            limit: At most so many; 0: all.

        Raises:
            OptionError: There is no such state.
            InvalidNameError: No queue can be called so.
            NotProvisionedError: The namespace is not set up.
            BrokerError: The records could not be read.
        """
        client = await self.client()
        found = find_jobs(client, state=state, queue=queue, task=task, limit=limit)
        async with aclosing(found):
            async for status in found:
                yield status

    async def events(
        self,
        *patterns: str,
        queue: str | None = None,
        task: str | None = None,
        job: str | None = None,
        since: Duration | datetime | None = None,
        follow: bool = True,
    ) -> AsyncGenerator[LedgerEvent]:
        """Yield what happens to jobs and queues, as it happens or happened.

        Nothing is missed or told twice, reconnects included.

        Args:
            *patterns: Names of events, such as ``job.failed`` or ``queue.*``; none: all but
                ``job.log``, of which there are many.
            queue: Only of this queue.
            task: Only of this task.
            job: Only of this job.
            since: Begin with what happened then: a time with its offset from UTC, or a duration
                ago; None: from now on, or from the beginning if not ``follow``.
            follow: Go on with what happens; else end with what has happened.

        Raises:
            OptionError: No event is called so, or the time has no offset.
            NotProvisionedError: Events are switched off, or the namespace is not set up.
            BrokerError: The ledger could not be read.
        """
        feed = Feed(await self.client())
        found = feed.events(
            patterns, queue=queue, task=task, job=job, since=since, follow=follow
        )
        async with aclosing(found):
            async for event in found:
                yield event

    def queue(self, name: str) -> Queue:
        """The handle of a queue: look at it, pause, resume, limit or purge it.

        Raises:
            InvalidNameError: No queue can be called so.
        """
        return Queue(name, self.client)

    async def queue_statuses(self) -> list[QueueStatus]:
        """Look at every queue that has been set up or holds jobs."""
        return await queue_statuses(await self.client())

    @property
    def dead_letters(self) -> DeadLetters:
        """The jobs that failed for good: list, replay, purge them."""
        return DeadLetters(self.client)

    @property
    def workers(self) -> Workers:
        """The live workers: see them, tell them to drain, to stop, to run more at once."""
        return Workers(self.client)

    def archive(self, url: str | None = None) -> Archive:
        """What `mesh archive` has stored, to be asked in ``async with``; needs no NATS server.

        Args:
            url: The database; None: the setting ``archive.url``.
        """
        return Archive(url or self.settings.archive.url, self.settings.namespace)

    async def setup(self, queues: Sequence[str] = ()) -> list[Step]:
        """Create or update the streams, buckets and consumers this app needs; idempotent.

        Args:
            queues: Further queues besides those the tasks name.

        Raises:
            TopologyConflictError: Something exists that cannot be changed in place.
            BrokerError: The server refused.
        """
        provisioner = (await self.client()).provisioner
        return await provisioner.apply(sorted({*self.queues(), *queues}))

    async def fsck(self, **how: Unpack[FsckOptions]) -> FsckReport:
        """Compare ledger, queues and records; find jobs that are lost, stuck or doubled.

        Args:
            **how: ``repair, settle, on_progress``; see ``FsckOptions``.

        Raises:
            BrokerError: The server could not be asked, or refused; to run it again is safe.
        """
        return await fsck(await self.client(), self.queues(), how)

    def queues(self) -> list[str]:
        """The queues this app's tasks go to, and the default queue."""
        default = self.settings.job_defaults.queue
        return sorted({task.options.queue or default for task in self.tasks} | {default})

    async def client(self) -> Client:
        """The connection of the running event loop, opened if need be.

        Raises:
            ConnectError: No server was reached, or it refused the login.
            ServerUnfitError: The server is too old or has no JetStream.
            SettingsError: The settings are wrong.
        """
        return self._clients.current() or await self._clients.open(self.settings)

    async def close(self) -> None:
        """Close the running loop's connection; the next use opens another."""
        await self._clients.close()

    async def __aenter__(self) -> Self:
        """Connect."""
        await self.client()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Disconnect."""
        await self.close()


class BlockingMesh:
    """The blocking twin of ``Mesh``: the same names, safe from any thread."""

    __slots__ = ("_app",)

    def __init__(self, app: Mesh) -> None:
        self._app = app

    def enqueue_many(
        self, calls: Sequence[Call[R]], *, atomic: bool = False
    ) -> list[BlockingJob[R]]:
        """Enqueue many calls; see ``Mesh.enqueue_many``."""
        portal = self._app.portal
        jobs = portal.call(self._app.enqueue_many(calls, atomic=atomic))
        return [BlockingJob(job, portal) for job in jobs]

    def send(
        self,
        task: str,
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
        **keywords: Unpack[CallKeywords],
    ) -> BlockingJob[Any]:
        """Enqueue a job by its task's name; see ``Mesh.send``."""
        portal = self._app.portal
        return BlockingJob(portal.call(self._app.send(task, args, kwargs, **keywords)), portal)

    def job(self, job_id: str) -> BlockingJob[Any]:
        """The handle of a job enqueued elsewhere; see ``Mesh.job``."""
        return BlockingJob(self._app.job(job_id), self._app.portal)

    def find_jobs(
        self,
        *,
        state: State | str | None = None,
        queue: str | None = None,
        task: str | None = None,
        limit: int = 50,
    ) -> Iterator[JobStatus]:
        """Yield jobs wherever they are; see ``Mesh.find_jobs``."""
        found = self._app.find_jobs(state=state, queue=queue, task=task, limit=limit)
        return stepped(self._app.portal, found)

    def events(
        self,
        *patterns: str,
        queue: str | None = None,
        task: str | None = None,
        job: str | None = None,
        since: Duration | datetime | None = None,
        follow: bool = True,
    ) -> Iterator[LedgerEvent]:
        """Yield what happens to jobs and queues; see ``Mesh.events``."""
        found = self._app.events(
            *patterns, queue=queue, task=task, job=job, since=since, follow=follow
        )
        return stepped(self._app.portal, found)

    def queue(self, name: str) -> BlockingQueue:
        """The handle of a queue; see ``Mesh.queue``."""
        return BlockingQueue(self._app.queue(name), self._app.portal)

    def queue_statuses(self) -> list[QueueStatus]:
        """Look at every queue; see ``Mesh.queue_statuses``."""
        return self._app.portal.call(self._app.queue_statuses())

    @property
    def dead_letters(self) -> BlockingDeadLetters:
        """The jobs that failed for good; see ``Mesh.dead_letters``."""
        return BlockingDeadLetters(self._app.dead_letters, self._app.portal)

    @property
    def schedules(self) -> BlockingSchedules:
        """The schedules of the namespace; see ``Mesh.schedules``."""
        return BlockingSchedules(self._app.schedules, self._app.portal)

    @property
    def workers(self) -> BlockingWorkers:
        """The live workers; see ``Mesh.workers``."""
        return BlockingWorkers(self._app.workers, self._app.portal)

    def archive(self, url: str | None = None) -> BlockingArchive:
        """What `mesh archive` has stored, to be asked in ``with``; see ``Mesh.archive``.

        Raises:
            ArchiveError: There is no archive, or it is of another version.
        """
        settings = self._app.settings
        return BlockingArchive(url or settings.archive.url, settings.namespace)

    def setup(self, queues: Sequence[str] = ()) -> list[Step]:
        """Create or update what the app needs; see ``Mesh.setup``."""
        return self._app.portal.call(self._app.setup(queues))

    def fsck(self, **how: Unpack[FsckOptions]) -> FsckReport:
        """Find jobs that are lost, stuck or doubled; see ``Mesh.fsck``."""
        return self._app.portal.call(self._app.fsck(**how))

    def close(self) -> None:
        """Close the blocking calls' connection and end their thread."""
        self._app.portal.stop()
