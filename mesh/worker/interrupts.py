"""Raise a soft timeout inside a running task: in a coroutine, in a thread, in a child process.

Each way is used for tasks with a soft timeout only; the others run as if there were none.
"""

from __future__ import annotations

import asyncio
import ctypes
import signal
import threading
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from types import FrameType
from typing import Any, Generic, TypeVar

from mesh.errors import SoftTimeoutError

T = TypeVar("T")


class _SoftCancelledError(SoftTimeoutError, asyncio.CancelledError):
    """The error as a coroutine sees it.

    A cancellation too: only then do task groups and ``wait_for`` end what they have started.
    """


class Interruptible(Generic[T]):
    """Awaits a coroutine, and can raise the error at the place where that one waits.

    Args:
        work: The coroutine.
        limit_s: Its soft timeout.
        is_stopped: Whether its attempt was told to stop for good, which is stronger.
    """

    def __init__(
        self,
        work: Coroutine[Any, Any, T],
        limit_s: float,
        is_stopped: Callable[[], bool] = bool,
    ) -> None:
        self._work = work
        self._limit_s = limit_s
        self._is_stopped = is_stopped
        self._task: asyncio.Task[Any] | None = None
        self._is_due = False

    def interrupt(self) -> bool:
        """Have the error raised; False if the coroutine does not run now."""
        if self._task is None:
            return False
        self._is_due = True
        self._task.cancel()
        return True

    def __await__(self) -> Generator[Any, Any, T]:
        """Run the coroutine."""
        self._task = asyncio.current_task()
        step: Callable[[], Any] = partial(self._work.send, None)
        try:
            while True:
                waits_for = step()
                try:
                    value = yield waits_for
                except BaseException as error:
                    step = partial(self._work.throw, self._translated(error))
                else:
                    step = partial(self._work.send, value)
                    if self._is_due:  # What it waited for has swallowed the cancellation.
                        late = self._translated(asyncio.CancelledError())
                        step = partial(self._work.throw, late)
        except StopIteration as stop:
            result: T = stop.value
            return result
        except _SoftCancelledError as error:
            plain = SoftTimeoutError(self._limit_s).with_traceback(error.__traceback__)
            raise plain from error.__cause__
        except BaseExceptionGroup as group:
            # Python 3.11's task groups wrap what their body raises, even this.
            if group.split(_SoftCancelledError)[1] is not None:
                raise
            raise SoftTimeoutError(self._limit_s) from group
        finally:
            self._task = None

    def _translated(self, error: BaseException) -> BaseException:
        if self._task is None or not self._is_due:
            return error
        if not isinstance(error, asyncio.CancelledError):
            return error
        self._is_due = False
        if self._is_stopped():
            return error
        self._task.uncancel()
        return _SoftCancelledError(self._limit_s)


class ThreadInterrupt:
    """Runs one function in a thread, and can raise the error there once, at the next bytecode.

    It never reaches what the thread does next: whoever interrupts holds the same lock as the
    thread when it leaves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._thread_id: int | None = None

    def interrupt(self) -> bool:
        """Have the error raised; False if the function does not run now, or was told before."""
        # The event loop must not wait here, whatever the thread does.
        if not self._lock.acquire(blocking=False):
            return False
        try:
            thread_id, self._thread_id = self._thread_id, None
            return thread_id is not None and _raise_in(thread_id, SoftTimeoutError)
        finally:
            self._lock.release()

    def run(self, work: Callable[[], T]) -> T:
        """Run the function in this thread."""
        thread_id = threading.get_ident()
        self._thread_id = thread_id
        try:
            return work()
        finally:
            # Python may raise the error wherever a call begins or ends, so also in here. It was
            # sent once: the second time nothing can come between.
            try:
                self._leave(thread_id)
            except SoftTimeoutError:
                self._leave(thread_id)

    def _leave(self, thread_id: int) -> None:
        with self._lock:
            self._thread_id = None
        _raise_in(thread_id, None)  # What was not raised yet is taken back.


class AlarmInterrupt:
    """Runs a function in the main thread of a child process, and raises the error in time.

    The signal also ends a system call that waits, such as a sleep. A thread cannot do that.
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._is_armed = False

    def run(self, work: Callable[[], T]) -> T:
        """Run the function."""
        before = signal.signal(signal.SIGALRM, self._on_alarm)
        try:
            self._is_armed = True
            # Zero would switch it off.
            signal.setitimer(signal.ITIMER_REAL, max(self._limit_s, 1e-6))
            try:
                return work()
            finally:
                self._is_armed = False
                signal.setitimer(signal.ITIMER_REAL, 0)
        finally:
            signal.signal(signal.SIGALRM, before)

    def _on_alarm(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_armed:
            self._is_armed = False
            raise SoftTimeoutError(self._limit_s)


def _raise_in(thread_id: int, error: type[BaseException] | None) -> bool:
    """Have Python raise an error in another thread, or forget one not yet raised."""
    name = ctypes.c_ulong(thread_id)
    kind = None if error is None else ctypes.py_object(error)
    return bool(ctypes.pythonapi.PyThreadState_SetAsyncExc(name, kind))
