"""The tasks of a chaos run: each leaves a line where it starts and where it ends.

The lines lie outside NATS, so that the checker need not trust the books of mesh.
"""

from __future__ import annotations

import functools
import itertools
import os
import signal
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import anyio
from chaos.ambush import Ambush, walk_into
from chaos.history import Journal, Kind, fingerprint
from chaos.mutation import apply

from mesh import JobContext, Mesh, Retry, current_job

FOLDER = "CHAOS_FOLDER"
PROC = "CHAOS_PROC"
MUTANT = "CHAOS_MUTANT"
LONG_S = 3.0
LONGER_S = 5.0
LATE_S = 5.2

app = Mesh()
_runs = itertools.count(1)
_SOON = Retry(3, "fixed", 0.2)


class PlannedError(RuntimeError):
    """A failure that the task was written to have."""


@functools.cache
def journal(_pid: int) -> Journal:
    """The journal of a process; a child of a pool has one of its own."""
    return Journal(folder(), os.environ[PROC])


def folder() -> Path:
    """Where the history is kept."""
    return Path(os.environ[FOLDER])


class Run:
    """One execution of a task.

    Attributes:
        result: What the task returns: the checker finds the execution by it.
    """

    def __init__(self, number: int) -> None:
        job = current_job()
        self._job_id = job.job_id
        self._attempt = job.attempt
        self._op = f"{os.environ[PROC]}-{os.getpid()}-{next(_runs)}"
        self.result = f"{number}:{self._op}"

    def note(self, kind: Kind, value: str = "") -> None:
        """Leave a line."""
        journal(os.getpid()).write(
            "run", kind, id=self._job_id, attempt=self._attempt, op=self._op, value=value
        )

    def returned(self) -> str:
        """Leave the last line and hand out the result."""
        self.note("ok", fingerprint(self.result))
        return self.result

    def is_first(self) -> bool:
        """Whether no execution of the job asked this before."""
        try:
            (folder() / "seen" / self._job_id).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


@contextmanager
def run(number: int) -> Generator[Run]:
    """Note the start and the end of an execution."""
    execution = Run(number)
    execution.note("invoke")
    try:
        yield execution
    except PlannedError:
        execution.note("fail", "raise")
        raise
    except BaseException as error:
        execution.note("info", type(error).__name__)
        raise
    execution.returned()


@app.task
async def instant(number: int) -> str:
    """Return at once."""
    with run(number) as execution:
        return execution.result


@app.task
async def short(number: int) -> str:
    """Take 50 ms."""
    with run(number) as execution:
        await anyio.sleep(0.05)
        return execution.result


@app.task
async def long(number: int) -> str:
    """Take longer than the ack wait."""
    with run(number) as execution:
        await anyio.sleep(LONG_S)
        return execution.result


@app.task(retry=Retry(1, "fixed", 0.0))
async def long_flaky(ctx: JobContext, number: int) -> str:
    """Take much longer than the ack wait, and then fail at the first attempt."""
    with run(number) as execution:
        if ctx.attempt == 1:
            await anyio.sleep(LONGER_S)
        _fail_until(2, ctx.attempt)
        return execution.result


@app.task(retry=_SOON)
async def flaky(ctx: JobContext, number: int) -> str:
    """Fail at the first two attempts."""
    with run(number) as execution:
        _fail_until(3, ctx.attempt)
        return execution.result


@app.task(retry=Retry(1, "fixed", LATE_S))
async def flaky_late(ctx: JobContext, number: int) -> str:
    """Fail at the first attempt; the server holds the job until the second."""
    with run(number) as execution:
        _fail_until(2, ctx.attempt)
        return execution.result


@app.task(retry=Retry(2, "fixed", 0.1))
async def hopeless(number: int) -> str:
    """Fail always, and become a dead letter."""
    with run(number):
        raise PlannedError("as planned")


@app.task
async def snoozer(ctx: JobContext, number: int) -> str:
    """Ask once to be run again later."""
    execution = Run(number)
    execution.note("invoke")
    if execution.is_first():
        execution.note("fail", "snooze")
        raise ctx.snooze(0.3)
    return execution.returned()


@app.task(pool="thread")
def threaded(number: int) -> str:
    """Take 20 ms in a thread."""
    with run(number) as execution:
        threading.Event().wait(0.02)
        return execution.result


@app.task(pool="process")
def pooled(number: int) -> str:
    """Take 20 ms in a process."""
    with run(number) as execution:
        threading.Event().wait(0.02)
        return execution.result


@app.task(pool="process")
def crashing(number: int) -> str:
    """Kill the own process once."""
    with run(number) as execution:
        if execution.is_first():
            execution.note("fail", "crash")
            os.kill(os.getpid(), signal.SIGKILL)
        return execution.result


@app.task
async def big(number: int, text: str) -> str:
    """Return what is too large for a record."""
    with run(number) as execution:
        execution.result += text
        return execution.result


def _fail_until(attempt: int, now: int) -> None:
    if now < attempt:
        raise PlannedError("not yet")


apply(os.environ.get(MUTANT, ""))
if PROC in os.environ:  # The producers, which are never hit so, have none.
    walk_into(Ambush(folder(), os.environ[PROC].partition(".")[0]))
