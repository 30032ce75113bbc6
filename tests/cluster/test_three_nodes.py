"""The same product on three servers: every stream and bucket has three copies."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.cluster import three_servers
from support.running import RunningApp

from mesh import Mesh
from mesh.errors import BrokerError
from mesh.server.process import EmbeddedServer
from mesh.transport.provisioner import Action


@pytest.mark.cluster
@pytest.mark.timeout(90)
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
