"""Rows, events and databases for tests of the archive."""

from __future__ import annotations

from typing import Any

from mesh.archive.decoding import Batch, take_apart, to_batch
from mesh.archive.opening import open_database
from mesh.archive.rows import EventRow, JobRow
from mesh.archive.store import Store
from mesh.transport import frames
from mesh.transport.puller import Delivery

NOON_MS = 1_800_000_000_000


def job(job_id: str, state: str = "succeeded", **facts: Any) -> JobRow:
    """A job of task ``send`` in queue ``mail`` that ran for 100 ms, unless told else."""
    at_ms = facts.get("enqueued_ms", NOON_MS)
    usual: dict[str, Any] = {
        "task": "send",
        "queue": "mail",
        "priority": "normal",
        "enqueued_ms": at_ms,
        "told_ms": at_ms,
        "started_ms": at_ms + 10,
        "finished_ms": at_ms + 110,
        "duration_ms": 100,
        "attempts": 1,
        "changed_ms": at_ms + 110,
        "rank": at_ms << 20,
    }
    return JobRow("shop", job_id, state, **(usual | facts))


def event(seq: int, kind: str, job_id: str, at_ms: int = NOON_MS) -> EventRow:
    """An event of the first ledger."""
    return EventRow(1, seq, at_ms, kind, job_id, "", None)


def delivery(
    seq: int, kind: str, job_id: str, at_ms: int, body: bytes = b"", **headers: str
) -> Delivery:
    """A message as the ledger's consumer gets it; ``Mesh_Task`` stands for ``Mesh-Task``."""
    pairs = [(name.replace("_", "-"), value) for name, value in headers.items()]
    block = frames.header_block(pairs) if pairs else b""
    reply = f"$JS.ACK.SHOP_EVENTS.archive.1.{seq}.{seq}.{at_ms * 1_000_000}.0".encode()
    return Delivery(f"shop.events.{kind}.{job_id}".encode(), reply, body, block, is_first=True)


def decoded(*deliveries: Delivery, records: dict[int, Any] | None = None) -> Batch:
    """What deliveries turn into."""
    return to_batch(1, "shop", [take_apart(one) for one in deliveries], records or {})


def filled(url: str, *jobs: JobRow, events: tuple[EventRow, ...] = ()) -> None:
    """Make an archive of the namespace ``shop`` with some rows."""
    store = Store(url)
    try:
        position = store.enter("shop", "SHOP_EVENTS", "2027-01-15T08:00:00Z")
        highest = max((one.seq for one in events), default=0)
        store.add(position.stream, Batch(list(events), list(jobs), highest), highest)
    finally:
        store.close()


def rows(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Read rows of an archive."""
    database = open_database(url, must_exist=True)
    try:
        return database.rows(sql)
    finally:
        database.close()
