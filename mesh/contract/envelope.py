"""The job as it travels: what the body of a job message may say, and how it is read."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Raw, Struct

from mesh.contract import headers
from mesh.errors import MalformedJobError

VERSION: Final = 1
EMPTY_LIST: Final = b"[]"
EMPTY_MAP: Final = b"{}"
_RAW_LIST = Raw(EMPTY_LIST)
_RAW_MAP = Raw(EMPTY_MAP)


def _no_args() -> Raw:
    return _RAW_LIST


def _no_kwargs() -> Raw:
    return _RAW_MAP


class Retry(Struct, frozen=True, omit_defaults=True, gc=False):
    """When a failed attempt is followed by another.

    ``max_retries`` counts attempts after the first. The n-th wait is ``delay_s`` (``fixed``),
    ``n * delay_s`` (``linear``), ``2 ** (n - 1) * delay_s`` (``exponential``), or the n-th of
    ``delays_s`` (the last one repeats); at most ``max_delay_s``, spread by ``jitter`` (a fraction).
    """

    max_retries: int = 3
    backoff: str = "exponential"
    delay_s: float = 1.0
    max_delay_s: float = 600.0
    jitter: float = 0.1
    delays_s: tuple[float, ...] = ()


class PayloadRef(Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a value lies that is too large for a message: an object bucket and a name in it."""

    bucket: str
    name: str
    size: int


class Envelope(Struct, frozen=True, omit_defaults=True):
    """The body of a job message. Only ``task`` is required; unknown fields are ignored.

    Times are milliseconds since the epoch, durations are seconds. Options left out are the
    task's own, as the worker knows them.
    """

    task: str
    args: Raw = msgspec.field(default_factory=_no_args)
    kwargs: Raw = msgspec.field(default_factory=_no_kwargs)
    v: int = VERSION
    enqueued_at_ms: int = 0
    timeout_s: float | None = None
    retry: Retry | None = None
    result_ttl_s: float | None = None
    failure_ttl_s: float | None = None
    expires_at_ms: int | None = None
    args_ref: PayloadRef | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}


_json_decoder = msgspec.json.Decoder(Envelope)
_json_encoder = msgspec.json.Encoder()
_json_any = msgspec.json.Decoder()
_msgpack_any = msgspec.msgpack.Decoder()

encode = _json_encoder.encode
"""Encode an envelope as JSON; ``args`` and ``kwargs`` are JSON already."""


def decode(body: bytes, content_type: str = headers.JSON) -> Envelope:
    """Read the body of a job message.

    A msgpack body is carried over into JSON first: arguments mean the same in both.

    Raises:
        MalformedJobError: The body is not what its content type says, or not a job.
    """
    try:
        envelope = _json_decoder.decode(
            body if content_type == headers.JSON else _as_json(body, content_type)
        )
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MalformedJobError(_reason(body, content_type), str(error)) from error
    if envelope.v != VERSION:
        why = f"version {envelope.v} is not {VERSION}, the one this worker reads"
        raise MalformedJobError("unknown-version", why)
    return envelope


def _as_json(body: bytes, content_type: str) -> bytes:
    if content_type != headers.MSGPACK:
        why = f"{headers.CONTENT_TYPE} {content_type!r} is neither json nor msgpack"
        raise MalformedJobError("unknown-content-type", why)
    value = _msgpack_any.decode(body)
    try:
        return _json_encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedJobError(
            "bad-shape", f"msgpack that JSON cannot say: {error}"
        ) from error


def _reason(body: bytes, content_type: str) -> str:
    """Tell a body that cannot be parsed from one that parses into something else."""
    decode_any = _json_any.decode if content_type == headers.JSON else _msgpack_any.decode
    try:
        decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"not-{content_type}"
    return "bad-shape"
