"""Tasks that take too long, in every pool and in every manner."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from pathlib import Path

import anyio

from mesh import JobContext, Mesh, SoftTimeoutError

app = Mesh()


def leave(line: str) -> None:
    """Append a line to the file named by ``EFFECTS``; whole, whoever else writes."""
    file = os.open(Path(os.environ["EFFECTS"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{line}\n".encode())
    finally:
        os.close(file)


def _turn_round() -> None:
    while True:  # Threads are told between two steps of Python only.
        threading.Event().wait(0.01)


async def _softly(how: str) -> str:
    try:
        await anyio.sleep_forever()
    except SoftTimeoutError as error:
        if how == "raise":
            raise
        return f"cleaned up after {type(error).__mro__[1].__name__}"
    return "in time"


@app.task(soft_timeout=0.3, timeout=20, retry=False)
async def soft_in_loop(how: str) -> str:
    """Wait until told; then clean up, or let the error pass."""
    return await _softly(how)


@app.task(soft_timeout=0.3, timeout=20, retry=False, pool="process")
async def soft_in_loop_of_process(how: str) -> str:
    """Wait until told; then clean up, or let the error pass."""
    return await _softly(how)


@app.task(soft_timeout=0.3, timeout=20, retry=False)
def soft_in_thread(how: str) -> str:
    """Work until told; then clean up, or let the error pass."""
    try:
        _turn_round()
    except SoftTimeoutError:
        if how == "raise":
            raise
    return "cleaned up"


@app.task(soft_timeout=0.3, timeout=20, retry=False, pool="process")
def soft_in_process(how: str) -> str:
    """Sleep until told; then clean up, or let the error pass."""
    try:
        threading.Event().wait(60)
    except SoftTimeoutError:
        if how == "raise":
            raise
    return "cleaned up"


@app.task(retry=False, pool="process")
def pid() -> int:
    """Say which process runs the task."""
    return os.getpid()


@app.task(retry=False, pool="process")
def deaf(how: str, note: str) -> None:
    """Note the process id, then do what no signal but one can end."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    draft = Path(f"{note}.draft")
    draft.write_text(str(os.getpid()), encoding="utf-8")
    draft.rename(note)
    if how == "in C, with the lock of Python":
        ctypes.PyDLL(None).sleep(60)
    elif how == "in C":
        ctypes.CDLL(None).sleep(60)
    else:
        while True:
            with_nothing_to_lose()


def with_nothing_to_lose() -> None:
    """Swallow whatever is raised."""
    try:
        threading.Event().wait(0.01)
    except BaseException:  # noqa: BLE001 - what the test is about
        leave("swallowed")


@app.task(retry=False, pool="process")
def wait_in_process(name: str, gate: str) -> str:
    """Say that it starts, then wait for a file to appear."""
    leave(f"start {name}")
    while not Path(gate).exists():
        threading.Event().wait(0.01)
    return name


@app.task(retry=False)
async def wait_in_loop(name: str, gate: str) -> str:
    """Say that it starts, then wait for a file to appear."""
    leave(f"start {name}")
    for _ in range(6000):
        if await anyio.Path(gate).exists():
            break
        await anyio.sleep(0.01)
    return name


@app.task(retry=False)
def wait_in_thread(ctx: JobContext, name: str, gate: str) -> str:
    """Say that it starts, then wait for a file to appear, or to be told to stop."""
    leave(f"start {name}")
    while not Path(gate).exists() and not ctx.cancelled:
        threading.Event().wait(0.01)
    if ctx.cancelled:
        leave(f"stopped {name}: {ctx.cancelled.reason}")
    return name


@app.task
async def fail(name: str) -> None:
    """Say that it starts, and fail."""
    leave(f"start {name}")
    message = "again"
    raise ValueError(message)
