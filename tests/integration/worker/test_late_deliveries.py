"""A delivery that lay on its way for too long is not believed to be a job's first."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest
from chaos.proxy import Proxy
from prometheus_client import CollectorRegistry
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import Mesh
from mesh.worker.worker import Worker

SHORT = {"worker.ack_wait_s": 1.0, "worker.heartbeat_s": 0.2}
JOBS = 20


@pytest.mark.timeout(180)
async def test_a_worker_that_was_frozen_does_not_run_what_it_finds_in_its_buffer(
    mesh: RunningApp, tmp_path: Path
) -> None:
    """The server had sent it jobs; another worker has ended them when it wakes up."""
    app, effects = mesh.app, tmp_path / "effects"
    effects.touch()
    environment = {
        "EFFECTS": str(effects),
        "MESH_WORKER_ACK_WAIT": "1s",
        "MESH_WORKER_HEARTBEAT": "0.2s",
    }
    reference = f"{APPS / 'effects.py'}:app"
    app.override(SHORT)
    await app.setup(["effects"])
    async with worker_process(app, reference, tmp_path, **environment) as first:
        os.kill(first.process.pid, signal.SIGSTOP)
        jobs = [await app.send("work", [n, 0.0], queue="effects") for n in range(JOBS)]
        async with worker_process(app, reference, tmp_path, **environment) as second:
            assert [await job.result(timeout=30) for job in jobs] == list(range(JOBS))
            os.kill(first.process.pid, signal.SIGCONT)
            assert second.stop() == 0
        # It takes jobs again, so it has read whatever lay in its buffer before them.
        assert await (await app.send("work", [99, 0.0], queue="effects")).result(30) == 99
        assert first.stop() == 0

    starts = [line for line in effects.read_text().splitlines() if line.startswith("start")]
    assert sorted(starts) == sorted(f"start {n}" for n in [*range(JOBS), 99])
    assert await mesh.count("jobs_stream") == 0


@pytest.mark.timeout(180)
async def test_what_a_slow_line_brings_after_the_ack_wait_is_looked_up(
    mesh: RunningApp,
) -> None:
    """The line holds deliveries back while another worker runs the jobs."""
    runs: list[tuple[str, int]] = []
    url, namespace = mesh.app.settings.url, mesh.app.settings.namespace

    async with Proxy(lambda: int(url.rpartition(":")[2])).listening() as proxy:
        slow = f"nats://127.0.0.1:{proxy.port}"
        apps = [Mesh(slow, namespace=namespace), Mesh(url, namespace=namespace)]
        for name, app in zip(("slow", "quick"), apps, strict=True):
            app.override(SHORT)

            @app.task
            async def work(number: int, name: str = name) -> None:
                runs.append((name, number))

        mesh.app.override(SHORT)
        await mesh.app.setup()
        async with Worker(apps[0], registry=CollectorRegistry()):
            proxy.down.hold()
            jobs = [await mesh.app.send("work", [number]) for number in range(JOBS)]
            async with Worker(apps[1], registry=CollectorRegistry()):
                with anyio.fail_after(30):
                    for job in jobs:
                        await job.result()
                proxy.down.release()
                # Both go on, so what was held back has been read.
                more = [await mesh.app.send("work", [number]) for number in range(99, 120)]
                with anyio.fail_after(30):
                    for job in more:
                        await job.result()

                async def is_empty() -> bool:
                    return await mesh.count("jobs_stream") == 0

                await until(is_empty, "every message is acknowledged")
        for app in apps:
            await app.close()

    assert sorted(number for _, number in runs) == [*range(JOBS), *range(99, 120)]
