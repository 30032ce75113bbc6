"""Read what workers have noted about the server of a lane."""

from __future__ import annotations

from mesh.client.client import Client
from mesh.contract import records
from mesh.contract.records import LaneTrust
from mesh.contract.subjects import kv_stream
from mesh.transport.buckets import Shelf


async def noted(client: Client, queue: str = "default") -> LaneTrust:
    """What workers have noted about the server of a queue's normal lane."""
    shelf = Shelf(client.connection, kv_stream(client.names.control_bucket))
    entry = await shelf.last(client.names.lane_trust(queue, "normal"))
    assert entry is not None
    return records.read_lane_trust(entry.value)
