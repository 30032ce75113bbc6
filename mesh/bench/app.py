"""The app that is measured, with default settings: tasks that do as little as they can."""

from __future__ import annotations

import os
import time
from pathlib import Path

import anyio

from mesh.app import Mesh

EFFECTS = "BENCH_EFFECTS"
"""The variable that names the file in which ``tell`` leaves its lines."""

STARTED, ENDED = "start", "end"

app = Mesh()


@app.task
async def noop(number: int) -> int:
    """Return the number."""
    return number


@app.task
async def tell(number: int, seconds: float) -> int:
    """Leave a line outside NATS, take the time, leave another; return the number."""
    _leave(f"{STARTED} {number}\n")
    await anyio.sleep(seconds)
    _leave(f"{ENDED} {number}\n")
    return number


@app.task
async def arrive(number: int) -> int:
    """Leave a line that says when it was started; return the number."""
    _leave(f"{number} {time.time_ns()}\n")
    return number


def _leave(line: str) -> None:
    # One write to the end of the file: lines of two workers never mix.
    file = os.open(Path(os.environ[EFFECTS]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)
