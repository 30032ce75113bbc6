"""How long to pause before the same is tried again: longer each time, and never in step."""

from __future__ import annotations

_MOST_DOUBLINGS = 30


def growing_pause(tries: int, first_s: float, most_s: float, chance: float) -> float:
    """Say how many seconds to wait; half of it is left to chance.

    Args:
        tries: How often it was tried in vain before this pause, less one.
        first_s: The longest first pause.
        most_s: The longest pause of all.
        chance: A random number in [0, 1).
    """
    whole = min(most_s, first_s * 2.0 ** min(tries, _MOST_DOUBLINGS))
    return whole * (1 + chance) / 2
