"""The job as it travels: what the body of a job message may say, and how it is read."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, Literal

import msgspec
from msgspec import Meta, Raw, Struct

from mesh.contract import headers
from mesh.errors import MalformedJobError

VERSION: Final = 1
EMPTY_LIST: Final = b"[]"
EMPTY_MAP: Final = b"{}"
_RAW_LIST = Raw(EMPTY_LIST)
_RAW_MAP = Raw(EMPTY_MAP)


def no_args() -> Raw:
    """No positional arguments."""
    return _RAW_LIST


def no_kwargs() -> Raw:
    """No named arguments."""
    return _RAW_MAP


Seconds = Annotated[float, Meta(ge=0, le=1e11)]
"""A duration, at most some 3,000 years, so that no sum with a time runs over."""

Millis = Annotated[int, Meta(ge=0, le=253_402_300_799_999)]
"""A moment as milliseconds since the epoch, up to the end of the year 9999; 0: not known."""

Version = Annotated[int, Meta(extra_json_schema={"const": VERSION})]
"""Checked apart from the shape, so that an unknown version is said to be one."""

Count = Annotated[int, Meta(ge=0, le=1_000_000_000)]
TaskName = Annotated[
    str, Meta(min_length=1, max_length=200, extra_json_schema={"pattern": r"^\S+$"})
]
Arguments = Annotated[Raw, Meta(extra_json_schema={"type": "array"})]
ErrorName = Annotated[str, Meta(min_length=1, max_length=1000)]
KeyDigest = Annotated[str, Meta(max_length=64, pattern="^[0-9a-f]{64}$")]
"""A unique key on the wire: it becomes part of a subject, so it is checked when it is read."""

ScheduleName = Annotated[str, Meta(max_length=64, pattern="^[A-Za-z0-9_-]*$")]
"""A schedule, or nothing: it becomes part of a subject, so it is checked when it is read."""

NamedArguments = Annotated[Raw, Meta(extra_json_schema={"type": "object"})]


if TYPE_CHECKING:
    # Python says the types themselves; what travels, and what is read, are their names.
    ErrorTypes = tuple[type[BaseException] | str, ...]
else:
    ErrorTypes = tuple[ErrorName, ...]


class Retry(Struct, frozen=True, omit_defaults=True, gc=False):
    """When a failed attempt is followed by another.

    Attributes:
        max_retries: How many attempts may follow the first.
        backoff: How the wait grows: before the n-th retry it is ``delay_s`` (``fixed``),
            ``n * delay_s`` (``linear``) or ``2 ** (n - 1) * delay_s`` (``exponential``).
        delay_s: The wait before the first retry.
        max_delay_s: The longest wait.
        jitter: The part of each wait that is left to chance.
        delays_s: The waits, one by one, instead of ``backoff``; the last one repeats.
        on: The only failures that are tried again, as the names of their types with module
            (builtins without); a name stands for all types derived from it. None: all.
        give_up_on: Failures that are never tried again, named likewise; stronger than ``on``.
    """

    max_retries: Count = 3
    backoff: Literal["exponential", "fixed", "linear"] = "exponential"
    delay_s: Seconds = 1.0
    max_delay_s: Seconds = 600.0
    jitter: Annotated[float, Meta(ge=0, le=1)] = 0.1
    delays_s: tuple[Seconds, ...] = ()
    on: ErrorTypes = ()
    give_up_on: ErrorTypes = ()


class Until(StrEnum):
    """How long a unique key belongs to a job: to its end, to its start, or for a time."""

    DONE = "done"
    STARTED = "started"
    TIME = "time"


class UniqueClaim(Struct, frozen=True, omit_defaults=True, gc=False):
    """A unique key that the job's producer claimed for it before it published the job.

    Attributes:
        key: The key: 64 hex digits, chosen by the producers. mesh takes the SHA-256 of the
            task's name, a zero byte and what makes the job unique.
        until: How long the key belongs to the job: ``done``, ``started`` or ``time``.
        expires_at_ms: With ``time``: until when.
    """

    key: KeyDigest
    until: Until
    expires_at_ms: Millis = 0


class PayloadRef(Struct, frozen=True, omit_defaults=True, gc=False):
    """Where a value lies that is too large for a message.

    Attributes:
        bucket: The object bucket.
        name: The object's name in it.
        size: Its size in bytes.
    """

    bucket: str
    name: str
    size: Annotated[int, Meta(ge=0)]


class Envelope(Struct, frozen=True, omit_defaults=True):
    """The body of a job message. Only ``task`` is required; unknown fields are ignored.

    Times are milliseconds since the epoch, durations are seconds. An option that is left out is
    the task's own, as the worker knows it.

    Attributes:
        task: The name of the task to run.
        args: The positional arguments.
        kwargs: The named arguments.
        v: The version of this format; a worker refuses one that it does not know.
        enqueued_at_ms: When the job was enqueued; 0: when the server stored it.
        timeout_s: How long one attempt may run.
        retry: What follows a failed attempt.
        result_ttl_s: How long the record of a job that succeeded is kept.
        failure_ttl_s: How long the record of a job that did not succeed is kept.
        expires_at_ms: A job that has not started by then ends as ``expired``.
        args_ref: Where the arguments lie, instead of ``args`` and ``kwargs``: an object of the
            namespace's payload bucket that holds JSON with these two fields.
        tags: Words to find the job by.
        meta: What the producer wants the task to know besides its arguments.
        unique: The unique key that was claimed for the job; looked at if the message has the
            header Mesh-Repeat.
        soft_timeout_s: After so long the task itself is told that its time is up.
        deadline_ms: By then the whole job must have ended, its retries included: it ends as
            ``expired`` if it was never started, else as ``failed``.
        schedule: The schedule that the job is of; empty: of none.
        scheduled_for_ms: The tick of the schedule that the job is for.
    """

    task: TaskName
    args: Arguments = msgspec.field(default_factory=no_args)
    kwargs: NamedArguments = msgspec.field(default_factory=no_kwargs)
    v: Version = VERSION
    enqueued_at_ms: Millis = 0
    timeout_s: Seconds | None = None
    retry: Retry | None = None
    result_ttl_s: Seconds | None = None
    failure_ttl_s: Seconds | None = None
    expires_at_ms: Millis | None = None
    args_ref: PayloadRef | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    unique: UniqueClaim | None = None
    soft_timeout_s: Seconds | None = None
    deadline_ms: Millis | None = None
    schedule: ScheduleName = ""
    scheduled_for_ms: Millis = 0


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
        raise MalformedJobError(reason="unknown-version", why=why)
    return envelope


def _as_json(body: bytes, content_type: str) -> bytes:
    if content_type != headers.MSGPACK:
        why = f"{headers.CONTENT_TYPE} {content_type!r} is neither json nor msgpack"
        raise MalformedJobError(reason="unknown-content-type", why=why)
    value = _msgpack_any.decode(body)
    try:
        return _json_encoder.encode(value)
    except (TypeError, ValueError, RecursionError) as error:
        why = f"msgpack that JSON cannot say: {error}"
        raise MalformedJobError(reason="bad-shape", why=why) from error


def _reason(body: bytes, content_type: str) -> str:
    """Tell a body that cannot be parsed from one that parses into something else."""
    decode_any = _json_any.decode if content_type == headers.JSON else _msgpack_any.decode
    try:
        decode_any(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return f"not-{content_type}"
    return "bad-shape"
