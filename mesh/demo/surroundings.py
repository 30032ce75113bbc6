"""What the demo runs in: settings of its own, and a real worker process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio.abc import Process

_DRAIN_LIMIT_S = 10.0
_LAST_LINES = 15


@contextmanager
def surroundings(url: str) -> Generator[Path]:
    """Hide the user's own settings of mesh: they are meant for another server.

    Args:
        url: The server that all settings lead to while this is entered.

    Yields:
        A folder for files of the demo, removed afterwards.
    """
    hidden = {name: value for name, value in os.environ.items() if name.startswith("MESH_")}
    with tempfile.TemporaryDirectory(prefix="mesh-demo-") as folder:
        config = Path(folder) / "mesh.toml"
        config.touch()
        ours = {"MESH_URL": url, "MESH_CONFIG": str(config)}
        _exchange(hidden, ours)
        try:
            yield Path(folder)
        finally:
            _exchange(ours, hidden)


def _exchange(old: dict[str, str], new: dict[str, str]) -> None:
    for name in old:
        os.environ.pop(name, None)
    os.environ.update(new)


class WorkerProcess:
    """A ``mesh worker`` process; started when entered, drained and gone when left.

    Args:
        reference: How it finds the app.
        folder: Where it keeps its log.
    """

    def __init__(self, reference: str, folder: Path) -> None:
        self._log = folder / "worker.log"
        self._command = [
            *(sys.executable, "-P", "-m", "mesh", "worker"),
            *("--drain-timeout", "3s", reference),
        ]
        self._process: Process
        self._lifeline = -1

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        """Start it."""
        # The worker drains when the other end is closed: also if this process is killed.
        theirs, self._lifeline = os.pipe()
        try:
            with self._log.open("wb") as log:
                self._process = await anyio.open_process(
                    [*self._command, "--lifeline", str(theirs)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(theirs,),
                    # Ctrl-C at a terminal reaches the whole group; the demo stops its worker.
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._lifeline)
            raise
        finally:
            os.close(theirs)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let it drain; kill it if that takes too long."""
        with anyio.CancelScope(shield=True):
            self._tell(signal.SIGTERM)
            with anyio.move_on_after(_DRAIN_LIMIT_S):
                await self._process.wait()
            self._tell(signal.SIGKILL)
            await self._process.wait()
            await self._process.aclose()
            os.close(self._lifeline)

    async def ended(self) -> int:
        """Wait until it ends and return its exit code."""
        return await self._process.wait()

    def last_words(self) -> str:
        """The end of its log."""
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-_LAST_LINES:]) or "(it wrote nothing)"

    def _tell(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            self._process.send_signal(number)
