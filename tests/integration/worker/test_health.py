"""A worker says whether it lives and is ready, and notices jobs that it is not given."""

from __future__ import annotations

import threading

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp

from mesh.client.client import Client
from mesh.clock import SYSTEM_CLOCK
from mesh.policy.lanes import Feed, Lane
from mesh.telemetry.tallies import WorkerMetrics
from mesh.transport.puller import Delivery
from mesh.worker.attempt import Attempt
from mesh.worker.health import Health, Progress
from mesh.worker.heartbeat import Heartbeat
from mesh.worker.recording import Recorder
from mesh.worker.worker import Worker


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


async def test_a_worker_is_ready_from_its_start_to_its_end(mesh: RunningApp) -> None:
    """Before it is entered and while it drains it is alive and not ready."""
    await mesh.app.setup()
    worker = Worker(mesh.app, registry=CollectorRegistry())
    assert (worker.health.why_not_live(), bool(worker.health.why_not_ready())) == ("", True)

    async with worker:
        assert worker.health.why_not_ready() == ""
        assert worker.health.why_not_live() == ""

    assert "draining" in worker.health.why_not_ready()
    assert worker.health.why_not_live() == ""


class Idle:
    """A worker's lanes with one slot, for which nobody pulls; followed by a clock by hand."""

    def __init__(self, client: Client) -> None:
        self.lane: Lane[Attempt] = Lane("default", "normal", 1)
        self.feed = Feed([self.lane], slots=1)
        self.clock = HandClock()
        self.progress = Progress([self.feed], 60.0, self.clock)
        self._client = client

    async def look(self, *, after_s: float = 0.0) -> bool:
        """Look after some time; say whether it counts as stuck."""
        self.clock.now_s += after_s
        await self.progress.look(self._client)
        return self.progress.is_stuck

    def take(self) -> None:
        """Take a job in."""
        delivery = Delivery.__new__(Delivery)
        self.feed.arrived(self.lane, Attempt(delivery, self.feed, self.lane, "a", 0.0), 0.0)


async def idle(mesh: RunningApp, jobs: int) -> Idle:
    """Set up a queue with some jobs and a worker's lanes beside it."""
    await mesh.app.setup()
    for _ in range(jobs):
        await mesh.app.send("nobody_knows")
    return Idle(await mesh.client())


async def test_a_worker_that_takes_none_of_the_jobs_that_wait_is_not_live(
    mesh: RunningApp,
) -> None:
    """Free slots, pending jobs and no delivery for too long: the probe says so."""
    one = await idle(mesh, 1)
    health = Health()
    health.follow(one.progress, is_beating=lambda: True, is_connected=lambda: True)
    health.is_serving = True

    assert not await one.look()
    assert not await one.look(after_s=59)
    assert await one.look(after_s=1)
    assert health.why_not_live().endswith("none was taken for 60 s")


async def test_an_empty_queue_is_no_reason_to_start_anew(mesh: RunningApp) -> None:
    """An idle worker lives, however long it is idle."""
    one = await idle(mesh, 0)

    assert not await one.look()
    assert not await one.look(after_s=3600)


async def test_a_paused_queue_is_no_reason_to_start_anew(mesh: RunningApp) -> None:
    """Jobs that the server holds back on purpose are nobody's fault."""
    one = await idle(mesh, 1)
    await mesh.app.queue("default").pause()

    assert not await one.look()
    assert not await one.look(after_s=3600)


async def test_a_job_that_comes_is_progress(mesh: RunningApp) -> None:
    """After a delivery the time begins anew; with no slot free there is nothing to take."""
    one = await idle(mesh, 2)
    await one.look()
    one.take()

    assert not await one.look(after_s=60)
    assert not await one.look(after_s=3600), "its only slot is taken"
    one.feed.finished()
    assert not await one.look(after_s=3600), "it has been free for a moment only"
    assert await one.look(after_s=60)


async def test_a_server_that_is_away_is_no_reason_to_start_anew(mesh: RunningApp) -> None:
    """What cannot be asked tells nothing against the worker."""
    one = await idle(mesh, 1)
    await one.look()
    client = await mesh.client()
    await client.connection.api(f"CONSUMER.DELETE.{client.names.jobs_stream}.default-normal")

    assert not await one.look(after_s=3600)


async def test_the_heartbeat_does_its_duties_whatever_the_loop_does(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """They go on while the loop is blocked, and one that fails does not end the others."""
    await mesh.app.setup()
    done = threading.Event()

    async def fail(_client: Client) -> None:
        raise RuntimeError("it fails")

    async def ask(client: Client) -> None:
        await client.connection.flush()
        done.set()
        await anyio.sleep_forever()

    settings = mesh.app.settings
    recorder = Recorder(settings, "w-1", SYSTEM_CLOCK)
    heartbeat = Heartbeat(
        settings,
        recorder,
        list,
        "a heartbeat",
        metrics=WorkerMetrics(CollectorRegistry()),
        duties=[fail, ask],
    )
    heartbeat.start()  # It blocks this loop, and then the wait does.
    try:
        assert done.wait(20)
        assert heartbeat.is_alive
    finally:
        heartbeat.stop()

    assert not heartbeat.is_alive
    assert "a duty of the heartbeat ended" in caplog.text
