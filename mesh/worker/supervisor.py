"""Keep worker processes running: restart what dies, pass signals on, leave none behind."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from collections.abc import AsyncIterator, Callable, Sequence
from enum import Enum, auto

import anyio
from anyio.abc import Process

from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.worker.exits import Exit
from mesh.worker.signals import StopSignals

log = logging.getLogger("mesh.supervisor")

Command = Callable[[int, int], Sequence[str]]
"""What to run, given the descriptor that ends with the supervisor and the process's number."""

Watch = Callable[[anyio.Event], AsyncIterator[list[str]]]
"""Yields the paths of changed files until the event is set."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 5.0
_LONG_LIFE_S = 10.0
_RELOAD_STEPS = ((signal.SIGTERM, 1.0), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0))
_KILL_MARGIN_S = 20.0
_CANNOT_START = (Exit.USAGE, Exit.NO_CONNECTION)


class Next(Enum):
    """What is to be done about a process that ended by itself."""

    LEAVE = auto()
    RESTART = auto()
    AWAIT_CHANGE = auto()


def what_next(code: int, *, is_burst: bool, can_reload: bool) -> Next:
    """Decide about a process that ended without being told to.

    Args:
        code: Its exit code; negative: the signal that killed it.
        is_burst: Whether it should end when its queues are empty.
        can_reload: Whether a change of the files starts it anew.
    """
    if can_reload and code == Exit.USAGE:
        return Next.AWAIT_CHANGE  # The same files would fail in the same way.
    if is_burst and (code == Exit.OK or code in _CANNOT_START):
        return Next.LEAVE
    return Next.RESTART


class Backoff:
    """How long to wait before a restart: longer each time, short again after a long life."""

    def __init__(self) -> None:
        self._pause_s = _FIRST_PAUSE_S

    def after(self, lived_s: float) -> float:
        """The pause after a process that lived so long, in seconds."""
        if lived_s >= _LONG_LIFE_S:
            self._pause_s = _FIRST_PAUSE_S
        pause_s = self._pause_s
        self._pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        return pause_s


class Supervisor:
    """Runs a command in several processes until it is told to stop.

    Each process holds one end of a pipe whose other end only the supervisor has: when the
    supervisor is gone, however it died, they see it and drain.

    Args:
        command: What to run.
        count: How many processes.
        is_burst: A process that ends well is not restarted.
        watch: Tells of changed files, at which all processes are restarted.
        grace_s: How long they may drain; some time later they are killed.
        clock: The time.

    Attributes:
        pids: The running processes.
    """

    def __init__(
        self,
        command: Command,
        *,
        count: int,
        is_burst: bool = False,
        watch: Watch | None = None,
        grace_s: float,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._command = command
        self._count = count
        self._is_burst = is_burst
        self._watch = watch
        self._grace_s = grace_s
        self._clock = clock
        self._running: set[Process] = set()
        self._retired: set[Process] = set()
        self._stops = 0
        self._codes: list[int] = []

    @property
    def pids(self) -> list[int]:
        """The ids of the processes that run now."""
        return sorted(process.pid for process in self._running)

    async def run(self, signals: StopSignals) -> Exit:
        """Run until a signal came and every process has ended.

        Args:
            signals: Entered already; what they hear is passed on.

        Returns:
            ``OK`` if every process ended well when told to, else the worst of their codes.
        """
        self._stopping = anyio.Event()
        self._changed = anyio.Event()
        done = anyio.Event()
        ours, theirs = _pipe()
        try:
            signals.tell(self._on_signal)
            async with anyio.create_task_group() as group:
                if self._watch is not None:
                    group.start_soon(self._follow, self._watch(self._stopping))
                group.start_soon(self._limit, done)
                async with anyio.create_task_group() as slots:
                    for place in range(self._count):
                        slots.start_soon(self._keep, theirs, place)
                done.set()
                self._stopping.set()
        finally:
            with anyio.CancelScope(shield=True):
                await self._kill_all()
            os.close(ours)
            os.close(theirs)
        return Exit(max(self._codes, default=Exit.OK))

    def _on_signal(self, count: int) -> None:
        if count == 1:
            log.info("stopping: running jobs may finish; a second signal hands them back now")
        self._stops = count
        self._stopping.set()
        for process in list(self._running):
            _send(process, signal.SIGTERM if count <= 2 else signal.SIGKILL)

    async def _keep(self, lifeline: int, place: int) -> None:
        """Keep one process running, one after the other, each with the same number."""
        backoff = Backoff()
        while not self._stopping.is_set():
            started_s = self._clock.monotonic()
            process, code = await self._run_one(lifeline, place)
            if self._stopping.is_set():
                # A process that died of the signal had not yet come so far as to take jobs.
                self._codes.append(Exit.OK if code in (0, -signal.SIGTERM) else Exit.FAILED)
                return
            if process in self._retired:
                self._retired.discard(process)
                continue
            match what_next(code, is_burst=self._is_burst, can_reload=self._watch is not None):
                case Next.LEAVE:
                    self._codes.append(code)
                    return
                case Next.AWAIT_CHANGE:
                    log.warning("the worker cannot start; waiting for a change of its files")
                    await self._pause(None)
                case Next.RESTART:
                    pause_s = backoff.after(self._clock.monotonic() - started_s)
                    log.warning(
                        "a worker process ended; starting another",
                        extra={"pid": process.pid, "exit_code": code, "pause_s": pause_s},
                    )
                    await self._pause(pause_s)

    async def _run_one(self, lifeline: int, place: int) -> tuple[Process, int]:
        process = await anyio.open_process(
            self._command(lifeline, place),
            stdin=subprocess.DEVNULL,
            stdout=None,
            stderr=None,
            pass_fds=(lifeline,),
            # Ctrl-C at a terminal goes to the whole group; they are to hear it once, from us.
            start_new_session=True,
        )
        self._running.add(process)
        try:
            if self._stops:  # It was being started when the signal came.
                _send(process, signal.SIGTERM)
            return process, await process.wait()
        finally:
            if process.returncode is not None:
                self._running.discard(process)

    async def _pause(self, limit_s: float | None) -> None:
        """Wait for that long, a change or the end, whichever comes first."""
        async with anyio.create_task_group() as group:
            with anyio.move_on_after(limit_s):
                group.start_soon(_then_cancel, self._stopping, group.cancel_scope)
                await self._changed.wait()
            group.cancel_scope.cancel()

    async def _follow(self, changed: AsyncIterator[list[str]]) -> None:
        """Restart all processes whenever files change."""
        async with anyio.create_task_group() as group:
            async for paths in changed:
                log.info("files changed; starting anew", extra={"paths": paths})
                self._changed.set()
                self._changed = anyio.Event()
                for process in self._running - self._retired:
                    self._retired.add(process)
                    group.start_soon(self._retire, process)

    async def _retire(self, process: Process) -> None:
        """End a process soon: whoever edits wants to see the change."""
        for number, patience_s in _RELOAD_STEPS:
            _send(process, number)
            with anyio.move_on_after(patience_s):
                await process.wait()
                return

    async def _limit(self, done: anyio.Event) -> None:
        """Once told to stop, wait for the processes only so long."""
        await self._stopping.wait()
        with anyio.move_on_after(self._grace_s + _KILL_MARGIN_S):
            await done.wait()
        if not done.is_set():
            log.error("worker processes did not stop in time", extra={"pids": self.pids})
            await self._kill_all()

    async def _kill_all(self) -> None:
        for process in list(self._running):
            _send(process, signal.SIGKILL)
        for process in list(self._running):
            await process.wait()
            self._running.discard(process)


def _pipe() -> tuple[int, int]:
    """A pipe as (our end, their end): it ends for them when nobody holds ours."""
    theirs, ours = os.pipe()
    return ours, theirs


def _send(process: Process, number: int) -> None:
    if process.returncode is None:
        try:
            process.send_signal(signal.Signals(number))
        except ProcessLookupError:
            return


async def _then_cancel(event: anyio.Event, scope: anyio.CancelScope) -> None:
    await event.wait()
    scope.cancel()
