"""What programs do to find out what is wrong: check a namespace, look at a silent stream."""

from __future__ import annotations

import contextlib
from typing import Any

from support.failpoints.acts import Act

import mesh.client.screening
import mesh.transport.publisher
from mesh import Mesh
from mesh.errors import NotProvisionedError
from mesh.transport.buckets import Shelf
from mesh.transport.receipts import NoAnswerError

SETTLE_S = 0.05
"""How long the check waits before its second look: what is wrong is not about to change."""


async def check(app: Mesh, prefix: str) -> None:
    """Repair all that ``damage`` did to a queue, then clear the queue."""
    # As where more jobs are open than are kept in memory.
    mesh.client.screening._MOST_OPEN = 0
    await app.fsck(repair=True, settle=SETTLE_S)
    client = await app.client()
    # It is only reported: whoever published it must take it back.
    jobs = Shelf(client.connection, client.names.jobs_stream)
    await jobs.remove(client.names.job(f"{prefix}!", "normal", ">")[:-1] + ">")
    await app.queue(prefix).purge()


async def silence(app: Mesh, prefix: str) -> None:
    """Publish to a stream that confirms nothing: its storage is looked at."""
    mesh.transport.publisher._SUSPICIOUS_S = 0.3
    client = await app.client()
    name, subject = f"SILENT-{prefix}", f"silent.{prefix}"
    stream: dict[str, Any] = {"name": name, "subjects": [subject], "storage": "memory"}
    await client.connection.api(f"STREAM.CREATE.{name}", stream | {"no_ack": True})
    with contextlib.suppress(NoAnswerError):
        await client.publisher.publish(subject, b"", b"anybody?")
    watch = client.publisher.storage._task
    assert watch is not None, "nothing was suspected"
    await watch
    with contextlib.suppress(NotProvisionedError):
        await client.connection.api(f"STREAM.DELETE.{name}")


ACTS: dict[str, Act] = {act.__name__: act for act in (check, silence)}
