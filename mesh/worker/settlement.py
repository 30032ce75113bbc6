"""Carry out an outcome: record first, acknowledge last; talks to the broker, never decides.

Whatever happens between two steps, a crash included, the job is either found again by a
redelivery or has its terminal record already.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import assert_never

import anyio
from msgspec import Raw

from mesh.client.client import Client
from mesh.contract import headers
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo
from mesh.errors import BrokerError, PayloadTooLargeError
from mesh.telemetry.metrics import TaskTally, WorkerMetrics
from mesh.telemetry.redaction import Redactor
from mesh.transport import frames
from mesh.transport.puller import ACK, NAK, nak_after
from mesh.worker.attempt import Attempt
from mesh.worker.ending import Endings
from mesh.worker.failures import describe
from mesh.worker.fence import Fence
from mesh.worker.keys import release_key
from mesh.worker.news import News
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
_SOURCE = headers.SOURCE.encode()
_RESULTS = {Retry: "retry", Crashed: "crash", Snoozed: "snooze"}


class Settlement:
    """Settles the attempts of one worker, each exactly once.

    Args:
        client: The worker's connection.
        recorder: Encodes the records.
        fence: Writes running records.
        endings: Writes terminal records.
        metrics: What is counted.
        news: Tells the ledger.
        redactor: Leaves secrets out of failures, before anybody is told of them.
        on_settled: Called with each attempt when nothing is left to do for it.
    """

    def __init__(
        self,
        client: Client,
        *,
        recorder: Recorder,
        fence: Fence,
        endings: Endings,
        metrics: WorkerMetrics,
        news: News,
        redactor: Redactor,
        on_settled: Callable[[Attempt], None],
    ) -> None:
        self._client = client
        self._names = client.names
        self._link = client.connection.link
        self._publisher = client.publisher
        self._recorder = recorder
        self._fence = fence
        self._endings = endings
        self._metrics = metrics
        self._news = news
        self._redactor = redactor
        self._on_settled = on_settled
        self._inline_bytes = client.settings.limits.payload_inline_bytes
        self._slow: set[asyncio.Task[None]] = set()
        self._is_closing = False

    def settle(self, attempt: Attempt, outcome: Outcome) -> None:
        """Carry out an outcome; returns at once, ``on_settled`` follows."""
        attempt.is_settling = True  # Before has_record is looked at: see LeaseKeeper.
        if (
            type(outcome) is Succeeded
            and not attempt.has_record
            and self._endings.is_fresh(attempt)
            and attempt.envelope.args_ref is None
            and len(outcome.value) <= self._inline_bytes
        ):
            self._store_success(attempt, outcome)
        else:
            self._settle_in_steps(attempt, outcome)

    def _store_success(self, attempt: Attempt, outcome: Succeeded) -> None:
        """Settle the common case without a task of its own."""
        record = self._recorder.success(attempt, outcome.value)
        block = self._endings.head(attempt, State.SUCCEEDED)
        subject = self._names.results_prefix + attempt.job_id
        try:
            self._publisher.post(
                subject, block, record, self._on_result, (attempt, outcome), once=True
            )
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
        if fault is not None:  # Even a refusal must be looked into: it may have been stored.
            self._settle_in_steps(attempt, outcome)
            return
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
                await self._fail(attempt, self._redactor.error(error))
            case Retry() | Crashed() | Snoozed():
                await self._put_off(attempt, outcome)
            case HandBack(delay_s, _):
                await self._hand_back(attempt, delay_s)
            case Ended(state, reason):
                await self._end(attempt, state, reason)
            case AlreadyEnded(failure):
                if failure is not None:
                    await self._bury(attempt, failure)
                await self._dismiss(attempt, keep_arguments=failure is not None)
            case Lost():
                pass
            case _:
                assert_never(outcome)

    async def _succeed(self, attempt: Attempt, value: Raw) -> None:
        ref = None
        if len(value) > min(self._inline_bytes, self._publisher.most_bytes - _RECORD_ROOM):
            # The same name at each try, so that a repeat leaves nothing behind.
            name = f"{record_id(attempt)}.{self._recorder.worker_id}.{attempt.number}"
            bucket = self._names.outputs_bucket
            ref = await self._client.payloads.put(bucket, name, bytes(value))
            record = self._recorder.end(attempt, State.SUCCEEDED, result_ref=ref)
        else:
            record = self._recorder.success(attempt, value)
        other = await self._endings.finish(attempt, State.SUCCEEDED, record)
        if other is not None:
            if ref is not None and isinstance(other, AlreadyEnded):
                # Another's record stands. Of one that was lost nobody knows: an earlier try may
                # have been stored, and refer to this very object.
                await self._client.payloads.remove(ref)
            await self._carry_out(attempt, other)
            return
        self._count_end(attempt, State.SUCCEEDED, "ok")
        await self._dismiss(attempt)

    async def _fail(self, attempt: Attempt, error: ErrorInfo) -> None:
        record = self._recorder.end(attempt, State.FAILED, error=error)
        other = await self._endings.finish(attempt, State.FAILED, record)
        if other is not None:
            await self._carry_out(attempt, other)
            return
        self._count_end(attempt, State.FAILED, "dead")
        await self._bury(attempt, error)
        log.warning(
            "a job failed for good",
            extra={"job": attempt.job_id, "task": attempt.task_name, "error": error.type},
        )
        await self._dismiss(attempt, keep_arguments=True)

    async def _end(self, attempt: Attempt, state: State, reason: str) -> None:
        record = self._recorder.end(attempt, state, reason=reason)
        other = await self._endings.finish(attempt, state, record)
        if other is not None:
            await self._carry_out(attempt, other)
            return
        self._tally(attempt).end(state)
        await self._dismiss(attempt)

    async def _bury(self, attempt: Attempt, error: ErrorInfo) -> None:
        await self._endings.bury(attempt, error)
        self._news.announce(EventKind.DEAD, attempt, f"{error.type}: {error.message}"[:500])

    async def _put_off(self, attempt: Attempt, outcome: Retry | Crashed | Snoozed) -> None:
        """Have the job run again after a wait; only a failure has used up its attempt."""
        spent = attempt.number if isinstance(outcome, Retry) else attempt.number - 1
        error = None
        if not isinstance(outcome, Snoozed):
            error = self._redactor.error(outcome.error)
        delay_s = outcome.delay_s
        record = self._recorder.waiting(attempt, spent, error, delay_s)
        if not await self._write_progress(attempt, record):
            return  # Another worker has the job: say nothing more about it.
        self._tally(attempt).ran(_RESULTS[type(outcome)], *_times(attempt))
        if error is not None:
            self._news.announce(
                EventKind.RETRYING, attempt, f"{error.type}: {error.message}"[:500]
            )
        if delay_s > LONGEST_NAK_S:
            await self._reschedule(attempt, spent + 1, delay_s)
        if await self._client.records.is_over(record_id(attempt)):
            # Cancelled meanwhile: whoever did so may have cleared up before this was written.
            await self._client.records.clear(record_id(attempt))
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
        elif not self._endings.is_fresh(attempt):
            return  # It may be another's already: the server gives it out again by itself.
        answer = nak_after(delay_s) if delay_s else NAK
        self._link.post(frames.signal(attempt.delivery.reply, answer))

    async def _write_progress(self, attempt: Attempt, record: bytes) -> bool:
        """Replace the running record if it is still this attempt's; say whether it was."""
        await attempt.written()
        if attempt.stop_reason != "lost" and await self._fence.write(attempt, record):
            return True
        self._metrics.fenced += 1
        return False

    async def _dismiss(self, attempt: Attempt, *, keep_arguments: bool = False) -> None:
        """Clear up after a job that has its terminal record, then acknowledge."""
        await attempt.written()
        key = record_id(attempt)
        if attempt.has_record:
            await self._client.records.forget_progress(key)
        if _SOURCE in attempt.delivery.headers and key == attempt.job_id:
            await self._client.records.forget_due(key)
        envelope = getattr(attempt, "envelope", None)
        if envelope is not None and envelope.args_ref is not None and not keep_arguments:
            await self._client.payloads.remove(envelope.args_ref)
        self._link.post(frames.signal(attempt.delivery.reply, ACK))
        if attempt.key_revision:
            await release_key(self._client.keys, attempt)

    def _tally(self, attempt: Attempt) -> TaskTally:
        # A foreign producer may name any task: only a known one may become a label.
        task = attempt.envelope.task if hasattr(attempt, "definition") else "unknown"
        return self._metrics.of(attempt.lane.queue, task)

    def _count_end(self, attempt: Attempt, state: State, result: str) -> None:
        tally = self._tally(attempt)
        tally.end(state)
        if attempt.started_ms:  # A job that could not be read had no attempt.
            tally.ran(result, *_times(attempt))


def _times(attempt: Attempt) -> tuple[int, int, int]:
    return attempt.enqueued_at_ms, attempt.started_ms, attempt.finished_ms
