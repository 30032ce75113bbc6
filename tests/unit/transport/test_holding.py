"""What a full stream refused is tried again in its order, and more boldly as it gets in."""

from __future__ import annotations

import pytest

from mesh.contract import headers
from mesh.transport import frames
from mesh.transport.holding import Held, Holds, group_of
from mesh.transport.waiting import Waiting

NOW = 100.0


def ignore(_context: object, _fault: object, _ack: bytes) -> None:
    """Hear of a publish and do nothing."""


def held(number: int, subject: str = "mesh.jobs.a.b.c") -> Held:
    """A publish that was refused."""
    waiting = Waiting(subject, b"", ignore, number, NOW)
    return b"%d" % number, waiting


def numbers(items: list[Held]) -> list[int]:
    """Which publishes these are."""
    return [waiting.context for _, waiting in items]


@pytest.fixture
def holds() -> Holds:
    """Ten publishes that one stream refused."""
    holds = Holds()
    for number in range(10):
        holds.refused(held(number), NOW + 5, NOW)
    return holds


def test_one_is_tried_after_a_pause_and_more_when_it_gets_in(holds: Holds) -> None:
    """First one, then two, then four: a stream that has room fills up quickly."""
    tried = [numbers(list(holds.due(NOW)))]
    for _ in range(3):
        tried.append(numbers(list(holds.due(NOW + 1))))
        holds.admitted("mesh.jobs.x.y.z")

    assert tried == [[], [0], [1, 2], [3, 4, 5, 6]]


def test_one_that_is_refused_again_keeps_its_place(holds: Holds) -> None:
    """It is the oldest still, and is the only one that is tried next."""
    (again,) = holds.due(NOW + 1)
    holds.refused(again, NOW + 4.9, NOW + 1)

    assert numbers(list(holds.due(NOW + 1))) == []
    assert numbers(list(holds.due(NOW + 2))) == [0]


def test_those_whose_time_is_up_are_given_up_and_the_stream_is_forgotten(holds: Holds) -> None:
    """Nothing is kept for ever, and an empty hold costs nothing."""
    assert numbers(list(holds.overdue(NOW + 4.9))) == []
    assert numbers(list(holds.overdue(NOW + 5))) == list(range(10))
    assert not holds


def test_one_full_stream_does_not_hold_up_another(holds: Holds) -> None:
    """Room in the results bucket says nothing about the job stream."""
    holds.refused(held(77, "$KV.mesh-results.x"), NOW + 5, NOW)
    list(holds.due(NOW + 1))
    holds.admitted("$KV.mesh-results.y")

    assert group_of("$KV.mesh-results.x") != group_of("mesh.jobs.a.b.c")
    assert len(holds) == 9
    assert numbers(list(holds.due(NOW + 1.1))) == []


@pytest.mark.parametrize("block", [b"", frames.header_block([("Mesh-Task", "größe")])])
def test_a_header_is_added_to_what_is_encoded(block: bytes) -> None:
    """The subject, the other headers and the body stay as they are."""
    frame = frames.publish("a.b", "reply", block, b"body\r\nmore")

    marked = frames.with_header(frame, headers.REPEAT, "1")

    head, _, rest = marked.partition(b"\r\n")
    kind, subject, reply, size, total = head.split(b" ")
    assert (kind, subject, reply) == (b"HPUB", b"a.b", b"reply")
    assert rest[int(size) : int(total)] == b"body\r\nmore"
    assert rest[int(total) :] == b"\r\n"
    expected = frames.read_headers(block) | {headers.REPEAT: "1"}
    assert frames.read_headers(rest[: int(size)]) == expected
