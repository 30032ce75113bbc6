"""A child process as its worker holds it: start it, give it orders, notice its end, kill it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable

import anyio

from mesh.errors import WorkerLostError
from mesh.tasks.context import LogSink, Progress
from mesh.worker.orders import Answer, FrameBuffer, Order, Report, frame, read_message

# The child finds what this process finds, and runs none of the program that started it.
_BOOT = """\
import json, sys
sys.path[:] = json.loads(sys.argv.pop(1))
from mesh.worker.child import main
main()
"""
_CHUNK_BYTES = 262_144
_REAP_EVERY_S = 0.005
_REAP_LIMIT_S = 1.0


class ChildProcess:
    """One process that runs one order at a time.

    It leads a session of its own: Ctrl-C at a terminal does not reach it, and what a task has
    started is killed together with it.

    Args:
        app_reference: How it finds the app.

    Raises:
        WorkerLostError: The system would not start it.
    """

    def __init__(self, app_reference: str) -> None:
        self._buffer = FrameBuffer()
        self._socket, theirs = socket.socketpair()
        self._socket.setblocking(False)
        descriptor = theirs.fileno()
        path = json.dumps(sys.path)
        command = [sys.executable, "-c", _BOOT, path, str(descriptor), app_reference]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(descriptor,),
                start_new_session=True,
            )
        except OSError as error:
            self._socket.close()
            message = f"no child process could be started: {error}"
            raise WorkerLostError(message) from error
        finally:
            theirs.close()

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether it can take another order; to be asked only while it has none."""
        try:
            while chunk := self._socket.recv(_CHUNK_BYTES):
                self._buffer.add(chunk)  # A thread that outlived its job still reports.
        except OSError as error:
            return isinstance(error, BlockingIOError)
        return False

    async def run(
        self, order: Order, on_progress: Callable[[Progress], None], on_line: LogSink
    ) -> Answer:
        """Have an order run.

        A call that is cancelled leaves the child in the middle of it: then kill the child.

        Raises:
            WorkerLostError: The child died before it answered.
        """
        try:
            await asyncio.get_running_loop().sock_sendall(self._socket, frame(order))
            while True:
                message = read_message(await self._receive())
                if isinstance(message, Answer):
                    return message
                if message.job_id != order.job_id:
                    continue
                if isinstance(message, Report):
                    on_progress(message.progress)
                else:
                    on_line(message.level, message.logger, message.text)
        except (OSError, EOFError) as error:
            self.kill()
            await self.reap()
            raise WorkerLostError(_epitaph(self._process.returncode)) from error

    async def _receive(self) -> bytes:
        while (body := self._buffer.take()) is None:
            chunk = await asyncio.get_running_loop().sock_recv(self._socket, _CHUNK_BYTES)
            if not chunk:
                raise EOFError
            self._buffer.add(chunk)
        return body

    def kill(self) -> None:
        """Kill it at once, with all it has started; safe to call twice."""
        # Once it is reaped its number may be another's.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
        self._socket.close()

    async def reap(self) -> None:
        """Wait until a child that was killed is gone; one that hangs in the system is left."""
        with anyio.move_on_after(_REAP_LIMIT_S):
            while True:
                if self._process.poll() is not None:
                    return
                await anyio.sleep(_REAP_EVERY_S)

    def dismiss(self) -> None:
        """Tell an idle child to end by itself."""
        self._socket.close()

    def bury(self, timeout_s: float) -> None:
        """Block until it has ended, and kill it if it takes longer than that."""
        try:
            self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_REAP_LIMIT_S)


def _epitaph(code: int | None) -> str:
    what = "the child process that ran the attempt"
    if code is None:
        return f"{what} closed its connection and could not be killed"
    if code >= 0:
        return f"{what} ended by itself with exit code {code}"
    hint = "; the system does that when memory runs out" if code == -signal.SIGKILL else ""
    return f"{what} was killed by {signal.Signals(-code).name}{hint}"
