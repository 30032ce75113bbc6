"""The lanes of a worker: who is asked for how much, who starts next, who waits too long."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from mesh.policy.lanes import WEIGHTS, Feed, Lane

LONGEST_WAIT = 1.0
PULL_LASTS = 5.0


def four_lanes(queue: str = "mail") -> list[Lane[int]]:
    """One lane for each priority of a queue."""
    return [Lane(queue, priority, weight) for priority, weight in WEIGHTS.items()]


def busy_feed(lanes: list[Lane[int]], *, is_strict: bool = False) -> Feed[int]:
    """A feed whose only slot is taken, so that whatever arrives waits."""
    feed = Feed(lanes, 1, is_strict=is_strict)
    assert feed.arrived(lanes[-1], -1, 0.0)
    return feed


class AnyWorkersLife(RuleBasedStateMachine):
    """Jobs come, start, end and are handed back in any order; pulls get lost.

    The machine plays the server and the consumer; it keeps its own books and compares.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.arrived = 0
        self.running: set[int] = set()
        self.waiting: dict[int, float] = {}
        self.started: Counter[int] = Counter()
        self.handed_back: Counter[int] = Counter()
        self.last_deadline = 0.0

    @initialize(slots=st.integers(1, 12), queues=st.integers(1, 2), is_strict=st.booleans())
    def open(self, slots: int, queues: int, *, is_strict: bool) -> None:
        """Start a worker."""
        lanes = [lane for number in range(queues) for lane in four_lanes(f"q{number}")]
        self.feed: Feed[int] = Feed(lanes, slots, is_strict=is_strict)

    @rule(pick=st.integers(0, 7), backlog=st.integers(0, 3), count=st.integers(1, 5))
    def jobs_come(self, pick: int, backlog: int, count: int) -> None:
        """The server sends some jobs, asked for or not: redeliveries come unasked."""
        lane = self.feed.lanes[pick % len(self.feed.lanes)]
        for _ in range(count):
            job, asked = self.arrived, lane.asked
            self.arrived += 1
            if self.feed.arrived(lane, job, self.now):
                self.start(job)
            else:
                self.waiting[job] = self.now
            assert lane.asked == max(0, asked - 1)
        lane.backlog = backlog

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def a_job_ends(self, data: st.DataObject) -> None:
        """A slot is given back, or goes to a job that waits."""
        self.running.remove(data.draw(st.sampled_from(sorted(self.running))))
        following = self.feed.finished()
        if following is None:
            assert not self.waiting
        else:
            del self.waiting[following]
            self.start(following)

    @rule()
    def the_worker_asks(self) -> None:
        """No lane is ever asked for more than there are free slots."""
        free = self.feed.slots - len(self.running) - len(self.waiting)
        for lane, batch in self.feed.plan(self.now):
            assert batch > 0
            assert lane.asked + batch <= free
            lane.ask(batch, self.now, self.now + PULL_LASTS)
            self.last_deadline = self.now + PULL_LASTS

    @rule(pick=st.integers(0, 7), missing=st.integers(0, 12))
    def a_pull_ends(self, pick: int, missing: int) -> None:
        """The server says that it has no more to send."""
        self.feed.lanes[pick % len(self.feed.lanes)].close_pull(missing)

    @rule()
    def the_connection_is_made_anew(self) -> None:
        """The server has forgotten every request."""
        for lane in self.feed.lanes:
            lane.forget()
            assert lane.asked == 0

    @rule(step=st.sampled_from([0.005, 0.1, 0.6, 3.0]))
    def time_passes(self, step: float) -> None:
        """A tick hands back what has waited too long, and only that."""
        self.now += step
        late = {job for job, since in self.waiting.items() if self.now - since > LONGEST_WAIT}
        self.hand_back(self.feed.overdue(self.now, LONGEST_WAIT), late)
        for lane in self.feed.lanes:
            lane.expire(self.now)

    @invariant()
    def books_agree(self) -> None:
        """Slots are never overdrawn, no job is lost, and none starts or goes back twice."""
        if not hasattr(self, "feed"):
            return
        assert self.feed.running == len(self.running) <= self.feed.slots
        assert self.feed.waiting == len(self.waiting)
        assert self.feed.waiting == sum(len(lane.line) for lane in self.feed.lanes)
        assert not self.waiting or self.feed.running == self.feed.slots
        assert all(lane.asked >= 0 for lane in self.feed.lanes)
        fates = self.started + self.handed_back
        assert set(fates.values()) <= {1}
        assert fates.keys() | self.waiting.keys() == set(range(self.arrived))

    def teardown(self) -> None:
        """In the end every lost pull is forgotten and every waiting job handed back."""
        if not hasattr(self, "feed"):
            return
        for lane in self.feed.lanes:
            lane.expire(self.last_deadline + 0.001)
            assert lane.asked == 0
        self.hand_back(self.feed.drain(), set(self.waiting))
        assert self.feed.waiting == 0
        self.books_agree()

    def start(self, job: int) -> None:
        """Note that a job runs."""
        self.running.add(job)
        self.started[job] += 1

    def hand_back(self, jobs: Iterator[int], expected: set[int]) -> None:
        """Note that jobs went back, and that they are the expected ones."""
        returned = list(jobs)
        assert set(returned) == expected
        for job in returned:
            del self.waiting[job]
            self.handed_back[job] += 1


