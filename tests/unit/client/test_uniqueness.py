"""Whose a unique key is: the decision that producers and workers share, over all cases."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.client.uniqueness import Standing, Whereabouts, standing, whereabouts
from mesh.contract.envelope import Until
from mesh.contract.lifecycle import State
from mesh.contract.records import UniqueKey

GRACE_MS = 11_000
NOW_MS = 1_900_000_000_000

MOMENTS = st.integers(NOW_MS - 30_000, NOW_MS + 30_000)
KEYS = st.builds(
    UniqueKey,
    st.sampled_from(["a", "b"]),
    st.sampled_from(Until),
    claimed_at_ms=MOMENTS,
    expires_at_ms=MOMENTS,
)
PLACES = st.sampled_from(Whereabouts)


def test_a_key_that_is_not_there_is_free() -> None:
    """So is one that holds what nobody can read."""
    assert standing(None, "a", Whereabouts.UNKNOWN, NOW_MS, GRACE_MS) is Standing.FREE


@settings(deadline=None)
@given(key=KEYS, other=PLACES, now=MOMENTS)
def test_a_key_belongs_to_a_job_at_most(key: UniqueKey, other: Whereabouts, now: int) -> None:
    """The job it names never loses it to one that asks at the same moment."""
    third = standing(key, "c", other, now, GRACE_MS)
    own = standing(key, key.job_id, Whereabouts.UNKNOWN, now, GRACE_MS)

    assert own in {Standing.MINE, Standing.FREE}
    assert third is not Standing.MINE
    if own is Standing.FREE:  # Its time is over, for everybody.
        assert third is Standing.FREE


@settings(deadline=None)
@given(key=KEYS, now=MOMENTS)
def test_a_job_that_waits_keeps_its_key_until_its_time_is_over(
    key: UniqueKey, now: int
) -> None:
    """However old the claim is: delayed jobs count."""
    verdict = standing(key, "c", Whereabouts.WAITING, now, GRACE_MS)

    is_over = key.until is Until.TIME and key.expires_at_ms <= now
    assert verdict is (Standing.FREE if is_over else Standing.HELD)


@settings(deadline=None)
@given(key=KEYS, now=MOMENTS)
def test_a_job_that_nobody_knows_is_waited_for_and_then_forgotten(
    key: UniqueKey, now: int
) -> None:
    """A key that points to nothing is not held for ever, nor taken from a slow producer."""
    verdict = standing(key, "c", Whereabouts.UNKNOWN, now, GRACE_MS)
    later = key.claimed_at_ms + GRACE_MS

    assert verdict in {Standing.FREE, Standing.UNSURE}
    if verdict is Standing.UNSURE:
        assert now < later
    assert standing(key, "c", Whereabouts.UNKNOWN, later, GRACE_MS) is Standing.FREE


@pytest.mark.parametrize("until", Until)
@pytest.mark.parametrize("place", Whereabouts)
def test_a_key_is_let_go_where_its_rule_says(until: Until, place: Whereabouts) -> None:
    """At the end, at the start, or only when the time is over."""
    key = UniqueKey("a", until, NOW_MS, NOW_MS + 60_000)
    frees = {
        Until.DONE: {Whereabouts.ENDED},
        Until.STARTED: {Whereabouts.STARTED, Whereabouts.ENDED},
        Until.TIME: set[Whereabouts](),
    }

    verdict = standing(key, "c", place, NOW_MS, GRACE_MS)

    expected = Standing.FREE if place in frees[until] else Standing.HELD
    assert verdict is (Standing.UNSURE if place is Whereabouts.UNKNOWN else expected)


STEPS = st.tuples(st.sampled_from("abc"), st.sampled_from(["claim", "publish", "run", "end"]))


@settings(deadline=None, max_examples=100)
@given(
    steps=st.lists(STEPS, min_size=60, max_size=60),
    waits=st.lists(st.sampled_from([0, 0, 0, 7000]), min_size=60, max_size=60),
)
def test_in_any_order_of_steps_no_two_jobs_with_one_key_run_beside_each_other(
    steps: list[tuple[str, str]], waits: list[int]
) -> None:
    """Producers, jobs and workers take steps at random; slow producers are overtaken."""
    key: UniqueKey | None = None
    places = dict.fromkeys("abc", Whereabouts.UNKNOWN)
    claimed: set[str] = set()
    now = NOW_MS

    for (job, step), wait in zip(steps, waits, strict=True):
        now += wait
        other = places[key.job_id] if key is not None else Whereabouts.UNKNOWN
        verdict = standing(key, job, other, now, GRACE_MS)
        if step == "claim" and job not in claimed and verdict is Standing.FREE:
            key = UniqueKey(job, Until.DONE, now)
            claimed.add(job)
        elif step == "publish" and job in claimed and places[job] is Whereabouts.UNKNOWN:
            places[job] = Whereabouts.WAITING  # However late.
        elif step == "run" and places[job] is Whereabouts.WAITING:
            if verdict is Standing.HELD:
                places[job] = Whereabouts.ENDED  # It is superseded.
            elif verdict is Standing.FREE:
                key = UniqueKey(job, Until.DONE, now)
            if verdict in {Standing.FREE, Standing.MINE}:
                places[job] = Whereabouts.STARTED
        elif step == "end" and places[job] is Whereabouts.STARTED:
            places[job] = Whereabouts.ENDED

        running = [job for job, place in places.items() if place is Whereabouts.STARTED]
        assert len(running) <= 1, f"{running} run, and the key says {key}"


@pytest.mark.parametrize("state", State)
def test_every_state_is_somewhere(state: State) -> None:
    """A job waits, has started, or has ended; a job nobody knows may have ended too."""
    place = whereabouts(state)

    assert (place is Whereabouts.ENDED) == state.is_terminal
    assert (place is Whereabouts.STARTED) == (state in {State.RUNNING, State.RETRYING})


def test_a_job_whose_record_has_expired_has_ended_if_there_is_a_sign_of_it() -> None:
    """Else nobody knows it."""
    assert whereabouts(None) is Whereabouts.UNKNOWN
    assert whereabouts(None, has_ended=True) is Whereabouts.ENDED
