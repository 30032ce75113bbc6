"""End a nats-server whose starter died; a script of its own, on the standard library alone.

Usage: python watchdog.py PARENT_PID SERVER_PID [DIRECTORY_TO_REMOVE]
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import signal
import sys

_GRACE_MS = 3000
_POLL_S = 0.2


def main(arguments: list[str]) -> None:
    """Wait until the parent or the server is gone; if it is the parent, end the server."""
    parent, server, *leftovers = arguments
    end_with_parent(int(parent), int(server))
    for directory in leftovers if os.getppid() != int(parent) else []:
        shutil.rmtree(directory, ignore_errors=True)


def end_with_parent(parent_pid: int, server_pid: int) -> None:
    """Return when the server has ended, by itself or because its parent, and ours, is gone."""
    if sys.platform == "linux" and hasattr(os, "pidfd_open"):
        try:
            _watch_descriptors(parent_pid, server_pid)
        except ProcessLookupError:
            return
        except OSError:
            # An old kernel or a strict sandbox: look now and then instead.
            _watch_by_looking(parent_pid, server_pid)
    else:
        _watch_by_looking(parent_pid, server_pid)


if sys.platform == "linux":

    def _watch_descriptors(parent_pid: int, server_pid: int) -> None:
        """Watch both through descriptors, which never come to mean another process."""
        # An end of the parent before its descriptor is open shows in getppid.
        server = os.pidfd_open(server_pid)
        server_end = select.poll()
        server_end.register(server, select.POLLIN)
        either_end = select.poll()
        either_end.register(server, select.POLLIN)
        with contextlib.suppress(ProcessLookupError):
            either_end.register(os.pidfd_open(parent_pid), select.POLLIN)
        while os.getppid() == parent_pid:
            either_end.poll()
            if server_end.poll(0):
                return
        signal.pidfd_send_signal(server, signal.SIGTERM)
        if not server_end.poll(_GRACE_MS):
            signal.pidfd_send_signal(server, signal.SIGKILL)
            server_end.poll(_GRACE_MS)


def _watch_by_looking(parent_pid: int, server_pid: int) -> None:
    while os.getppid() == parent_pid:
        select.select([], [], [], _POLL_S)
    with contextlib.suppress(ProcessLookupError):
        os.kill(server_pid, signal.SIGTERM)
        for _ in range(round(_GRACE_MS / 1000 / _POLL_S)):
            select.select([], [], [], _POLL_S)
            os.kill(server_pid, 0)
        os.kill(server_pid, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
