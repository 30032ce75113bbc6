"""A worker: takes the parts together, runs jobs until it is told to stop, then drains."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import anyio
import anyio.to_thread
from prometheus_client import CollectorRegistry

from mesh.app import Mesh
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.lifecycle import PRIORITIES
from mesh.errors import BrokerError, NotProvisionedError
from mesh.identifiers import check_queue, new_worker_id
from mesh.policy.lanes import WEIGHTS, Feed, Lane
from mesh.tasks.options import Pool
from mesh.telemetry.metrics import WorkerMetrics, default_metrics
from mesh.telemetry.redaction import Redactor
from mesh.telemetry.tracing import job_spans
from mesh.worker.attempt import Attempt
from mesh.worker.consumer import Consumer
from mesh.worker.ending import Endings
from mesh.worker.executor import Executor
from mesh.worker.fence import Fence
from mesh.worker.heartbeat import Heartbeat
from mesh.worker.intake import Intake
from mesh.worker.keys import KeyCheck
from mesh.worker.limits import TimeKeeper
from mesh.worker.news import News
from mesh.worker.pools import ProcessPool, ThreadPool
from mesh.worker.recording import Recorder
from mesh.worker.settlement import Settlement
from mesh.worker.tracing import TracedExecutor, TracedSettlement
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
        heartbeat = Heartbeat(
            self._settings, recorder, consumer.attempts, f"mesh-heartbeat-{self.id}"
        )
        await anyio.to_thread.run_sync(heartbeat.start)
        self._stack.callback(heartbeat.stop)
        try:
            await consumer.start()
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        self.is_ready = True
        log.info("worker ready", extra={"worker": self.id, "queues": self.queues})
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Drain: no new jobs, running ones get the grace time, what is left is handed back."""
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
            worker_id=self.id,
        )
        processes = ProcessPool(self._app_reference, worker.process_pool)
        self._stack.callback(processes.close)
        timekeeper = TimeKeeper(self._clock, intake.timeout_of)
        spans = job_spans(settings)
        executor: Executor | TracedExecutor
        executor = plain = Executor(
            self._clock,
            ThreadPool(worker.concurrency),
            processes,
            timekeeper,
            lease_s=worker.ack_wait_s,
            max_crashes=worker.max_crashes,
        )
        if spans is not None:
            now = asyncio.get_running_loop().time
            executor = TracedExecutor(plain, spans.worker, self._clock, now)
        feeds = self._feeds(processes.size)
        consumer = Consumer(
            client, feeds=feeds, intake=intake, executor=executor, timekeeper=timekeeper
        )
        self._metrics.running = lambda: consumer.running
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
        news = News(client, self._clock)
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

    def _feeds(self, children: int) -> list[Feed[Attempt]]:
        """Give queues whose tasks all run in the process pool as many slots as it has children.

        A job fetched beyond that would wait here while another worker's child is idle.
        """
        default = self._settings.job_defaults.queue
        pools: dict[str, set[Pool]] = {}
        for task in self._app.tasks:
            pools.setdefault(task.options.queue or default, set()).add(task.options.pool)
        computing = [queue for queue in self.queues if pools.get(queue) == {Pool.PROCESS}]
        others = [queue for queue in self.queues if queue not in computing]
        slots = ((others, self._settings.worker.concurrency), (computing, children))
        is_strict = self._settings.worker.strict_priority
        return [
            Feed(_lanes(queues), count, is_strict=is_strict)
            for queues, count in slots
            if queues
        ]


def _lanes(queues: Sequence[str]) -> list[Lane[Attempt]]:
    return [
        Lane(queue, priority, WEIGHTS[priority]) for queue in queues for priority in PRIORITIES
    ]


async def run_worker(worker: Worker, stop: asyncio.Event, *, is_burst: bool = False) -> bool:
    """Run a worker until it is told to stop.

    Args:
        worker: The worker.
        stop: Set to have it drain and return.
        is_burst: Stop by itself when its queues are empty.

    Returns:
        Whether every running job could finish in the grace time.
    """
    async with worker:
        if is_burst:
            async with anyio.create_task_group() as group:
                group.start_soon(_wait_then_cancel, stop, group.cancel_scope)
                await worker.until_empty()
                group.cancel_scope.cancel()
        else:
            await stop.wait()
    return not worker.was_cut_short


async def _wait_then_cancel(stop: asyncio.Event, scope: anyio.CancelScope) -> None:
    await stop.wait()
    scope.cancel()
