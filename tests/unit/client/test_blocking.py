"""The background loop of blocking calls: from anywhere, after anything, and gone when told."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType

import pytest
from support.waiting import until_sync

from mesh.client import blocking
from mesh.client.blocking import Portal
from mesh.errors import BlockingCallError

LIMIT_S = 10


class Owner:
    """What a portal closes when it is stopped."""

    def __init__(self) -> None:
        self.closed_in: list[int] = []

    async def close(self) -> None:
        self.closed_in.append(threading.get_ident())


@pytest.fixture
def owner() -> Owner:
    """Whoever owns the portal."""
    return Owner()


@pytest.fixture
def portal(owner: Owner) -> Iterator[Portal]:
    """A portal; its thread must be gone after the test."""
    portal = Portal(owner.close)
    yield portal
    portal.stop()
    assert not threads()


def threads() -> list[threading.Thread]:
    """The threads of portals in this process."""
    return [thread for thread in threading.enumerate() if thread.name == "mesh-blocking"]


async def where() -> int:
    """The thread that this runs in."""
    return threading.get_ident()


async def wait_for_ever(started: threading.Event, ended: threading.Event) -> None:
    """Hang, and say when it began and when it was cancelled."""
    started.set()
    try:
        await asyncio.Event().wait()
    finally:
        ended.set()


def test_no_thread_is_started_before_the_first_call(portal: Portal) -> None:
    """An app that is used from a loop only costs nothing here."""
    assert not threads()

    portal.call(where())

    assert [thread.ident for thread in threads()] == [portal.call(where())]


def test_threads_share_one_loop(portal: Portal) -> None:
    """Whoever calls, the same background thread answers, and each gets their own answer."""
    barrier = threading.Barrier(8)

    async def answer(number: int) -> tuple[int, int]:
        return number, threading.get_ident()

    def ask(number: int) -> tuple[int, int]:
        barrier.wait(LIMIT_S)
        return portal.call(answer(number))

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))

    assert [number for number, _ in answers] == list(range(8))
    assert len({thread for _, thread in answers}) == 1


async def test_a_call_works_inside_a_running_loop(portal: Portal) -> None:
    """In a notebook a loop runs already; it is blocked for as long as the call takes."""
    assert portal.call(where()) != threading.get_ident()


def test_what_the_work_raises_reaches_the_caller(portal: Portal) -> None:
    """And the portal goes on."""

    async def fail() -> None:
        raise TimeoutError("too late")

    with pytest.raises(TimeoutError, match="too late"):
        portal.call(fail())
    assert portal.call(where())


def test_a_call_from_the_loop_itself_is_refused(portal: Portal) -> None:
    """It would wait for ever; the message says what to do, and no coroutine is left over."""

    async def call_again() -> None:
        portal.call(where())

    async def stop() -> None:
        portal.stop()

    for work in (call_again(), stop()):
        with pytest.raises(BlockingCallError, match="use the async method of the same name"):
            portal.call(work)


def test_an_interrupted_caller_leaves_nothing_running(portal: Portal) -> None:
    """Ctrl-C reaches the caller at once, and the work is cancelled."""
    started, ended = threading.Event(), threading.Event()

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    def press() -> None:
        started.wait(LIMIT_S)
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    thread = threading.Thread(target=press)
    thread.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            portal.call(wait_for_ever(started, ended))
    finally:
        thread.join(LIMIT_S)
        signal.signal(signal.SIGUSR1, before)

    assert ended.wait(LIMIT_S)
    assert portal.call(where())


def test_stopping_closes_the_owner_in_its_loop_and_ends_the_thread(
    portal: Portal, owner: Owner
) -> None:
    """Once, however often it is stopped; the next call starts anew."""
    first = portal.call(where())

    portal.stop()
    portal.stop()

    assert owner.closed_in == [first]
    assert not threads()
    assert portal.call(where())
    assert len(threads()) == 1


def test_whoever_still_waits_when_it_is_stopped_is_told(portal: Portal) -> None:
    """A result that nobody can bring any more is not waited for."""
    started, ended = threading.Event(), threading.Event()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(lambda: portal.call(wait_for_ever(started, ended)))
        assert started.wait(LIMIT_S)
        portal.stop()

        with pytest.raises(BlockingCallError, match="was closed while this call waited"):
            waiting.result(LIMIT_S)
    assert ended.is_set()


def test_a_connection_that_does_not_close_is_dropped(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Stopping takes a bounded time, and says so when that was not enough."""
    monkeypatch.setattr(blocking, "_STOP_LIMIT_S", 0.05)
    closing, ended = threading.Event(), threading.Event()
    portal = Portal(lambda: wait_for_ever(closing, ended))
    portal.call(where())

    with caplog.at_level(logging.WARNING, "mesh.client"):
        portal.stop()

    assert closing.is_set()
    assert "did not close in time" in caplog.text
    until_sync(lambda: ended.is_set() and not threads(), "the thread is gone")


def test_a_loop_that_was_broken_is_replaced(portal: Portal) -> None:
    """Work that ends the loop's thread does not end the app."""

    async def leave() -> None:
        raise SystemExit(1)

    hook = threading.excepthook
    threading.excepthook = lambda _: None
    try:
        with pytest.raises(SystemExit):
            portal.call(leave())
        until_sync(lambda: not threads(), "the thread has ended")
    finally:
        threading.excepthook = hook

    assert portal.call(where())


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_gets_a_loop_of_its_own(portal: Portal) -> None:
    """Even if the parent was about to start a call; and the parent's own goes on."""
    portal.call(where())
    reader, writer = os.pipe()

    with portal._lock:  # As if another thread were just using it.
        child = os.fork()
        if child == 0:
            answered = False
            try:
                answered = bool(portal.call(where()))
                portal.stop()
            finally:
                os.write(writer, b"yes" if answered and not threads() else b"no")
                os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        answer = pipe.read()
    os.waitpid(child, 0)

    assert answer == "yes"
    assert portal.call(where())
