"""Events as programs see them, whether the server or mesh told of them."""

from __future__ import annotations

import pytest

from mesh.client import happenings
from mesh.contract import events
from mesh.contract.events import Event, EventKind, LogLine
from mesh.transport.buckets import Entry
from mesh.transport.frames import header_block

_AT = "2030-01-01T00:00:00.123456789Z"


def copy(kind: str, *pairs: tuple[str, str]) -> Entry:
    """An event as the server republishes it."""
    block = header_block(
        [*pairs, ("Nats-Time-Stamp", _AT), ("Nats-Subject", f"mesh.events.{kind}.j")]
    )
    return Entry(f"mesh.events.{kind}.j", b"", 7, block)


def test_the_copy_of_a_job_tells_where_it_lies() -> None:
    """Queue and priority are in the subject of what was copied, its attempt in a header."""
    entry = copy(
        "enqueued",
        ("Mesh-Task", "send"),
        ("Mesh-Attempt", "3"),
        ("Nats-Subject", "mesh.jobs.mail.high.j"),
    )

    event = happenings.read(entry)

    assert event == happenings.LedgerEvent(
        name="job.enqueued",
        at_ms=1_893_456_000_123,
        job_id="j",
        task="send",
        queue="mail",
        priority="high",
        attempt=3,
        sequence=7,
    )


@pytest.mark.parametrize(
    ("state", "name"),
    [
        ("succeeded", "job.completed"),
        ("failed", "job.failed"),
        ("cancelled", "job.cancelled"),
        ("expired", "job.expired"),
    ],
)
def test_the_copy_of_a_result_is_named_after_its_state(state: str, name: str) -> None:
    """Whoever waits for failures need not see the rest."""
    event = happenings.read(copy("finished", ("Mesh-State", state), ("Mesh-Queue", "mail")))

    assert event is not None
    assert (event.name, event.queue) == (name, "mail")


def test_an_event_of_mesh_is_read_from_its_body() -> None:
    """All that it says is there."""
    lines = (LogLine(5, "info", "hello", "shop", 1),)
    told = Event(EventKind.LOG, "j", 7, "t", "q", "low", 2, "w", lines=lines)
    event = happenings.read(Entry("mesh.events.log.j", events.encode(told), 9, b""))

    assert event is not None
    assert (event.name, event.attempt, event.worker, event.lines) == ("job.log", 2, "w", lines)


@pytest.mark.parametrize(
    "entry",
    [
        Entry("mesh.events.exploded.j", b"", 1, b""),
        Entry("mesh.events.log.j", b"{", 1, b""),
        Entry("mesh.events.log.j", b"\xff", 1, b""),
        copy("finished", ("Mesh-State", "odd")),
        copy("finished"),
    ],
    ids=["unknown kind", "cut short", "no text", "unknown state", "no state"],
)
def test_what_cannot_be_read_is_passed_over(entry: Entry) -> None:
    """A newer version, or another program, may have told of it."""
    assert happenings.read(entry) is None


def test_patterns_choose_by_name() -> None:
    """Without any all is shown but what is too much; a name nobody uses is noticed."""
    paused = happenings.LedgerEvent(name="queue.paused", at_ms=1)
    log = happenings.LedgerEvent(name="job.log", at_ms=1)

    assert happenings.is_asked_for(paused, ())
    assert not happenings.is_asked_for(log, ())
    assert happenings.is_asked_for(log, ("job.*",))
    assert not happenings.is_asked_for(log, ("queue.*", "job.failed"))
    assert happenings.unmatched(("job.*", "job.exploded", "*.paused")) == ["job.exploded"]


def test_a_single_name_needs_only_its_kind_to_be_read() -> None:
    """All ends are of one kind; patterns and several names may be of any."""
    assert happenings.only_kind(("job.failed",)) is EventKind.FINISHED
    assert happenings.only_kind(("queue.paused",)) is EventKind.QUEUE_PAUSED
    assert happenings.only_kind(("job.*",)) is None
    assert happenings.only_kind(("job.failed", "job.dead")) is None
