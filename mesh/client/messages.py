"""Turn a call into the message that is published: subject, headers, body."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from msgspec import Raw

from mesh.clock import Clock
from mesh.contract import envelope, headers
from mesh.contract.envelope import Envelope, PayloadRef, UniqueClaim
from mesh.contract.subjects import Names
from mesh.identifiers import new_job_id
from mesh.settings.model import Settings
from mesh.tasks.definition import Call
from mesh.tasks.options import NO_OVERRIDES, CallOptions, TaskOptions
from mesh.telemetry.tracing import ProducerSpans
from mesh.transport import frames

_NO_TASK_OPTIONS = TaskOptions()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Message(NamedTuple):
    """A job, encoded.

    Attributes:
        job_id: Its id.
        subject: Where it is published.
        block: The encoded headers.
        body: The encoded envelope.
        is_delayed: Whether it is published to the delayed stream.
    """

    job_id: str
    subject: str
    block: bytes
    body: bytes
    is_delayed: bool


class _Arguments(msgspec.Struct):
    args: Raw
    kwargs: Raw


class MessageMaker:
    """Encodes calls by the settings of one app."""

    def __init__(self, settings: Settings, names: Names, clock: Clock) -> None:
        self._defaults = settings.job_defaults
        self._inline_bytes = settings.limits.payload_inline_bytes
        self._names = names
        self._clock = clock

    def is_too_large(self, call: Call[Any]) -> bool:
        """Whether the arguments must travel through the payload bucket."""
        return len(call.args) + len(call.kwargs) > self._inline_bytes

    def make(self, call: Call[Any], job_id: str, args_ref: PayloadRef | None = None) -> Message:
        """Encode a call.

        Args:
            call: The task and its arguments.
            job_id: The job's id.
            args_ref: Where the arguments lie, if they are too large for the message.
        """
        now = self._clock.now_ms()
        overrides = call.options
        own = call.definition.options if call.definition is not None else _NO_TASK_OPTIONS
        queue, priority = self.lane_of(call)
        due = _due_at(overrides, now)
        body = self._body(call, own, args_ref, now=now, due=due)
        if due is None:
            block = _plain_block(job_id, call.task)
            return Message(job_id, self._names.job(queue, priority, job_id), block, body, False)
        target = self._names.due(queue, priority, job_id)
        block = delayed_block(job_id, call.task, target, due)
        return Message(job_id, self._names.delayed(job_id), block, body, True)

    def make_guarded(
        self,
        call: Call[Any],
        job_id: str,
        args_ref: PayloadRef | None = None,
        claim: UniqueClaim | None = None,
    ) -> Message:
        """Encode a call that may have been enqueued before.

        The server refuses it while a job of that id is there, and the worker asks the records
        before it runs it: not even a job that ends while this one is enqueued runs twice.

        Args:
            call: The task and its arguments.
            job_id: The job's id.
            args_ref: Where the arguments lie, if they are too large for the message.
            claim: The unique key that was claimed for the job.
        """
        now = self._clock.now_ms()
        own = call.definition.options if call.definition is not None else _NO_TASK_OPTIONS
        queue, priority = self.lane_of(call)
        due = _due_at(call.options, now)
        body = self._body(call, own, args_ref, now=now, due=due, claim=claim)
        guard = [(headers.REPEAT, "1"), (headers.EXPECTED_LAST, "0")]
        if due is None:
            guard.append((headers.EXPECTED_LAST_SUBJECT, self._names.job_anywhere(job_id)))
            pairs = [(headers.MESSAGE_ID, job_id), (headers.TASK, call.task), *guard]
            subject, block = (
                self._names.job(queue, priority, job_id),
                frames.header_block(pairs),
            )
        else:
            target = self._names.due(queue, priority, job_id)
            subject = self._names.delayed(job_id)
            block = delayed_block(job_id, call.task, target, due, guard)
        return Message(job_id, subject, block, body, due is not None)

    def lane_of(self, call: Call[Any]) -> tuple[str, str]:
        """The queue and the priority of a call."""
        overrides = call.options
        own = call.definition.options if call.definition is not None else _NO_TASK_OPTIONS
        queue = overrides.queue or own.queue or self._defaults.queue
        return queue, overrides.priority or own.priority or self._defaults.priority

    def _body(
        self,
        call: Call[Any],
        own: TaskOptions,
        args_ref: PayloadRef | None,
        *,
        now: int,
        due: int | None,
        claim: UniqueClaim | None = None,
    ) -> bytes:
        overrides = call.options
        if (
            overrides is NO_OVERRIDES
            and claim is None
            and own.expires_s is None
            and own.deadline_s is None
            and args_ref is None
            and not own.tags
        ):
            plain = Envelope(call.task, Raw(call.args), Raw(call.kwargs), enqueued_at_ms=now)
            return envelope.encode(plain)
        given: dict[str, Any] = {"args": Raw(call.args), "kwargs": Raw(call.kwargs)}
        if args_ref is not None:
            given = {"args_ref": args_ref}
        return envelope.encode(
            Envelope(
                call.task,
                enqueued_at_ms=now,
                timeout_s=overrides.timeout_s,
                retry=overrides.retry,
                result_ttl_s=overrides.result_ttl_s,
                failure_ttl_s=overrides.failure_ttl_s,
                expires_at_ms=_expiry(overrides, own, now if due is None else due),
                tags=overrides.tags if overrides.tags is not None else own.tags,
                meta=overrides.meta or {},
                unique=claim,
                soft_timeout_s=overrides.soft_timeout_s,
                deadline_ms=_deadline(overrides, own, now),
                **given,
            )
        )


class TracingMaker(MessageMaker):
    """Encodes calls together with the trace context in which they are made."""

    def __init__(
        self, settings: Settings, names: Names, clock: Clock, spans: ProducerSpans
    ) -> None:
        super().__init__(settings, names, clock)
        self._spans = spans

    def make(self, call: Call[Any], job_id: str, args_ref: PayloadRef | None = None) -> Message:
        """Encode a call; see ``MessageMaker.make``."""
        return self._traced(call, super().make(call, job_id, args_ref))

    def make_guarded(
        self,
        call: Call[Any],
        job_id: str,
        args_ref: PayloadRef | None = None,
        claim: UniqueClaim | None = None,
    ) -> Message:
        """Encode a call that may have been enqueued before; see ``MessageMaker``."""
        return self._traced(call, super().make_guarded(call, job_id, args_ref, claim))

    def _traced(self, call: Call[Any], message: Message) -> Message:
        queue, _ = self.lane_of(call)
        pairs = self._spans.carried(queue, call.task, message.job_id)
        return message._replace(block=frames.extended(message.block, pairs))


def pack_arguments(call: Call[Any]) -> bytes:
    """Encode the arguments as the payload bucket holds them."""
    return msgspec.json.encode(_Arguments(Raw(call.args), Raw(call.kwargs)))


def unpack_arguments(value: bytes) -> tuple[Raw, Raw]:
    """Read what ``pack_arguments`` wrote.

    Raises:
        msgspec.DecodeError: It is not that.
    """
    found = msgspec.json.decode(value, type=_Arguments)
    return found.args, found.kwargs


def choose_id(call: Call[Any]) -> str:
    """The id the caller gave, or a new one."""
    return call.options.job_id or new_job_id()


def delayed_block(
    message_id: str, task: str, target: str, due_ms: int, extra: Sequence[tuple[str, str]] = ()
) -> bytes:
    """Encode the headers of a job that the server holds until it is due."""
    due = _EPOCH + timedelta(milliseconds=due_ms)
    return frames.header_block(
        (
            (headers.MESSAGE_ID, message_id),
            (headers.TASK, task),
            (headers.SCHEDULE, f"@at {due.isoformat(timespec='milliseconds')}"),
            (headers.SCHEDULE_TARGET, target),
            *extra,
        )
    )


def _plain_block(job_id: str, task: str) -> bytes:
    # Both names were checked for line breaks where they entered.
    return f"NATS/1.0\r\nNats-Msg-Id: {job_id}\r\nMesh-Task: {task}\r\n\r\n".encode()


def is_delayed(options: CallOptions) -> bool:
    """Whether the server holds the job for a while before it is ready to run."""
    return options.eta_ms is not None or bool(options.delay_s)


def _expiry(call: CallOptions, own: TaskOptions, ready_ms: int) -> int | None:
    """Until when the job must have started: it can only wait from when it is ready."""
    expires_s = own.expires_s if call.expires_s is None else call.expires_s
    return None if expires_s is None else ready_ms + round(expires_s * 1000)


def _deadline(call: CallOptions, own: TaskOptions, now_ms: int) -> int | None:
    """Until when the job must have ended, delays included."""
    if call.deadline_ms is not None:
        return call.deadline_ms
    deadline_s = own.deadline_s if call.deadline_s is None else call.deadline_s
    return None if deadline_s is None else now_ms + round(deadline_s * 1000)


def _due_at(options: CallOptions, now_ms: int) -> int | None:
    if options.eta_ms is not None:
        return options.eta_ms
    if options.delay_s:
        return now_ms + round(options.delay_s * 1000)
    return None