AnyWorkersLife.TestCase.settings = settings(
    deadline=None, max_examples=40, stateful_step_count=30
)
TestAnyWorkersLife = AnyWorkersLife.TestCase


def test_weights_hold_while_all_lanes_have_jobs() -> None:
    """Of 440 starts each priority gets its share, at most one off."""
    lanes = four_lanes()
    feed = busy_feed(lanes)
    for number, lane in enumerate(lanes):
        for _ in range(500):
            feed.arrived(lane, number, 0.0)

    starts = Counter(feed.finished() for _ in range(440))

    for number, lane in enumerate(lanes):
        assert abs(starts[number] - 10 * lane.weight) <= 1


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 3), min_size=1, max_size=60))
def test_an_urgent_job_goes_first(history: list[int]) -> None:
    """Whatever was served before, the first critical job starts next."""
    lanes = four_lanes()
    feed = busy_feed(lanes)
    for number in (1, 2, 3):
        for _ in range(2):
            feed.arrived(lanes[number], number, 0.0)
    for number in history:
        feed.arrived(lanes[number], number, 0.0)
        feed.finished()

    feed.arrived(lanes[0], 0, 0.0)

    assert feed.finished() == 0


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False), st.integers(0, 50))
def test_a_low_job_is_not_starved(chance: Random, moment: int) -> None:
    """However many urgent jobs keep coming, it starts within one round of all weights."""
    lanes = four_lanes()
    feed = busy_feed(lanes)
    for lane in lanes[:3]:
        for _ in range(50):
            feed.arrived(lane, 0, 0.0)
    for _ in range(moment):
        feed.arrived(chance.choice(lanes[:3]), 0, 0.0)
        feed.finished()

    feed.arrived(lanes[3], 1, 0.0)
    starts: list[int | None] = []
    while 1 not in starts:
        feed.arrived(chance.choice(lanes[:3]), 0, 0.0)
        starts.append(feed.finished())

    assert len(starts) <= sum(WEIGHTS.values()) + len(lanes)


def test_a_lane_that_was_idle_does_not_catch_up() -> None:
    """After a long time alone with low jobs, high ones get their share and no more."""
    lanes = four_lanes()
    feed = busy_feed(lanes)
    for number in (2, 3):
        for _ in range(300):
            feed.arrived(lanes[number], number, 0.0)
    for _ in range(200):
        feed.finished()
    for _ in range(100):
        feed.arrived(lanes[1], 1, 0.0)

    starts = Counter(feed.finished() for _ in range(56))

    assert starts[2] == pytest.approx(12, abs=1)
    assert starts[3] == pytest.approx(4, abs=1)


def test_strict_order_serves_the_urgent_first_and_equals_in_turn() -> None:
    """No high job starts while a critical one waits, and two critical lanes alternate."""
    lanes = [*four_lanes("mail"), *four_lanes("web")]
    feed = busy_feed(lanes, is_strict=True)
    for number in (1, 0, 4):
        for _ in range(4):
            feed.arrived(lanes[number], number, 0.0)

    starts = [feed.finished() for _ in range(12)]

    assert Counter(starts[:2]) == Counter(starts[2:4]) == Counter({0: 1, 4: 1})
    assert Counter(starts[4:8]) == Counter({0: 2, 4: 2})
    assert starts[8:] == [1] * 4


