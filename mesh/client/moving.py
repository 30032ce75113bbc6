"""Move the pending jobs of a lane to another queue or priority: the same jobs, elsewhere."""

from __future__ import annotations

from collections.abc import Callable

from mesh.client.client import Client
from mesh.client.sweeping import Found, Sweep, take_away
from mesh.contract import headers
from mesh.errors import InvalidNameError
from mesh.transport import frames
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError

_SERVERS_OWN = "nats-"


class Move:
    """Moves what is pending in one lane, oldest first.

    A job is published where it goes to, byte for byte, and then taken from where it was. If
    this process dies in between the job lies in both places, and may be tried once more than it
    needed; it ends once, and ``mesh fsck`` finds the second message.

    Args:
        client: A connection.
        source: The queue and the priority that the jobs leave.
        target: The queue and the priority that they get.
        on_progress: Called with the number of jobs moved since it was last called.
    """

    def __init__(
        self,
        client: Client,
        source: tuple[str, str],
        target: tuple[str, str],
        on_progress: Callable[[int], None],
    ) -> None:
        self._client = client
        self._target = target
        self._sweep = Sweep(client, *source, self._move, on_progress)

    async def run(self) -> int:
        """Move what is pending now; return how many jobs that were.

        Raises:
            BrokerError: The server refused or went away; what was not moved is where it was.
        """
        return await self._sweep.run()

    async def _move(self, job: Found) -> bool:
        try:
            job_id = self._client.names.read_job(job.subject).job_id
        except InvalidNameError:
            return False  # Nobody could run it there either: `mesh fsck` names it.
        if not await self._publish(job, job_id):
            return False
        await take_away(self._client, job)
        return True

    async def _publish(self, job: Found, job_id: str) -> bool:
        """Publish it, if it is still where it was found and is there once; say whether."""
        names = self._client.names
        known = {
            name: value
            for name, value in job.headers.items()
            if not name.lower().startswith(_SERVERS_OWN)
        }
        # With it, whoever is given the job asks the records first.
        known[headers.REPEAT] = "1"
        known |= {
            headers.MESSAGE_ID: f"{job_id}:moved:{job.sequence}",
            headers.EXPECTED_LAST: str(job.sequence),
            headers.EXPECTED_LAST_SUBJECT: names.job_anywhere(job_id),
        }
        subject = names.job(*self._target, job_id)
        try:
            block = frames.header_block(known.items())
            await self._client.publisher.publish(subject, block, job.body)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True
