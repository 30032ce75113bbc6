"""Enqueue jobs, ask for their status and results, cancel them: one connection, one loop."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

from msgspec import Raw

from mesh.client.admission import Admission, Enqueued, may_be_there
from mesh.client.atomic import publish_atomically
from mesh.client.batches import Batches
from mesh.client.claims import Claims
from mesh.client.delays import Delays
from mesh.client.journal import Journal
from mesh.client.keys import UniqueKeys
from mesh.client.messages import (
    Message,
    MessageMaker,
    TracingMaker,
    choose_id,
    is_delayed,
    pack_arguments,
)
from mesh.client.records import Records
from mesh.client.status import JobStatus, raise_unless_succeeded
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract.envelope import PayloadRef, UniqueClaim
from mesh.contract.events import EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import ResultRecord
from mesh.contract.subjects import Names
from mesh.errors import BrokerError, EnqueueUnknownError, MeshError
from mesh.settings.model import Settings
from mesh.tasks.definition import Call
from mesh.telemetry.tracing import job_spans
from mesh.topology import Topology
from mesh.transport.connection import Connection
from mesh.transport.payloads import Payloads
from mesh.transport.provisioner import Provisioner
from mesh.transport.publisher import Publisher
from mesh.transport.receipts import NoAnswerError, Receipt


class Client:
    """One connection's worth of mesh; made by the app, one for each event loop.

    Attributes:
        settings: The app's settings.
        names: The names of its namespace.
        connection: The connection to NATS.
        publisher: Publishes with acknowledgement.
        payloads: The object buckets.
        records: The stored records of jobs.
        keys: The unique keys.
        delays: The jobs that wait for their time.
        journal: Tells the ledger what is scheduled and what operators do.
        provisioner: Creates streams, consumers and buckets.
    """

    def __init__(self, settings: Settings, name: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self.settings = settings
        self.topology = Topology(settings)
        self.names: Names = self.topology.names
        self.connection = Connection(settings, name)
        self.provisioner = Provisioner(self.connection, self.topology)
        self.payloads = Payloads(self.connection)
        self.records = Records(self.connection, self.names, has_replicas=settings.replicas > 1)
        self.publisher: Publisher
        self.keys: UniqueKeys
        self.delays: Delays
        self.journal: Journal
        self._admission: Admission
        self._batches: Batches
        # Looked for once: what sets the SDK up must come before the first enqueue.
        spans = job_spans(settings)
        self._spans = None if spans is None else spans.producer
        self._maker = (
            MessageMaker(settings, self.names, clock)
            if spans is None
            else TracingMaker(settings, self.names, clock, spans.producer)
        )
        self._clock = clock

    async def open(self) -> None:
        """Connect.

        Raises:
            ConnectError: No server was reached, or it refused the login.
            ServerUnfitError: The server is too old or has no JetStream.
            PermissionDeniedError: The NATS user may not listen for answers.
        """
        await self.connection.open()
        publish = self.settings.publish
        self.publisher = Publisher(
            self.connection,
            deadline_s=publish.deadline_s,
            window=publish.window,
            full_wait_s=publish.full_wait_s,
            marked=(self.names.job_anywhere("").partition("*")[0], self.names.delayed("")),
        )
        await self.publisher.start()
        self.records.publisher = self.publisher
        self._assemble()
        try:
            await self.connection.confirm()
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Wait shortly for what is in flight, then disconnect; safe to call twice."""
        if hasattr(self, "publisher"):
            if self.connection.is_connected:
                await self.publisher.settle(self.settings.publish.deadline_s)
            self.publisher.stop()
        await self.connection.close()

    def _assemble(self) -> None:
        """Put together what enqueues calls that may be there already, and tells of them."""
        self.journal = Journal(self.publisher, self.names, self.settings, self._clock)
        self.keys = UniqueKeys(
            self.connection,
            self.publisher,
            self.names,
            self.records,
            clock=self._clock,
            publish_deadline_s=self.settings.publish.deadline_s,
        )
        self.delays = Delays(
            self.connection, self.publisher, self.names, self.records, self._clock
        )
        claims = Claims(self.keys, self.cancel, self._clock)
        publish = partial(publish_atomically, self.connection, self.names)
        self._admission = Admission(self.publisher, self.records, claims, self._message)
        self._batches = Batches(self.records, claims, self._message, publish)

    async def enqueue(self, call: Call[Any]) -> Enqueued:
        """Publish a job and name it once the server has it.

        Raises:
            JobConflictError: Its unique key belongs to another job, and its rule rejects it.
            EnqueueUnknownError: The server never confirmed it.
            NotProvisionedError: The streams do not exist.
            QueueFullError: The job stream is full.
            PayloadTooLargeError: The job is larger than the server accepts.
        """
        spans = self._spans
        if spans is None:
            return await self._enqueue(call)
        with spans.sending(self._maker.lane_of(call)[0], call.task) as span:
            enqueued = await self._enqueue(call)
            spans.named(span, enqueued.job_id)
            return enqueued

    async def _enqueue(self, call: Call[Any]) -> Enqueued:
        if may_be_there(call):
            enqueued = await self._admission.admit(call)
        else:
            message = await self._message(call, choose_id(call))
            try:
                await self.publisher.publish(message.subject, message.block, message.body)
            except NoAnswerError as error:
                raise EnqueueUnknownError(message.job_id, str(error)) from error
            enqueued = Enqueued(message.job_id)
        if is_delayed(call.options):
            self._tell_scheduled(call, enqueued)
        return enqueued

    async def enqueue_many(
        self, calls: Sequence[Call[Any]], *, atomic: bool = False
    ) -> list[Enqueued | MeshError]:
        """Publish many jobs, pipelined.

        Args:
            calls: The jobs.
            atomic: All of them or none; at most 1,000, none of them delayed.

        Returns:
            For each its job, or the error that kept it out (``atomic`` raises instead).
        """
        if self._spans is None:
            return await self._enqueue_many(calls, atomic=atomic)
        with self._spans.sending_many(len(calls)):
            return await self._enqueue_many(calls, atomic=atomic)

    async def _enqueue_many(
        self, calls: Sequence[Call[Any]], *, atomic: bool
    ) -> list[Enqueued | MeshError]:
        if atomic:
            return [*await self._batches.admit(calls)]
        outcomes = await self._enqueue_each(calls)
        for call, outcome in zip(calls, outcomes, strict=True):
            if is_delayed(call.options):
                self._tell_scheduled(call, outcome)
        return outcomes

    async def _enqueue_each(self, calls: Sequence[Call[Any]]) -> list[Enqueued | MeshError]:
        guarded = [index for index, call in enumerate(calls) if may_be_there(call)]
        if not guarded:
            return await self._publish_many(calls)
        plain = sorted(set(range(len(calls))) - set(guarded))
        outcomes = dict(
            zip(plain, await self._publish_many([calls[i] for i in plain]), strict=True)
        )
        admitted = await self._admission.admit_many([calls[i] for i in guarded])
        outcomes |= zip(guarded, admitted, strict=True)
        return [outcomes[index] for index in range(len(calls))]

    def _tell_scheduled(self, call: Call[Any], enqueued: Enqueued | MeshError) -> None:
        """Tell the ledger of a delayed job; the server tells only when it is due."""
        if isinstance(enqueued, MeshError) or enqueued.is_duplicate:
            return
        queue, priority, due_ms = self._maker.plan(call)
        self.journal.scheduled(
            enqueued.job_id, task=call.task, queue=queue, priority=priority, due_ms=due_ms
        )

    async def _publish_many(self, calls: Sequence[Call[Any]]) -> list[Enqueued | MeshError]:
        job_ids = [choose_id(call) for call in calls]
        large = [index for index, call in enumerate(calls) if self._maker.is_too_large(call)]
        refs = {index: await self._store(calls[index], job_ids[index]) for index in large}
        outgoing = (
            self._maker.make(call, job_ids[index], refs.get(index))[1:4]
            for index, call in enumerate(calls)
        )
        receipts = await self.publisher.publish_many(outgoing, len(calls))
        return [
            _outcome(job_id, receipt) for job_id, receipt in zip(job_ids, receipts, strict=True)
        ]

    def sending(self, count: int) -> AbstractContextManager[object]:
        """Trace the sending of so many jobs that others encode; else do nothing."""
        return nullcontext() if self._spans is None else self._spans.sending_many(count)

    def carried(self, queue: str, task: str, job_id: str) -> list[tuple[str, str]]:
        """Give the headers by which a job's trace goes on; none if nothing is traced."""
        return [] if self._spans is None else self._spans.carried(queue, task, job_id)

    async def status(self, job_id: str) -> JobStatus:
        """Say where a job is.

        Raises:
            JobNotFoundError: It is not known here.
            BrokerError: The records could not be read.
        """
        return await self.records.status(job_id)

    async def result(self, job_id: str, timeout_s: float | None, *, is_known: bool) -> Raw:
        """Wait for a job to end and return its result as JSON.

        Args:
            job_id: The job.
            timeout_s: How long to wait; None: as long as it takes.
            is_known: Whether the job surely exists, so that it need not be looked for first.

        Raises:
            ResultTimeoutError: It had not ended in time.
            JobFailedError: It failed for good.
            JobCancelledError: It was cancelled.
            JobExpiredError: It was not started in time.
            JobNotFoundError: It is not known here.
        """
        record = await self.records.wait(job_id, timeout_s, is_known=is_known)
        raise_unless_succeeded(job_id, record)
        if record.result_ref is not None:
            return Raw(await self.payloads.get(record.result_ref))
        return record.result

    def watch(self, job_id: str) -> AsyncIterator[JobStatus]:
        """Follow a job: its status now and after every change, until it has ended.

        Raises:
            JobNotFoundError: It is not known here.
        """
        return self.records.watch(job_id)

    async def cancel(self, job_id: str, reason: str = "") -> bool:
        """Cancel a job wherever it is.

        Returns:
            True if it is cancelled; False if it had ended in another way before.

        Raises:
            JobNotFoundError: It is not known here.
        """
        if not await self._call_off(job_id, reason):
            return False
        # Also if it was cancelled before: whoever did so may have died before he came to this,
        # or was never told that his record is stored.
        await self.records.withdraw(job_id)
        return True

    async def _call_off(self, job_id: str, reason: str) -> bool:
        """Write the record of a cancelled job, and say whether that is how it ended."""
        status = await self.records.status(job_id)
        if not status.is_finished:
            record = ResultRecord(
                State.CANCELLED,
                status.task,
                status.queue,
                status.priority,
                attempt=status.attempt,
                worker=status.worker,
                enqueued_at_ms=status.enqueued_at_ms,
                started_at_ms=status.started_at_ms,
                finished_at_ms=self._clock.now_ms(),
                reason=reason,
            )
            if await self.records.finish(job_id, record):
                self.journal.of_job(
                    EventKind.CANCELLING,
                    job_id,
                    reason,
                    task=status.task,
                    queue=status.queue,
                    priority=status.priority,
                )
                return True
            status = await self.records.status(job_id)
        return status.state is State.CANCELLED

    async def _message(
        self, call: Call[Any], job_id: str, claim: UniqueClaim | None = None
    ) -> Message:
        ref = await self._store(call, job_id) if self._maker.is_too_large(call) else None
        if may_be_there(call):
            return self._maker.make_guarded(call, job_id, ref, claim)
        return self._maker.make(call, job_id, ref)

    async def _store(self, call: Call[Any], job_id: str) -> PayloadRef:
        """Put arguments that are too large for a message into the payload bucket."""
        name = f"{job_id}.{secrets.token_hex(4)}"
        return await self.payloads.put(self.names.payloads_bucket, name, pack_arguments(call))


def _outcome(job_id: str, receipt: Receipt | BrokerError) -> Enqueued | MeshError:
    if isinstance(receipt, NoAnswerError):
        return EnqueueUnknownError(job_id, str(receipt))
    if isinstance(receipt, BrokerError):
        return receipt
    return Enqueued(job_id)
