"""A worker process dies in the middle of its work: every job still ends, with one result."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import JobStatus, State

JOBS = 600
AT_ONCE = 200


@pytest.mark.timeout(180)
async def test_every_job_ends_once_when_a_worker_is_killed(
    mesh: RunningApp, tmp_path: Path
) -> None:
    """200 jobs run and 400 wait when the worker is killed by SIGKILL; another finishes all."""
    app, effects = mesh.app, tmp_path / "effects"
    effects.touch()
    chance = random.Random(7)
    environment = {
        "EFFECTS": str(effects),
        "MESH_WORKER_ACK_WAIT": "2s",
        "MESH_WORKER_HEARTBEAT": "0.5s",
    }
    app.override({"worker.ack_wait_s": 2.0, "worker.heartbeat_s": 0.5})
    await app.setup(["effects"])
    jobs = [
        await app.send("work", [number, chance.uniform(0, 0.3)], queue="effects")
        for number in range(JOBS)
    ]
    reference = f"{APPS / 'effects.py'}:app"
    options = ("--concurrency", str(AT_ONCE))

    async with worker_process(app, reference, tmp_path, *options, **environment) as first:
        await until(lambda: _count(effects, "start") >= AT_ONCE + 20, "200 jobs run")
        first.kill()
    assert _count(effects, "end") < JOBS, "the worker had done everything before it was killed"
    async with worker_process(app, reference, tmp_path, *options, **environment) as second:
        results = [await job.result(timeout=40) for job in jobs]
        assert second.stop() == 0

    assert results == list(range(JOBS))
    assert await mesh.count("jobs_stream") == 0
    client = await mesh.client()
    info = await client.connection.api(f"STREAM.INFO.KV_{client.names.results_bucket}")
    assert info["state"]["messages"] == JOBS
    # Never written twice: the stream's last sequence counts every record that was stored.
    assert info["state"]["last_seq"] == JOBS
    statuses: list[JobStatus] = [await job.status() for job in jobs]
    assert all(status.state is State.SUCCEEDED for status in statuses)
    again = {number: times for number, times in _starts(effects).items() if times > 1}
    assert len(again) <= AT_ONCE + 1000, "jobs ran again that no worker had in hand"
    assert max(again.values(), default=1) == 2, again


def _count(effects: Path, word: str) -> int:
    return sum(line.startswith(word) for line in effects.read_text().splitlines())


def _starts(effects: Path) -> Counter[int]:
    lines = (line.split() for line in effects.read_text().splitlines())
    return Counter(int(number) for word, number in lines if word == "start")
