"""Cancel the jobs of a lane that no worker has been given yet, each with its own record."""

from __future__ import annotations

from collections.abc import Callable

from mesh.client.client import Client
from mesh.client.sweeping import Found, Sweep, take_away
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.records import ResultRecord
from mesh.errors import InvalidNameError

REASON = "purged"


class Purge:
    """Purges one lane.

    Args:
        client: A connection.
        queue: The queue.
        priority: The priority.
        on_progress: Called with the number of jobs cancelled since it was last called.
        clock: The time.
    """

    def __init__(
        self,
        client: Client,
        queue: str,
        priority: str,
        on_progress: Callable[[int], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._client = client
        self._queue = queue
        self._priority = priority
        self._clock = clock
        self._sweep = Sweep(client, queue, priority, self._end, on_progress)

    async def run(self) -> int:
        """Cancel what is pending now; return how many jobs that were.

        Raises:
            BrokerError: The server refused or went away; what was not cancelled is kept.
        """
        return await self._sweep.run()

    async def _end(self, job: Found) -> bool:
        """Write the record, then remove the message: a crash in between loses nothing."""
        await self._record(job)
        await take_away(self._client, job)
        return True

    async def _record(self, job: Found) -> None:
        try:
            job_id = self._client.names.read_job(job.subject).job_id
        except InvalidNameError:
            return  # Nobody could ask for a record under such an id.
        attempt = job.headers.get(headers.ATTEMPT, "")
        record = ResultRecord(
            State.CANCELLED,
            job.headers.get(headers.TASK, ""),
            self._queue,
            self._priority,
            # A producer may write anything: more than nine digits are no attempt.
            attempt=max(0, int(attempt[:9]) - 1) if attempt.isdecimal() else 0,
            finished_at_ms=self._clock.now_ms(),
            reason=REASON,
        )
        records = self._client.records
        # If the job has ended already, its record stays as it is and the message is a leftover.
        await records.finish(job_id, record)
        if attempt:
            await records.forget_progress(job_id)
