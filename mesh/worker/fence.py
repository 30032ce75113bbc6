"""Compare and set on running records: tell a lost lease from an answer that was lost.

A record carries the worker and the attempt that hold the job. A write that is refused because
another revision came first may have met the worker's own: the acknowledgement of an earlier try
never came. So a refusal is believed only when the record says that it is another's, or is gone.
"""

from __future__ import annotations

from mesh.client.records import Records
from mesh.contract import headers, records
from mesh.contract.lifecycle import State
from mesh.contract.records import ProgressRecord
from mesh.contract.subjects import Names
from mesh.errors import UnreadableRecordError
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.worker.attempt import Attempt
from mesh.worker.recording import record_id


class Fence:
    """Writes the running records of one worker, each only while the job is that worker's.

    Args:
        stored: The records, over the connection that is to be used.
        names: The namespace's names.
        worker_id: The worker.
    """

    def __init__(self, stored: Records, names: Names, worker_id: str) -> None:
        self._records = stored
        self._names = names
        self._worker_id = worker_id

    async def write(self, attempt: Attempt, body: bytes) -> bool:
        """Replace the running record if it is this attempt's; say whether it was.

        Args:
            attempt: The attempt; its revision is brought up to date.
            body: The new record, encoded.

        Raises:
            BrokerError: The server refused for another reason, or did not confirm.
        """
        key = record_id(attempt)
        while True:
            expected = (headers.EXPECTED_LAST, str(attempt.revision))
            block = frames.header_block([expected, (headers.ROLLUP, "sub")])
            try:
                receipt = await self._records.publisher.publish(
                    self._names.progress(key), block, body
                )
            except ApiError as fault:
                if not is_fenced(fault):
                    raise
                found = await self._find(key)
                if found is None:
                    return False
                record, revision = found
                if records.encode(record) == body:  # It was stored; its answer was lost.
                    attempt.revision = revision
                    return True
                if revision == attempt.revision or not self._is_own(attempt, record):
                    return False
                attempt.revision = revision
            else:
                attempt.revision = receipt.sequence
                return True

    async def _find(self, key: str) -> tuple[ProgressRecord, int] | None:
        try:
            return await self._records.progress(key)
        except UnreadableRecordError:  # Whoever wrote it, it was not this attempt.
            return None

    def _is_own(self, attempt: Attempt, record: ProgressRecord) -> bool:
        return (
            record.state is State.RUNNING
            and record.worker == self._worker_id
            and record.attempt == attempt.number
        )


def is_fenced(fault: BaseException) -> bool:
    """Whether the server refused a write because another came first."""
    return isinstance(fault, ApiError) and fault.err_code == WRONG_LAST_SEQUENCE
