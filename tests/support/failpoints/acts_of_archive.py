"""What programs do to keep what happened: archive the ledger, through all that befalls it."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import anyio
from support.archives import rows
from support.failpoints.acts import LIMIT_S, Act, task_of
from support.waiting import until

from mesh import Mesh
from mesh.archive.archiver import Archiver, Options
from mesh.archive.store import Keep
from mesh.client.client import Client
from mesh.errors import ArchiveError
from mesh.transport.faults import ApiError


async def archive(app: Mesh, prefix: str) -> None:
    """Archive some jobs; lose the consumer, then the connection; all of them are there."""
    url = str(Path(os.environ["EFFECTS"]).with_name(f"{prefix}.db"))
    client = await app.client()
    # It announces the end of a job whose record nobody has: its leader is asked for it, too.
    ghost = b"NATS/1.0\r\nNats-Sequence: 4000000000\r\n\r\n"
    await client.publisher.publish(
        client.names.event("finished", f"{prefix}-ghost"), ghost, b""
    )
    archiver = Archiver(client, Options(url, prefix, Keep(0, 0), again=True))
    async with anyio.create_task_group() as group:
        group.start_soon(archiver.run)
        await _run_and_find(app, url, f"{prefix}-r1")
        await _lose_consumer(client, prefix)
        await _run_and_find(app, url, f"{prefix}-r2")
        await client.connection.reconnect()
        await _run_and_find(app, url, f"{prefix}-r3")
        archiver.stop()
    await _lose_consumer(client, prefix)


async def _run_and_find(app: Mesh, url: str, job_id: str) -> None:
    job = await task_of(app, "plain").options(job_id=job_id).enqueue("some")
    await job.result(timeout=LIMIT_S)

    def is_archived() -> bool:
        with contextlib.suppress(ArchiveError):  # There are no tables yet.
            found = rows(url, f"SELECT worker FROM jobs WHERE id = '{job_id}'")  # noqa: S608 - a name of ours
            return bool(found and found[0][0])
        return False

    await until(is_archived, f"{job_id} is archived", LIMIT_S, poll_s=0.05)


async def _lose_consumer(client: Client, consumer: str) -> None:
    with contextlib.suppress(ApiError):
        place = f"{client.names.events_stream}.{consumer}"
        await client.connection.api(f"CONSUMER.DELETE.{place}")


ACTS: dict[str, Act] = {act.__name__: act for act in (archive,)}
