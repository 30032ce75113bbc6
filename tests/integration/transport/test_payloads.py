"""Values in object buckets, and what interrupted removals leave of them."""

from __future__ import annotations

import anyio
import pytest
from support.running import RunningApp

from mesh.contract.subjects import object_chunks, object_stream
from mesh.errors import PayloadMissingError
from mesh.transport.buckets import Shelf


async def test_a_value_that_is_half_removed_is_missing_and_not_waited_for(
    mesh: RunningApp,
) -> None:
    """Whoever removed it died after its parts and before its name."""
    await mesh.app.setup()
    client = await mesh.client()
    bucket = client.names.payloads_bucket
    ref = await client.payloads.put(bucket, "job-1.args", b"x" * 300_000)
    assert await client.payloads.get(ref) == b"x" * 300_000
    shelf = Shelf(client.connection, object_stream(bucket))
    assert await shelf.remove(object_chunks(bucket, "*"))

    with anyio.fail_after(30), pytest.raises(PayloadMissingError, match="a part of it is gone"):
        await client.payloads.get(ref)

    await client.payloads.remove(ref)
    with pytest.raises(PayloadMissingError, match="it is gone"):
        await client.payloads.get(ref)
