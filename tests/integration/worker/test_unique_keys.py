"""Unique jobs, from the worker's side: two jobs with one key never run beside each other."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import anyio
import pytest
from support.processes import APPS, worker_process
from support.running import RunningApp
from support.waiting import until

from mesh import (
    Job,
    JobCancelledError,
    JobConflictError,
    JobContext,
    JobFailedError,
    Mesh,
    Retry,
    State,
    Unique,
)
from mesh.client.client import Client
from mesh.client.keys import NOTHING
from mesh.client.task import Task
from mesh.clock import SYSTEM_CLOCK
from mesh.contract.envelope import UniqueClaim, Until
from mesh.contract.records import UniqueKey

DIGEST = "0f" * 32
HOUR_MS = 3_600_000


def tracked(app: Mesh) -> tuple[Task[[], str], list[str]]:
    """A plain task and the ids of its jobs that ran; jobs bring their claims themselves."""
    runs: list[str] = []

    @app.task
    async def work(ctx: JobContext) -> str:
        runs.append(ctx.job_id)
        return ctx.job_id

    return work, runs


async def publish(client: Client, task: Task[[], str], job_id: str, claim: UniqueClaim) -> None:
    """Publish a job as a producer does that has claimed a key, or believes so."""
    call = task.options(job_id=job_id).s()
    message = client._maker.make_guarded(call, job_id, None, claim)
    await client.publisher.publish(message.subject, message.block, message.body)


async def claim_key(client: Client, job_id: str, until_: Until = Until.DONE) -> int:
    """Claim the key of these tests for a job, whoever has it."""
    held = await client.keys.read(DIGEST)
    now = SYSTEM_CLOCK.now_ms()
    key = UniqueKey(job_id, until_, now, now + HOUR_MS)
    revision = await client.keys.write(DIGEST, key, held.revision)
    assert revision
    return revision


@pytest.mark.parametrize("until_", [Until.DONE, Until.STARTED])
async def test_a_job_that_was_overtaken_is_superseded(mesh: RunningApp, until_: Until) -> None:
    """Its producer was slow: the key is another's by now, and only that one runs."""
    work, runs = tracked(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    claim = UniqueClaim(DIGEST, until_)
    await claim_key(client, "new", until_)
    slow = mesh.app.job("slow")
    await publish(client, work, "slow", claim)
    await work.options(job_id="new", delay=60).enqueue()

    async with mesh.worker():
        with pytest.raises(JobCancelledError, match="superseded by job new"):
            await slow.result(timeout=30)

    assert runs == []
    assert (await mesh.app.job("new").status()).state is State.SCHEDULED


async def test_a_job_runs_though_its_key_names_one_that_never_came(mesh: RunningApp) -> None:
    """It waits for as long as that one could still be published, then takes its key back."""
    work, runs = tracked(mesh.app)
    mesh.app.override({"publish.deadline_s": 0.2})
    await mesh.app.setup()
    client = await mesh.client()
    await publish(client, work, "slow", UniqueClaim(DIGEST, Until.DONE))
    revision = await claim_key(client, "lost")

    async with mesh.worker():
        assert await mesh.app.job("slow").result(timeout=30) == "slow"

        async def is_free() -> bool:
            return await client.keys.read(DIGEST) == NOTHING

        await until(is_free, "its key is removed")

    assert runs == ["slow"]
    info = await client.connection.api(f"STREAM.INFO.KV_{client.names.locks_bucket}")
    assert info["state"]["last_seq"] == revision + 1, "it claimed the key once, and for itself"


async def test_a_job_whose_key_is_gone_claims_it_before_it_runs(mesh: RunningApp) -> None:
    """Somebody emptied the bucket: what is enqueued meanwhile finds the job all the same."""
    goes_on = anyio.Event()
    runs: list[int] = []

    @mesh.app.task(unique=Unique(key="one"))
    async def sync(number: int) -> int:
        runs.append(number)
        await goes_on.wait()
        return number

    await mesh.app.setup()
    first = await sync.enqueue(1)
    client = await mesh.client()
    await client.connection.api(f"STREAM.PURGE.KV_{client.names.locks_bucket}")
    async with mesh.worker():
        await until(lambda: bool(runs), "it runs")
        second = await sync.enqueue(2)
        goes_on.set()
        assert await second.result(timeout=30) == 1

    assert (second.id, second.is_duplicate) == (first.id, True)
    assert runs == [1]


async def test_a_claim_for_a_time_that_is_over_stands_in_nobodys_way(mesh: RunningApp) -> None:
    """The older job waited for longer than its claim held; both run."""
    work, runs = tracked(mesh.app)
    await mesh.app.setup()
    client = await mesh.client()
    past = SYSTEM_CLOCK.now_ms() - HOUR_MS
    await publish(client, work, "old", UniqueClaim(DIGEST, Until.TIME, past))
    await claim_key(client, "new", Until.TIME)
    claim = UniqueClaim(DIGEST, Until.TIME, past + 2 * HOUR_MS)
    await publish(client, work, "new", claim)
    await publish(client, work, "slow", claim)

    async with mesh.worker():
        for job_id in ("old", "new"):
            assert await mesh.app.job(job_id).result(timeout=30) == job_id
        with pytest.raises(JobCancelledError, match="superseded by job new"):
            await mesh.app.job("slow").result(timeout=30)
        assert (await client.keys.read(DIGEST)).owner == "new"

    assert sorted(runs) == ["new", "old"]


async def test_a_job_that_has_started_is_not_superseded_in_its_retries(
    mesh: RunningApp,
) -> None:
    """Unique until it starts: from then on the key may be another's."""
    runs: list[tuple[int, int]] = []
    jobs: list[Job[int]] = []
    rule = Unique(key="one", until="started")

    @mesh.app.task(unique=rule, retry=Retry(1, "fixed", 0.0, jitter=0.0))
    async def sync(ctx: JobContext, number: int) -> int:
        runs.append((number, ctx.attempt))
        if (number, ctx.attempt) == (1, 1):
            jobs.append(await sync.options(delay=60).enqueue(2))
            raise ValueError("not yet")
        return number

    async with mesh.worker():
        first = await sync.enqueue(1)
        assert await first.result(timeout=30) == 1

    assert runs == [(1, 1), (1, 2)]
    assert not jobs[0].is_duplicate
    assert (await jobs[0].status()).state is State.SCHEDULED


async def test_a_dead_job_that_is_replayed_does_not_run_beside_another(
    mesh: RunningApp,
) -> None:
    """It claims its key again before it runs; while another has it, it gives way."""

    @mesh.app.task(unique=Unique(key="one"), retry=0)
    async def sync(number: int) -> int:
        raise ValueError(number)

    async with mesh.worker():
        dead = await sync.enqueue(1)
        with pytest.raises(JobFailedError):
            await dead.result(timeout=30)
        await until(partial(is_dead, mesh), "its dead letter is there")
        other = await sync.options(delay=60).enqueue(2)
        replay = await mesh.app.dead_letters.replay(dead.id)
        with pytest.raises(JobCancelledError, match=f"superseded by job {other.id}"):
            await mesh.app.job(replay.new_job_id).result(timeout=30)


async def is_dead(mesh: RunningApp) -> bool:
    """Whether there is a dead letter."""
    return await mesh.count("dead_stream") == 1


@pytest.mark.timeout(180)
async def test_a_key_outlives_the_worker_and_no_longer_than_its_job(
    mesh: RunningApp, tmp_path: Path
) -> None:
    """The worker is killed in the middle: nobody else gets in until the job has ended."""
    app, effects, goes_on = mesh.app, tmp_path / "effects", tmp_path / "go-on"
    effects.touch()
    environment = {
        "EFFECTS": str(effects),
        "GO_ON": str(goes_on),
        "MESH_WORKER_ACK_WAIT": "2s",
        "MESH_WORKER_HEARTBEAT": "0.5s",
    }
    app.override({"worker.ack_wait_s": 2.0, "worker.heartbeat_s": 0.5})
    await app.setup(["unique"])
    rule = Unique(key="one", on_conflict="reject")
    reference = f"{APPS / 'unique.py'}:app"

    def lines() -> list[str]:
        return effects.read_text().splitlines()

    async def send(number: int) -> Job[int]:
        return await app.send("sync", [number], queue="unique", unique=rule)

    async with worker_process(app, reference, tmp_path, **environment) as first:
        job = await send(1)
        await until(lambda: len(lines()) == 1, "it runs")
        first.kill()
    with pytest.raises(JobConflictError, match=job.id):
        await send(2)
    async with worker_process(app, reference, tmp_path, **environment) as second:
        await until(lambda: len(lines()) == 2, "it runs again", 30)
        with pytest.raises(JobConflictError, match=job.id):
            await send(3)
        goes_on.touch()
        assert await job.result(timeout=30) == 1
        assert await (await send(4)).result(timeout=30) == 4
        assert second.stop() == 0

    assert [line.split()[::2] for line in lines()] == [
        ["start", "1"],
        ["start", "1"],
        ["end", "1"],
        ["start", "4"],
        ["end", "4"],
    ]
