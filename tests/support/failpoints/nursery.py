"""Start many short-lived processes cheaply: a process with everything imported forks them.

A worker that is started anew needs half a second of a CPU for its imports; forked, it needs a
few hundredths. A forked process ends by any signal as one of its own would.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import json
import os
import select
import signal
import subprocess
import sys
import traceback
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import anyio.lowlevel

TESTS = Path(__file__).parents[2]
_LIMIT_S = 20.0
_PRELOADED = (
    "anyio.to_thread",
    "mesh.client.dead_letters",
    "mesh.client.queues",
    "mesh.client.reconciler",
    "mesh.worker.process",
    "support.failpoints.arming",
    "support.failpoints.programs",
)
_LOOK_EVERY_S = 0.02


class Offspring:
    """A forked process.

    Attributes:
        pid: Its id; 0 before it is born.
        born: Set when it is there.
        ended: Its exit code, when it has ended; negative: the signal that ended it.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.born = asyncio.Event()
        self.ended: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def end(self) -> int:
        """Wait for its end; its exit code."""
        return await asyncio.shield(self.ended)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        if self.pid and not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


class Nursery:
    """The process that forks; enter it once, attach it to each loop that uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._count = 0
        self._offspring: dict[int, Offspring] = {}
        self._rest = b""

    def __enter__(self) -> Self:
        with (self._folder / "nursery.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.failpoints.nursery"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=os.environ | {"PYTHONPATH": str(TESTS)},
                cwd=self._folder,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(_LIMIT_S)

    @contextmanager
    def attached(self) -> Generator[None]:
        """Hear in the running loop what becomes of the processes."""
        assert self._process.stdout is not None
        descriptor = self._process.stdout.fileno()
        loop = asyncio.get_running_loop()
        loop.add_reader(descriptor, self._hear, descriptor)
        try:
            yield
        finally:
            loop.remove_reader(descriptor)

    async def fork(self, task: str, log: Path, environment: dict[str, str]) -> Offspring:
        """Fork a process that calls ``module:function`` and exits with what it returns."""
        self._count += 1
        child = self._offspring[self._count] = Offspring()
        order = {
            "number": self._count,
            "task": task,
            "log": str(log),
            "environment": environment,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        self._process.stdin.flush()
        async with asyncio.timeout(_LIMIT_S):
            await child.born.wait()
        return child

    def _hear(self, descriptor: int) -> None:
        *lines, self._rest = (self._rest + os.read(descriptor, 65_536)).split(b"\n")
        for line in lines:
            news: dict[str, int] = json.loads(line)
            child = self._offspring[news["number"]]
            if "pid" in news:
                child.pid = news["pid"]
                child.born.set()
            elif not child.ended.done():
                child.ended.set_result(news["code"])


def main() -> None:
    """Fork a process for each line of the input; end with the input, and leave none behind."""
    _warm_up()
    running: dict[int, int] = {}
    rest = b""
    while True:
        ready, _, _ = select.select([0], [], [], _LOOK_EVERY_S)
        if ready:
            read = os.read(0, 65_536)
            if not read:
                break
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                order = json.loads(line)
                pid = _fork(order)
                running[pid] = order["number"]
                _tell(number=order["number"], pid=pid)
        for pid, code in _ended(running):
            _tell(number=running.pop(pid), code=code)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    for pid in running:
        os.waitpid(pid, 0)


def _warm_up() -> None:
    """Do once what every forked process would have to do."""
    for module in _PRELOADED:
        importlib.import_module(module)
    importlib.import_module("support.failpoints.sites").every_site()
    asyncio.run(anyio.lowlevel.checkpoint())  # This imports the loop's backend.


def _ended(running: dict[int, int]) -> Iterator[tuple[int, int]]:
    for _ in range(len(running)):
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        yield pid, os.waitstatus_to_exitcode(status)


def _fork(order: dict[str, Any]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 70
    try:
        silence = os.open(os.devnull, os.O_RDONLY)
        log = os.open(order["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(silence, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(order["environment"])
        module, _, name = order["task"].partition(":")
        code = getattr(importlib.import_module(module), name)()
    except BaseException:  # noqa: BLE001 - it ends here in any case
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(code))


def _tell(**news: int) -> None:
    os.write(1, json.dumps(news).encode() + b"\n")


if __name__ == "__main__":
    main()
