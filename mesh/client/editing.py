"""Change a job that no worker has been given yet: its arguments, its queue, its priority."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import Raw, Struct

from mesh.client.client import Client
from mesh.client.messages import pack_arguments
from mesh.client.moving import put_elsewhere
from mesh.client.status import JobStatus, due_of
from mesh.client.sweeping import Found, Sweep
from mesh.contract import envelope as envelopes
from mesh.contract import headers
from mesh.contract.envelope import PayloadRef
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.contract.subjects import check_priority
from mesh.errors import MeshError, OptionError
from mesh.identifiers import check_queue
from mesh.tasks.definition import Call, call_by_name
from mesh.tasks.options import NO_OVERRIDES
from mesh.transport.buckets import Entry, Shelf

_ARGUMENTS = {"args", "kwargs", "args_ref"}


class JobNotEditableError(MeshError):
    """The job can no longer be changed: a worker was given it, or it has ended.

    Attributes:
        job_id: The job.
        state: Its state.
    """

    job_id: str
    state: State

    def __init__(self, status: JobStatus) -> None:
        self.job_id = status.job_id
        self.state = status.state
        super().__init__(
            f"job {self.job_id!r} cannot be changed any more: {_WHY.get(self.state, _ENDED)}"
        )


_ENDED = "it has ended; enqueue it anew"
_WHY = {
    State.SCHEDULED: "it is due within a second, so that it may be on its way already",
    State.AWAITING: "it waits for other jobs",
    State.PENDING: "a worker has been given it, and is about to start it",
    State.RUNNING: "it runs; cancel it and enqueue it anew",
    State.RETRYING: "it is about to be tried again, in a few seconds at most",
}


class Edit(Struct, frozen=True, kw_only=True):
    """What is to be different about a job; None leaves a thing as it is.

    Attributes:
        args: New arguments by position; arguments are replaced as a whole.
        kwargs: New arguments by name; arguments are replaced as a whole.
        queue: Another queue.
        priority: Another priority.
    """

    args: Sequence[Any] | None = None
    kwargs: Mapping[str, Any] | None = None
    queue: str | None = None
    priority: str | None = None

    @property
    def has_arguments(self) -> bool:
        """Whether the arguments are replaced."""
        return self.args is not None or self.kwargs is not None


class Editor:
    """Changes jobs of one namespace.

    A delayed job is changed in its place. One that is pending gets a new message at the end of
    its queue, and then the old one is taken away, while its lane gives out nothing: should this
    process die in between, the job may be tried once more than it needed, and ends once.

    Args:
        client: A connection.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._names = client.names
        self._jobs = Shelf(client.connection, client.names.jobs_stream)

    async def edit(self, job_id: str, edit: Edit, reason: str = "") -> None:
        """Change a job.

        Args:
            job_id: The job.
            edit: What is to be different.
            reason: Why; kept in the ledger, for people.

        Raises:
            OptionError: Nothing is to be different.
            InvalidNameError: It cannot be a queue, or there is no such priority.
            JobNotEditableError: A worker was given it, or it has ended.
            JobNotFoundError: It is not known here.
            MalformedJobError: Its body cannot be read, so its arguments cannot be replaced.
            BrokerError: The server refused, or did not answer; to try again is safe.
        """
        call = _checked(edit)
        status = await self._client.records.status(job_id)
        if not status.is_finished and await self._change(job_id, edit, call):
            self._client.journal.of_job(
                EventKind.EDITED,
                job_id,
                reason,
                task=status.task,
                queue=edit.queue or status.queue,
                priority=edit.priority or status.priority,
            )
            return
        raise JobNotEditableError(await self._client.records.status(job_id))

    async def _change(self, job_id: str, edit: Edit, call: Call[Any] | None) -> bool:
        held = await self._client.delays.held(job_id)
        if held is not None:
            return await self._change_delayed(job_id, held, edit, call)
        publisher = self._client.publisher
        entry = await self._jobs.last(self._names.job_anywhere(job_id), publisher)
        if entry is None:
            return False
        place = self._names.read_job(entry.subject)
        target = (edit.queue or place.queue, edit.priority or place.priority)
        await self._client.provisioner.ensure_lanes([place.queue, target[0]])
        subject = self._names.job(*target, job_id)

        async def deal(job: Found) -> bool:
            body = await self._body(job_id, job.body, job.headers, call)
            message_id = _message_id(job_id, job.sequence)
            return await put_elsewhere(self._client, job, subject, body, message_id=message_id)

        sweep = Sweep(self._client, place.queue, place.priority, deal, _say_nothing)
        if not await sweep.one(entry.revision):
            return False
        await self._forget_arguments(entry.value, entry.headers, call)
        return True

    async def _change_delayed(
        self, job_id: str, held: Entry, edit: Edit, call: Call[Any] | None
    ) -> bool:
        delays = self._client.delays
        if delays.is_on_its_way(held):
            return False
        *_, queue, priority, _id = held.headers[headers.SCHEDULE_TARGET].split(".")
        target = self._names.due(edit.queue or queue, edit.priority or priority, job_id)
        body = await self._body(job_id, held.value, held.headers, call)
        message_id = _message_id(job_id, held.revision)
        due_ms = due_of(held)
        if not await delays.replace(held, body, target, due_ms, message_id=message_id):
            return False
        await self._forget_arguments(held.value, held.headers, call)
        return True

    async def _body(
        self, job_id: str, old: bytes, known: Mapping[str, str], call: Call[Any] | None
    ) -> bytes:
        """Make the job's new body; what mesh does not know of the old one stays."""
        if call is None:
            return old
        form, fields = _fields(old, known)
        if (
            len(call.args) + len(call.kwargs)
            > self._client.settings.limits.payload_inline_bytes
        ):
            name = f"{job_id}.{secrets.token_hex(4)}"
            bucket = self._names.payloads_bucket
            ref = await self._client.payloads.put(bucket, name, pack_arguments(call))
            given = {"args_ref": Raw(form.encode(ref))}
        else:
            args, kwargs = msgspec.json.decode(call.args), msgspec.json.decode(call.kwargs)
            given = {"args": Raw(form.encode(args)), "kwargs": Raw(form.encode(kwargs))}
        kept = {name: value for name, value in fields.items() if name not in _ARGUMENTS}
        body: bytes = form.encode(kept | given)
        return body

    async def _forget_arguments(
        self, old: bytes, known: Mapping[str, str], call: Call[Any] | None
    ) -> None:
        """Remove stored arguments that the job does not use any more."""
        if call is None:
            return
        form, fields = _fields(old, known)
        if "args_ref" in fields:
            ref = form.decode(fields["args_ref"], type=PayloadRef)
            if ref.bucket == self._names.payloads_bucket:
                await self._client.payloads.remove(ref)


