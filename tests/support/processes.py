"""Run real worker processes in a test, and stop them by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

from support.waiting import until

from mesh import Mesh

APPS = Path(__file__).parent.parent / "apps"


class WorkerProcess:
    """A ``mesh worker`` process.

    Attributes:
        process: The process.
    """

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self._log = log

    @property
    def log(self) -> str:
        """What it printed so far."""
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """Kill it as a crash would (SIGKILL)."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> int:
        """Ask it to drain (SIGTERM) and return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@asynccontextmanager
async def worker_process(
    app: Mesh, reference: str, folder: Path, *arguments: str, **environment: str
) -> AsyncGenerator[WorkerProcess]:
    """Start a worker on the app's server and namespace; ready when entered, gone when left."""
    settings = {"MESH_URL": app.settings.url, "MESH_NAMESPACE": app.settings.namespace}
    process, log = _start([reference, *arguments], folder, settings | environment)
    worker = WorkerProcess(process, log)
    try:
        await until(
            lambda: "worker ready" in worker.log or process.poll() is not None,
            "the worker process is ready",
        )
        assert process.poll() is None, worker.log
        yield worker
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)


def _start(
    arguments: list[str], folder: Path, environment: dict[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    log = folder / f"worker-{len(list(folder.glob('worker-*')))}.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "mesh", "worker", *arguments],
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
        )
    return process, log
