"""What holds a worker's jobs is deleted, or its pulls get lost: it notices, and goes on."""

from __future__ import annotations

import itertools
import logging

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp
from support.waiting import until

from mesh.errors import BrokerError, NotProvisionedError
from mesh.policy.lanes import Lane
from mesh.telemetry.metrics import WorkerMetrics
from mesh.worker.attempt import Attempt
from mesh.worker.watchdog import Watchdog, is_stuck

TOO_LONG_S = 20.0


async def test_a_consumer_deleted_under_load_comes_back_and_each_job_runs_once(
    mesh: RunningApp,
) -> None:
    """The lane is made anew at once; what its old consumer had delivered does not run again."""
    runs: dict[int, int] = {}
    ended_at: list[float] = []

    @mesh.app.task
    async def work(number: int) -> int:
        runs[number] = runs.get(number, 0) + 1
        await anyio.sleep(0.02)
        ended_at.append(anyio.current_time())
        return number

    async with mesh.worker(worker__concurrency=10):
        jobs = await mesh.app.enqueue_many([work.s(number) for number in range(1500)])
        client = await mesh.client()
        stream = client.names.jobs_stream
        for count in (100, 500):
            await until(lambda count=count: len(ended_at) >= count, "jobs run")
            with anyio.fail_after(30):
                await client.connection.api(f"CONSUMER.DELETE.{stream}.default-normal")

        assert [await job.result(timeout=60) for job in jobs] == list(range(1500))

        async def is_empty() -> bool:
            return not await mesh.count("jobs_stream")

        await until(is_empty, "all are acknowledged", 30)

    gaps = [later - one for one, later in itertools.pairwise(ended_at)]
    assert max(gaps) < TOO_LONG_S
    assert set(runs.values()) == {1}


async def test_a_consumer_deleted_while_it_is_idle_comes_back(mesh: RunningApp) -> None:
    """No job need be there for a worker to notice."""

    @mesh.app.task
    async def work() -> str:
        return "done"

    async with mesh.worker():
        client = await mesh.client()
        stream = client.names.jobs_stream
        await client.connection.api(f"CONSUMER.DELETE.{stream}.default-normal")

        job = await work.enqueue()

        assert await job.result(timeout=TOO_LONG_S) == "done"


async def test_what_hands_over_delayed_jobs_is_made_anew(mesh: RunningApp) -> None:
    """Without it delayed jobs would lie in their stream for ever."""
    await mesh.app.setup()
    client = await mesh.client()
    names = client.names
    await client.connection.api(f"CONSUMER.DELETE.{names.delayed_stream}.{names.due_consumer}")
    lane: Lane[Attempt] = Lane("default", "normal", 3)
    await client.provisioner.ensure_lanes(["default"])
    metrics = WorkerMetrics(CollectorRegistry())
    watchdog = Watchdog(client, [lane], Recorder(), metrics, routine_s=0.1)
    watchdog.start()
    try:
        await until(lambda: metrics.trouble == {"consumer-missing": 1}, "it is noticed")
        job = await mesh.app.send("none", delay="1s")

        async def is_ready() -> bool:
            return await mesh.count("jobs_stream") == 1

        await until(is_ready, "the job stream has it", 60)
        assert (await client.status(job.id)).state == "pending"
    finally:
        await watchdog.stop()


async def test_a_stream_that_is_gone_is_an_alarm_and_is_not_replaced_by_an_empty_one(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """The worker says what to do, waits, and goes on when it is set up again."""

    @mesh.app.task
    async def work() -> str:
        return "done"

    async with mesh.worker():
        client = await mesh.client()
        stream = client.names.jobs_stream
        with caplog.at_level(logging.ERROR, "mesh.worker"):
            await client.connection.api(f"STREAM.DELETE.{stream}")
            await until(lambda: "mesh setup" in caplog.text, "the alarm is raised")
        with pytest.raises(NotProvisionedError):
            await client.connection.api(f"STREAM.INFO.{stream}")
        await mesh.app.setup()

        assert await (await work.enqueue()).result(timeout=30) == "done"


class Recorder:
    """Carries nothing out; keeps what the watchdog would have done."""

    def __init__(self) -> None:
        self.done: list[str] = []

    def resume(self, lane: Lane[Attempt]) -> None:
        self.done.append(f"resume {lane.priority}")

    def distrust(self) -> None:
        self.done.append("distrust")

    async def reopen(self, lane: Lane[Attempt]) -> None:
        self.done.append(f"reopen {lane.priority}")


async def test_jobs_that_wait_and_do_not_arrive_are_asked_for_in_other_ways(
    mesh: RunningApp,
) -> None:
    """A lane that believes to have asked, and has not, gets a new inbox, then a new line."""
    await mesh.app.setup()
    client = await mesh.client()
    await mesh.app.send("none")
    lane: Lane[Attempt] = Lane("default", "normal", 3)
    lane.ask(1, 0.0, 1e9)
    reconnects: list[int] = []
    client.connection.on_reconnect(lambda: reconnects.append(1))
    recorder, metrics = Recorder(), WorkerMetrics(CollectorRegistry())
    watchdog = Watchdog(client, [lane], recorder, metrics, routine_s=0.1)
    watchdog.start()
    try:
        await until(lambda: bool(reconnects), "the line is left for another", 30)
    finally:
        await watchdog.stop()

    assert recorder.done == ["reopen normal", "reopen normal"]
    assert metrics.trouble == {"lane-stuck": 3}


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        ({}, True),
        ({"num_pending": 0}, False),
        ({"paused": True}, False),
        ({"num_ack_pending": 10}, False),
        ({"ts": "2026-01-01T00:00:10Z"}, False),
    ],
)
def test_a_lane_is_stuck_only_if_the_server_could_send(
    change: dict[str, object], verdict: bool
) -> None:
    """A pause, a full lane and an empty one keep jobs back for good reasons."""
    info = {
        "num_pending": 3,
        "num_ack_pending": 0,
        "config": {"max_ack_pending": 10},
        "created": "2026-01-01T00:00:00.000000001Z",
        "delivered": {"last_active": "2026-01-01T00:00:01.123456789Z"},
        "ts": "2026-01-01T00:01:00Z",
    }

    assert is_stuck(info | change, 15.0) is verdict


async def test_a_pull_that_is_not_ended_is_counted_and_its_lane_is_looked_at(
    mesh: RunningApp,
) -> None:
    """The consumer is there and has nothing: there is nothing to do but to count."""
    await mesh.app.setup()
    client = await mesh.client()
    await client.provisioner.ensure_lanes(["default"])
    lane: Lane[Attempt] = Lane("default", "normal", 3)
    recorder, metrics = Recorder(), WorkerMetrics(CollectorRegistry())
    watchdog = Watchdog(client, [lane], recorder, metrics, routine_s=0.05)
    watchdog.start()
    try:
        watchdog.lost(lane)
        watchdog.refused(lane)
        await until(lambda: "resume normal" in recorder.done, "the lane is looked at")
    finally:
        await watchdog.stop()

    assert metrics.trouble == {"pull-lost": 1}
    assert recorder.done[-2:] == ["distrust", "resume normal"]
    with pytest.raises(BrokerError):
        await client.connection.api("CONSUMER.INFO.none.none")
