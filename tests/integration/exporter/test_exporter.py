"""The exporter tells what queues and streams hold, and says nothing when it does not know."""

from __future__ import annotations

import logging

import anyio
import pytest
from prometheus_client import CollectorRegistry
from support.running import RunningApp
from support.scraping import fetch, sample
from support.waiting import until

from mesh import Mesh
from mesh.exporter.exporter import Exporter


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


async def test_what_a_namespace_holds_is_told(mesh: RunningApp) -> None:
    """Pending, delayed and paused jobs, their age, dead letters and streams have samples."""

    @mesh.app.task(retry=0)
    async def fail() -> None:
        raise ValueError("no")

    async with mesh.worker():
        job = await fail.enqueue()
        await until(lambda: _has_failed(mesh, job.id), "the job fails", 20)
    for number in range(3):
        await mesh.app.send("later", [number], queue="mail", priority="high")
    await mesh.app.send("later", delay="1h")
    await mesh.app.queue("mail").pause()
    registry = CollectorRegistry()
    exporter = Exporter(mesh.app.client, registry=registry)

    assert await exporter.look()

    value = registry.get_sample_value
    namespace = mesh.app.settings.namespace
    assert value("mesh_exporter_up") == 1
    assert value("mesh_queue_depth", {"queue": "mail", "priority": "high"}) == 3
    assert value("mesh_queue_depth", {"queue": "mail", "priority": "low"}) == 0
    assert (value("mesh_queue_oldest_age_seconds", {"queue": "mail"}) or 0) > 0
    assert value("mesh_queue_paused", {"queue": "mail"}) == 1
    assert value("mesh_queue_paused", {"queue": "default"}) == 0
    assert value("mesh_queue_delivered_total", {"queue": "default"}) == 1
    assert value("mesh_queue_in_flight", {"queue": "default"}) == 0
    assert value("mesh_jobs_delayed") == 1
    assert value("mesh_schedule_lag_seconds") == 0
    assert value("mesh_jobs_enqueued_total") == 4
    assert value("mesh_dead_letters", {"queue": "default"}) == 1
    assert (value("mesh_stream_bytes", {"stream": f"{namespace.upper()}_JOBS"}) or 0) > 0


async def _has_failed(mesh: RunningApp, job_id: str) -> bool:
    return (await mesh.app.job(job_id).status()).state == "failed"


async def test_a_queue_whose_dead_letters_are_gone_says_that_it_has_none(
    mesh: RunningApp,
) -> None:
    """A series that vanishes would leave an alert at its last value."""
    await mesh.app.setup()
    client = await mesh.client()
    subject = client.names.dead("mail", "a")
    await client.publisher.publish(subject, b"", b"{}")
    registry = CollectorRegistry()
    exporter = Exporter(mesh.app.client, registry=registry)
    await exporter.look()
    before = registry.get_sample_value("mesh_dead_letters", {"queue": "mail"})
    await mesh.purge("dead_stream")

    await exporter.look()

    assert before == 1
    assert registry.get_sample_value("mesh_dead_letters", {"queue": "mail"}) == 0
    assert registry.get_sample_value("mesh_dead_letters_added_total") == 1


async def test_an_old_look_is_not_passed_off_as_new(mesh: RunningApp) -> None:
    """When no look has succeeded for three times as long, nothing is said of the queues."""
    await mesh.app.setup()
    clock, registry = HandClock(), CollectorRegistry()
    exporter = Exporter(mesh.app.client, registry=registry, every_s=5, clock=clock)
    await exporter.look()

    clock.now_s += 15
    still = registry.get_sample_value("mesh_jobs_delayed")
    clock.now_s += 1
    no_more = registry.get_sample_value("mesh_jobs_delayed")

    assert (still, no_more) == (0, None)
    assert registry.get_sample_value("mesh_exporter_up") == 1, "it says how the last look went"


async def test_a_namespace_that_is_not_set_up_is_awaited(
    mesh: RunningApp, caplog: pytest.LogCaptureFixture
) -> None:
    """It serves all the while, says once what is wrong, and goes on by itself."""
    exporter = Exporter(mesh.app.client, port=0, every_s=0.05)
    pages = exporter.pages
    assert pages is not None
    caplog.set_level(logging.WARNING, "mesh.exporter")
    async with anyio.create_task_group() as group:
        group.start_soon(exporter.run)
        await until(lambda: len(caplog.records) > 0, "it says what is wrong", 20)
        status, _ = await anyio.to_thread.run_sync(fetch, f"{pages.address}/readyz")
        assert status == 503

        await mesh.app.setup()

        async def is_up() -> bool:
            page = await anyio.to_thread.run_sync(fetch, f"{pages.address}/metrics")
            return sample(page[1], "mesh_exporter_up") == 1

        await until(is_up, "it goes on", 20)
        group.cancel_scope.cancel()
    assert len(caplog.records) == 1


async def test_a_server_that_is_away_is_no_end() -> None:
    """A look that finds no server says so, and raises nothing."""
    app = Mesh("nats://127.0.0.1:1", connect_timeout_s=0.2)
    registry = CollectorRegistry()
    exporter = Exporter(app.client, registry=registry)

    assert not await exporter.look()
    assert registry.get_sample_value("mesh_exporter_up") == 0
