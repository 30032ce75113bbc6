"""Make a delivery into an attempt that can run, or say at once how it ends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

import msgspec
from msgspec import Raw

from mesh.client.messages import unpack_arguments
from mesh.client.records import Records
from mesh.clock import Clock
from mesh.contract import envelope, headers
from mesh.contract.envelope import PayloadRef, Retry
from mesh.contract.lifecycle import State
from mesh.contract.records import ProgressRecord
from mesh.contract.subjects import Names
from mesh.errors import (
    ArgumentsError,
    InvalidNameError,
    MalformedJobError,
    PayloadMissingError,
    UnknownTaskError,
    UnreadableRecordError,
)
from mesh.identifiers import check_job_id
from mesh.settings.model import Settings
from mesh.tasks.registry import Registry
from mesh.telemetry.tallies import WorkerMetrics
from mesh.transport import frames
from mesh.transport.payloads import Payloads
from mesh.worker.attempt import Attempt
from mesh.worker.failures import crash_loop, describe
from mesh.worker.fence import Fence
from mesh.worker.joblog import JobLog
from mesh.worker.keys import KeyCheck
from mesh.worker.limits import limits_of, when_late
from mesh.worker.outcomes import AlreadyEnded, Failed, HandBack, Lost, Outcome
from mesh.worker.recording import Recorder
from mesh.worker.turns import Turns

_CONTENT_TYPE = headers.CONTENT_TYPE.encode()
_ATTEMPT = headers.ATTEMPT.encode()
_SOURCE = headers.SOURCE.encode()
_REPEAT = headers.REPEAT.encode()
_ATTEMPT_NUMBER = re.compile(r"[1-9][0-9]{0,8}")
_LONGEST_HAND_BACK_S = 10.0
_SHORTEST_HAND_BACK_S = 0.5


class Intake:
    """Reads deliveries for one worker."""

    def __init__(
        self,
        *,
        tasks: Registry,
        settings: Settings,
        records: Records,
        payloads: Payloads,
        clock: Clock,
        recorder: Recorder,
        fence: Fence,
        metrics: WorkerMetrics,
        keys: KeyCheck,
        turns: Turns,
        new_log: Callable[[], JobLog],
        worker_id: str,
    ) -> None:
        defaults = settings.job_defaults
        self._tasks = tasks
        self._records = records
        self._payloads = payloads
        self._clock = clock
        self._worker_id = worker_id
        self._recorder = recorder
        self._fence = fence
        self._keys = keys
        self._turns = turns
        self._metrics = metrics
        self._loop = asyncio.get_running_loop()
        self._bucket = Names(settings.namespace).payloads_bucket
        self._max_crashes = settings.worker.max_crashes
        self._grace_ms = int(settings.worker.unknown_task_grace_s * 1000)
        self._timeout_s = defaults.timeout_s
        self._new_log = new_log
        self._retry = Retry(
            max_retries=defaults.retry_max,
            backoff=defaults.retry_backoff,
            delay_s=defaults.retry_delay_s,
            max_delay_s=defaults.retry_max_delay_s,
            jitter=defaults.retry_jitter,
        )

    def is_plain(self, attempt: Attempt) -> bool:
        """Whether the delivery itself says all there is to know: most do.

        One that was held until it was due does not: it may be handed over twice.
        """
        delivery = attempt.delivery
        block = delivery.headers
        return (
            delivery.is_first
            and _ATTEMPT not in block
            and _SOURCE not in block
            and _REPEAT not in block
        )

    def read(self, attempt: Attempt) -> Outcome | None:
        """Decode a delivery; None: it can run, or ``take`` must fetch its arguments."""
        attempt.worker_id = self._worker_id
        attempt.new_log = self._new_log
        try:
            return self._read(attempt)
        except Exception as error:
            # What cannot be read now cannot be read next time: it must not come back for ever.
            return Failed(describe(error))

    async def take(self, attempt: Attempt) -> Outcome | None:
        """Read a delivery with what the records and the payload bucket know of it.

        Returns:
            None if it can run, else how it ends without running.

        Raises:
            BrokerError: A record or the arguments could not be fetched.
        """
        try:
            return await self._take(attempt)
        except UnreadableRecordError as error:
            # Some other program wrote that record. It will not mend by itself, so the job must
            # not come back for ever.
            return Failed(describe(error, with_traceback=False))

    async def _take(self, attempt: Attempt) -> Outcome | None:
        is_read = hasattr(attempt, "envelope")
        if not is_read and await self._is_claimed_at_once(attempt):
            return await self._ended(attempt)
        must_claim = not is_read or attempt.is_exclusive or attempt.is_of_schedule
        if must_claim:
            ended = await self._recall(attempt)
            if ended is not None:
                return ended
        ended = None if is_read else self.read(attempt)
        ended = ended or await self._complete_arguments(attempt)
        if ended is not None or not must_claim:
            return ended
        return (
            await self._keys.check(attempt)
            or await self._turns.check(attempt)
            or await self._claim(attempt)
        )

    async def _is_claimed_at_once(self, attempt: Attempt) -> bool:
        """Claim a job that was held until it was due, without a question; say whether it was.

        It is punctual so. That it was not there before is nearly certain, and else the claim is
        refused, or its terminal record is found right after.
        """
        delivery = attempt.delivery
        block = delivery.headers
        if not delivery.is_first or _SOURCE not in block or _ATTEMPT in block:
            return False
        if _REPEAT in block or self.read(attempt) is not None:
            return False
        if not attempt.is_read or attempt.is_exclusive:
            return False
        claimed_s = self._loop.time()
        if not await self._fence.write(attempt, self._recorder.running(attempt)):
            return False
        attempt.has_record = True
        attempt.confirmed_s = claimed_s
        return True

    async def _recall(self, attempt: Attempt) -> Outcome | None:
        """Ask the records what became of the job: the delivery count is only a hint."""
        known = frames.read_headers(attempt.delivery.headers).get(headers.ATTEMPT, "1")
        attempt.number = int(known) if _ATTEMPT_NUMBER.fullmatch(known) else 1
        try:
            check_job_id(attempt.job_id)
        except InvalidNameError:
            return None  # Said better when the delivery is read.
        ended = await self._ended(attempt)
        if ended is not None:
            return ended
        found = await self._records.progress(attempt.job_id)
        if found is None:
            return None
        return self._resume(attempt, *found)

    async def _ended(self, attempt: Attempt) -> AlreadyEnded | None:
        terminal = await self._records.result(attempt.job_id)
        if terminal is None:
            return None
        # A crash may have left its running record and its arguments: both go now.
        attempt.has_record = True
        self.read(attempt)
        return AlreadyEnded(terminal.error if terminal.state is State.FAILED else None)

    def _resume(
        self, attempt: Attempt, record: ProgressRecord, revision: int
    ) -> Outcome | None:
        left_ms = record.lease_until_ms - self._clock.now_ms()
        is_elsewhere = record.state is State.RUNNING and record.worker != self._worker_id
        if is_elsewhere and left_ms > 0:
            return HandBack(
                max(left_ms / 1000, _SHORTEST_HAND_BACK_S), "another worker has its lease"
            )
        # Only now: a record that is another's must not be written to when this is handed back.
        attempt.has_record, attempt.revision = True, revision
        attempt.crashes, attempt.last_error = record.crashes, record.error
        if record.state is not State.RUNNING:
            attempt.number = record.attempt + 1
            return None
        attempt.number = max(record.attempt, 1)  # It came to no end, so it is not used up.
        if not is_elsewhere:
            return None  # This worker lives: it could not say what became of the job.
        attempt.crashes += 1
        self._metrics.taken_over += 1
        if attempt.crashes < self._max_crashes:
            return None
        self.read(attempt)  # For the dead letter, which names the task.
        what = f"worker {record.worker} died or froze in attempt {attempt.number}"
        return Failed(crash_loop(what, attempt.crashes))

    async def _claim(self, attempt: Attempt) -> Outcome | None:
        """Write the running record before the task starts, so that a crash leaves its trace.

        Only exclusive jobs and those that come again are worth it: one that kills its worker at
        once would else come again for ever, for how often the server says it was delivered is
        only a hint.
        """
        claimed_s = self._loop.time()
        if not await self._fence.write(attempt, self._recorder.running(attempt)):
            return Lost()
        attempt.has_record = True
        attempt.confirmed_s = claimed_s
        # Whoever else had it cannot end it any more, but may have done so just before.
        return await self._ended(attempt)

    def _read(self, attempt: Attempt) -> Outcome | None:
        try:
            check_job_id(attempt.job_id)
            body = envelope.decode(attempt.delivery.data, _content_type(attempt))
            attempt.envelope = body
            definition = attempt.definition = self._tasks.get(body.task)
            if body.args_ref is not None:
                self._check_bucket(body.args_ref)
            elif not (definition.options.exclusive or body.schedule):
                # For those, the claim comes first, in `take`.
                self._decode_arguments(attempt, body.args, body.kwargs)
        except UnknownTaskError as error:
            return self._unknown(attempt, error)
        except (MalformedJobError, InvalidNameError, ArgumentsError) as error:
            return Failed(describe(error, with_traceback=False))
        attempt.limits = limits_of(attempt)
        if attempt.limits is not None:
            late = when_late(attempt, self._clock.now_ms())
            if late is not None:
                return late
        attempt.retry = body.retry or definition.options.retry or self._retry
        return None

    def _check_bucket(self, ref: PayloadRef) -> None:
        """Refuse arguments that lie elsewhere: they are removed when the job has ended."""
        if ref.bucket != self._bucket:
            why = f"arguments lie in bucket {self._bucket!r}, never in {ref.bucket!r}"
            raise MalformedJobError(reason="bad-shape", why=why)

    def _unknown(self, attempt: Attempt, error: UnknownTaskError) -> Outcome:
        """Give a job of an unknown task to others for a while: a newer worker may know it."""
        waited_ms = self._clock.now_ms() - attempt.delivery.stored_at_ms
        if waited_ms >= self._grace_ms:
            return Failed(describe(error, with_traceback=False))
        delay_s = _SHORTEST_HAND_BACK_S * 2.0 ** min(attempt.delivery.deliveries - 1, 10)
        left_s = (self._grace_ms - waited_ms) / 1000
        return HandBack(min(delay_s, _LONGEST_HAND_BACK_S, left_s), str(error))

    async def _complete_arguments(self, attempt: Attempt) -> Outcome | None:
        """Decode the arguments if that is still to be done; fetch those that are large."""
        if attempt.is_read:
            return None
        body = attempt.envelope
        try:
            if body.args_ref is None:
                args, kwargs = body.args, body.kwargs
            else:
                args, kwargs = unpack_arguments(await self._payloads.get(body.args_ref))
            self._decode_arguments(attempt, args, kwargs)
        except (ArgumentsError, PayloadMissingError, msgspec.DecodeError) as error:
            return Failed(describe(error, with_traceback=False))
        return None

    def _decode_arguments(self, attempt: Attempt, args: Raw, kwargs: Raw) -> None:
        attempt.raw_args = args
        attempt.raw_kwargs = kwargs
        attempt.args, attempt.kwargs = attempt.definition.signature.decode(args, kwargs)

    def timeout_of(self, attempt: Attempt) -> float:
        """How long the attempt may run, in seconds."""
        asked = attempt.envelope.timeout_s
        if asked is None:
            asked = attempt.definition.options.timeout_s
        return self._timeout_s if asked is None else asked


def _content_type(attempt: Attempt) -> str:
    block = attempt.delivery.headers
    if _CONTENT_TYPE not in block:
        return headers.JSON
    return frames.read_headers(block).get(headers.CONTENT_TYPE, headers.JSON)
