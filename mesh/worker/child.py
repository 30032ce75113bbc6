"""What runs inside a child process: load the app once, then run order after order."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Coroutine, Mapping
from functools import partial
from types import FrameType
from typing import Any

from msgspec import Raw, Struct
from opentelemetry.context import attach

from mesh.app import Mesh
from mesh.errors import ArgumentsError, NotSerializableError, UnknownTaskError
from mesh.tasks import codec
from mesh.tasks.context import JobContext, JobControl, Progress, running_job
from mesh.tasks.definition import TaskDefinition
from mesh.telemetry.export import exporting
from mesh.telemetry.logs import install
from mesh.telemetry.tracing import extract
from mesh.worker.failures import describe, describe_request, kinds_of
from mesh.worker.interrupts import AlarmInterrupt, Interruptible
from mesh.worker.loading import load_app
from mesh.worker.orders import Answer, FrameBuffer, Order, Report, frame, read_order
from mesh.worker.running import job_fields

_CHUNK_BYTES = 262_144
_LOOK_MS = 1000
_EXIT_GRACE_S = 1.0


def main() -> None:
    """Serve the worker at the socket given on the command line until it closes its end."""
    descriptor, reference = sys.argv[1:]
    del sys.argv[1:]  # The app may read the command line: these words are not for it.
    line = _Line(socket.socket(fileno=int(descriptor)))
    for asked in (signal.SIGTERM, signal.SIGINT):
        # A supervisor may tell the whole group to stop: what that means the worker decides.
        signal.signal(asked, _go_on)
    threading.Thread(target=_end_with_worker, args=(line, os.getppid()), daemon=True).start()
    try:
        app = load_app(reference)
    except BaseException as error:
        # Half an app stays behind in memory: the next try needs a new process.
        answer = Answer(error=describe(error), is_last=True)
        if line.next_order() is not None:
            line.answer(answer)
        return
    install(app.settings, job_fields=job_fields)
    with exporting("mesh-worker"):
        while (order := line.next_order()) is not None:
            # In a context of its own, so that one job's variables are not another's.
            line.answer(contextvars.copy_context().run(_run, app, order, line))


class _Line:
    """The child's end of the socket to its worker.

    Attributes:
        is_busy: Whether an order is being run.
    """

    def __init__(self, end: socket.socket) -> None:
        end.set_inheritable(False)
        # A process that the task forks must not keep the line open when this one has died.
        os.register_at_fork(after_in_child=end.close)
        self.is_busy = False
        self._socket = end
        self._buffer = FrameBuffer()
        self._writing = threading.Lock()

    def next_order(self) -> Order | None:
        """Wait for an order; None: the worker closed its end."""
        while (body := self._buffer.take()) is None:
            chunk = self._socket.recv(_CHUNK_BYTES)
            if not chunk:
                return None
            self._buffer.add(chunk)
        self.is_busy = True
        return read_order(body)

    def answer(self, answer: Answer) -> None:
        """Send what became of the order."""
        with self._writing:
            self._socket.sendall(frame(answer))
        self.is_busy = False

    def report(self, job_id: str, progress: Progress) -> None:
        """Send progress, or drop it if the worker is behind: a newer report will follow."""
        message = frame(Report(job_id, progress))
        with self._writing:
            try:
                sent = self._socket.send(message, socket.MSG_DONTWAIT)
            except OSError:
                return
            if sent < len(message):
                self._socket.sendall(message[sent:])

    def wait_for_end(self, parent_pid: int) -> None:
        """Return when the worker has closed its end, or has died while a copy holds it open."""
        hang_up = select.poll()
        hang_up.register(self._socket, 0)  # The end of the other side is always told.
        while os.getppid() == parent_pid and not hang_up.poll(_LOOK_MS):
            pass


class _Running(Struct, frozen=True):
    """The running job, for ``current_job()``."""

    context: JobContext


def _run(app: Mesh, order: Order, line: _Line) -> Answer:
    """Run an order; whatever the task raises comes back as data."""
    try:
        definition = app.tasks.get(order.task)
        arguments = definition.signature.decode(Raw(order.args), Raw(order.kwargs))
    except (UnknownTaskError, ArgumentsError) as error:
        return Answer(error=describe(error, with_traceback=False), is_final=True)
    try:
        context = _context(order, line)
        value = _call(definition, arguments, context, order.soft_timeout_s, order.trace)
    except JobControl as control:
        return Answer(error=describe_request(control), request=control.request)
    except BaseException as error:  # SystemExit from a task must not end the child.
        return Answer(error=describe(error), kinds=kinds_of(error))
    try:
        return Answer(codec.encode(value))
    except NotSerializableError as error:
        # The work is done: running it again would repeat its effects and fail the same way.
        return Answer(error=describe(error, with_traceback=False), is_final=True)


def _context(order: Order, line: _Line) -> JobContext:
    return JobContext(
        order.job_id,
        order.task,
        order.queue,
        order.priority,
        order.attempt,
        worker=order.worker,
        enqueued_at_ms=order.enqueued_at_ms,
        tags=order.tags,
        meta=order.meta,
        sink=partial(line.report, order.job_id),
    )


def _call(
    definition: TaskDefinition,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    context: JobContext,
    soft_timeout_s: float | None,
    trace: Mapping[str, str],
) -> Any:
    args, kwargs = arguments
    if trace:
        attach(extract(trace))  # For good: the job has a context of its own.
    running_job.set(_Running(context))
    if definition.signature.takes_context:
        args = (context, *args)
    work = partial(definition.function, *args, **kwargs)
    if soft_timeout_s is not None and not definition.is_async:
        return AlarmInterrupt(soft_timeout_s).run(work)
    value = work()
    if not inspect.iscoroutine(value):
        return value
    return asyncio.run(value if soft_timeout_s is None else _softly(value, soft_timeout_s))


async def _softly(work: Coroutine[Any, Any, Any], limit_s: float) -> Any:
    interruptible = Interruptible(work, limit_s)
    timer = asyncio.get_running_loop().call_later(limit_s, interruptible.interrupt)
    try:
        return await interruptible
    finally:
        timer.cancel()


def _go_on(_number: int, _frame: FrameType | None) -> None:
    """Do nothing; to ignore a signal would make the programs a task starts ignore it too."""


def _end_with_worker(line: _Line, parent_pid: int) -> None:
    """End when the worker is gone, however it died: nobody waits for the answer any more."""
    line.wait_for_end(parent_pid)
    if not line.is_busy:  # It ends by itself, unless something it started holds it.
        threading.Event().wait(_EXIT_GRACE_S)
    os.killpg(os.getpgrp(), signal.SIGKILL)  # With whatever the task has started.
