"""What the archive makes of the ledger's events, one by one and together."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.archives import NOON_MS, decoded, delivery

from mesh.archive.decoding import Record, read_record
from mesh.archive.opening import open_database
from mesh.archive.rows import JobRow, merge
from mesh.archive.schema import migrate
from mesh.contract import records
from mesh.contract.events import Event, EventKind, encode
from mesh.contract.lifecycle import State
from mesh.contract.records import ErrorInfo, ResultRecord
from mesh.transport.puller import Delivery

ENQUEUED = delivery(
    1, "enqueued", "a", NOON_MS, Nats_Subject="shop.jobs.mail.high.a", Mesh_Task="send"
)
FINISHED = delivery(
    2,
    "finished",
    "a",
    NOON_MS + 50,
    Nats_Subject="$KV.shop-results.a",
    Nats_Sequence="7",
    Mesh_State="failed",
    Mesh_Task="send",
)
RECORD = ResultRecord(
    State.FAILED,
    "send",
    "mail",
    "high",
    error=ErrorInfo("builtins.ValueError", "no such address"),
    attempt=3,
    worker="w1",
    enqueued_at_ms=NOON_MS - 5,
    started_at_ms=NOON_MS + 20,
    finished_at_ms=NOON_MS + 48,
)


def told(seq: int, kind: EventKind, at_ms: int, message: str = "") -> Delivery:
    """An event that a worker published."""
    body = encode(Event(kind, "a", at_ms, "send", "mail", "high", 2, "", message))
    return delivery(seq, kind, "a", at_ms, body)


def read(record: ResultRecord) -> Record:
    """The record as the archive reads it."""
    found = read_record(records.encode(record))
    assert found is not None
    return found


def test_a_job_is_pending_once_it_was_enqueued() -> None:
    """The announcement of a job says its task, its lane and when it came."""
    (row,) = decoded(ENQUEUED).jobs

    assert (row.id, row.state, row.task) == ("a", "pending", "send")
    assert (row.queue, row.priority, row.enqueued_ms) == ("mail", "high", NOON_MS)


def test_a_finished_job_is_as_its_record_says() -> None:
    """The record behind the event fills in the attempt, the times and the failure."""
    (row,) = decoded(ENQUEUED, FINISHED, records={7: read(RECORD)}).jobs

    assert (row.state, row.attempts, row.worker) == ("failed", 3, "w1")
    assert (row.enqueued_ms, row.started_ms) == (NOON_MS - 5, NOON_MS + 20)
    assert row.duration_ms == 28
    assert (row.error_type, row.error_message) == ("builtins.ValueError", "no such address")


def test_a_finished_job_without_its_record_is_known_by_the_headers() -> None:
    """When the record has expired, the event still says how the job ended."""
    (row,) = decoded(FINISHED).jobs

    assert (row.state, row.task, row.finished_ms) == ("failed", "send", NOON_MS + 50)


def test_what_a_record_leaves_out_is_the_first_attempt() -> None:
    """The contract leaves out what is usual, so no number means attempt 1."""
    record = ResultRecord(State.SUCCEEDED, "send", "mail", "high")

    assert read(record).attempt == msgspec.structs.asdict(record)["attempt"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"\xff", b'{"attempt": "x"}'])
def test_a_foreign_record_is_no_record(body: bytes) -> None:
    """Whatever other programs write does not stop the archive."""
    assert read_record(body) is None


def test_the_expiry_of_a_record_leaves_a_job_that_has_ended() -> None:
    """With nothing but the note that its record will expire, a job has the state ended."""
    expiring = told(2, EventKind.EXPIRING, NOON_MS + 50)

    assert decoded(ENQUEUED, expiring).jobs[0].state == "ended"


def test_a_dead_letter_tells_that_an_ended_job_failed() -> None:
    """The event of the dead letter says how the job ended, if nothing else does."""
    expiring = told(2, EventKind.EXPIRING, NOON_MS + 50)
    dead = told(3, EventKind.DEAD, NOON_MS + 90_000, "E: gone")

    assert decoded(ENQUEUED, expiring, dead).jobs[0].state == "failed"


def test_a_late_dead_letter_takes_nothing_away() -> None:
    """It is stored after the record, perhaps by another worker, and knows less."""
    dead = told(3, EventKind.DEAD, NOON_MS + 90_000, "E: gone")

    (row,) = decoded(ENQUEUED, FINISHED, dead, records={7: read(RECORD)}).jobs

    assert (row.state, row.started_ms, row.worker) == ("failed", NOON_MS + 20, "w1")


def test_an_end_that_overtakes_its_beginning_stays_the_end() -> None:
    """Two streams announce them, so the ledger may have them the wrong way round."""
    late = delivery(
        3,
        "enqueued",
        "a",
        NOON_MS + 400,
        Nats_Subject="shop.jobs.mail.high.a",
        Mesh_Task="send",
    )

    assert decoded(FINISHED, late, records={7: read(RECORD)}).jobs[0].state == "failed"


def test_a_job_that_is_sent_again_has_a_new_life() -> None:
    """A later job of the same id is what the row is about from then on."""
    again = delivery(9, "enqueued", "a", NOON_MS + 60_000, Nats_Subject="shop.jobs.mail.high.a")

    (row,) = decoded(ENQUEUED, FINISHED, again, records={7: read(RECORD)}).jobs

    assert (row.state, row.enqueued_ms, row.finished_ms) == ("pending", NOON_MS + 60_000, 0)


def test_the_copy_for_a_retry_is_not_when_the_job_came() -> None:
    """A retry that the server held comes into the queue anew, with its attempt's number."""
    copy = delivery(
        5,
        "enqueued",
        "a",
        NOON_MS + 9_000,
        Nats_Subject="shop.due.mail.high.a",
        Mesh_Attempt="2",
    )

    assert decoded(ENQUEUED, copy).jobs[0].enqueued_ms == NOON_MS


