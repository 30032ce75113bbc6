"""What runs in a process-pool child: load the app once, run tasks by name, answer in bytes."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import signal
import socket
import threading
from functools import partial
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mesh.app import Mesh
from mesh.contract.records import ErrorInfo
from mesh.errors import ArgumentsError, NotSerializableError, UnknownTaskError
from mesh.tasks import codec
from mesh.tasks.context import JobContext, Progress, running_job
from mesh.worker.failures import describe
from mesh.worker.loading import load_app

log = logging.getLogger("mesh.worker.child")

_FINAL = (NotSerializableError, ArgumentsError, UnknownTaskError)


class Order(Struct, frozen=True, array_like=True):
    """What a child is told to run."""

    task: str
    args: bytes
    kwargs: bytes
    job_id: str
    queue: str
    priority: str
    attempt: int
    worker: str
    enqueued_at_ms: int
    tags: tuple[str, ...]
    meta: dict[str, str]


class Answer(Struct, frozen=True, array_like=True):
    """What a child says became of it: a value as JSON, or a failure as data."""

    value: bytes = b"null"
    error: ErrorInfo | None = None
    is_final: bool = False


class Report(Struct, frozen=True, array_like=True):
    """A child's report of progress."""

    job_id: str
    progress: Progress


class _Running(Struct, frozen=True):
    """The running job, for ``current_job()``."""

    context: JobContext


class _Here:
    """This child: its app and its way back."""

    app: Mesh
    address: str
    reports: socket.socket


def start(app_reference: str, report_address: str, parent_pid: int) -> None:
    """Prepare a new child; called once in each."""
    # Ctrl-C at a terminal reaches the whole group; the worker decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent_pid,), daemon=True).start()
    _Here.address = report_address
    _Here.reports = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    _Here.reports.setblocking(False)
    _Here.app = load_app(app_reference)


def run(message: bytes) -> bytes:
    """Run an order; whatever the task raises comes back as data."""
    order = msgspec.msgpack.decode(message, type=Order)
    try:
        answer = Answer(codec.encode(_call(order)))
    except _FINAL as error:
        answer = Answer(error=describe(error, with_traceback=False), is_final=True)
    except BaseException as error:
        answer = Answer(error=describe(error))
    return msgspec.msgpack.encode(answer)


def _call(order: Order) -> Any:
    definition = _Here.app.tasks.get(order.task)
    args, kwargs = definition.signature.decode(Raw(order.args), Raw(order.kwargs))
    context = JobContext(
        order.job_id,
        order.task,
        order.queue,
        order.priority,
        order.attempt,
        order.worker,
        order.enqueued_at_ms,
        order.tags,
        order.meta,
        partial(_report, order.job_id),
    )
    running_job.set(_Running(context))
    if definition.signature.takes_context:
        args = (context, *args)
    value = definition.function(*args, **kwargs)
    return asyncio.run(value) if inspect.iscoroutine(value) else value


def _report(job_id: str, progress: Progress) -> None:
    try:
        _Here.reports.sendto(msgspec.msgpack.encode(Report(job_id, progress)), _Here.address)
    except OSError:
        # Progress never holds up a job: the worker is busy, and a newer report will follow.
        log.debug("a progress report was dropped", extra={"job": job_id})


def _end_with(parent_pid: int) -> None:
    """End when the worker is gone, however it died: nobody waits for the answer any more."""
    tick = threading.Event()
    while os.getppid() == parent_pid:
        tick.wait(0.5)
    os._exit(0)
