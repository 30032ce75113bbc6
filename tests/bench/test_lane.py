"""The measured lane: held, let go, watched and cleared on a real server."""

from __future__ import annotations

import time

import pytest
from support.running import RunningApp

from mesh.bench import lane as measuring
from mesh.bench.lane import MeasuredLane
from mesh.bench.processes import BenchError
from mesh.client.task import Task

pytestmark = pytest.mark.alone


@pytest.fixture
def half(mesh: RunningApp) -> Task[[int], int]:
    """A task that fails for odd numbers."""

    @mesh.app.task(retry=0)
    async def half(number: int) -> int:
        if number % 2:
            raise ValueError(number)
        return number // 2

    return half


async def lane_of(mesh: RunningApp) -> MeasuredLane:
    """The lane that jobs go to by default."""
    await mesh.app.setup()
    return MeasuredLane(await mesh.client(), "default", "normal")


async def test_a_paused_lane_waits_and_goes_on_at_once(
    mesh: RunningApp, half: Task[[int], int]
) -> None:
    """No job is delivered before the clock starts, and waiting pulls wake when it does."""
    lane = await lane_of(mesh)

    async with mesh.worker():
        await lane.until_asked(lambda: None)
        await lane.pause()
        await mesh.app.enqueue_many([half.s(number) for number in range(0, 40, 2)])
        held = await mesh.count("jobs_stream")
        start = time.perf_counter()
        rate = await lane.drain(20, lambda: None)
        elapsed_s = time.perf_counter() - start
        await lane.until_empty()

    assert held == 20
    assert rate > 20 / elapsed_s
    assert elapsed_s < 3
    assert await mesh.count("jobs_stream") == 0


async def test_only_records_of_success_count(
    mesh: RunningApp, half: Task[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A job that failed has a record too, and is missing all the same; every page is read."""
    monkeypatch.setattr(measuring, "_READ_BATCH", 2)
    lane = await lane_of(mesh)

    async with mesh.worker():
        jobs = await mesh.app.enqueue_many([half.s(number) for number in range(9)])
        await lane.until_empty()

    assert await lane.succeeded() == {job.id for job in jobs[::2]}


async def test_a_cleared_lane_has_no_jobs_and_no_records(
    mesh: RunningApp, half: Task[[int], int]
) -> None:
    """Each drain starts from the same state."""
    lane = await lane_of(mesh)
    async with mesh.worker():
        await (await half.enqueue(2)).result(timeout=30)
    await half.enqueue(4)

    await lane.clear()

    assert await lane.succeeded() == set()
    assert await mesh.count("jobs_stream") == 0
    assert await mesh.count("events_stream") == 0


async def test_a_drain_that_stalls_ends(
    mesh: RunningApp, half: Task[[int], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost job ends the wait for it: the report says how many are missing."""
    monkeypatch.setattr(measuring, "_STALLED_AFTER_S", 1.0)
    lane = await lane_of(mesh)

    async with mesh.worker():
        await lane.until_asked(lambda: None)
        await lane.pause()
        jobs = await mesh.app.enqueue_many([half.s(2), half.s(4)])
        rate = await lane.drain(3, lambda: None)

    assert rate > 0
    assert await lane.succeeded() == {job.id for job in jobs}


async def test_a_drainer_that_never_asks_is_an_error(
    mesh: RunningApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits for a drainer learns which lane it did not serve."""
    monkeypatch.setattr(measuring, "_READY_LIMIT_S", 0.05)
    lane = await lane_of(mesh)

    with pytest.raises(BenchError, match="no drainer asked default-normal"):
        await lane.until_asked(lambda: None)
