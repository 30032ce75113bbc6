"""Carry out an outcome: record first, acknowledge last; talks to the broker, never decides.

Whatever happens between two steps, a crash included, the job is either found again by a
redelivery or has its terminal record already.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable
from typing import assert_never

import anyio
from msgspec import Raw

from mesh.client.client import Client
from mesh.clock import Clock
from mesh.contract import events, headers
from mesh.contract.events import Event, EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.errors import BrokerError, PayloadTooLargeError
from mesh.telemetry.metrics import TaskTally, WorkerMetrics
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.puller import ACK, NAK, nak_after
from mesh.worker.attempt import Attempt
from mesh.worker.failures import describe
from mesh.worker.outcomes import (
    AlreadyEnded,
    Crashed,
    Ended,
    Failed,
    HandBack,
    Lost,
    Outcome,
    Retry,
    Snoozed,
    Succeeded,
)
from mesh.worker.recording import Recorder, record_id

log = logging.getLogger("mesh.worker")

LONGEST_NAK_S = 5.0
"""Longer waits go through the delayed stream: a nak'd job counts against the lane's limit."""

_TRY_AGAIN_S = 1.0
_RECORD_ROOM = 8192
_RESULTS = {Retry: "retry", Crashed: "crash", Snoozed: "snooze"}


class Settlement:
    """Settles the attempts of one worker, each exactly once.

    Args:
        client: The worker's connection.
        recorder: Encodes the records.
        metrics: What is counted.
        clock: The time.
        on_settled: Called with each attempt when nothing is left to do for it.
    """

    def __init__(
        self,
        client: Client,
        recorder: Recorder,
        metrics: WorkerMetrics,
        clock: Clock,
        on_settled: Callable[[Attempt], None],
    ) -> None:
        self._client = client
        self._names = client.names
        self._link = client.connection.link
        self._publisher = client.publisher
        self._recorder = recorder
        self._metrics = metrics
        self._clock = clock
        self._on_settled = on_settled
        self._inline_bytes = client.settings.limits.payload_inline_bytes
        self._slow: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Carry out an outcome; returns at once, ``on_settled`` follows."""
        if (
            type(outcome) is Succeeded
            and not attempt.has_record
            and attempt.envelope.args_ref is None
            and len(outcome.value) <= self._inline_bytes
        ):
            self._store_success(attempt, outcome)
        else:
            self._settle_in_steps(attempt, outcome)

    def _store_success(self, attempt: Attempt, outcome: Succeeded) -> None:
        """Settle the common case without a task of its own."""
        record = self._recorder.success(attempt, outcome.value)
        block = self._recorder.result_block(attempt, State.SUCCEEDED)
        subject = self._names.results_prefix + attempt.job_id
        try:
            self._publisher.post(subject, block, record, self._on_result, (attempt, outcome))
        except PayloadTooLargeError:  # The server accepts less than the inline limit.
            self._settle_in_steps(attempt, outcome)

    async def close(self, limit_s: float) -> None:
        """Wait for what is being settled; after the limit leave it to redelivery."""
        self._is_closing = True
        with anyio.move_on_after(limit_s):
            while self._slow:
                await asyncio.wait(self._slow)
        for task in self._slow:
            task.cancel()

    def _on_result(
        self, context: tuple[Attempt, Succeeded], fault: BrokerError | None, _ack: bytes
    ) -> None:
        attempt, outcome = context
        if fault is not None and not _is_fenced(fault):
            self._settle_in_steps(attempt, outcome)
            return
        if fault is not None:
            self._metrics.fenced += 1
        else:
            self._count_end(attempt, State.SUCCEEDED, "ok")
        # Ack last: a crash here must repeat the job, not lose it.
        self._link.post(frames.signal(attempt.delivery.reply, ACK))
        self._on_settled(attempt)

    def _settle_in_steps(self, attempt: Attempt, outcome: Outcome) -> None:
        task = asyncio.get_running_loop().create_task(self._persist(attempt, outcome))
        self._slow.add(task)
        task.add_done_callback(self._slow.discard)

    async def _persist(self, attempt: Attempt, outcome: Outcome) -> None:
        """Try until it is done: an unreachable server must not turn into a lost outcome."""
        try:
            while (problem := await self._try(attempt, outcome)) is not None:
                if isinstance(problem, PayloadTooLargeError):
                    outcome = Failed(describe(problem, with_traceback=False))
                    continue
                log.warning(
                    "an outcome could not be stored yet",
                    extra={"job": attempt.job_id, "error": str(problem)},
                )
                if self._is_closing:
                    return
                await anyio.sleep(_TRY_AGAIN_S)
        finally:
            self._on_settled(attempt)

    async def _try(self, attempt: Attempt, outcome: Outcome) -> BrokerError | None:
        try:
            await self._carry_out(attempt, outcome)
        except BrokerError as error:
            return error
        return None

    async def _carry_out(self, attempt: Attempt, outcome: Outcome) -> None:
        match outcome:
            case Succeeded(value):
                await self._succeed(attempt, value)
            case Failed(error):
                await self._fail(attempt, error)
            case Retry() | Crashed() | Snoozed():
                await self._put_off(attempt, outcome)
            case HandBack(delay_s, _):
                await self._hand_back(attempt, delay_s)
            case Ended(state, reason):
                record = self._recorder.end(attempt, state, reason=reason)
                if await self._finish(attempt, state, record):
                    self._tally(attempt).end(state)
                await self._dismiss(attempt)
            case AlreadyEnded(failure):
                if failure is not None:
                    await self._bury(attempt, failure)
                await self._dismiss(attempt, keep_arguments=failure is not None)
            case Lost():
                pass
            case _:
                assert_never(outcome)

    async def _succeed(self, attempt: Attempt, value: Raw) -> None:
        if len(value) > min(self._inline_bytes, self._publisher.most_bytes - _RECORD_ROOM):
            name = f"{attempt.job_id}.{secrets.token_hex(4)}"
            bucket = self._names.outputs_bucket
            ref = await self._client.payloads.put(bucket, name, bytes(value))
            record = self._recorder.end(attempt, State.SUCCEEDED, result_ref=ref)
        else:
            record = self._recorder.success(attempt, value)
        if await self._finish(attempt, State.SUCCEEDED, record):
            self._count_end(attempt, State.SUCCEEDED, "ok")
        await self._dismiss(attempt)

    async def _fail(self, attempt: Attempt, error: ErrorInfo) -> None:
        record = self._recorder.end(attempt, State.FAILED, error=error)
        if await self._finish(attempt, State.FAILED, record):
            self._count_end(attempt, State.FAILED, "dead")
        await self._bury(attempt, error)
        log.warning(
            "a job failed for good",
            extra={"job": attempt.job_id, "task": attempt.task_name, "error": error.type},
        )
        await self._dismiss(attempt, keep_arguments=True)

    async def _finish(self, attempt: Attempt, state: State, record: bytes) -> bool:
        """Write the terminal record if there is none; say whether this one is it."""
        subject = self._names.result(record_id(attempt))
        block = self._recorder.result_block(attempt, state)
        try:
            await self._publisher.publish(subject, block, record)
        except ApiError as fault:
            if not _is_fenced(fault):
                raise
            if state is not State.CANCELLED:  # Its record is written before the signal is sent.
                self._metrics.fenced += 1
            return False
        return True

    async def _bury(self, attempt: Attempt, error: ErrorInfo) -> None:
        """Keep a dead letter; written once, however often it is tried."""
        job_id = record_id(attempt)
        body = attempt.delivery.data
        block = self._recorder.dead_letter(attempt, job_id, error)
        if len(block) + len(body) > self._publisher.most_bytes:
            bucket = self._names.payloads_bucket
            ref = await self._client.payloads.put(bucket, f"{job_id}.dead", body)
            block, body = self._recorder.dead_letter(attempt, job_id, error, ref), b""
        subject = self._names.dead(attempt.lane.queue, job_id)
        try:
            await self._publisher.publish(subject, block, body)
        except ApiError as fault:
            if not _is_fenced(fault):
                raise
        self._announce(EventKind.DEAD, attempt, f"{error.type}: {error.message}"[:500])

    async def _put_off(self, attempt: Attempt, outcome: Retry | Crashed | Snoozed) -> None:
        """Have the job run again after a wait; only a failure has used up its attempt."""
        spent = attempt.number if isinstance(outcome, Retry) else attempt.number - 1
        error = None if isinstance(outcome, Snoozed) else outcome.error
        delay_s = outcome.delay_s
        record = self._recorder.waiting(attempt, spent, error, delay_s)
        if not await self._write_progress(attempt, record):
            return  # Another worker has the job: say nothing more about it.
        self._tally(attempt).ran(_RESULTS[type(outcome)], *_times(attempt))
        if error is not None:
            self._announce(EventKind.RETRYING, attempt, f"{error.type}: {error.message}"[:500])
        if delay_s > LONGEST_NAK_S:
            await self._reschedule(attempt, spent + 1, delay_s)
        answer = ACK if delay_s > LONGEST_NAK_S else nak_after(delay_s)
        self._link.post(frames.signal(attempt.delivery.reply, answer))

    async def _reschedule(self, attempt: Attempt, number: int, delay_s: float) -> None:
        """Have the server hold the job until its next attempt."""
        block = self._recorder.delayed_block(attempt, number, delay_s)
        subject = self._names.delayed(attempt.job_id)
        await self._publisher.publish(subject, block, attempt.delivery.data)

    async def _hand_back(self, attempt: Attempt, delay_s: float) -> None:
        if attempt.has_record:
            # The attempt was not spent: the next one has the same number.
            spent = attempt.number - 1
            record = self._recorder.waiting(attempt, spent, None, delay_s)
            if not await self._write_progress(attempt, record):
                return
        answer = nak_after(delay_s) if delay_s else NAK
        self._link.post(frames.signal(attempt.delivery.reply, answer))

    async def _write_progress(self, attempt: Attempt, record: bytes) -> bool:
        """Replace the running record if it is still this attempt's; say whether it was."""
        if attempt.writing is not None:
            await attempt.writing
        block = frames.header_block([(headers.EXPECTED_LAST, str(attempt.revision))])
        try:
            receipt = await self._publisher.publish(
                self._names.progress(record_id(attempt)), block, record
            )
        except ApiError as fault:
            if not _is_fenced(fault):
                raise
            self._metrics.fenced += 1
            return False
        attempt.revision = receipt.sequence
        return True

    async def _dismiss(self, attempt: Attempt, *, keep_arguments: bool = False) -> None:
        """Clear up after a job that has its terminal record, then acknowledge."""
        if attempt.writing is not None:
            await attempt.writing
        if attempt.has_record:
            await self._client.records.forget_progress(record_id(attempt))
        envelope = getattr(attempt, "envelope", None)
        if envelope is not None and envelope.args_ref is not None and not keep_arguments:
            await self._client.payloads.remove(envelope.args_ref)
        self._link.post(frames.signal(attempt.delivery.reply, ACK))

    def _tally(self, attempt: Attempt) -> TaskTally:
        # A foreign producer may name any task: only a known one may become a label.
        task = attempt.envelope.task if hasattr(attempt, "definition") else "unknown"
        return self._metrics.of(attempt.lane.queue, task)

    def _count_end(self, attempt: Attempt, state: State, result: str) -> None:
        tally = self._tally(attempt)
        tally.end(state)
        if attempt.started_ms:  # A job that could not be read had no attempt.
            tally.ran(result, *_times(attempt))

    def _announce(self, kind: EventKind, attempt: Attempt, message: str) -> None:
        if not self._client.settings.events.enabled:
            return
        lane = attempt.lane
        event = Event(
            kind,
            record_id(attempt),
            self._clock.now_ms(),
            attempt.task_name,
            lane.queue,
            lane.priority,
            attempt.number,
            "",
            message,
        )
        subject = self._names.event(kind, record_id(attempt))
        self._link.post(frames.signal(subject.encode(), events.encode(event)))


def _times(attempt: Attempt) -> tuple[int, int, int]:
    return attempt.enqueued_at_ms, attempt.started_ms, attempt.finished_ms


def _is_fenced(fault: BrokerError) -> bool:
    return isinstance(fault, ApiError) and fault.err_code == WRONG_LAST_SEQUENCE
