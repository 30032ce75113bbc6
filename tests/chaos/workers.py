"""The worker processes of a chaos run, started as users start them and ended only by pid."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import psutil
from chaos.ambush import Ambush
from chaos.app import FOLDER, MUTANT, PROC
from chaos.history import Journal
from chaos.schedule import LEASE_S

TESTS = Path(__file__).parents[1]
_WAIT_S = 20.0
_ENVIRONMENT = {
    "MESH_WORKER_ACK_WAIT": f"{LEASE_S}s",
    "MESH_WORKER_HEARTBEAT": "0.4s",
    "MESH_WORKER_SHUTDOWN_GRACE": "1s",
    "MESH_WORKER_PROCESS_POOL": "1",
    # A job that several faults hit must not pass for one that kills its worker.
    "MESH_WORKER_MAX_CRASHES": "50",
    "MESH_LIMITS_PAYLOAD_INLINE_BYTES": "16384",
    "PYTHONPATH": str(TESTS),
}


class Place:
    """A place for one worker process after another.

    Args:
        name: Its name, such as ``w1``; its processes are ``w1.1``, ``w1.2`` and so on.
        folder: Where the history and the logs are kept.
        journal: Where starts and ends are noted.
        url: Where the workers find their server.
        namespace: Their namespace.
        mutant: Which mutant of mesh they run; empty: none.

    Attributes:
        ambush: Lies in wait for the process that is here.
    """

    def __init__(
        self,
        name: str,
        folder: Path,
        journal: Journal,
        url: str,
        namespace: str,
        mutant: str = "",
    ) -> None:
        self.name = name
        self.ambush = Ambush(folder, name)
        self._folder = folder
        self._journal = journal
        self._environment = {
            "MESH_URL": url,
            "MESH_NAMESPACE": namespace,
            FOLDER: str(folder),
            MUTANT: mutant,
        }
        self._generation = 0
        self._is_wanted = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def proc(self) -> str:
        """The name of the process that is here now."""
        return f"{self.name}.{self._generation}"

    @property
    def is_alive(self) -> bool:
        """Whether a process is here."""
        return self._process is not None and self._process.poll() is None

    def is_ready(self) -> bool:
        """Whether the process that is here takes jobs."""
        assert self.is_alive, self._log_path().read_text(errors="replace")
        return "worker ready" in self._log_path().read_text(errors="replace")

    def start(self) -> None:
        """Start the next process; does nothing if one is here."""
        self._is_wanted = True
        self._notice_end()
        if self._process is not None:
            return
        self._generation += 1
        environment: Mapping[str, str] = os.environ | _ENVIRONMENT | self._environment
        with self._log_path().open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "mesh", "worker", "chaos.app:app", "-c", "25"],
                env={**environment, PROC: self.proc},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=self._folder,
            )
        self._journal.write("spawn", "ok", value={"proc": self.proc})

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process that is here, if there is one."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the process that is here, as a crash would."""
        self._is_wanted = False
        self.signal(signal.SIGKILL)
        self._wait_for_end()

    def stop(self) -> None:
        """Have the process that is here finish what it runs; one that does not is killed."""
        self._is_wanted = False
        self.signal(signal.SIGTERM)
        self._wait_for_end()

    def kill_child(self) -> bool:
        """Kill a process of the worker's pool; say whether there was one."""
        if self._process is None or self._process.poll() is not None:
            return False
        children = psutil.Process(self._process.pid).children()
        for child in children[:1]:
            child.kill()
        return bool(children)

    def _wait_for_end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(_WAIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_WAIT_S)
        self._note_end(was_asked=True)

    def look_after(self) -> None:
        """Start another process if the one that should be here ended by itself."""
        if self._is_wanted and not self.is_alive:
            self.start()

    def _notice_end(self) -> None:
        if self._process is not None and self._process.poll() is not None:
            self._note_end(was_asked=False)

    def _note_end(self, *, was_asked: bool) -> None:
        if self._process is None:
            return
        kind = "ok" if was_asked else "fail"
        value = {"proc": self.proc, "code": self._process.returncode}
        self._journal.write("exit", kind, value=value)
        self._process = None

    def _log_path(self) -> Path:
        return self._folder / f"{self.proc}.log"
