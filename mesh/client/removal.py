"""Delete what is kept of a job that has ended."""

from __future__ import annotations

from contextlib import suppress

from mesh.client.client import Client
from mesh.client.dead_letters import DeadLetters
from mesh.client.letters import DeadLetterNotFoundError
from mesh.contract.events import EventKind
from mesh.errors import JobNotEndedError


async def delete_job(client: Client, job_id: str, reason: str = "") -> None:
    """Remove the record of a job that has ended, its result, its dead letter, its arguments.

    The record goes last, so that whoever deletes it again after an interruption finds the rest.

    Raises:
        JobNotEndedError: It has not ended.
        JobNotFoundError: It is not known here.
        BrokerError: The server refused.
    """
    status = await client.status(job_id)
    if not status.is_finished:
        raise JobNotEndedError(job_id, status.state)

    async def this() -> Client:
        return client

    with suppress(DeadLetterNotFoundError):  # It did not fail, or was replayed.
        await DeadLetters(this).purge(job_id, reason=reason)
    record = await client.records.result(job_id)
    if record is not None and record.result_ref is not None:
        await client.payloads.remove(record.result_ref)
    await client.records.forget_result(job_id)
    facts = {"task": status.task, "queue": status.queue, "priority": status.priority}
    client.journal.of_job(EventKind.DELETED, job_id, reason, **facts)
