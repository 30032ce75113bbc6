"""A job that blocks the worker's event loop is named in the log; a healthy worker is not."""

from __future__ import annotations

import logging
import threading
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from support.running import RunningApp
from support.waiting import until

from mesh.worker.stalls import BLOCKED_AFTER_S, LOOK_EVERY_S, LoopWatch

pytestmark = pytest.mark.alone

SHORT = {"worker__ack_wait_s": 1.0, "worker__heartbeat_s": 0.3}


class HandClock:
    """A clock that moves when it is told to."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def now_ms(self) -> int:
        """The same moment as a date."""
        return int(self.now_s * 1000)

    def monotonic(self) -> float:
        """The seconds so far."""
        return self.now_s


def stall_logs(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    """The fields of what was said of the event loop, in order."""
    return [
        vars(record)
        for record in caplog.records
        if record.getMessage().startswith("the event loop")
    ]


async def test_a_job_that_blocks_the_loop_is_named_with_its_line(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """One warning while it lasts, one when it is over, however long that is."""

    @mesh.app.task
    async def blocks() -> str:
        threading.Event().wait(2.5)
        return "done"

    line = blocks.function.__code__.co_firstlineno + 2

    async with mesh.worker(**SHORT):
        job = await blocks.enqueue()
        assert await job.result(timeout=30) == "done"
        await until(lambda: len(stall_logs(caplog)) >= 2, "the loop is seen to go on")

    start, end = stall_logs(caplog)
    assert (start["levelno"], end["levelno"]) == (logging.WARNING, logging.WARNING)
    assert (start["job"], start["task"]) == (job.id, blocks.name)
    assert start["at"] == f"{__file__}:{line} in blocks"
    assert "threading.py" in start["inside"]
    assert BLOCKED_AFTER_S <= start["blocked_s"] < 2.5, "it was said while it lasted"
    assert end["msg"] == "the event loop goes on"
    assert (end["job"], end["task"]) == (job.id, blocks.name)
    assert 2.0 < end["blocked_s"] < 10.0


async def test_a_job_that_awaits_or_waits_in_a_thread_is_not_accused(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """They take twice as long as a loop may be blocked, and the loop turns all the while."""

    @mesh.app.task
    async def awaits() -> str:
        await anyio.sleep(2 * BLOCKED_AFTER_S)
        return "done"

    @mesh.app.task
    def waits() -> str:
        threading.Event().wait(2 * BLOCKED_AFTER_S)
        return "done"

    async with mesh.worker(**SHORT):
        jobs = [await awaits.enqueue(), await waits.enqueue()]
        assert [await job.result(timeout=30) for job in jobs] == ["done", "done"]

    assert stall_logs(caplog) == []


async def test_each_episode_is_told_once_and_needs_no_job(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """What blocks outside any job is named by its place; a second episode is told again."""
    clock = HandClock()
    watch = LoopWatch(list, clock)

    for _ in range(2):
        for _ in range(20):  # The loop does not turn: nothing is awaited.
            clock.now_s += LOOK_EVERY_S
            watch.look()
        await anyio.lowlevel.checkpoint()
        watch.look()
        await anyio.lowlevel.checkpoint()

    told = stall_logs(caplog)
    assert [fields["blocked_s"] for fields in told] == [1.0, 4.75, 1.0, 4.75]
    assert "test_each_episode_is_told_once" in told[0]["at"]
    assert not any("job" in fields for fields in told)


async def test_a_process_that_was_frozen_is_not_accused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After a pause of the whole process, looks included, the loop gets its time to answer."""
    clock = HandClock()
    watch = LoopWatch(list, clock)

    watch.look()
    clock.now_s += 60
    watch.look()
    await anyio.lowlevel.checkpoint()
    watch.look()

    assert stall_logs(caplog) == []
