"""Make a delivery into an attempt that can run, or say at once how it ends."""

from __future__ import annotations

import re

import msgspec
from msgspec import Raw

from mesh.client.messages import unpack_arguments
from mesh.client.records import Records
from mesh.clock import Clock
from mesh.contract import envelope, headers, records
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
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.payloads import Payloads
from mesh.worker.attempt import Attempt
from mesh.worker.failures import crash_loop, describe
from mesh.worker.outcomes import AlreadyEnded, Ended, Failed, HandBack, Lost, Outcome
from mesh.worker.recording import Recorder

_CONTENT_TYPE = headers.CONTENT_TYPE.encode()
_ATTEMPT = headers.ATTEMPT.encode()
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
        worker_id: str,
    ) -> None:
        defaults = settings.job_defaults
        self._tasks = tasks
        self._records = records
        self._payloads = payloads
        self._clock = clock
        self._worker_id = worker_id
        self._recorder = recorder
        self._names = Names(settings.namespace)
        self._bucket = self._names.payloads_bucket
        self._max_crashes = settings.worker.max_crashes
        self._grace_ms = int(settings.worker.unknown_task_grace_s * 1000)
        self._timeout_s = defaults.timeout_s
        self._retry = Retry(
            max_retries=defaults.retry_max,
            backoff=defaults.retry_backoff,
            delay_s=defaults.retry_delay_s,
            max_delay_s=defaults.retry_max_delay_s,
            jitter=defaults.retry_jitter,
        )

    def is_plain(self, attempt: Attempt) -> bool:
        """Whether the delivery itself says all there is to know: most do."""
        delivery = attempt.delivery
        return delivery.is_first and _ATTEMPT not in delivery.headers

    def read(self, attempt: Attempt) -> Outcome | None:
        """Decode a delivery; None: it can run, or ``take`` must fetch its arguments."""
        attempt.worker_id = self._worker_id
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
        is_plain = self.is_plain(attempt)
        if not is_plain:
            try:
                ended = await self._recall(attempt)
            except UnreadableRecordError as error:
                # Some other program wrote that record. It will not mend by itself, so the job
                # must not come back for ever.
                return Failed(describe(error, with_traceback=False))
            if ended is not None:
                return ended
        ended = self.read(attempt) or await self._fetch_arguments(attempt)
        if ended is not None or is_plain:
            return ended
        return await self._claim(attempt)

    async def _recall(self, attempt: Attempt) -> Outcome | None:
        """Ask the records what became of the job: the delivery count is only a hint."""
        known = frames.read_headers(attempt.delivery.headers).get(headers.ATTEMPT, "1")
        attempt.number = int(known) if _ATTEMPT_NUMBER.fullmatch(known) else 1
        try:
            check_job_id(attempt.job_id)
        except InvalidNameError:
            return None  # Said better when the delivery is read.
        terminal = await self._records.result(attempt.job_id)
        if terminal is not None:
            # A crash may have left its running record and its arguments: both go now.
            attempt.has_record = True
            self.read(attempt)
            return AlreadyEnded(terminal.error if terminal.state is State.FAILED else None)
        found = await self._records.progress(attempt.job_id)
        if found is None:
            return None
        return self._resume(attempt, *found)

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
        attempt.crashes = record.crashes
        if record.state is not State.RUNNING:
            attempt.number = record.attempt + 1
            return None
        attempt.number = max(record.attempt, 1)  # It came to no end, so it is not used up.
        if not is_elsewhere:
            return None  # This worker lives: it could not say what became of the job.
        attempt.crashes += 1
        if attempt.crashes < self._max_crashes:
            return None
        self.read(attempt)  # For the dead letter, which names the task.
        what = f"worker {record.worker} died or froze in attempt {attempt.number}"
        return Failed(crash_loop(what, attempt.crashes))

    async def _claim(self, attempt: Attempt) -> Outcome | None:
        """Write the running record before the task starts, so that a crash leaves its trace.

        Only jobs that come again are worth it: one that kills its worker at once would else
        come again for ever, for how often the server says it was delivered is only a hint.
        """
        block = frames.header_block([(headers.EXPECTED_LAST, str(attempt.revision))])
        subject = self._names.progress(attempt.job_id)
        body = self._recorder.running(attempt)
        try:
            receipt = await self._records.publisher.publish(subject, block, body)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            # Perhaps it was stored at the first try, whose answer was lost.
            found = await self._records.progress(attempt.job_id)
            if found is None or records.encode(found[0]) != body:
                return Lost()
            attempt.revision = found[1]
        else:
            attempt.revision = receipt.sequence
        attempt.has_record = True
        return None

    def _read(self, attempt: Attempt) -> Outcome | None:
        try:
            check_job_id(attempt.job_id)
            body = envelope.decode(attempt.delivery.data, _content_type(attempt))
            attempt.envelope = body
            definition = attempt.definition = self._tasks.get(body.task)
            if body.args_ref is None:
                self._decode_arguments(attempt, body.args, body.kwargs)
            else:
                self._check_bucket(body.args_ref)
        except UnknownTaskError as error:
            return self._unknown(attempt, error)
        except (MalformedJobError, InvalidNameError, ArgumentsError) as error:
            return Failed(describe(error, with_traceback=False))
        if body.expires_at_ms is not None and body.expires_at_ms <= self._clock.now_ms():
            return Ended(State.EXPIRED, "it was not started in time")
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

    async def _fetch_arguments(self, attempt: Attempt) -> Outcome | None:
        """Fetch arguments that were too large for the message."""
        ref = attempt.envelope.args_ref
        if ref is None:
            return None
        try:
            self._decode_arguments(attempt, *unpack_arguments(await self._payloads.get(ref)))
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
