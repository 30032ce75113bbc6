"""What a worker and its child processes say to each other, and how it is cut into frames."""

from __future__ import annotations

import msgspec
from msgspec import Struct

from mesh.contract.records import ErrorInfo
from mesh.tasks.context import Progress, Request

_LENGTH_BYTES = 4


class Order(Struct, frozen=True, array_like=True):
    """What a child is told to run."""

    task: str
    args: bytes
    kwargs: bytes
    job_id: str
    queue: str
    priority: str
    attempt: int
    worker: str
    enqueued_at_ms: int
    tags: tuple[str, ...]
    meta: dict[str, str]
    soft_timeout_s: float | None
    trace: dict[str, str] = {}


class Answer(Struct, frozen=True, array_like=True, tag=True):
    """What a child says became of an order: a value as JSON, or a failure as data.

    Attributes:
        value: What the task returned.
        error: Why it failed.
        is_final: Whether trying again would be wrong.
        is_last: Whether the child ends now.
        kinds: The names of the error's type and of all types it derives from.
        request: What the task asks for instead of an answer.
    """

    value: bytes = b"null"
    error: ErrorInfo | None = None
    is_final: bool = False
    is_last: bool = False
    kinds: tuple[str, ...] = ()
    request: Request | None = None


class Report(Struct, frozen=True, array_like=True, tag=True):
    """A child's report of progress."""

    job_id: str
    progress: Progress


read_order = msgspec.msgpack.Decoder(Order).decode
read_message = msgspec.msgpack.Decoder(Answer | Report).decode


def frame(message: Struct) -> bytes:
    """Encode a message with its length in front."""
    body = msgspec.msgpack.encode(message)
    return len(body).to_bytes(_LENGTH_BYTES, "big") + body


class FrameBuffer:
    """Puts what comes out of a socket together into frames again."""

    def __init__(self) -> None:
        self._received = bytearray()

    def add(self, chunk: bytes) -> None:
        """Take in what came."""
        self._received += chunk

    def take(self) -> bytes | None:
        """Return the body of the next frame, or None if it is not complete."""
        received = self._received
        end = _LENGTH_BYTES + int.from_bytes(received[:_LENGTH_BYTES], "big")
        if len(received) < end:
            return None
        body = bytes(received[_LENGTH_BYTES:end])
        del received[:end]
        return body