def test_in_strict_order_the_less_urgent_are_asked_when_the_urgent_are_quiet() -> None:
    """Each next priority is asked only after the server had nothing for those before it."""
    lanes = four_lanes()
    feed = Feed(lanes, 10, is_strict=True)
    asked: list[list[str]] = []

    for now in (0.0, 0.001, 0.02, 0.04):
        wishes = feed.plan(now)
        asked.append([lane.priority for lane, _ in wishes])
        for lane, batch in wishes:
            lane.ask(batch, now, now + PULL_LASTS)

    assert asked == [["critical"], [], ["high"], ["normal"]]


def test_a_job_in_an_urgent_lane_ends_its_quiet() -> None:
    """Once a critical job came, less urgent lanes wait again."""
    lanes = four_lanes()
    feed = Feed(lanes, 10, is_strict=True)
    lanes[0].ask(10, 0.0, PULL_LASTS)
    assert [lane.priority for lane, _ in feed.plan(1.0)] == ["high"]

    feed.arrived(lanes[0], 1, 1.0)

    assert feed.plan(1.001) == []


def test_lanes_with_a_backlog_share_the_free_slots_by_weight() -> None:
    """Of 44 free slots critical gets 30, high 10, normal 3 and low 1."""
    lanes = four_lanes()
    feed = Feed(lanes, 44)
    for lane in lanes:
        lane.backlog = 1000

    assert [batch for _, batch in feed.plan(0.0)] == list(WEIGHTS.values())


def test_a_lane_without_a_backlog_may_fill_all_free_slots() -> None:
    """An urgent job must never wait for a request to be sent first."""
    lanes = four_lanes()
    feed = Feed(lanes, 20)
    lanes[2].backlog = lanes[3].backlog = 1000

    assert [batch for _, batch in feed.plan(0.0)] == [20, 20, 15, 5]


def test_even_the_last_free_slot_is_offered_to_every_lane() -> None:
    """A share is never rounded down to nothing."""
    lanes = four_lanes()
    feed = Feed(lanes, 1)
    for lane in lanes:
        lane.backlog = 1000

    assert [batch for _, batch in feed.plan(0.0)] == [1, 1, 1, 1]


def test_a_lane_is_asked_again_when_half_has_come() -> None:
    """Requests are not sent for every single free slot."""
    lane: Lane[int] = Lane("mail", "normal", 3)
    feed = Feed([lane], 10)
    lane.ask(6, 0.0, PULL_LASTS)
    assert feed.plan(0.0) == []

    lane.asked = 5

    assert feed.plan(0.0) == [(lane, 5)]


@pytest.mark.parametrize(
    ("running", "asked", "expected"), [(5, 0, True), (5, 2, True), (5, 3, False), (6, 0, False)]
)
def test_a_lane_runs_dry_when_half_of_the_slots_are_free(
    running: int, asked: int, expected: bool
) -> None:
    """Then it is asked at once; before, requests are gathered for a moment."""
    lane: Lane[int] = Lane("mail", "normal", 3)
    feed = Feed([lane], 10)
    for job in range(running):
        feed.arrived(lane, job, 0.0)
    lane.asked = asked

    assert feed.is_running_dry(lane) is expected


def test_a_lost_pull_is_forgotten_after_its_deadline() -> None:
    """What the server never answered does not hold back the next request for ever."""
    lane: Lane[int] = Lane("mail", "normal", 3)
    feed = Feed([lane], 10)
    lane.ask(10, 0.0, PULL_LASTS)

    lane.expire(PULL_LASTS)
    assert feed.plan(PULL_LASTS) == []
    lane.expire(PULL_LASTS + 0.1)

    assert feed.plan(PULL_LASTS) == [(lane, 10)]


def test_what_a_person_sees_of_a_feed() -> None:
    """Slots taken, jobs waiting and what each lane was asked."""
    lane: Lane[int] = Lane("mail", "high", 10)
    feed = Feed([lane], 1)
    lane.ask(3, 0.0, PULL_LASTS)
    feed.arrived(lane, 1, 0.0)
    feed.arrived(lane, 2, 0.0)

    assert repr(feed) == "<Feed running=1/1 waiting=1 [<Lane mail-high asked=1 waiting=1>]>"