def _checked(edit: Edit) -> Call[Any] | None:
    """Check names and arguments before anything is touched; give back the new arguments."""
    if edit == Edit():
        option = "edit"
        raise OptionError(option, "it changes nothing; give arguments, a queue or a priority")
    if edit.queue is not None:
        check_queue(edit.queue)
    if edit.priority is not None:
        check_priority(edit.priority)
    if not edit.has_arguments:
        return None
    args: Sequence[Any] = () if edit.args is None else edit.args
    kwargs: Mapping[str, Any] = {} if edit.kwargs is None else edit.kwargs
    return call_by_name("any", args, kwargs, NO_OVERRIDES)


def _fields(body: bytes, known: Mapping[str, str]) -> tuple[Any, dict[str, Raw]]:
    """Read a job's body, field by field, and say what reads and writes it.

    Raises:
        MalformedJobError: It is no job.
    """
    kind = known.get(headers.CONTENT_TYPE, headers.JSON)
    envelopes.decode(body, kind)
    form: Any = msgspec.json if kind == headers.JSON else msgspec.msgpack
    return form, form.decode(body, type=dict[str, Raw])


def _message_id(job_id: str, sequence: int) -> str:
    return f"{job_id}:edited:{sequence}:{secrets.token_hex(4)}"


def _say_nothing(_counted: int) -> None:
    pass
