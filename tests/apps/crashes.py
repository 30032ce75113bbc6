"""Tasks that die, fail or ask for another try; each start leaves a line in a file."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import threading
from pathlib import Path

import anyio

from mesh import JobContext, Mesh, Retry

app = Mesh()


class StockError(LookupError):
    """An error that the worker's own process need not know."""


def note(line: str) -> int:
    """Append a line to the file named by ``EFFECTS``; return how many there are now."""
    path = Path(os.environ["EFFECTS"])
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")
    return len(path.read_text(encoding="utf-8").splitlines())


def die(how: str) -> None:
    """End this process in one of the ways processes end."""
    if how == "exit":
        os._exit(7)
    if how == "segfault":
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(pool="process")
def poison(how: str) -> None:
    """Kill the process whenever it is run."""
    note("start")
    die(how)


@app.task(pool="process")
def good(number: int) -> int:
    """Do no harm."""
    return number


@app.task(pool="process", retry=Retry(1, "fixed", 0.0))
def troubled(ctx: JobContext) -> int:
    """Die twice, then fail once, then succeed."""
    starts = note(f"attempt {ctx.attempt}")
    if starts <= 2:
        die("kill")
    if starts == 3:
        message = "third start"
        raise RuntimeError(message)
    return starts


@app.task(pool="process")
def die_then_hold() -> None:
    """Die once, then take for ever."""
    if note("start") == 1:
        die("kill")
    threading.Event().wait()


@app.task(queue="workers")
async def shoot_worker(after_s: float) -> None:
    """Kill the worker itself, at once or after a while."""
    note("start")
    if after_s:
        await anyio.sleep(after_s)
    die("kill")


@app.task(
    pool="process", retry=Retry(1, "fixed", 0.0, on=(LookupError,), give_up_on=(KeyError,))
)
def pick(kind: str) -> None:
    """Raise one of three errors."""
    note("start")
    raise {"stock": StockError, "key": KeyError, "value": ValueError}[kind](kind)


@app.task(pool="process", retry=Retry(1, "fixed", 30.0))
def ask_in_process(ctx: JobContext, what: str) -> int:
    """Ask for something at the first start."""
    return ask(ctx, what)


@app.task(pool="thread", retry=Retry(1, "fixed", 30.0))
def ask_in_thread(ctx: JobContext, what: str) -> int:
    """Ask for something at the first start."""
    return ask(ctx, what)


@app.task(retry=Retry(1, "fixed", 30.0))
async def ask_in_loop(ctx: JobContext, what: str) -> int:
    """Ask for something at the first start."""
    return ask(ctx, what)


def ask(ctx: JobContext, what: str) -> int:
    """Ask for something at the first start, through code that catches every ``Exception``."""
    with contextlib.suppress(Exception):
        if note(f"attempt {ctx.attempt}") > 1:
            return ctx.attempt
        match what:
            case "retry":
                raise ctx.retry(0.1)
            case "snooze":
                raise ctx.snooze(0.1)
            case _:
                raise ctx.discard("no such user")
    return -1
