"""Tasks for the process pool, each of which tries its child process in another way."""

from __future__ import annotations

import contextvars
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from mesh import JobContext, Mesh, current_job

app = Mesh()
_seen: contextvars.ContextVar[int] = contextvars.ContextVar("seen", default=0)


@app.task(pool="process")
def pid() -> int:
    """Say which process runs the task."""
    return os.getpid()


@app.task(pool="process")
async def who_am_i(word: str) -> list[str]:
    """Say what the task knows of its job, from a coroutine."""
    job = current_job()
    return [word, job.job_id, job.task, job.queue, job.worker]


@app.task(pool="process")
def count_in_context() -> int:
    """Count in a variable that each job should find fresh."""
    _seen.set(_seen.get() + 1)
    return _seen.get()


@app.task(pool="process")
def repeat(text: str, times: int) -> str:
    """Return a text that may be large."""
    return text * times


@app.task(pool="process", retry=False)
def leave(code: int) -> None:
    """End the process as a crashing library would."""
    os._exit(code)


@app.task(pool="process", retry=False)
def shoot_itself() -> None:
    """Die as a process that the system kills."""
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(pool="process", retry=False)
def exit_politely() -> None:
    """Raise SystemExit."""
    sys.exit(7)


@app.task(pool="process", retry=False)
def refuse(word: str) -> None:
    """Raise an error with a note and a cause."""
    error = ValueError(f"no {word} here")
    error.add_note("look elsewhere")
    raise error from KeyError(word)


@app.task(pool="process", retry=False)
def unsendable() -> object:
    """Return what has no JSON form."""
    return object()


@app.task(pool="process", retry=False)
def halve(ctx: JobContext, gate: str) -> str:
    """Report half of the work, then wait for a file to appear."""
    ctx.progress(1, 2, "half of it")
    _wait_for(Path(gate))
    return "whole"


@app.task(pool="process", retry=False)
def chatter(ctx: JobContext, times: int) -> int:
    """Report progress far more often than anybody can read."""
    for number in range(times):
        ctx.progress(number, times, "x" * 1000)
    return times


@app.task(pool="process", retry=False)
def hold(note: str, gate: str) -> str:
    """Start a program, note both process ids, then wait for a file to appear."""
    helper = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    draft = Path(f"{note}.draft")
    draft.write_text(f"{os.getpid()} {helper.pid}", encoding="utf-8")
    draft.rename(note)
    _wait_for(Path(gate))
    helper.kill()
    helper.wait()
    return "let go"


@app.task(pool="process", retry=False)
def take(seconds: float) -> float:
    """Take that long."""
    threading.Event().wait(seconds)
    return seconds


def _wait_for(path: Path) -> None:
    while not path.exists():
        threading.Event().wait(0.01)
