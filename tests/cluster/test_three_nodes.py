"""The same product on three servers: every stream and bucket has three copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cluster import three_servers
from support.running import RunningApp
from support.trust import noted
from support.waiting import until

from mesh import Mesh, State
from mesh.contract.records import ResultRecord
from mesh.errors import BrokerError
from mesh.server.process import EmbeddedServer
from mesh.transport.provisioner import Action


@pytest.mark.cluster
@pytest.mark.timeout(180)
async def test_jobs_run_on_a_cluster_with_three_copies(tmp_path: Path) -> None:
    """Setup with three replicas is applied, idempotent, and jobs and results go through."""
    async with three_servers(tmp_path) as url:
        app = Mesh(url, replicas=3)

        @app.task
        async def double(number: int) -> int:
            return 2 * number

        async with RunningApp(app).worker():
            jobs = await app.enqueue_many([double.s(number) for number in range(500)])
            assert [await job.result(timeout=30) for job in jobs] == [
                2 * number for number in range(500)
            ]
            assert {step.action for step in await app.setup()} == {Action.KEEP}
            client = await app.client()
            for plan in client.topology.streams:
                info = await client.connection.api(f"STREAM.INFO.{plan['name']}")
                assert info["config"]["num_replicas"] == 3
                assert len(info["cluster"]["replicas"]) == 2
        await app.close()


async def test_three_copies_on_one_server_are_refused_clearly(
    server: EmbeddedServer, namespace: str
) -> None:
    """A single server cannot hold three copies, and says so."""
    app = Mesh(server.url, namespace=namespace, replicas=3)

    with pytest.raises(BrokerError, match="replicas"):
        await app.setup()
    await app.close()


@pytest.mark.cluster
@pytest.mark.timeout(180)
async def test_after_an_election_deliveries_are_not_believed_to_be_new(tmp_path: Path) -> None:
    """A worker that keeps its connection hears of the new leader and asks the records."""
    async with three_servers(tmp_path) as url:
        app = Mesh(url, replicas=3)
        runs: list[int] = []

        @app.task
        async def work(number: int) -> None:
            runs.append(number)

        async with RunningApp(app).worker():
            client = await app.client()
            await (await work.enqueue(0)).result(timeout=30)
            before = await noted(client)
            await app.queue("default").pause()
            for number in (1, 2):
                await work.options(job_id=f"j{number}").enqueue(number)
            ended = ResultRecord(State.SUCCEEDED, "work", "default", "normal")
            await client.records.finish("j1", ended)
            jobs = client.names.jobs_stream
            await client.connection.api(f"CONSUMER.LEADER.STEPDOWN.{jobs}.default-normal")

            async def is_noted() -> bool:
                return await noted(client) != before

            await until(is_noted, "the worker has heard of it", 30)
            await app.queue("default").resume()
            await app.job("j2").result(timeout=30)

            async def is_empty() -> bool:
                return await RunningApp(app).count("jobs_stream") == 0

            await until(is_empty, "both messages are gone", 30)
        await app.close()

    assert runs == [0, 2]
