"""Dead letters: list them, replay them as new jobs, purge them with all they keep alive."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, Unpack

import anyio
from msgspec import Raw
from msgspec.structs import replace

from mesh.client.client import Client
from mesh.client.letters import (
    UNCHANGED,
    Changes,
    Choice,
    DeadLetterNotFoundError,
    Filters,
    Letter,
    NotReplayableError,
    Replayed,
    ReplayOutcome,
    check_changes,
    read_job,
    read_letter,
    renewed,
    replay_id,
)
from mesh.client.replays import is_under_way, store_arguments
from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.contract import envelope as envelopes
from mesh.contract import headers
from mesh.contract.envelope import Envelope
from mesh.contract.events import EventKind
from mesh.errors import (
    EnqueueUnknownError,
    MeshError,
    OptionError,
    PayloadMissingError,
    PayloadTooLargeError,
    UnreadableRecordError,
)
from mesh.identifiers import check_job_id
from mesh.transport import frames
from mesh.transport.buckets import Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.reading import StreamReader
from mesh.transport.receipts import NoAnswerError

_SKIPPED = (NotReplayableError, PayloadTooLargeError, UnreadableRecordError)
"""What concerns one letter only, and does not end a replay of many."""


class DeadLetters:
    """The dead letters of an app's namespace."""

    def __init__(
        self, client: Callable[[], Awaitable[Client]], clock: Clock = SYSTEM_CLOCK
    ) -> None:
        self._client = client
        self._clock = clock

    async def find(self, **filters: Unpack[Filters]) -> AsyncGenerator[Letter]:
        """Yield dead letters, the newest first; those that come meanwhile are not seen.

        Args:
            **filters: ``task, queue, error, since, until, limit, newest_first``; see
                ``Filters``.

        Raises:
            OptionError: A filter cannot be.
            InvalidNameError: The queue's name lies outside the grammar.
            InvalidDurationError: ``since`` or ``until`` is no duration.
            BrokerError: They could not be read.
        """
        choice = Choice(filters, self._clock.now_ms())
        client = await self._client()
        reader = StreamReader(client.connection, client.names.dead_stream)
        subject = client.names.dead(choice.queue or "*", "*")
        is_backward = filters.get("newest_first", True)
        read = reader.newest_first if is_backward else reader.oldest_first
        count = 0
        async with aclosing(read(subject)) as entries:
            async for entry in entries:
                letter = read_letter(entry)
                if not choice.fits(letter):
                    continue
                yield letter
                count += 1
                if count == choice.limit:
                    return

    async def get(self, job_id: str) -> Letter:
        """Read the dead letter of one job.

        Raises:
            DeadLetterNotFoundError: There is none.
            InvalidNameError: That can be no job's id.
            BrokerError: It could not be read.
        """
        client = await self._client()
        entry = await _shelf(client).last(client.names.dead("*", check_job_id(job_id)))
        if entry is None:
            raise DeadLetterNotFoundError(job_id)
        return read_letter(entry)

    async def body(self, letter: Letter) -> bytes:
        """Read the dead job's body, wherever it lies.

        Raises:
            PayloadMissingError: It is gone from the payload bucket.
            BrokerError: It could not be read.
        """
        ref = letter.record.body_ref
        if ref is None:
            return letter.body
        client = await self._client()
        return await client.payloads.get(ref)

    async def replay(
        self,
        job_id: str,
        changes: Changes = UNCHANGED,
        *,
        dry_run: bool = False,
        reason: str = "",
    ) -> Replayed:
        """Enqueue a dead job again under a new id, then remove its dead letter.

        To do it again after an interruption is safe: the new id follows from the old one.

        Args:
            job_id: The dead job.
            changes: What the new job does differently.
            dry_run: Say what would be done, and do nothing.
            reason: Why; kept in the ledger, for people.

        Raises:
            DeadLetterNotFoundError: There is no such dead letter.
            NotReplayableError: The body is malformed or gone, and the changes do not make up
                for it; or another job has the id.
            EnqueueUnknownError: The server never confirmed the new job; the letter stays.
            BrokerError: The server refused.
        """
        check_changes(changes)
        letter = await self.get(job_id)
        client = await self._client()
        done = await self._replay(client, letter, changes, dry_run=dry_run)
        _tell_replayed(client, letter, done, reason)
        return done

    async def replay_all(
        self,
        changes: Changes = UNCHANGED,
        *,
        rate: float | None = None,
        dry_run: bool = False,
        reason: str = "",
        **filters: Unpack[Filters],
    ) -> AsyncGenerator[Replayed]:
        """Replay dead letters, the oldest first; those that cannot be are skipped.

        Args:
            changes: What the new jobs do differently.
            rate: How many to enqueue in a second, at most; None: as fast as it goes.
            dry_run: Say what would be done, and do nothing.
            reason: Why; kept in the ledger, for people.
            **filters: As for ``find``.

        Raises:
            OptionError: A filter or the rate cannot be.
            EnqueueUnknownError: The server never confirmed a job; its letter stays.
            BrokerError: The server refused.
        """
        if rate is not None and not rate > 0:
            option = "rate"
            raise OptionError(option, f"{rate!r} is not a number above 0")
        check_changes(changes)
        client = await self._client()
        pause_s = 0.0 if rate is None or dry_run else 1 / rate
        due = self._clock.monotonic()
        filters.setdefault("newest_first", False)
        async with aclosing(self.find(**filters)) as letters:
            async for letter in letters:
                await anyio.sleep(max(0.0, due - self._clock.monotonic()))
                try:
                    done = await self._replay(client, letter, changes, dry_run=dry_run)
                except _SKIPPED as error:
                    yield _skipped(letter, error)
                    continue
                _tell_replayed(client, letter, done, reason)
                yield done
                due = max(due, self._clock.monotonic() - pause_s) + pause_s

    async def purge(self, job_id: str, *, reason: str = "") -> Letter:
        """Remove the dead letter of a job, and what it keeps in the payload bucket.

        Args:
            job_id: The dead job.
            reason: Why; kept in the ledger, for people.

        Raises:
            DeadLetterNotFoundError: There is none.
            BrokerError: The server refused.
        """
        letter = await self.get(job_id)
        await self._purge(await self._client(), letter, reason)
        return letter

    async def purge_all(
        self, *, dry_run: bool = False, reason: str = "", **filters: Unpack[Filters]
    ) -> AsyncGenerator[Letter]:
        """Remove dead letters, the oldest first, and what they keep in the payload bucket.

        Args:
            dry_run: Yield what would be removed, and remove nothing.
            reason: Why; kept in the ledger, for people.
            **filters: As for ``find``.

        Raises:
            OptionError: A filter cannot be.
            BrokerError: The server refused.
        """
        client = await self._client()
        filters.setdefault("newest_first", False)
        async with aclosing(self.find(**filters)) as letters:
            async for letter in letters:
                if not dry_run:
                    await self._purge(client, letter, reason)
                yield letter

    async def _replay(
        self, client: Client, letter: Letter, changes: Changes, *, dry_run: bool
    ) -> Replayed:
        job = await self._job(letter)
        new_id = replay_id(letter.job_id, job)
        fresh = renewed(letter, job, changes, self._clock.now_ms())
        queue = changes.queue or letter.record.queue
        outcome = ReplayOutcome.WOULD_REPLAY
        if await is_under_way(client, letter, new_id):
            outcome = ReplayOutcome.REPLAYED_BEFORE
        elif not dry_run:
            outcome = await self._enqueue(client, letter, changes, new_id, fresh)
        if not dry_run:
            # Only now: the new job is stored, and a crash before this is found by its id.
            await _shelf(client).remove(client.names.dead("*", letter.job_id))
            spent = letter.record.body_ref
            if spent is not None:
                await client.payloads.remove(spent)
            if outcome is ReplayOutcome.REPLAYED and changes.has_arguments:
                await self._forget_arguments(client, job)
        return Replayed(letter.job_id, new_id, outcome, fresh.task, queue)

    async def _forget_arguments(self, client: Client, job: Envelope | MeshError) -> None:
        """Remove arguments that the new job does not use."""
        if isinstance(job, Envelope) and job.args_ref is not None:
            await client.payloads.remove(job.args_ref)

    async def _enqueue(
        self, client: Client, letter: Letter, changes: Changes, new_id: str, job: Envelope
    ) -> ReplayOutcome:
        if len(job.args) + len(job.kwargs) > client.settings.limits.payload_inline_bytes:
            job = replace(
                job,
                args=Raw(envelopes.EMPTY_LIST),
                kwargs=Raw(envelopes.EMPTY_MAP),
                args_ref=await store_arguments(client, new_id, job),
            )
        names, record = client.names, letter.record
        priority = changes.priority or record.priority or client.settings.job_defaults.priority
        pairs = [
            (headers.MESSAGE_ID, new_id),
            (headers.EXPECTED_LAST, "0"),
            (headers.EXPECTED_LAST_SUBJECT, names.job_anywhere(new_id)),
        ]
        if job.task.isprintable():
            pairs.append((headers.TASK, job.task))
        if job.unique is not None:  # The key may be another job's by now.
            pairs.append((headers.REPEAT, "1"))
        queue = changes.queue or record.queue
        subject = names.job(queue, priority, new_id)
        pairs += client.carried(queue, job.task, new_id)
        try:
            receipt = await client.publisher.publish(
                subject, frames.header_block(pairs), envelopes.encode(job)
            )
        except NoAnswerError as error:
            raise EnqueueUnknownError(new_id, str(error)) from error
        except ApiError as fault:
            if fault.err_code != WRONG_LAST_SEQUENCE:
                raise
            return ReplayOutcome.REPLAYED_BEFORE
        is_repeat = receipt.is_duplicate
        return ReplayOutcome.REPLAYED_BEFORE if is_repeat else ReplayOutcome.REPLAYED

    async def _purge(self, client: Client, letter: Letter, reason: str) -> None:
        job = await self._job(letter)
        refs = [letter.record.body_ref]
        # A replay that was interrupted between its two steps needs the arguments.
        if isinstance(job, Envelope) and job.args_ref is not None:
            try:
                is_needed = await is_under_way(client, letter, replay_id(letter.job_id, job))
            except (NotReplayableError, UnreadableRecordError):
                is_needed = False
            refs.append(None if is_needed else job.args_ref)
        # The letter last: whoever purges again finds what is left.
        for ref in refs:
            if ref is not None:
                await client.payloads.remove(ref)
        await _shelf(client).remove(client.names.dead("*", letter.job_id))
        client.journal.of_job(EventKind.PURGED, letter.job_id, reason, **_lane(letter))

    async def _job(self, letter: Letter) -> Envelope | MeshError:
        """Read the dead job, or say why nobody can."""
        try:
            return read_job(letter, await self.body(letter))
        except PayloadMissingError as error:
            return error


def _shelf(client: Client) -> Shelf:
    return Shelf(client.connection, client.names.dead_stream)


def _tell_replayed(client: Client, letter: Letter, done: Replayed, reason: str) -> None:
    if done.outcome is ReplayOutcome.REPLAYED:
        facts = _lane(letter) | {"details": {"new_job_id": done.new_job_id}}
        client.journal.of_job(EventKind.REPLAYED, letter.job_id, reason, **facts)


def _lane(letter: Letter) -> dict[str, Any]:
    record = letter.record
    return {"task": record.task, "queue": record.queue, "priority": record.priority}


def _skipped(letter: Letter, error: MeshError) -> Replayed:
    record = letter.record
    reason = str(error)
    return Replayed(record.job_id, "", ReplayOutcome.SKIPPED, record.task, record.queue, reason)
