"""Read and remove single records: the last message of a subject, whatever stream holds it."""

from __future__ import annotations

import base64
import json
from typing import Any, NamedTuple

from mesh.contract.subjects import kv_stream
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.faults import MESSAGE_NOT_FOUND, NOTHING_TO_DELETE, ApiError, from_api
from mesh.transport.publisher import Publisher


class Entry(NamedTuple):
    """A stored message.

    Attributes:
        subject: Its subject.
        value: Its body.
        revision: Its sequence in the stream, to compare and set by.
        block: Its encoded headers.
    """

    subject: str
    value: bytes
    revision: int
    block: bytes

    @property
    def headers(self) -> dict[str, str]:
        """Its headers; read from the block whenever they are asked for."""
        return frames.read_headers(self.block)


class Shelf:
    """One stream, seen as the last message of each subject.

    Reads go to the stream's leader: a replica may not have the newest write yet.
    """

    def __init__(self, connection: Connection, stream: str) -> None:
        self._connection = connection
        self._stream = stream

    async def last(self, subject: str, publisher: Publisher | None = None) -> Entry | None:
        """Read the last message of a subject, which may hold wildcards; None if there is none.

        Args:
            subject: The subject.
            publisher: Asks again, until its deadline, if the server goes away meanwhile.

        Raises:
            NoAnswerError: The publisher got no answer before its deadline.
            BrokerError: The stream could not be read.
        """
        return await self._get({"last_by_subj": subject}, publisher)

    async def next(self, subject: str, sequence: int) -> Entry | None:
        """Read the first message of a subject, which may hold wildcards, from a place on.

        Raises:
            BrokerError: The stream could not be read.
        """
        return await self._get({"seq": max(1, sequence), "next_by_subj": subject})

    async def _get(
        self, question: dict[str, Any], publisher: Publisher | None = None
    ) -> Entry | None:
        operation = f"STREAM.MSG.GET.{self._stream}"
        try:
            if publisher is None:
                answer = await self._connection.api(operation, question)
            else:
                answer = await _asked(publisher, operation, question)
        except ApiError as fault:
            if fault.err_code == MESSAGE_NOT_FOUND:
                return None
            raise
        message: dict[str, Any] = answer["message"]
        return Entry(
            message["subject"],
            base64.b64decode(message.get("data", "")),
            message["seq"],
            base64.b64decode(message.get("hdrs", "")),
        )

    async def remove(self, subject: str, up_to: int = 0) -> int:
        """Remove every message of a subject, which may hold wildcards; say how many there were.

        Args:
            subject: Which messages.
            up_to: Leave what came after this sequence; 0: remove all.

        Raises:
            BrokerError: The server refused.
        """
        question: dict[str, Any] = {"filter": subject}
        if up_to:
            question["seq"] = up_to + 1
        answer = await self._connection.api(f"STREAM.PURGE.{self._stream}", question)
        return int(answer.get("purged", 0))

    async def remove_at(self, sequence: int) -> bool:
        """Remove the message at one place; say whether it was there.

        Raises:
            BrokerError: The server refused.
        """
        place = {"seq": sequence, "no_erase": True}
        try:
            await self._connection.api(f"STREAM.MSG.DELETE.{self._stream}", place)
        except ApiError as fault:
            if fault.err_code == NOTHING_TO_DELETE:
                return False
            raise
        return True

    async def count(self) -> int:
        """Count the stream's messages.

        Raises:
            BrokerError: The stream could not be read.
        """
        answer = await self._connection.api(f"STREAM.INFO.{self._stream}")
        return int(answer["state"]["messages"])


class Bucket:
    """A key-value bucket: its keys are subjects under one prefix."""

    def __init__(
        self, connection: Connection, bucket: str, *, has_replicas: bool = True
    ) -> None:
        self._shelf = Shelf(connection, kv_stream(bucket))
        self._prefix = f"$KV.{bucket}."
        self._direct = f"$JS.API.DIRECT.GET.{kv_stream(bucket)}"
        self._has_replicas = has_replicas

    async def read(self, key: str, publisher: Publisher | None = None) -> Entry | None:
        """Read a key; None if it has no value. See ``Shelf.last``.

        Raises:
            BrokerError: The bucket could not be read.
        """
        return await self._shelf.last(self._prefix + key, publisher)

    async def value(self, key: str, publisher: Publisher) -> bytes | None:
        """Read the value of a key that never changes once it is written; None if there is none.

        Whichever server answers first is believed if it has the value; only a server that has
        none may be behind the others, and then the leader is asked.

        Raises:
            BrokerError: The bucket could not be read.
        """
        found = await publisher.ask(f"{self._direct}.{self._prefix}{key}")
        if found or not self._has_replicas:
            return found or None
        entry = await self.read(key)
        return None if entry is None else entry.value

    async def remove(self, key: str) -> int:
        """Remove a key and leave no marker; say how many revisions there were.

        Raises:
            BrokerError: The server refused.
        """
        return await self._shelf.remove(self._prefix + key)

    async def count(self) -> int:
        """Count the keys of a bucket with history 1.

        Raises:
            BrokerError: The bucket could not be read.
        """
        return await self._shelf.count()


async def _asked(
    publisher: Publisher, operation: str, question: dict[str, Any]
) -> dict[str, Any]:
    body = await publisher.ask(f"$JS.API.{operation}", json.dumps(question).encode())
    answer: dict[str, Any] = json.loads(body)
    if "error" in answer:
        raise from_api(answer["error"], operation)
    return answer
