"""What is known of one job, and what is wrong with it: plain decisions without I/O."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct

from mesh.client.findings import Finding, Kind
from mesh.client.lanes import LaneState
from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.records import ProgressRecord, ResultRecord
from mesh.contract.subjects import Names, consumer_name
from mesh.errors import InvalidNameError, JobLostError
from mesh.policy.retry import type_name
from mesh.transport.buckets import Entry

JOB_LOST = type_name(JobLostError)
"""The error of a job that was ended because nothing of it was left to run."""


class Facts(Struct, frozen=True, kw_only=True):
    """All that is stored about one job, each thing as it was when it was looked at.

    Attributes:
        job_id: The job.
        queued: Its messages in the job stream, the oldest first.
        delayed: Its message in the delayed stream.
        fired: Its message that is due, and on its way from the delayed to the job stream.
        progress: Its running record.
        revision: The revision of that; 0: there is none.
        result: Its terminal record, if there is one that can be read.
        has_ended: Whether it has a terminal record, or the ledger knows that it had one.
        letter: Its dead letter.
        was_buried: Whether the ledger knows of a dead letter.
        enqueued: Its entry in the ledger.
    """

    job_id: str
    queued: tuple[Entry, ...] = ()
    delayed: Entry | None = None
    fired: Entry | None = None
    progress: ProgressRecord | None = None
    revision: int = 0
    result: ResultRecord | None = None
    has_ended: bool = False
    letter: Entry | None = None
    was_buried: bool = False
    enqueued: Entry | None = None

    @property
    def messages(self) -> tuple[Entry, ...]:
        """Its messages that still wait to be run or removed."""
        return self.queued if self.delayed is None else (*self.queued, self.delayed)

    @property
    def everywhere(self) -> tuple[Entry, ...]:
        """Its messages, with one that is on its way from the one stream to the other."""
        return self.messages if self.fired is None else (*self.messages, self.fired)

    @property
    def copy(self) -> Entry | None:
        """A copy of the whole job from which it can be published again."""
        return self.enqueued if self.enqueued is not None and self.enqueued.value else None


class Lanes:
    """The consumers of the job stream, as they were at one moment."""

    def __init__(self, names: Names, states: Iterable[LaneState]) -> None:
        self._names = names
        self._states = {consumer_name(state.queue, state.priority): state for state in states}

    @property
    def states(self) -> Mapping[str, LaneState]:
        """Each lane's state, by the name of its consumer."""
        return self._states

    @property
    def queues(self) -> set[str]:
        """The queues that have any lane."""
        return {state.queue for state in self._states.values()}

    def is_stranded(self, entry: Entry) -> bool:
        """Whether a message's consumer has passed it by for good."""
        try:
            address = self._names.read_job(entry.subject)
        except InvalidNameError:
            return False
        state = self._states.get(consumer_name(address.queue, address.priority))
        return state is not None and entry.revision <= passed(state)


def passed(state: LaneState) -> int:
    """The sequence up to which a lane's consumer gives out nothing any more."""
    # What was given out and is in nobody's hands was settled, or given up.
    return state.settled if state.running else max(state.settled, state.delivered)


def is_lost(record: ResultRecord) -> bool:
    """Whether a job was ended as lost, and has a queue whose dead letter says so."""
    return record.error is not None and record.error.type == JOB_LOST and bool(record.queue)


def judge(facts: Facts, lanes: Lanes, now_ms: int) -> list[Finding]:
    """Say what is wrong with a job; a job that is merely on its way may look wrong too."""
    return list(
        _after_the_end(facts) if facts.result is not None else _before(facts, lanes, now_ms)
    )


def kept(facts: Facts, lanes: Lanes) -> Entry | None:
    """Choose the message that counts among those of a job; None if it has none."""
    waits = facts.progress is not None and facts.progress.state is State.RETRYING
    runs = facts.progress is not None and facts.progress.state is State.RUNNING
    if facts.delayed is not None and (waits or not facts.queued or not runs):
        # The newer of the two: the other was not acknowledged after the job was put off.
        return facts.delayed
    reachable = [entry for entry in facts.queued if not lanes.is_stranded(entry)]
    return next(iter(reachable or facts.queued), None)


def _after_the_end(facts: Facts) -> Iterator[Finding]:
    result = facts.result
    job_id, state = facts.job_id, "" if result is None else result.state.value
    if facts.everywhere:
        places = tuple(entry.revision for entry in facts.everywhere)
        detail = f"it {_ended(state)}; {len(places)} message(s) left"
        yield Finding(kind=Kind.LEFTOVER, name=job_id, detail=detail, places=places)
    if facts.progress is not None:
        detail = f"it {_ended(state)}"
        places = (facts.revision,)
        yield Finding(kind=Kind.STALE_PROGRESS, name=job_id, detail=detail, places=places)
    is_unburied = facts.letter is None and not facts.was_buried and not facts.messages
    is_known = facts.enqueued is not None or (result is not None and is_lost(result))
    if state == State.FAILED and is_unburied and is_known:
        yield Finding(kind=Kind.UNBURIED, name=job_id, detail=_error(result))


def _before(facts: Facts, lanes: Lanes, now_ms: int) -> Iterator[Finding]:
    job_id = facts.job_id
    messages = facts.messages
    if len(messages) > 1:
        places = tuple(entry.revision for entry in messages)
        detail = f"{len(facts.queued)} in its queue" + (", 1 delayed" * bool(facts.delayed))
        yield Finding(kind=Kind.DOUBLED, name=job_id, detail=detail, places=places)
    chosen = kept(facts, lanes)
    if chosen is not None:
        if lanes.is_stranded(chosen) and chosen is not facts.delayed:
            places = (chosen.revision,)
            yield Finding(kind=Kind.STRANDED, name=job_id, detail=chosen.subject, places=places)
        return
    if facts.fired is not None:
        return  # The server hands it over as soon as there is room.
    if facts.progress is not None:
        if not facts.has_ended and not _is_leased(facts.progress, now_ms):
            yield Finding(
                kind=Kind.STUCK,
                name=job_id,
                detail=f"{facts.progress.state.value}, attempt {facts.progress.attempt}",
                places=(facts.revision,),
            )
    elif not facts.has_ended and facts.enqueued is not None:
        task = facts.enqueued.headers.get(headers.TASK, "")
        kind = Kind.LOST if facts.letter is None else Kind.UNRECORDED
        places = (facts.enqueued.revision,)
        yield Finding(kind=kind, name=job_id, detail=f"task {task}" * bool(task), places=places)


def _is_leased(progress: ProgressRecord, now_ms: int) -> bool:
    return progress.state is State.RUNNING and progress.lease_until_ms > now_ms


def _ended(state: str) -> str:
    return f"was {state}" if state == State.CANCELLED else state


def _error(result: ResultRecord | None) -> str:
    if result is None or result.error is None:
        return ""
    return f"{result.error.type}: {result.error.message}"[:200]
