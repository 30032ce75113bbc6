"""Put right what was found, so guarded that nothing which moved meanwhile is touched."""

from __future__ import annotations

from mesh.client.client import Client
from mesh.client.findings import Finding, Kind
from mesh.client.inventory import JOB_LOST, Facts, Lanes, is_lost, kept
from mesh.client.lanes import read_time
from mesh.client.letters import read_letter
from mesh.clock import Clock
from mesh.contract import envelope as envelopes
from mesh.contract import events, headers, records
from mesh.contract.envelope import PayloadRef
from mesh.contract.events import Event, EventKind
from mesh.contract.lifecycle import State
from mesh.contract.records import DeadLetter, ErrorInfo, ResultRecord
from mesh.contract.subjects import JobAddress, kv_stream, object_meta, object_stream
from mesh.errors import InvalidNameError, MalformedJobError
from mesh.transport import frames
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError

_SERVERS_OWN = "nats-"


class Repairs:
    """Repairs one namespace.

    Args:
        client: A connection.
        clock: The time.
    """

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._names = client.names
        self._clock = clock
        self._jobs = Shelf(client.connection, self._names.jobs_stream)
        self._delayed = Shelf(client.connection, self._names.delayed_stream)

    async def of_job(self, finding: Finding, facts: Facts, lanes: Lanes) -> bool:
        """Put right what is wrong with a job; say whether that was done.

        Args:
            finding: What is wrong.
            facts: What was just read of the job.
            lanes: The lanes.

        Raises:
            BrokerError: The server refused or went away; doing it again is safe.
        """
        is_done = False
        match finding.kind:
            case Kind.LOST | Kind.STUCK:
                is_done = await self._revive(facts)
            case Kind.STRANDED:
                is_done = await self._move(facts, lanes)
            case Kind.LEFTOVER:
                is_done = await self._clear(facts)
            case Kind.DOUBLED:
                chosen = kept(facts, lanes)
                is_done = await self._remove([m for m in facts.messages if m is not chosen])
            case Kind.STALE_PROGRESS:
                is_done = await self._forget_progress(facts)
            case Kind.UNRECORDED:
                is_done = await self._record(facts)
            case Kind.UNBURIED:
                is_done = await self._bury_lost(facts)
            case _:
                pass
        return is_done

    async def of_stray(self, finding: Finding) -> bool:
        """Remove what nothing refers to; say whether that was done.

        Raises:
            BrokerError: The server refused or went away; doing it again is safe.
        """
        names = self._names
        match finding.kind:
            case Kind.STRAY_ARGUMENTS:
                await self._remove_object(names.payloads_bucket, finding.name)
            case Kind.STRAY_RESULT:
                await self._remove_object(names.outputs_bucket, finding.name)
            case Kind.STRAY_KEY:
                shelf = Shelf(self._client.connection, kv_stream(names.locks_bucket))
                # Up to the revision that was looked at: a newer one is another job's.
                await shelf.remove(names.unique_key(finding.name), finding.places[0])
            case _:
                return False
        return True

    async def of_lane(self, _finding: Finding, queue: str) -> bool:
        """Create the consumers that a queue lacks; say whether that was done.

        Raises:
            BrokerError: The server refused.
        """
        await self._client.provisioner.ensure_lanes([queue])
        return True

    async def _revive(self, facts: Facts) -> bool:
        """Publish a job again if a copy of it is kept somewhere, else end it."""
        copy, address = facts.copy, self._address(facts)
        if copy is None or address is None:
            return await self._end(facts)
        return await self._publish_again(facts.job_id, address, copy, after=0)

    async def _end(self, facts: Facts) -> bool:
        """End a job of which nothing is left to run, so that nobody waits for it for ever."""
        job_id, progress = facts.job_id, facts.progress
        address = self._address(facts) or JobAddress("", "", job_id)
        task = progress.task if progress else ""
        if not task and facts.enqueued is not None:
            task = facts.enqueued.headers.get(headers.TASK, "")
        error = ErrorInfo(
            JOB_LOST,
            f"the message of job {job_id!r} vanished before the job ended, and no copy of it "
            "is kept; enqueue it again",
        )
        now_ms = self._clock.now_ms()
        record = ResultRecord(
            State.FAILED,
            task,
            address.queue,
            address.priority,
            error=error,
            attempt=progress.attempt if progress else 0,
            worker=progress.worker if progress else "",
            enqueued_at_ms=_stored_at_ms(facts.enqueued),
            started_at_ms=progress.started_at_ms if progress else 0,
            finished_at_ms=now_ms,
        )
        if not await self._client.records.finish(job_id, record):
            return False  # It ended at this very moment.
        if address.queue:
            await self._bury(job_id, record, error)
        await self._forget_progress(facts)
        return True

    async def _bury_lost(self, facts: Facts) -> bool:
        """Write the dead letter of a job that was ended as lost by a run that died then."""
        record = facts.result
        if record is None or not is_lost(record) or record.error is None:
            return False
        await self._bury(facts.job_id, record, record.error)
        return True

    async def _bury(self, job_id: str, record: ResultRecord, error: ErrorInfo) -> None:
        """Keep a dead letter without a body: it can be replayed when arguments are given."""
        now_ms = record.finished_at_ms
        letter = DeadLetter(
            job_id,
            record.queue,
            record.priority,
            record.task,
            error,
            record.attempt,
            record.worker,
            record.enqueued_at_ms,
            now_ms,
        )
        block = frames.header_block(
            [
                (headers.EXPECTED_LAST, "0"),
                (headers.DEAD_LETTER, records.encode(letter).decode()),
            ]
        )
        subject = self._names.dead(record.queue, job_id)
        await self._publish(subject, block, b"")
        event = Event(
            EventKind.DEAD,
            job_id,
            now_ms,
            record.task,
            record.queue,
            record.priority,
            record.attempt,
            "",
            f"{error.type}: {error.message}"[:500],
        )
        if self._client.settings.events.enabled:
            subject = self._names.event(EventKind.DEAD, job_id)
            await self._publish(subject, b"", events.encode(event))

    async def _move(self, facts: Facts, lanes: Lanes) -> bool:
        """Store a message anew, where its consumer has not been yet, then remove the old."""
        old = kept(facts, lanes)
        if old is None:
            return False
        address = self._names.read_job(old.subject)
        if not await self._publish_again(facts.job_id, address, old, after=old.revision):
            return False
        await self._jobs.remove_at(old.revision)
        return True

    async def _publish_again(
        self, job_id: str, address: JobAddress, copy: Entry, after: int
    ) -> bool:
        """Publish a job byte for byte, if no other message of it has come; say whether.

        Args:
            job_id: The job.
            address: Where it belongs.
            copy: What is published.
            after: The only message that it may have; 0: none.
        """
        known = {
            name: value
            for name, value in copy.headers.items()
            if not name.lower().startswith(_SERVERS_OWN)
        }
        # With it, whoever is given the job asks the records first.
        known.setdefault(headers.ATTEMPT, "1")
        known |= {
            headers.MESSAGE_ID: f"{job_id}:again:{copy.revision}",
            headers.EXPECTED_LAST: str(after),
            headers.EXPECTED_LAST_SUBJECT: self._names.job_anywhere(job_id),
        }
        subject = self._names.job(address.queue, address.priority, job_id)
        block = frames.header_block(known.items())
        return await self._publish(subject, block, copy.value)

    async def _clear(self, facts: Facts) -> bool:
        """Remove what is left of a job that has ended; the messages last."""
        for entry in facts.everywhere if facts.letter is None else ():
            ref = self._arguments(entry)
            if ref is not None:
                await self._client.payloads.remove(ref)
        return await self._remove(facts.everywhere)

    async def _remove(self, entries: tuple[Entry, ...] | list[Entry]) -> bool:
        for entry in entries:
            is_queued = entry.subject.startswith(self._names.lane("", "").split("..")[0])
            shelf = self._jobs if is_queued else self._delayed
            await shelf.remove_at(entry.revision)
        return True

    async def _record(self, facts: Facts) -> bool:
        """Write the record that a dead letter speaks of."""
        if facts.letter is None:
            return False
        letter = read_letter(facts.letter).record
        record = ResultRecord(
            State.FAILED,
            letter.task,
            letter.queue,
            letter.priority,
            error=letter.error,
            attempt=letter.attempt,
            worker=letter.worker,
            enqueued_at_ms=letter.enqueued_at_ms,
            finished_at_ms=letter.died_at_ms,
        )
        return await self._client.records.finish(facts.job_id, record)

    async def _forget_progress(self, facts: Facts) -> bool:
        if facts.revision:
            shelf = Shelf(self._client.connection, kv_stream(self._names.progress_bucket))
            await shelf.remove(self._names.progress(facts.job_id), facts.revision)
        return True

    async def _remove_object(self, bucket: str, name: str) -> None:
        await self._client.payloads.remove(PayloadRef(bucket, name, 0))
        # What another program deleted has left a marker.
        shelf = Shelf(self._client.connection, object_stream(bucket))
        await shelf.remove(object_meta(bucket, name))

    async def _publish(self, subject: str, block: bytes, body: bytes) -> bool:
        """Publish something guarded; say whether it was taken."""
        try:
            await self._client.publisher.publish(subject, block, body)
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return False
        return True

    def _arguments(self, entry: Entry) -> PayloadRef | None:
        kind = entry.headers.get(headers.CONTENT_TYPE, headers.JSON)
        try:
            ref = envelopes.decode(entry.value, kind).args_ref
        except MalformedJobError:
            return None
        return ref if ref is not None and ref.bucket == self._names.payloads_bucket else None

    def _address(self, facts: Facts) -> JobAddress | None:
        """Where a job belongs, as its running record or the ledger says."""
        if facts.progress is not None and facts.progress.queue:
            return JobAddress(facts.progress.queue, facts.progress.priority, facts.job_id)
        return None if facts.enqueued is None else self._origin(facts.enqueued)

    def _origin(self, entry: Entry) -> JobAddress | None:
        """Read where a copy of a job came from: the event says so in a header."""
        subject = entry.headers.get(headers.ORIGIN, entry.subject)
        try:
            return self._names.read_ready(subject)
        except InvalidNameError:
            return None


def _stored_at_ms(event: Entry | None) -> int:
    """When the job was stored that an event announces; 0: nobody can tell."""
    if event is None:
        return 0
    try:
        return read_time(event.headers.get(headers.STORED_AT, ""))
    except ValueError:
        return 0