def test_the_tags_are_known_where_the_ledger_keeps_bodies() -> None:
    """The body is read for its tags and not stored: it may hold secrets."""
    body = b'{"task":"send","args":["secret"],"tags":["vip","eu"]}'
    one = delivery(1, "enqueued", "a", NOON_MS, body, Nats_Subject="shop.jobs.mail.high.a")

    batch = decoded(one)

    assert batch.jobs[0].tags == "\nvip\neu\n"
    assert batch.events[0].detail is None


def test_an_event_of_an_unknown_kind_is_kept_and_changes_no_job() -> None:
    """Newer workers may tell of more than this archive knows."""
    batch = decoded(delivery(1, "log", "a", NOON_MS, b'{"message":"hello"}'))

    assert (batch.events[0].kind, batch.events[0].detail) == ("log", '{"message":"hello"}')
    assert batch.jobs == []


def test_what_is_no_event_body_does_not_stop_the_archive() -> None:
    """The event is kept as it is, and says nothing of its job."""
    batch = decoded(delivery(1, "retrying", "a", NOON_MS, b"\xff{\0"))

    assert batch.events[0].detail == "\ufffd{\ufffd"
    assert batch.jobs == []


LIFE = [
    ENQUEUED,
    told(2, EventKind.RETRYING, NOON_MS + 10, "builtins.ValueError: first"),
    told(3, EventKind.EXPIRING, NOON_MS + 49),
    delivery(
        4,
        "finished",
        "a",
        NOON_MS + 50,
        Nats_Sequence="7",
        Mesh_State="failed",
        Mesh_Task="send",
    ),
    told(5, EventKind.DEAD, NOON_MS + 70, "builtins.ValueError: last"),
    delivery(
        6,
        "enqueued",
        "a",
        NOON_MS + 99_000,
        Nats_Subject="shop.jobs.mail.high.a",
        Mesh_Task="send",
    ),
    delivery(7, "finished", "a", NOON_MS + 99_050, Nats_Sequence="9", Mesh_State="succeeded"),
]
AGAIN = ResultRecord(
    State.SUCCEEDED, "send", "mail", "high", enqueued_at_ms=NOON_MS + 98_990, worker="w2"
)
KNOWN = {7: read(RECORD), 9: read(AGAIN)}


def row_of(order: list[int], cuts: set[int], whole: int) -> JobRow:
    """What SQLite holds after events came in an order, in batches, some of them twice."""
    database = open_database(":memory:")
    try:
        migrate(database)
        batch: list[int] = []
        for place, number in enumerate(order, start=1):
            batch.append(number)
            if place in cuts or place == len(order):
                happened = [LIFE[n] for n in batch if n < whole]
                with database.transaction():
                    database.merge_jobs(decoded(*happened, records=KNOWN).jobs)
                batch = []
        return JobRow(*database.rows("SELECT * FROM jobs")[0])
    finally:
        database.close()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1, len(LIFE)),
    st.permutations(range(len(LIFE))),
    st.lists(st.integers(0, len(LIFE) - 1), max_size=4),
    st.sets(st.integers(1, len(LIFE) + 4)),
)
def test_the_order_of_arrival_does_not_matter(
    whole: int, order: list[int], repeats: list[int], cuts: set[int]
) -> None:
    """Any order, any batches and any repeats end in the same row, in memory and in SQL."""
    happened = LIFE[:whole]
    straight = decoded(*happened, records=KNOWN).jobs[0]

    assert row_of([*order, *repeats], cuts, whole) == straight


def test_merging_is_the_same_in_both_directions() -> None:
    """Who comes first does not matter."""
    rows = [decoded(one, records=KNOWN).jobs[0] for one in LIFE]

    for one in rows:
        for other in rows:
            assert merge(one, other) == merge(other, one)


def test_the_announcement_says_nothing_that_is_not_json() -> None:
    """The detail of a worker's event is its body, as it was published."""
    (row,) = decoded(told(2, EventKind.RETRYING, NOON_MS, "E: x")).events

    assert row.detail is not None
    assert json.loads(row.detail)["message"] == "E: x"
