"""Publish a batch of jobs of which the server stores all or none."""

from __future__ import annotations

import contextlib
import json
import secrets
from collections.abc import Sequence
from typing import Any

from mesh.client.messages import Message
from mesh.contract import headers
from mesh.contract.subjects import Names
from mesh.errors import BrokerError, EnqueueUnknownError
from mesh.transport import frames
from mesh.transport.connection import Connection
from mesh.transport.faults import from_api, translated

MOST = 1000
_COMMIT_TIMEOUT_S = 10


async def publish_atomically(
    connection: Connection, names: Names, messages: Sequence[Message]
) -> None:
    """Publish all messages in one atomic batch.

    Raises:
        ValueError: There are too many, or a delayed one among them.
        EnqueueUnknownError: The server never confirmed the batch.
        ApiError: A job that is guarded, or its message id, is there already; none is stored.
        BrokerError: The server refused the batch, and stored none.
    """
    if len(messages) > MOST:
        msg = f"an atomic batch holds at most {MOST:,} jobs, not {len(messages):,}"
        raise ValueError(msg)
    if any(message.is_delayed for message in messages):
        msg = "an atomic batch cannot hold delayed jobs: they lie in another stream"
        raise ValueError(msg)
    if not messages:
        return
    batch_id = secrets.token_hex(16)
    for number, message in enumerate(messages[:-1], start=1):
        frame = _member(message, batch_id, number)
        connection.link.post(frames.publish(message.subject, "", frame, message.body))
    await _commit(connection, names, messages[-1], batch_id, len(messages))


def _member(message: Message, batch_id: str, number: int, *, is_last: bool = False) -> bytes:
    extra = f"{headers.BATCH_ID}: {batch_id}\r\n{headers.BATCH_SEQUENCE}: {number}\r\n"
    if is_last:
        extra += f"{headers.BATCH_COMMIT}: 1\r\n"
    return message.block[:-2] + extra.encode() + b"\r\n"


async def _commit(
    connection: Connection, names: Names, message: Message, batch_id: str, count: int
) -> None:
    inbox = connection.link.new_inbox()
    with translated("opening an inbox for a batch"):
        subscription = await connection.link.subscribe(inbox, max_msgs=1)
    block = _member(message, batch_id, count, is_last=True)
    connection.link.post(frames.publish(message.subject, inbox, block, message.body))
    try:
        with translated(f"committing a batch of {count:,} jobs"):
            reply = await subscription.next_msg(timeout=_COMMIT_TIMEOUT_S)
    except BrokerError as error:
        raise EnqueueUnknownError(message.job_id, f"the batch's commit: {error}") from error
    finally:
        # The batch is stored or not, whatever becomes of the inbox.
        with contextlib.suppress(BrokerError), translated("closing the inbox of a batch"):
            await subscription.unsubscribe()
    answer: dict[str, Any] = json.loads(reply.data) if reply.data else {}
    if "error" in answer:
        raise from_api(answer["error"], names.jobs_stream)
    if answer.get("count") != count:
        raise EnqueueUnknownError(message.job_id, f"the batch's commit answered {answer}")
