"""The processes that drain: started, watched, weighed, and gone in the end."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mesh.errors import MeshError
from mesh.server import watchdog

_STOP_LIMIT_S = 10.0
_LAST_LINES = 8


class BenchError(MeshError):
    """The measurement could not be carried out."""


class Drainer:
    """One draining process, as ``with Drainer(...) as drainer:``.

    Args:
        command: The program and its arguments.
        environment: Its environment.
        log_path: Where what it says is kept.
    """

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log_path: Path
    ) -> None:
        self._command = list(command)
        self._environment = dict(environment)
        self._log_path = log_path
        self._process: subprocess.Popen[bytes]
        self._watchdog: subprocess.Popen[bytes]

    def __enter__(self) -> Self:
        """Start it."""
        with self._log_path.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C at a terminal is for us: we stop it then.
                start_new_session=True,
            )
        try:
            self._watchdog = _start_watchdog(self._process.pid)
        except BaseException:
            self._process.kill()
            self._process.wait()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop it; kill it if it takes too long."""
        try:
            self._process.terminate()
            self._process.wait(_STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            pass
        finally:
            for process in (self._process, self._watchdog):
                process.kill()
                process.wait()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def check(self) -> None:
        """Make sure that it is alive.

        Raises:
            BenchError: It has ended; what it said last is in the message.
        """
        code = self._process.poll()
        if code is None:
            return
        said = self._log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        last = "\n".join(said[-_LAST_LINES:]) or "(it said nothing)"
        command = " ".join(self._command[:4])
        msg = f"{command} ended with code {code} while it was measured; it said:\n{last}"
        raise BenchError(msg)


def _start_watchdog(pid: int) -> subprocess.Popen[bytes]:
    """Have a process end with this program, even if that is killed."""
    script = str(Path(watchdog.__file__))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", script, str(os.getpid()), str(pid)],
        start_new_session=True,
    )


def memory_mib(pid: int) -> float:
    """The resident memory of a process and its children, in MiB; 0 if it is unknown."""
    try:
        psutil = import_module("psutil")
    except ImportError:
        return _memory_from_proc(pid)
    process: Any = psutil.Process(pid)
    family = [process, *process.children(recursive=True)]
    return float(sum(member.memory_info().rss for member in family)) / 2**20


def _memory_from_proc(pid: int) -> float:
    folder = Path(f"/proc/{pid}")
    try:
        status = (folder / "status").read_text(encoding="utf-8")
        children = (folder / f"task/{pid}/children").read_text(encoding="utf-8").split()
    except OSError:  # Not Linux.
        return 0.0
    own = next((line for line in status.splitlines() if line.startswith("VmRSS:")), "VmRSS: 0")
    return int(own.split()[1]) / 1024 + sum(_memory_from_proc(int(child)) for child in children)
