"""Pauses between tries grow, are bounded, and are never the same for all."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from mesh.policy.pauses import growing_pause


@given(tries=st.integers(0, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_is_half_chance_and_never_too_long(tries: int, chance: float) -> None:
    """Whatever the number of tries: at least half of its whole, at most the longest."""
    whole = min(2.0, 0.3 * 2.0 ** min(tries, 100))

    assert whole / 2 <= growing_pause(tries, 0.3, 2.0, chance) <= 2.0


@given(tries=st.integers(0, 100), chance=st.floats(0, 1, exclude_max=True))
def test_a_pause_never_shrinks_with_the_tries(tries: int, chance: float) -> None:
    """With the same luck the next pause is as long or longer."""
    this, following = (growing_pause(n, 0.3, 2.0, chance) for n in (tries, tries + 1))

    assert this <= following
