"""A worker: takes the parts together, runs jobs until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from functools import partial
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry

from mesh import __version__
from mesh.app import Mesh
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.workers import WorkerCommand
from mesh.errors import BrokerError, NotProvisionedError
from mesh.identifiers import check_queue, new_worker_id
from mesh.telemetry.redaction import Redactor
from mesh.telemetry.tallies import WorkerGauges, WorkerMetrics, default_metrics
from mesh.telemetry.tracing import job_spans
from mesh.worker.capturing import capturing
from mesh.worker.consumer import Consumer
from mesh.worker.ending import Endings
from mesh.worker.executor import Executor
from mesh.worker.feeding import computing_queues, make_feeds
from mesh.worker.fence import Fence
from mesh.worker.health import Health, Progress
from mesh.worker.heartbeat import Heartbeat
from mesh.worker.intake import Intake
from mesh.worker.joblog import JobLog, log_rules
from mesh.worker.keys import KeyCheck
from mesh.worker.limits import TimeKeeper
from mesh.worker.news import News
from mesh.worker.pools import ProcessPool, ThreadPool
from mesh.worker.presence import Presence
from mesh.worker.recording import Recorder
from mesh.worker.settlement import Settlement
from mesh.worker.tracing import TracedExecutor, TracedSettlement
from mesh.worker.turns import Turns
from mesh.worker.watchdog import Watchdog

log = logging.getLogger("mesh.worker")

_SETTLE_LIMIT_S = 5.0
_EMPTY_CHECK_S = 0.05


class Worker:
    """Runs the jobs of an app; an async context manager: ready when entered, drained when left.

    Args:
        app: The app whose tasks it knows.
        app_reference: How a child process finds the app, for tasks in the process pool.
        queues: The queues to serve; none: those of the settings, else those of the app's tasks.
        registry: Where to count; None: Prometheus's default registry.
        clock: The time.

    Attributes:
        id: The worker's id, as records name it.
        queues: The queues it serves.
        health: What its probes are told.
        on_stop: Ends it, and hands its jobs back at once if told so; set by whoever runs it.
        is_ready: Whether it has begun to take jobs.
        was_cut_short: Whether attempts were stopped because they did not finish in time.
    """

    def __init__(
        self,
        app: Mesh,
        *,
        app_reference: str = "",
        queues: Sequence[str] = (),
        registry: CollectorRegistry | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self.id = new_worker_id()
        self._app = app
        self._settings = app.settings
        chosen = queues or self._settings.worker.queues or app.queues()
        self.queues = [check_queue(queue) for queue in dict.fromkeys(chosen)]
        self._app_reference = app_reference
        self._metrics = default_metrics() if registry is None else WorkerMetrics(registry)
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._client: Client
        self._consumer: Consumer
        self._threads: ThreadPool
        self._computing: list[str] = []
        self.health = Health()
        self.on_stop: Callable[[bool], None] | None = None
        self.is_ready = False
        self.was_cut_short = False

    async def __aenter__(self) -> Self:
        """Connect, make sure the lanes exist, and start to take jobs.

        Raises:
            ConnectError: No server was reached.
            NotProvisionedError: The streams do not exist.
            PermissionDeniedError: The NATS user may not do what a worker must.
        """
        client = self._client = await self._app.client()
        await self._ensure_lanes(client)
        recorder = Recorder(self._settings, self.id, self._clock)
        consumer = self._consumer = self._assemble(client, recorder)
        progress = Progress(consumer.feeds, self._settings.metrics.stuck_after_s, self._clock)
        heartbeat = Heartbeat(
            self._settings,
            recorder,
            consumer.attempts,
            f"mesh-heartbeat-{self.id}",
            metrics=self._metrics,
            duties=[progress.watch, self._presence(consumer).keep],
        )
        self._measure(client, consumer, progress, heartbeat)
        await anyio.to_thread.run_sync(heartbeat.start)
        self._stack.callback(heartbeat.stop)
        self._stack.enter_context(capturing(self.id, self._settings.events))
        try:
            await consumer.start()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self.is_ready = self.health.is_serving = True
        log.info("worker ready", extra={"worker": self.id, "queues": self.queues})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain: no new jobs, running ones get the grace time, what is left is handed back."""
        self.health.is_serving = False
        with anyio.CancelScope(shield=True):
            left = await self._consumer.drain(self._settings.worker.shutdown_grace_s)
            self.was_cut_short = self.was_cut_short or bool(left)
            await self._consumer.settlement.close(_SETTLE_LIMIT_S)
            with contextlib.suppress(BrokerError):  # A dead server cannot be told anything.
                await self._client.connection.flush()
            await self._stack.aclose()

    def hurry(self) -> None:
        """Stop the running attempts now and hand their jobs back; safe to call twice."""
        for attempt in self._consumer.attempts():
            self.was_cut_short = self.was_cut_short or not attempt.finished_ms
            attempt.stop("shutdown")

    def _presence(self, consumer: Consumer) -> Presence:
        """Have the worker seen, and told what to do."""
        loop = asyncio.get_running_loop()

        def obey(command: WorkerCommand) -> str:
            if command.command == "set":
                if command.concurrency is None:
                    return "it is not said to what"
                loop.call_soon_threadsafe(self._resize, command.concurrency)
                return ""
            if self.on_stop is None:
                return "the program that it is a part of must stop it"
            loop.call_soon_threadsafe(self.on_stop, command.command == "stop")
            return ""

        return Presence(
            self.id,
            self.queues,
            slots=lambda: sum(feed.slots for feed in consumer.feeds),
            attempts=consumer.attempts,
            is_draining=lambda: self.is_ready and not self.health.is_serving,
            obey=obey,
            clock=self._clock,
        )

    def _resize(self, concurrency: int) -> None:
        """Run so many jobs at once from now on; those of the process pool stay as they are."""
        self._threads.resize(concurrency)
        for feed in self._consumer.feeds:
            if any(lane.queue not in self._computing for lane in feed.lanes):
                feed.resize(concurrency)

    @property
    def running(self) -> int:
        """How many jobs run right now."""
        return self._consumer.running

    async def until_empty(self) -> None:
        """Wait until the queues are empty and nothing runs or waits for a retry."""
        while True:
            if self._consumer.is_idle and not await self._pending():
                return
            await anyio.sleep(_EMPTY_CHECK_S)

    async def _pending(self) -> int:
        """Count the jobs in this worker's lanes, those that others run included."""
        jobs = self._client.names.jobs_stream
        total = 0
        for plan in self._client.topology.consumers(self.queues):
            info = await self._client.connection.api(f"CONSUMER.INFO.{jobs}.{plan.name}")
            total += int(info["num_pending"]) + int(info["num_ack_pending"])
        return total

    async def _ensure_lanes(self, client: Client) -> None:
        try:
            await client.provisioner.ensure_lanes(self.queues)
        except NotProvisionedError as error:
            msg = (
                f"namespace {self._settings.namespace!r} is not set up on "
                f"{self._settings.url}; run `mesh setup`"
            )
            raise NotProvisionedError(msg) from error

    def _assemble(self, client: Client, recorder: Recorder) -> Consumer:
        settings, worker = self._settings, self._settings.worker
        rules = log_rules(settings.events)
        fence = Fence(client.records, client.names, self.id)
        intake = Intake(
            tasks=self._app.tasks,
            settings=settings,
            records=client.records,
            payloads=client.payloads,
            clock=self._clock,
            recorder=recorder,
            fence=fence,
            metrics=self._metrics,
            keys=KeyCheck(client.keys, self._clock),
            turns=Turns(client),
            new_log=partial(JobLog, rules, self._clock, Redactor.of(settings).text),
            worker_id=self.id,
        )
        processes = ProcessPool(self._app_reference, worker.process_pool, rules)
        self._stack.callback(processes.close)
        timekeeper = TimeKeeper(self._clock, intake.timeout_of)
        self._threads = ThreadPool(worker.concurrency)
        spans = job_spans(settings)
        executor: Executor | TracedExecutor
        executor = plain = Executor(
            self._clock,
            self._threads,
            processes,
            timekeeper,
            lease_s=worker.ack_wait_s,
            max_crashes=worker.max_crashes,
        )
        if spans is not None:
            now = asyncio.get_running_loop().time
            executor = TracedExecutor(plain, spans.worker, self._clock, now)
        self._computing = computing_queues(self._app, self.queues)
        feeds = make_feeds(self._settings.worker, self.queues, self._computing, processes.size)
        consumer = Consumer(
            client,
            feeds=feeds,
            intake=intake,
            executor=executor,
            timekeeper=timekeeper,
            clock=self._clock,
        )
        lanes = [lane for feed in feeds for lane in feed.lanes]
        consumer.watchdog = Watchdog(client, lanes, consumer, self._metrics)
        client.publisher.storage.on_found = lambda: self._metrics.noticed("disk-full")
        settlement = self._settlement(client, recorder, fence, consumer)
        consumer.settlement = (
            settlement if spans is None else TracedSettlement(settlement, spans.worker)
        )
        return consumer

    def _settlement(
        self, client: Client, recorder: Recorder, fence: Fence, consumer: Consumer
    ) -> Settlement:
        news = News(client, self._clock, worker_id=self.id, metrics=self._metrics)
        endings = Endings(
            client,
            recorder=recorder,
            fence=fence,
            metrics=self._metrics,
            news=news,
            lease_s=self._settings.worker.ack_wait_s,
        )
        return Settlement(
            client,
            recorder=recorder,
            fence=fence,
            endings=endings,
            metrics=self._metrics,
            news=news,
            redactor=Redactor.of(self._settings),
            on_settled=consumer.settled,
        )

    def _measure(
        self, client: Client, consumer: Consumer, progress: Progress, heartbeat: Heartbeat
    ) -> None:
        """Have the metrics and the probes told of this worker."""
        health = self.health
        health.follow(
            progress,
            is_beating=lambda: heartbeat.is_alive,
            is_connected=lambda: client.connection.is_connected,
        )
        self._metrics.gauges = lambda: WorkerGauges(
            worker=self.id,
            version=__version__,
            slots=sum(feed.slots for feed in consumer.feeds),
            running=consumer.running,
            is_ready=not health.why_not_ready(),
            is_connected=health.is_connected,
            stuck_s=health.stuck_s,
        )
        client.connection.on_reconnect(self._metrics.reconnected)
