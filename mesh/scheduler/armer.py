"""Hand ticks to the server, which fires them by itself, and take them back.

A leader that has lost its lease without knowing it may still send something. None of it does
harm: a tick has one job id and is stored only where none is; one that is armed is replaced only
by a later edition of its schedule; and what is taken back was there before the lease was last
known to be held.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import aclosing

from mesh.client.admission import at_once
from mesh.client.client import Client
from mesh.client.messages import delayed_block
from mesh.clock import Clock
from mesh.contract import envelope, headers
from mesh.errors import BrokerError, MeshError
from mesh.policy.schedule_ticks import TickJob
from mesh.transport.buckets import Entry, Shelf
from mesh.transport.faults import WRONG_LAST_SEQUENCE, ApiError
from mesh.transport.reading import StreamReader

CHUNK = 500
"""So many ticks are sent between two looks at the lease."""

_SURELY_AHEAD_MS = 1_000
_BY_OTHERS = (1 << 62, 0)  # Moved by hand, or a retry: newer than any edition.
_tick_of = re.compile(r"(.+)-[0-9]{8,}T[0-9]{6}(?:-[0-9]{3})?Z").fullmatch

Outgoing = tuple[str, bytes, bytes]


class NotLeadingError(MeshError):
    """The lease is no longer this replica's: it must not write any more."""


