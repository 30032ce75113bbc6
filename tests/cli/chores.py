"""An app whose jobs a test can hold and let go: it watches for files."""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

import anyio

from mesh import JobContext, Mesh

app = Mesh()
log = logging.getLogger("shop")


@app.task
async def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@app.task(retry=0)
async def fail(message: str) -> None:
    """Fail for good."""
    raise ValueError(message)


@app.task
async def hold(ctx: JobContext, folder: str) -> int:
    """Write its process into a file called started, and wait for one called go."""
    place = Path(folder)
    ctx.progress(1, 2, "holding")
    (place / "started").write_text(str(os.getpid()))
    while not (place / "go").exists():  # noqa: ASYNC110 - who lets it go is another process
        await anyio.sleep(0.01)
    return os.getpid()


@app.task
async def talk(ctx: JobContext) -> None:
    """Write two lines into its log."""
    log.info("hello")
    ctx.log("goodbye", level="warning")


@app.task(pool="process")
def compute() -> None:
    """Print a line in a child process, and log another."""
    print("printed in a child")  # noqa: T201 - what it is for
    log.info("logged in a child")


@app.task(queue="slow")
def block(folder: str) -> None:
    """Block a thread for good; nobody can stop it."""
    (Path(folder) / "started").touch()
    threading.Event().wait()


@app.task
async def freeze(folder: str) -> None:
    """Block the worker's event loop for good."""
    (Path(folder) / "started").touch()
    threading.Event().wait()


@app.task
async def process() -> int:
    """Say which process ran it."""
    return os.getpid()
