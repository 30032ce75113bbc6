"""Keep the running records of jobs, their leases and progress.

One short tick looks at every attempt: most jobs end before the first, and cost nothing here.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable

from mesh.contract import headers
from mesh.contract.subjects import Names
from mesh.errors import BrokerError
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.publisher import Publisher
from mesh.worker.attempt import Attempt
from mesh.worker.recording import Recorder, record_id

log = logging.getLogger("mesh.worker")

TICK_S = 0.1
_FIRST_RECORD_S = 0.2
_PROGRESS_EVERY_S = 0.2


class LeaseKeeper:
    """Writes the running records of one worker's attempts."""

    def __init__(
        self, publisher: Publisher, names: Names, recorder: Recorder, heartbeat_s: float
    ) -> None:
        self._publisher = publisher
        self._names = names
        self._recorder = recorder
        self._heartbeat_s = heartbeat_s
        self._loop = asyncio.get_running_loop()

    def tick(self, attempts: Iterable[Attempt]) -> None:
        """Look at every attempt once."""
        now = self._loop.time()
        for attempt in attempts:
            if not attempt.started_ms or attempt.finished_ms:
                continue
            if self._is_due(attempt, now):
                self._write(attempt, now)

    def _is_due(self, attempt: Attempt, now: float) -> bool:
        if attempt.writing is not None or attempt.stop_reason:
            return False
        if not attempt.record_due_s:  # Set at the first tick that sees it run.
            attempt.record_due_s = now + _FIRST_RECORD_S - TICK_S
            return False
        if attempt.has_news:
            return now >= attempt.record_due_s - self._heartbeat_s + _PROGRESS_EVERY_S
        return now >= attempt.record_due_s

    def _write(self, attempt: Attempt, now: float) -> None:
        attempt.record_due_s = now + self._heartbeat_s
        attempt.has_record = True
        attempt.has_news = False
        attempt.writing = self._loop.create_future()
        block = frames.header_block([(headers.EXPECTED_LAST, str(attempt.revision))])
        subject = self._names.progress(record_id(attempt))
        self._publisher.post(
            subject, block, self._recorder.running(attempt), self._on_written, attempt
        )

    def _on_written(self, attempt: Attempt, fault: BrokerError | None, ack: bytes) -> None:
        writing, attempt.writing = attempt.writing, None
        if fault is None:
            attempt.revision = self._publisher.sequence_of(ack)
        elif isinstance(fault, ApiError) and fault.err_code == WRONG_LAST_SEQUENCE:
            log.warning("lost a job to another worker", extra={"job": attempt.job_id})
            attempt.stop("lost")
        if writing is not None and not writing.done():
            writing.set_result(None)
