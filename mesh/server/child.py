"""A nats-server process that is ours: start it, guard it by a watchdog, end it."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

from mesh.errors import ServerStartError
from mesh.server.home import ServerHome

_KILL_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class ServerChild:
    """One run of nats-server, in a session of its own, so that Ctrl-C reaches only its parent.

    If the parent dies without ending it, the watchdog does so. Linux could send a signal by
    itself (PR_SET_PDEATHSIG), but does so when the *thread* ends that started the process, and
    needs Python code between fork and exec, where other threads may have left locks held.
    """

    def __init__(
        self, process: subprocess.Popen[bytes], watchdog: subprocess.Popen[bytes] | None
    ) -> None:
        self._process = process
        self._watchdog = watchdog

    @classmethod
    def spawn(cls, binary: Path, home: ServerHome, lock: int) -> ServerChild:
        """Start the server and its watchdog; the server inherits the lock of its directory.

        Raises:
            ServerStartError: The program cannot be run.
        """
        try:
            with home.log_path.open("ab") as output:
                process = subprocess.Popen(
                    [binary, "-c", home.config_path],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    start_new_session=True,
                    pass_fds=(lock,),
                )
        except OSError as fault:
            message = f"{binary} cannot be run: {fault.strerror}; check that file"
            raise ServerStartError(message) from fault
        try:
            return cls(process, _start_watchdog(process.pid, home))
        except BaseException:
            process.kill()
            process.wait()
            raise

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._process.pid

    def is_alive(self) -> bool:
        """Whether the process has not ended."""
        return self._process.poll() is None

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the end of the process; None if it goes on after that time."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def end(self, *, grace_s: float) -> None:
        """Ask the server to stop, kill it if the grace was not enough; safe to call twice."""
        if grace_s > 0 and self.is_alive():
            self._process.send_signal(signal.SIGTERM)
            if self.wait(grace_s) is None:
                log.warning("nats-server did not stop in time", extra={"pid": self.pid})
        self._process.kill()
        self._process.wait(_KILL_TIMEOUT_S)
        if self._watchdog is not None:
            self._watchdog.kill()
            self._watchdog.wait(_KILL_TIMEOUT_S)


def _start_watchdog(server_pid: int, home: ServerHome) -> subprocess.Popen[bytes] | None:
    if not sys.executable or getattr(sys, "frozen", False):
        log.warning("no Python to run a watchdog with: a crash would leave nats-server behind")
        return None
    script = Path(__file__).with_name("watchdog.py")
    leftover = [str(home.path)] if home.is_temporary else []
    return subprocess.Popen(
        [sys.executable, "-I", "-S", script, str(os.getpid()), str(server_pid), *leftover],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
