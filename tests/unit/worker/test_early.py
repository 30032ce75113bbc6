"""Jobs that come before they are due: never let go too early, never kept too long."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clocks import HandClock
from support.waiting import until

from mesh.policy.lanes import Feed, Lane
from mesh.transport.puller import Delivery
from mesh.worker.attempt import Attempt
from mesh.worker.early import Early

NOW_MS = HandClock().ms


def delivery(*lines: str, stored_ms: int = NOW_MS) -> Delivery:
    """A job with these headers, as the server stored it then."""
    reply = f"$JS.ACK.T_JOBS.default-normal.1.7.3.{stored_ms * 1_000_000}.0".encode()
    block = "".join(f"{line}\r\n" for line in ("NATS/1.0", *lines, "")).encode()
    return Delivery(b"t.jobs.default.normal.j", reply, b"{}", block, is_first=True)


def attempt(number: int, message: Delivery | None = None) -> Attempt:
    lane: Lane[Attempt] = Lane("default", "normal", 1)
    return Attempt(message or delivery(), Feed([lane], 1), lane, f"job-{number}", 0.0)


class Bench:
    """What is under test, with a clock set by hand.

    Attributes:
        clock: The clock.
        early: What is under test.
        let_go: The jobs that were let go, and when.
    """

    def __init__(self, most: int = 100) -> None:
        self.clock = HandClock()
        self.let_go: list[tuple[str, int]] = []
        self.early = Early(self.clock, self._on_due, most)

    def _on_due(self, due: Attempt) -> None:
        self.let_go.append((due.job_id, self.clock.ms))

    def hold(self, waits_ms: Iterable[int]) -> None:
        for number, wait_ms in enumerate(waits_ms):
            assert self.early.hold(attempt(number), wait_ms) is None


@pytest.mark.parametrize(
    ("lines", "left_ms"),
    [
        ((), 0),
        ((f"Mesh-Due: {NOW_MS + 250}",), 250),
        ((f"Mesh-Due: {NOW_MS}",), 0),
        ((f"Mesh-Due: {NOW_MS - 9}",), 0),
        (("Mesh-Due: soon",), 0),
        (("Mesh-Due: -5",), 0),
        ((f"Mesh-Due: {'9' * 400}",), 0),
    ],
)
async def test_the_header_says_how_early_a_job_came(
    lines: tuple[str, ...], left_ms: int
) -> None:
    """Without it, or with nonsense in it, a job runs when it comes."""
    bench = Bench()

    assert bench.early.left_ms(delivery(*lines)) == left_ms


@pytest.mark.parametrize(("behind_ms", "left_ms"), [(600_000, 250), (100, 250), (-100, 150)])
async def test_a_worker_whose_clock_is_wrong_does_not_wait_for_it(
    behind_ms: int, left_ms: int
) -> None:
    """A job is kept no longer than it was early by the server's clock."""
    bench = Bench()
    bench.clock.ms -= behind_ms

    assert bench.early.left_ms(delivery(f"Mesh-Due: {NOW_MS + 250}")) == left_ms


# The last one is long since due: the timer alone lets nothing go before the test does.
@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 2000), min_size=1, max_size=20), st.data())
async def test_jobs_are_let_go_in_their_order_and_never_early(
    waits_ms: list[int], data: st.DataObject
) -> None:
    """Whenever it is looked at, exactly those are let go whose time has come."""
    bench = Bench()
    bench.hold(waits_ms)

    while len(bench.early):
        bench.clock.ms += data.draw(st.integers(1, 700))
        bench.early.release()
        passed = bench.clock.ms - NOW_MS
        assert len(bench.let_go) == sum(wait <= passed for wait in waits_ms)

    order = [int(name.removeprefix("job-")) for name, _ in bench.let_go]
    assert order == sorted(range(len(waits_ms)), key=lambda number: waits_ms[number])


async def test_a_clock_that_is_set_back_lets_nothing_go_early() -> None:
    """The timer looks at the clock again."""
    bench = Bench()
    bench.hold([5])
    bench.clock.ms -= 1_000

    bench.early.release()

    assert not bench.let_go
    bench.clock.ms += 1_005
    bench.early.release()
    assert [name for name, _ in bench.let_go] == ["job-0"]


async def test_the_timer_lets_go_by_itself() -> None:
    """Also if a job that is due sooner comes later."""
    bench = Bench()
    bench.hold([1_900, 1])
    bench.clock.ms += 1

    await until(lambda: bool(bench.let_go), "the timer has let a job go", 20)

    assert bench.let_go == [("job-1", NOW_MS + 1)]
    assert len(list(bench.early.drain())) == 1


async def test_no_more_are_held_than_there_is_room_for() -> None:
    """The server keeps what is beyond, for just as long."""
    bench = Bench(most=1)
    bench.hold([300])

    assert bench.early.hold(attempt(2), 250) == 0.25
    assert len(list(bench.early.drain())) == 1


@pytest.mark.parametrize(("left_ms", "seconds"), [(2_001, 2.001), (10**14, 3600.0)])
async def test_what_comes_far_too_early_goes_back(left_ms: int, seconds: float) -> None:
    """A foreign producer may have published it to its queue at once."""
    bench = Bench()

    assert bench.early.hold(attempt(1), left_ms) == seconds
    assert len(bench.early) == 0


async def test_a_worker_that_stops_takes_out_all_it_holds() -> None:
    """Each is handed back; to ask again is safe, and no timer is left."""
    bench = Bench()
    bench.hold([30, 10, 20])

    drained = [one.job_id for one in bench.early.drain()]

    assert drained == ["job-1", "job-2", "job-0"]
    assert list[Any](bench.early.drain()) == []
    bench.clock.ms += 100
    bench.early.release()
    assert not bench.let_go
