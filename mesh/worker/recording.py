"""What to write about an attempt: records, headers, dead letters as bytes; writes nothing."""

from __future__ import annotations

from msgspec import Raw
from msgspec.structs import replace

from mesh.client.messages import delayed_block
from mesh.clock import Clock
from mesh.contract import headers, records
from mesh.contract.envelope import PayloadRef
from mesh.contract.lifecycle import State
from mesh.contract.records import DeadLetter, ErrorInfo, ProgressRecord, ResultRecord
from mesh.contract.subjects import Names
from mesh.errors import InvalidNameError
from mesh.identifiers import check_job_id
from mesh.settings.model import Settings
from mesh.topology import longest_ttl_s
from mesh.transport import frames
from mesh.worker.attempt import Attempt

_NULL = Raw(b"null")
# The server takes 65,535 bytes of headers in all.
_LONGEST_DEAD_HEADER = 60_000


class Recorder:
    """Encodes the records of one worker's attempts.

    Attributes:
        worker_id: The worker, as its records name it.
    """

    def __init__(self, settings: Settings, worker_id: str, clock: Clock) -> None:
        defaults = settings.job_defaults
        self._names = Names(settings.namespace)
        self.worker_id = worker_id
        self._clock = clock
        self._result_ttl_s = defaults.result_ttl_s
        self._failure_ttl_s = defaults.failure_ttl_s
        self._longest_s = longest_ttl_s(settings)
        self._lease_ms = int(settings.worker.ack_wait_s * 1000)
        self._blocks: dict[tuple[str, State, float], bytes] = {}

    def success(self, attempt: Attempt, value: Raw) -> bytes:
        """Encode the terminal record of an attempt that returned."""
        lane = attempt.lane
        return records.encode(
            ResultRecord(
                State.SUCCEEDED,
                attempt.envelope.task,
                lane.queue,
                lane.priority,
                value,
                None,
                attempt.number,
                self.worker_id,
                attempt.enqueued_at_ms,
                attempt.started_ms,
                attempt.finished_ms,
            )
        )

    def end(
        self,
        attempt: Attempt,
        state: State,
        *,
        error: ErrorInfo | None = None,
        result_ref: PayloadRef | None = None,
        reason: str = "",
    ) -> bytes:
        """Encode the terminal record of an attempt that ended in any other way."""
        return records.encode(
            ResultRecord(
                state,
                attempt.task_name,
                attempt.lane.queue,
                attempt.lane.priority,
                _NULL,
                error,
                attempt.number,
                self.worker_id,
                attempt.enqueued_at_ms,
                attempt.started_ms,
                attempt.finished_ms or self._clock.now_ms(),
                result_ref,
                reason,
            )
        )

    def result_block(self, attempt: Attempt, state: State) -> bytes:
        """Encode the headers of a terminal record: create-only, its state, its time to live."""
        ttl_s = self._ttl_s(attempt, state)
        key = (attempt.task_name, state, ttl_s)
        block = self._blocks.get(key)
        if block is None:
            pairs = [(headers.EXPECTED_LAST, "0"), (headers.STATE, str(state))]
            if attempt.task_name.isprintable():
                pairs.append((headers.TASK, attempt.task_name))
            if ttl_s < self._longest_s:
                pairs.append((headers.TTL, f"{max(1, int(ttl_s))}s"))
            block = frames.header_block(pairs)
            if len(self._blocks) > 1000:  # Foreign producers may send any task name and TTL.
                self._blocks.clear()
            self._blocks[key] = block
        return block

    def _ttl_s(self, attempt: Attempt, state: State) -> float:
        envelope = getattr(attempt, "envelope", None)
        options = attempt.definition.options if hasattr(attempt, "definition") else None
        if state is State.SUCCEEDED:
            asked = envelope.result_ttl_s if envelope else None
            if asked is None and options is not None:
                asked = options.result_ttl_s
            return self._result_ttl_s if asked is None else asked
        asked = envelope.failure_ttl_s if envelope else None
        if asked is None and options is not None:
            asked = options.failure_ttl_s
        return self._failure_ttl_s if asked is None else asked

    def running(self, attempt: Attempt) -> bytes:
        """Encode the running record: the attempt's lease and progress."""
        progress = attempt.progress
        now_ms = self._clock.now_ms()
        return records.encode(
            ProgressRecord(
                State.RUNNING,
                attempt.task_name,
                attempt.lane.queue,
                attempt.lane.priority,
                attempt.number,
                self.worker_id,
                attempt.started_ms or now_ms,
                now_ms + self._lease_ms,
                progress.current if progress else None,
                progress.total if progress else None,
                progress.message if progress else "",
                crashes=attempt.crashes,
            )
        )

    def waiting(
        self, attempt: Attempt, spent: int, error: ErrorInfo | None, delay_s: float
    ) -> bytes:
        """Encode the running record of a job that waits for its next attempt.

        Args:
            attempt: The attempt that ended.
            spent: How many attempts the job has used up.
            error: Why the last one failed.
            delay_s: How long it waits.
        """
        return records.encode(
            ProgressRecord(
                State.RETRYING,
                attempt.task_name,
                attempt.lane.queue,
                attempt.lane.priority,
                spent,
                self.worker_id,
                attempt.started_ms,
                error=error,
                next_attempt_at_ms=self._clock.now_ms() + int(delay_s * 1000),
                crashes=attempt.crashes,
            )
        )

    def delayed_block(self, attempt: Attempt, number: int, delay_s: float) -> bytes:
        """Encode the headers of a job that the server holds until an attempt is due.

        Its message id makes a repeat harmless. An attempt that was put off must not pass for a
        repeat when it is put off again, so the revision of its running record tells them apart.
        """
        lane = attempt.lane
        due = self._names.due(lane.queue, lane.priority, attempt.job_id)
        due_ms = self._clock.now_ms() + int(delay_s * 1000)
        known = frames.read_headers(attempt.delivery.headers)
        extra = [(headers.ATTEMPT, str(number))]
        if headers.CONTENT_TYPE in known:
            extra.append((headers.CONTENT_TYPE, known[headers.CONTENT_TYPE]))
        extra += [(name, known[name]) for name in headers.TRACE_CONTEXT if name in known]
        message_id = f"{attempt.job_id}:{number}"
        if number == attempt.number:
            message_id += f":{attempt.revision}"
        return delayed_block(message_id, attempt.task_name, due, due_ms, extra)

    def dead_letter(
        self,
        attempt: Attempt,
        job_id: str,
        error: ErrorInfo,
        body_ref: PayloadRef | None = None,
    ) -> bytes:
        """Encode the headers of a dead letter; its body is the job's own, as it came.

        Args:
            attempt: The attempt that failed.
            job_id: The key of the job's records.
            error: Why it failed.
            body_ref: Where the body lies, if it is too large to travel with these headers.
        """
        letter = DeadLetter(
            job_id,
            attempt.lane.queue,
            attempt.lane.priority,
            attempt.task_name,
            error,
            attempt.number,
            self.worker_id,
            attempt.enqueued_at_ms,
            self._clock.now_ms(),
            body_ref,
        )
        encoded = records.encode(letter)
        if len(encoded) > _LONGEST_DEAD_HEADER:
            short = ErrorInfo(error.type[:1000], error.message[:1000])
            encoded = records.encode(replace(letter, error=short))
        known = frames.read_headers(attempt.delivery.headers)
        pairs = [(headers.EXPECTED_LAST, "0"), (headers.DEAD_LETTER, encoded.decode())]
        if headers.CONTENT_TYPE in known:
            # It may be anything: a foreign producer wrote it.
            kind = known[headers.CONTENT_TYPE][:100]
            pairs.append((headers.CONTENT_TYPE, kind if kind.isprintable() else "unprintable"))
        return frames.header_block(pairs)


def record_id(attempt: Attempt) -> str:
    """The key of the job's records; a job whose id lies outside the grammar gets a substitute.

    The substitute is made of the message's place in the stream, so that it is found again.
    """
    try:
        return check_job_id(attempt.job_id)
    except InvalidNameError:
        return f"invalid-{attempt.delivery.sequence}"
