"""What a replay needs besides the letter: was it done before, and where do arguments go."""

from __future__ import annotations

from mesh.client.client import Client
from mesh.client.letters import Letter, NotReplayableError
from mesh.client.messages import pack_arguments
from mesh.contract.envelope import Envelope, PayloadRef
from mesh.errors import NotProvisionedError
from mesh.tasks.definition import Call
from mesh.tasks.options import NO_OVERRIDES
from mesh.transport.buckets import Shelf


async def store_arguments(client: Client, job_id: str, job: Envelope) -> PayloadRef:
    """Put arguments that are too large for a message into the payload bucket."""
    call: Call[object] = Call(job.task, bytes(job.args), bytes(job.kwargs), NO_OVERRIDES, None)
    bucket = client.names.payloads_bucket
    return await client.payloads.put(bucket, f"{job_id}.replay", pack_arguments(call))


async def is_under_way(client: Client, letter: Letter, new_id: str) -> bool:
    """Whether the letter was replayed before, by someone who could not finish.

    Raises:
        NotReplayableError: The id belongs to another job.
        UnreadableRecordError: The id has a record that mesh did not write.
    """
    names, connection = client.names, client.connection
    # In the order in which a job moves, so that it cannot slip past between two looks.
    pending = await Shelf(connection, names.jobs_stream).last(names.job_anywhere(new_id))
    if pending is not None:
        return True
    record = await client.records.result(new_id)
    if record is not None:
        if 0 < record.enqueued_at_ms < letter.record.died_at_ms:
            why = f"its new id {new_id!r} belongs to a job that was enqueued before it died"
            raise NotReplayableError(letter.job_id, f"{why}. Enqueue it by hand, then purge it")
        return True
    if await client.records.progress(new_id) is not None:
        return True
    try:
        events = Shelf(connection, names.events_stream)
        return await events.last(names.event("finished", new_id)) is not None
    except NotProvisionedError:  # Events are switched off.
        return False
