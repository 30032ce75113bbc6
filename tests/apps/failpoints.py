"""Tasks of every kind, in a process with failpoints if its environment says so."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import anyio
from support.failpoints.arming import ARMED, REACHED, Armed

import mesh.worker.settlement
import mesh.worker.watchdog
from mesh import JobContext, Mesh, Retry
from mesh.clock import SYSTEM_CLOCK
from mesh.transport.puller import Puller

if ARMED in os.environ or REACHED in os.environ:
    Armed().install()

if "MESH_TEST_LONGEST_NAK" in os.environ:
    # So that a retry of half a second takes the way through the delayed stream.
    assert mesh.worker.settlement.LONGEST_NAK_S > 0
    mesh.worker.settlement.LONGEST_NAK_S = float(os.environ["MESH_TEST_LONGEST_NAK"])

if "MESH_TEST_WATCH_EVERY" in os.environ:
    defaults = mesh.worker.watchdog.Watchdog.__init__.__kwdefaults__
    assert defaults is not None
    defaults["routine_s"] = float(os.environ["MESH_TEST_WATCH_EVERY"])
    assert mesh.worker.watchdog._AGAIN_S > 0
    mesh.worker.watchdog._AGAIN_S = defaults["routine_s"]

if "MESH_TEST_DEAF" in os.environ:
    _ask = Puller.ask

    def ask(self: Puller, batch: int) -> None:
        """Lose every request, as a server that is out of order may, until it is left."""
        if self._link.stats["reconnects"]:
            _ask(self, batch)

    Puller.ask = ask  # type: ignore[method-assign]

app = Mesh()


def note(ctx: JobContext, what: str) -> int:
    """Append what a job does to the file named by ``EFFECTS``; say how often it did that."""
    path = Path(os.environ["EFFECTS"])
    line = f"{ctx.job_id} {what} "
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{line}{SYSTEM_CLOCK.now_ms()}\n")
    return sum(found.startswith(line) for found in path.read_text().splitlines())


@app.task
async def plain(ctx: JobContext, text: str = "") -> int:
    """Do nothing, quickly."""
    note(ctx, "start")
    return len(text)


@app.task(exclusive=True)
async def alone(ctx: JobContext) -> int:
    """Start only once its lease is claimed."""
    return note(ctx, "start")


@app.task
async def large(ctx: JobContext) -> str:
    """Return what is too large for a record."""
    note(ctx, "start")
    return "x" * 5000


@app.task(retry=0)
async def fail(ctx: JobContext, text: str = "") -> None:
    """Fail for good."""
    note(ctx, "start")
    raise ValueError(text[:10] or "no")


@app.task(retry=0)
async def mended(ctx: JobContext, text: str, *, is_mended: bool = False) -> int:
    """Fail unless the arguments were mended."""
    note(ctx, "start")
    if not is_mended:
        raise ValueError("not mended")
    return len(text)


@app.task(retry=Retry(5, "fixed", 0.1))
async def again(ctx: JobContext, delay: float) -> int:
    """Fail once; then succeed."""
    note(ctx, "start")
    if ctx.attempt == 1:
        raise ctx.retry(delay)
    return ctx.attempt


@app.task
async def later(ctx: JobContext, delay: float) -> int:
    """Put it off at the first start."""
    if note(ctx, "start") == 1:
        raise ctx.snooze(delay)
    return ctx.attempt


@app.task
async def slow(ctx: JobContext, seconds: float) -> int:
    """Take long enough for a running record and its renewal, and say how far it is."""
    note(ctx, "start")
    for step in range(10):
        ctx.progress(step, 10)
        await anyio.sleep(seconds / 10)
    return 10


@app.task
def threaded(ctx: JobContext) -> int:
    """Run in a thread, for a while."""
    note(ctx, "start")
    threading.Event().wait(0.5)
    return 1


@app.task(pool="process")
def crash(ctx: JobContext) -> int:
    """Kill the child process at the first start."""
    if note(ctx, "start") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@app.task
async def kill_worker(ctx: JobContext, text: str = "") -> int:
    """Kill the worker at the first start."""
    if note(ctx, "start") == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(text)


@app.task
async def kill_worker_later(ctx: JobContext) -> int:
    """Kill the worker at the first start, when it has a running record."""
    if note(ctx, "start") == 1:
        await anyio.sleep(0.5)
        os.kill(os.getpid(), signal.SIGKILL)
    return 1


@app.task
async def hold(ctx: JobContext, seconds: float) -> int:
    """Take long, so that it can be cancelled or handed back meanwhile."""
    if note(ctx, "start") > 1:
        return 2
    await anyio.sleep(seconds)
    return 1
