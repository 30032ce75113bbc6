"""The live workers of a namespace: see them, tell them to drain, stop or run more at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
from msgspec import Struct

from mesh.client.blocking import Portal
from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.contract import workers
from mesh.contract.subjects import kv_stream
from mesh.contract.workers import RunningJob, WorkerCommand, WorkerRecord
from mesh.errors import BrokerError, OptionError, WorkerNotFoundError, WorkerRefusedError
from mesh.transport.buckets import Shelf
from mesh.transport.faults import translated
from mesh.transport.reading import StreamReader

GetClient = Callable[[], Awaitable[Client]]

UNHEALTHY_AFTER_S = 30.0
"""After so long without a heartbeat a worker is no longer healthy."""

_ANSWER_LIMIT_S = 5


class WorkerStatus(Struct, frozen=True, kw_only=True):
    """What a worker said of itself last; times are milliseconds since the epoch.

    Attributes:
        worker: Its id.
        is_healthy: Whether it was heard of in the last 30 seconds.
        heard_s: How long ago that was, in seconds.
        host: The machine it runs on.
        pid: The id of its process there.
        version: Its version of mesh.
        queues: The queues it serves.
        slots: How many jobs it may run at once.
        running: How many it runs.
        jobs: Those that have run longest, at most 50.
        rss_bytes: The memory of its process.
        cpu_s: The CPU time of its process so far, in seconds.
        started_at_ms: When it started.
        is_draining: Whether it takes no more jobs.
    """

    worker: str
    is_healthy: bool
    heard_s: float
    host: str
    pid: int
    version: str
    queues: tuple[str, ...]
    slots: int
    running: int
    jobs: tuple[RunningJob, ...]
    rss_bytes: int
    cpu_s: float
    started_at_ms: int
    is_draining: bool


class Workers:
    """The workers of an app's namespace."""

    __slots__ = ("_client",)

    def __init__(self, client: GetClient) -> None:
        self._client = client

    async def list(self) -> list[WorkerStatus]:
        """Look at every worker that was heard of in the last five minutes, by its id.

        Raises:
            NotProvisionedError: The namespace is not set up.
            BrokerError: The server could not be asked.
        """
        return await all_workers(await self._client())

    async def get(self, worker: str) -> WorkerStatus:
        """Look at one worker.

        Raises:
            WorkerNotFoundError: Nothing was heard of it in the last five minutes.
            BrokerError: The server could not be asked.
        """
        client = await self._client()
        shelf = Shelf(client.connection, kv_stream(client.names.workers_bucket))
        entry = await shelf.last(client.names.worker(worker)) if _is_id(worker) else None
        status = None if entry is None else _read(entry.value)
        if status is None:
            raise WorkerNotFoundError(worker, "is not known")
        return status

    async def drain(self, worker: str) -> None:
        """Have a worker take no more jobs, let the running ones finish, and end.

        Whoever keeps it running (its supervisor, systemd, Kubernetes) may start another.

        Raises:
            WorkerNotFoundError: It does not answer.
            WorkerRefusedError: It cannot.
        """
        await self._tell(worker, WorkerCommand("drain"))

    async def stop(self, worker: str) -> None:
        """Have a worker hand its jobs back and end; they use up no attempt.

        Raises:
            WorkerNotFoundError: It does not answer.
            WorkerRefusedError: It cannot.
        """
        await self._tell(worker, WorkerCommand("stop"))

    async def set(self, worker: str, *, concurrency: int) -> None:
        """Have a worker run more or fewer jobs at once, until it ends.

        Queues whose tasks all run in the process pool are left alone.

        Args:
            worker: The worker.
            concurrency: How many jobs, at least 1.

        Raises:
            OptionError: The number cannot be.
            WorkerNotFoundError: It does not answer.
            WorkerRefusedError: It cannot.
        """
        if not 1 <= concurrency <= 100_000:
            option = "concurrency"
            raise OptionError(option, "it is from 1 to 100,000")
        await self._tell(worker, WorkerCommand("set", concurrency))

    async def _tell(self, worker: str, command: WorkerCommand) -> None:
        client = await self._client()
        if not _is_id(worker):
            raise WorkerNotFoundError(worker, "is no worker's id")
        subject = client.names.worker_commands(worker)
        try:
            with translated(f"telling worker {worker}"):
                reply = await client.connection.link.request(
                    subject, workers.encode(command), timeout=_ANSWER_LIMIT_S
                )
        except BrokerError as error:
            raise WorkerNotFoundError(worker, "does not answer") from error
        answer = workers.read_answer(reply.data)
        if not answer.is_done:
            message = f"worker {worker!r} does not {command.command}: {answer.message}"
            raise WorkerRefusedError(message)


class BlockingWorkers:
    """The blocking twin of ``Workers``: the same names, safe from any thread."""

    __slots__ = ("_portal", "_workers")

    def __init__(self, live: Workers, portal: Portal) -> None:
        self._workers = live
        self._portal = portal

    def list(self) -> list[WorkerStatus]:
        """Look at every worker; see ``Workers.list``."""
        return self._portal.call(self._workers.list())

    def get(self, worker: str) -> WorkerStatus:
        """Look at one worker; see ``Workers.get``."""
        return self._portal.call(self._workers.get(worker))

    def drain(self, worker: str) -> None:
        """Have a worker finish and end; see ``Workers.drain``."""
        self._portal.call(self._workers.drain(worker))

    def stop(self, worker: str) -> None:
        """Have a worker hand its jobs back and end; see ``Workers.stop``."""
        self._portal.call(self._workers.stop(worker))

    def set(self, worker: str, *, concurrency: int) -> None:
        """Have a worker run more or fewer jobs at once; see ``Workers.set``."""
        self._portal.call(self._workers.set(worker, concurrency=concurrency))


async def all_workers(client: Client) -> list[WorkerStatus]:
    """Look at every worker; see ``Workers.list``."""
    reader = StreamReader(client.connection, kv_stream(client.names.workers_bucket))
    found: dict[str, WorkerStatus] = {}
    async for entry in reader.oldest_first(client.names.worker("*")):
        status = _read(entry.value)
        if status is not None:
            found[status.worker] = status
    return [found[worker] for worker in sorted(found)]


def _is_id(worker: str) -> bool:
    return bool(worker) and all(c.isalnum() or c in "_-" for c in worker) and worker.isascii()


def _read(body: bytes) -> WorkerStatus | None:
    """Read a record; None: it is none, or the marker of one that was removed."""
    try:
        record: WorkerRecord = workers.read_worker(body)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return None
    heard_s = max(0, SYSTEM_CLOCK.now_ms() - record.heartbeat_at_ms) / 1000
    return WorkerStatus(
        worker=record.worker,
        is_healthy=heard_s <= UNHEALTHY_AFTER_S,
        heard_s=heard_s,
        host=record.host,
        pid=record.pid,
        version=record.version,
        queues=record.queues,
        slots=record.slots,
        running=record.running,
        jobs=record.jobs,
        rss_bytes=record.rss_bytes,
        cpu_s=record.cpu_s,
        started_at_ms=record.started_at_ms,
        is_draining=record.is_draining,
    )
