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
        subject = self._client.names.job(*self._target, job_id)
        message_id = f"{job_id}:moved:{job.sequence}"
        return await put_elsewhere(self._client, job, subject, job.body, message_id=message_id)


async def put_elsewhere(
    client: Client, job: Found, subject: str, body: bytes, *, message_id: str
) -> bool:
    """Publish a pending job anew, then take away the message that it had; say whether.

    Nothing is done if it is no longer where it was found, or is there twice.

    Args:
        client: A connection.
        job: The message, in a lane that gives out nothing meanwhile.
        subject: The job's new subject.
        body: Its new body.
        message_id: Tells a repeat from another change.

    Raises:
        BrokerError: The server refused, or did not answer.
    """
    job_id = client.names.read_job(job.subject).job_id
    known = {
        name: value
        for name, value in job.headers.items()
        if not name.lower().startswith(_SERVERS_OWN)
    }
    known |= {
        headers.REPEAT: "1",  # With it, whoever is given the job asks the records first.
        headers.MESSAGE_ID: message_id,
        headers.EXPECTED_LAST: str(job.sequence),
        headers.EXPECTED_LAST_SUBJECT: client.names.job_anywhere(job_id),
    }
    try:
        await client.publisher.publish(subject, frames.header_block(known.items()), body)
    except ApiError as fault:
        if fault.err_code != WRONG_LAST_SEQUENCE:
            raise
        return False
    await take_away(client, job)
    return True
