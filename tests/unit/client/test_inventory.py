"""What is wrong with a job, decided from facts alone."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mesh.client.findings import MEANING, Finding, FsckReport, Kind
from mesh.client.inventory import Facts, Lanes, judge, kept, passed
from mesh.client.lanes import LaneState
from mesh.client.ledger import Ledger
from mesh.client.pending import IdSet
from mesh.contract import headers
from mesh.contract.lifecycle import State
from mesh.contract.records import ProgressRecord, ResultRecord
from mesh.contract.subjects import Names
from mesh.transport import frames
from mesh.transport.buckets import Entry

NAMES = Names("n")
NOW = 1_000_000
JOB = NAMES.job("q", "normal", "j")


def lane(*, settled: int = 0, delivered: int = 0, running: int = 0) -> LaneState:
    """The state of the only lane."""
    return LaneState("q", "normal", 0, running, 0, 1, False, 0, delivered, 0, settled, NOW, {})


def entry(sequence: int, subject: str = JOB, body: bytes = b"{}") -> Entry:
    """A message."""
    return Entry(subject, body, sequence, b"")


def progress(state: State, lease_ms: int = -1) -> ProgressRecord:
    """A running record."""
    return ProgressRecord(state, "t", "q", "normal", 1, "w", lease_until_ms=NOW + lease_ms)


ENDED = ResultRecord(State.SUCCEEDED, "t", "q", "normal")
LANES = Lanes(NAMES, [lane(settled=10, delivered=15, running=2)])

facts = st.builds(
    Facts,
    job_id=st.just("j"),
    queued=st.lists(st.integers(1, 30), unique=True, max_size=3).map(
        lambda found: tuple(entry(sequence) for sequence in sorted(found))
    ),
    delayed=st.none() | st.just(entry(3, NAMES.delayed("j"))),
    fired=st.none() | st.just(entry(2, NAMES.due("q", "normal", "j"))),
    progress=st.none()
    | st.builds(
        progress, st.sampled_from([State.RUNNING, State.RETRYING]), st.sampled_from([-1, 1])
    ),
    revision=st.just(7),
    result=st.none() | st.just(ENDED),
    letter=st.none() | st.just(entry(1, NAMES.dead("q", "j"))),
    was_buried=st.booleans(),
    enqueued=st.none() | st.just(entry(4, NAMES.event("enqueued", "j"))),
)


@given(facts)
def test_a_job_has_at_most_one_way_to_be_put_right_at_a_time(known: Facts) -> None:
    """Never are a job's messages removed and missed at once, whatever is stored."""
    kinds = [finding.kind for finding in judge(known, LANES, NOW)]

    assert len(set(kinds)) == len(kinds)
    if known.result is not None:
        assert set(kinds) <= {Kind.LEFTOVER, Kind.STALE_PROGRESS, Kind.UNBURIED}
    else:
        assert not {Kind.LEFTOVER, Kind.STALE_PROGRESS, Kind.UNBURIED} & set(kinds)
    if known.messages:
        assert not {Kind.LOST, Kind.STUCK, Kind.UNRECORDED} & set(kinds)
    if known.result is None and len(known.messages) == 1 and Kind.STRANDED not in kinds:
        assert not kinds


@given(facts)
def test_the_message_that_is_kept_is_one_of_the_jobs(known: Facts) -> None:
    """And one that a worker can be given, if there is any such."""
    chosen = kept(known, LANES)

    assert (chosen is None) == (not known.messages)
    if chosen is not None:
        assert chosen in known.messages
        if LANES.is_stranded(chosen) and chosen is not known.delayed:
            assert all(LANES.is_stranded(one) for one in known.queued)


def test_a_leased_job_without_a_message_is_not_stuck() -> None:
    """Its worker will say how it ended; once the lease has passed nobody will."""
    held = Facts(job_id="j", progress=progress(State.RUNNING, 1), revision=7)
    let_go = Facts(job_id="j", progress=progress(State.RUNNING, -1), revision=7)

    assert judge(held, LANES, NOW) == []
    assert [one.kind for one in judge(let_go, LANES, NOW)] == [Kind.STUCK]


def test_a_renewed_record_is_another_finding() -> None:
    """A revision that changed between two looks says that somebody is at work."""
    first, second = (
        judge(Facts(job_id="j", progress=progress(State.RUNNING), revision=n), LANES, NOW)
        for n in (7, 8)
    )

    assert first[0].identity != second[0].identity


@pytest.mark.parametrize(
    ("state", "end"),
    [
        (lane(settled=10, delivered=15, running=2), 10),
        (lane(settled=10, delivered=15, running=0), 15),
        (lane(), 0),
    ],
)
def test_a_lane_has_passed_what_is_settled(state: LaneState, end: int) -> None:
    """What was given out is passed too, if nobody has it in hand."""
    assert passed(state) == end


def test_a_copy_with_a_body_is_chosen() -> None:
    """The ledger has bodies only if the settings say so."""
    bare = Facts(job_id="j", enqueued=entry(4, body=b""))
    full = Facts(job_id="j", enqueued=entry(4))

    assert bare.copy is None
    assert full.copy == entry(4)


def test_every_kind_is_explained_and_counts_until_it_is_repaired() -> None:
    """A report is clean when nothing is left of what was found."""
    findings = tuple(Finding(kind=kind, name="x") for kind in Kind)
    mended = tuple(finding.repaired() for finding in findings)

    assert set(MEANING) == set(Kind)
    assert FsckReport(namespace="n", findings=findings).left == findings
    assert FsckReport(namespace="n", findings=mended).is_clean
    assert not FsckReport(namespace="n", is_partial=True).is_clean


SEQUENCES = count(1)


def event(kind: str, job_id: str, state: str = "") -> Entry:
    """An event of the ledger."""
    block = frames.header_block([(headers.STATE, state)]) if state else b""
    return Entry(NAMES.event(kind, job_id), b"", next(SEQUENCES), block)


def test_the_ledger_remembers_what_has_no_end() -> None:
    """Jobs with a message are accounted for; a failure ends with its dead letter."""
    pending = IdSet()
    pending.add("waits")
    ledger = Ledger(pending)

    for one in (
        event("enqueued", "waits"),
        event("enqueued", "open"),
        event("enqueued", "not an id"),
        event("enqueued", "done"),
        event("finished", "done", "succeeded"),
        event("expiring", "open-2"),
        event("enqueued", "short"),
        event("expiring", "short"),
        event("retrying", "open"),
        event("finished", "dead", "failed"),
        event("finished", "unburied", "failed"),
        event("dead", "dead"),
    ):
        ledger.take(one)

    assert list(ledger.is_open) == ["open"]
    assert list(ledger.failed) == ["unburied"]
    assert ledger.pop_oldest(5) == ["open"]
    assert not ledger.is_open


@given(st.lists(st.text(max_size=4)))
def test_a_set_of_ids_knows_what_is_in_and_what_is_in_twice(ids: list[str]) -> None:
    """It is a set, in eight bytes for each."""
    found = IdSet()
    for job_id in ids:
        found.add(job_id)

    assert all(job_id in found for job_id in ids)
    assert "never added" not in found
    assert len(found) == len(ids)
    assert found.twice() == {hash(one) for one in ids if ids.count(one) > 1}
