"""Errors raised inside what runs: where, how often, and never in what comes next."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import threading

import anyio
import anyio.lowlevel
import pytest
from support.waiting import until, until_sync

from mesh.errors import SoftTimeoutError
from mesh.worker.interrupts import AlarmInterrupt, Interruptible, ThreadInterrupt

# An error that is raised in another thread never gets through while each line is traced.
pytestmark = pytest.mark.untraced


async def test_a_coroutine_is_told_where_it_waits_and_goes_on() -> None:
    """Once for each time; no cancellation is left over, and its value is returned."""
    told: list[str] = []

    async def work() -> str:
        for _ in range(2):
            try:
                await anyio.sleep_forever()
            except SoftTimeoutError as error:
                told.append(str(error))
        await anyio.lowlevel.checkpoint()
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0
        return "done"

    results: list[str] = []
    work_of_2_s = Interruptible(work(), 2.0)

    async def run() -> None:
        results.append(await work_of_2_s)

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        for count in (1, 2):
            await until(work_of_2_s.interrupt, "it runs")
            await until(lambda count=count: len(told) == count, "it was told")

    assert told == ["the attempt has run longer than its soft timeout of 2 s"] * 2
    assert results == ["done"]
    assert not work_of_2_s.interrupt()


async def test_a_coroutine_whose_helper_swallows_the_cancellation_is_told_all_the_same() -> (
    None
):
    """What it waited for returned as if nothing had been: the error comes then."""
    waiting = anyio.Event()

    async def helper() -> str:
        waiting.set()
        with contextlib.suppress(asyncio.CancelledError):
            await anyio.sleep_forever()
        return "never mind"

    async def work() -> str:
        async with asyncio.TaskGroup() as group:
            return await group.create_task(helper())

    interruptible = Interruptible(work(), 1.0)

    async def tell() -> None:
        await waiting.wait()
        assert interruptible.interrupt()

    errors: list[BaseException] = []

    async with anyio.create_task_group() as group:
        group.start_soon(tell)
        try:
            await interruptible
        except SoftTimeoutError as error:
            errors.append(error)

    assert [type(error) for error in errors] == [SoftTimeoutError]


async def test_an_attempt_that_must_stop_is_not_told_softly() -> None:
    """When both come at once, the cancellation passes as what it is."""
    seen: list[type[BaseException]] = []

    async def work() -> None:
        try:
            await anyio.sleep_forever()
        except BaseException as error:
            seen.append(type(error))
            raise

    interruptible = Interruptible(work(), 1.0, lambda: True)

    async def run() -> None:
        await interruptible

    async with anyio.create_task_group() as group:
        group.start_soon(run)
        await until(interruptible.interrupt, "it runs")
        group.cancel_scope.cancel()

    assert seen == [asyncio.CancelledError]


def test_a_thread_is_told_and_what_it_does_next_is_not() -> None:
    """Told again and again in each state, only the function that runs is hit, at most once."""
    hits = 0
    interrupts: list[ThreadInterrupt] = []
    is_over = threading.Event()
    gc.disable()  # What hypothesis does at each collection swallows the error now and then.

    def pester() -> None:
        while not is_over.is_set():
            for interrupt in interrupts[-2:]:
                interrupt.interrupt()

    pesterer = threading.Thread(target=pester)
    pesterer.start()
    try:
        while hits < 20 and len(interrupts) < 50_000:
            interrupt = ThreadInterrupt()
            interrupts.append(interrupt)
            try:
                interrupt.run(lambda: [sum(range(10)) for _ in range(200)])
            except SoftTimeoutError:
                hits += 1
            assert not interrupt.interrupt()
            assert sum(range(500)) == 124_750  # Nothing is raised here.
    finally:
        is_over.set()
        pesterer.join()
        gc.enable()

    assert hits == 20


def test_a_sleep_in_the_main_thread_is_cut_short_and_the_alarm_put_back() -> None:
    """The error carries the limit; a function that ends in time hears nothing."""
    with pytest.raises(SoftTimeoutError, match=r"of 0\.05 s"):
        AlarmInterrupt(0.05).run(lambda: until_sync(lambda: False, "never", 20))

    assert AlarmInterrupt(20.0).run(lambda: "in time") == "in time"
