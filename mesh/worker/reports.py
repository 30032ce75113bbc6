"""Progress from child processes: datagrams on a local socket, which no dying child can jam."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from mesh.tasks.context import Progress
from mesh.worker.child import Report

_LARGEST = 65_536
_AT_ONCE = 64
_read = msgspec.msgpack.Decoder(Report).decode


class ReportSocket:
    """Receives the reports of this worker's children in the running loop.

    Attributes:
        address: Where children send to.
    """

    def __init__(self, on_report: Callable[[str, Progress], None]) -> None:
        self._on_report = on_report
        self._folder = Path(tempfile.mkdtemp(prefix="mesh-"))
        self.address = str(self._folder / "reports")
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(self.address)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._on_ready)

    def _on_ready(self) -> None:
        for _ in range(_AT_ONCE):  # Then the loop goes on; what is left makes it come back.
            try:
                message = self._socket.recv(_LARGEST)
            except BlockingIOError:
                return
            with contextlib.suppress(msgspec.DecodeError):
                report = _read(message)
                self._on_report(report.job_id, report.progress)

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self._loop.remove_reader(self._socket)
        self._socket.close()
        shutil.rmtree(self._folder, ignore_errors=True)