class Armer:
    """Arms and withdraws the ticks of one namespace.

    Args:
        client: A connection.
        clock: The time.
        is_leader: Whether the lease is held; asked before each burst of writes.
    """

    def __init__(self, client: Client, clock: Clock, is_leader: Callable[[], bool]) -> None:
        names = client.names
        self._client = client
        self._names = names
        self._clock = clock
        self._is_leader = is_leader
        self._delayed = Shelf(client.connection, names.delayed_stream)
        self._reader = StreamReader(client.connection, names.delayed_stream)

    def check(self) -> None:
        """Go on only as the leader.

        Raises:
            NotLeadingError: Another replica may lead by now.
        """
        if not self._is_leader():
            what = "the scheduler's lease has passed; another replica goes on"
            raise NotLeadingError(what)

    async def arm(self, jobs: Sequence[TickJob]) -> list[BrokerError | None]:
        """Have the server hold the jobs of ticks until they are due; safe to repeat.

        Returns:
            For each what kept it out; None: it is armed, or was before, or has run.

        Raises:
            NotLeadingError: Another replica may lead by now.
            BrokerError: What became of ticks that are due could not be asked.
        """
        outcomes: list[BrokerError | None] = []
        for start in range(0, len(jobs), CHUNK):
            outcomes += await self._arm(jobs[start : start + CHUNK])
        return outcomes

    async def _arm(self, jobs: Sequence[TickJob]) -> list[BrokerError | None]:
        over = await self._over(jobs)
        fresh = [index for index, job in enumerate(jobs) if job.job_id not in over]
        self.check()
        messages = (self._message(jobs[index]) for index in fresh)
        with self._client.sending(len(fresh)):
            receipts = await self._client.publisher.publish_many(messages, len(fresh))
        outcomes: list[BrokerError | None] = [None] * len(jobs)
        for index, receipt in zip(fresh, receipts, strict=True):
            if not isinstance(receipt, BrokerError):
                continue
            is_there = isinstance(receipt, ApiError) and (
                receipt.err_code == WRONG_LAST_SEQUENCE
            )
            outcomes[index] = await self._replace(jobs[index]) if is_there else receipt
        return outcomes

    async def _over(self, jobs: Sequence[TickJob]) -> set[str]:
        """Find those that have fired already: where a tick is due, the stream does not tell.

        Raises:
            BrokerError: The records could not be read.
        """
        soon = self._clock.now_ms() + _SURELY_AHEAD_MS
        due = [job.job_id for job in jobs if job.due_ms <= soon]
        found: set[str] = set()
        for job_id, is_known in zip(due, await at_once(self._is_known, due), strict=True):
            if isinstance(is_known, BrokerError):
                raise is_known
            if is_known is not False:  # A record that cannot be read is a record.
                found.add(job_id)
        return found

    async def _is_known(self, job_id: str) -> bool:
        records = self._client.records
        return await records.find(job_id) is not None or await records.has_ended(job_id)

    async def _replace(self, job: TickJob) -> BrokerError | None:
        """Put a tick in the place of the same one of an older edition, if that is armed."""
        subject = self._names.delayed(job.job_id)
        try:
            entry = await self._delayed.last(subject)
            if entry is None:  # It has fired this very moment.
                return None
            armed = entry.headers.get(headers.MESSAGE_ID, "")
            if not _is_newer(job.message_id, armed):
                return None
            self.check()
            _, block, body = self._message(job, entry.revision)
            await self._client.publisher.publish(subject, block, body)
        except ApiError as fault:
            return None if fault.err_code == WRONG_LAST_SEQUENCE else fault
        except BrokerError as fault:
            return fault
        return None

    def _message(self, job: TickJob, revision: int = 0) -> Outgoing:
        target = self._names.due(job.queue, job.priority, job.job_id)
        # Its worker asks the records: whatever is armed twice runs once.
        guard = [(headers.REPEAT, "1"), (headers.EXPECTED_LAST, str(revision))]
        task = job.envelope.task
        guard += self._client.carried(job.queue, task, job.job_id)
        block = delayed_block(job.message_id, task, target, job.due_ms, guard)
        return self._names.delayed(job.job_id), block, envelope.encode(job.envelope)

    async def withdraw(self, schedule_ids: Collection[str]) -> dict[str, int]:
        """Take back all armed ticks of some schedules; say how many of each.

        Raises:
            NotLeadingError: Another replica may lead by now.
            BrokerError: The server could not be asked, or refused; to go on is safe.
        """
        stream = self._names.delayed_stream
        answer = await self._client.connection.api(f"STREAM.INFO.{stream}")
        # What is armed from now on is not taken back, by whomever it is armed.
        last = int(answer["state"]["last_seq"])
        prefix = self._names.delayed("")
        waiting: list[str] = []
        async with aclosing(self._reader.subjects(self._names.delayed("*"))) as subjects:
            async for subject, _ in subjects:
                if schedule_of(subject.removeprefix(prefix)) in schedule_ids:
                    waiting.append(subject)
        counts = dict.fromkeys(schedule_ids, 0)
        for start in range(0, len(waiting), CHUNK):
            entries = await self._reader.last_of(waiting[start : start + CHUNK])
            armed = [one for one in entries if one.revision <= last and _is_armed(one)]
            self.check()
            for entry, gone in zip(armed, await at_once(self._take, armed), strict=True):
                if isinstance(gone, MeshError):
                    raise gone
                counts[schedule_of(entry.subject.removeprefix(prefix))] += gone
        return counts

    async def _take(self, entry: Entry) -> int:
        return await self._delayed.remove(entry.subject, entry.revision)


def schedule_of(job_id: str) -> str:
    """Read the schedule from the id of a tick's job; empty if it is none."""
    found = _tick_of(job_id)
    return found[1] if found else ""


def _is_armed(entry: Entry) -> bool:
    """Whether a message is an armed tick, and not one that has run and is put off."""
    known = entry.headers
    is_made_here = _edition(known.get(headers.MESSAGE_ID, "")) < _BY_OTHERS
    return is_made_here and headers.ATTEMPT not in known


def _is_newer(own: str, armed: str) -> bool:
    """Whether a tick is of a later edition than another of the same id."""
    return _edition(own) > _edition(armed)


def _edition(message_id: str) -> tuple[int, int]:
    """When the record was made that a tick is of, and its edition."""
    _, _, rest = message_id.partition(".")
    made, _, edition = rest.partition(".")
    if made.isdecimal() and edition.isdecimal():
        return int(made), int(edition)
    return _BY_OTHERS
