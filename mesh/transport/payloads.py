"""Values too large for a message: put them in an object bucket and pass on where they lie."""

from __future__ import annotations

from nats.js.api import ObjectInfo
from nats.js.errors import NotFoundError
from nats.js.object_store import ObjectStore

from mesh.contract.envelope import PayloadRef
from mesh.contract.subjects import object_chunks, object_meta, object_stream
from mesh.errors import PayloadMissingError
from mesh.transport.connection import Connection
from mesh.transport.faults import translated


class Payloads:
    """The object buckets of a namespace."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._stores: dict[str, ObjectStore] = {}

    async def put(self, bucket: str, name: str, value: bytes) -> PayloadRef:
        """Store a value and say where it lies.

        Raises:
            BrokerError: The bucket is missing or did not take it.
        """
        store = await self._store(bucket)
        with translated(f"storing {len(value):,} bytes in bucket {bucket}"):
            await store.put(name, value)
        return PayloadRef(bucket, name, len(value))

    async def get(self, ref: PayloadRef) -> bytes:
        """Fetch a value.

        Raises:
            PayloadMissingError: It is gone, or is not what was stored.
            BrokerError: The bucket could not be read.
        """
        store = await self._store(ref.bucket)
        with translated(f"reading {ref.name} from bucket {ref.bucket}"):
            try:
                await self._check_whole(ref, await store.get_info(ref.name))
                found = await store.get(ref.name)
            except NotFoundError as error:
                raise _missing(ref, "it is gone") from error
        if found.data is None or len(found.data) != ref.size:
            raise _missing(ref, f"{len(found.data or b''):,} bytes came back")
        return found.data

    async def _check_whole(self, ref: PayloadRef, info: ObjectInfo) -> None:
        """Refuse a value of which a part is gone: nats-py would wait for it for ever."""
        chunks = object_chunks(ref.bucket, info.nuid or "")
        operation = f"STREAM.INFO.{object_stream(ref.bucket)}"
        answer = await self._connection.api(operation, {"subjects_filter": chunks})
        there: dict[str, int] = answer["state"].get("subjects") or {}
        if there.get(chunks, 0) < (info.chunks or 0):
            raise _missing(ref, "a part of it is gone")

    async def remove(self, ref: PayloadRef) -> None:
        """Remove a value; one that is gone already is no fault.

        Raises:
            BrokerError: The bucket could not be written.
        """
        store = await self._store(ref.bucket)
        with translated(f"removing {ref.name} from bucket {ref.bucket}"):
            try:
                info = await store.get_info(ref.name)
            except NotFoundError:
                return
        # Purged rather than deleted by nats-py, which would leave a marker for every value.
        for subject in (
            object_chunks(ref.bucket, info.nuid or ""),
            object_meta(ref.bucket, ref.name),
        ):
            operation = f"STREAM.PURGE.{object_stream(ref.bucket)}"
            await self._connection.api(operation, {"filter": subject})

    async def _store(self, bucket: str) -> ObjectStore:
        store = self._stores.get(bucket)
        if store is None:
            with translated(f"opening bucket {bucket}"):
                store = await self._connection.js.object_store(bucket)
            self._stores[bucket] = store
        return store


def _missing(ref: PayloadRef, why: str) -> PayloadMissingError:
    return PayloadMissingError(
        f"the value of {ref.size:,} bytes at {ref.bucket}/{ref.name} cannot be had: {why}"
    )
