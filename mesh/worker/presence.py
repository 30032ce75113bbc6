"""Say what a worker is and does, and hear what it is told: on the heartbeat's loop.

So a worker whose own loop is blocked by user code is still seen, and can still be told to stop.
"""

from __future__ import annotations

import logging
import os
import resource
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import anyio
import msgspec

from mesh import __version__
from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import workers
from mesh.contract.subjects import kv_stream
from mesh.contract.workers import RunningJob, WorkerAnswer, WorkerCommand, WorkerRecord
from mesh.errors import BrokerError
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.worker.attempt import Attempt

log = logging.getLogger("mesh.worker")

EVERY_S = 5.0
_MOST_JOBS = 50
_LEAVE_LIMIT_S = 2.0

Obey = Callable[[WorkerCommand], str]
"""Carries out a command, or says why that cannot be; called on the heartbeat's loop."""


class Presence:
    """Writes the record of one worker and answers its commands.

    Args:
        worker_id: The worker.
        queues: The queues it serves.
        slots: Says how many jobs it may run at once.
        attempts: Its attempts in hand.
        is_draining: Whether it takes no more jobs.
        obey: Carries out commands.
        clock: The time.
    """

    def __init__(
        self,
        worker_id: str,
        queues: Sequence[str],
        *,
        slots: Callable[[], int],
        attempts: Callable[[], list[Attempt]],
        is_draining: Callable[[], bool],
        obey: Obey,
        clock: Clock,
    ) -> None:
        self._worker_id = worker_id
        self._queues = tuple(queues)
        self._slots = slots
        self._attempts = attempts
        self._is_draining = is_draining
        self._obey = obey
        self._clock = clock
        self._started_ms = clock.now_ms()

    async def keep(self, client: Client) -> None:
        """Be seen and heard until cancelled; then the record is removed."""
        subject = client.names.worker(self._worker_id)

        def hear(_subject: bytes, reply: bytes, data: bytes, _headers: bytes) -> None:
            answer = workers.encode(self._answer(data))
            if reply:
                client.connection.link.post(frames.publish(reply.decode(), "", b"", answer))

        commands = client.names.worker_commands(self._worker_id)
        await client.connection.link.listen(commands, hear)
        try:
            while True:
                try:
                    await client.publisher.publish(subject, b"", workers.encode(self.record()))
                except BrokerError as error:
                    log.debug("the worker's record was not written: %s", error)
                await anyio.sleep(EVERY_S)
        finally:
            with anyio.move_on_after(_LEAVE_LIMIT_S, shield=True):
                await _leave(client, subject)

    def record(self) -> WorkerRecord:
        """What it is and does now."""
        running = [one for one in self._attempts() if one.started_ms and not one.finished_ms]
        running.sort(key=lambda attempt: attempt.started_ms)
        usage = os.times()
        return WorkerRecord(
            worker=self._worker_id,
            host=socket.gethostname(),
            pid=os.getpid(),
            version=__version__,
            queues=self._queues,
            slots=self._slots(),
            running=len(running),
            jobs=tuple(
                RunningJob(one.job_id, one.task_name, one.lane.queue, one.started_ms)
                for one in running[:_MOST_JOBS]
            ),
            rss_bytes=_memory_bytes(),
            cpu_s=round(usage.user + usage.system, 3),
            started_at_ms=self._started_ms,
            heartbeat_at_ms=self._clock.now_ms(),
            is_draining=self._is_draining(),
        )

    def _answer(self, data: bytes) -> WorkerAnswer:
        try:
            command = workers.read_command(data)
        except (msgspec.DecodeError, msgspec.ValidationError) as error:
            return WorkerAnswer(is_done=False, message=f"the command cannot be read: {error}")
        log.info("told to %s", command.command, extra={"concurrency": command.concurrency})
        why_not = self._obey(command)
        return WorkerAnswer(is_done=not why_not, message=why_not)


async def _leave(client: Client, subject: str) -> None:
    """Be gone at once, and not when the record has passed its time."""
    try:
        await Shelf(client.connection, kv_stream(client.names.workers_bucket)).remove(subject)
    except BrokerError as error:
        log.debug("the worker's record was not removed: %s", error)


def _memory_bytes() -> int:
    """The memory of this process that is in use, where the system tells; else its maximum."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except OSError:  # Not Linux.
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
    return pages * os.sysconf("SC_PAGE_SIZE")
