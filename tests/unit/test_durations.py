"""Durations: numbers, timedeltas and texts, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mesh.durations import seconds
from mesh.errors import InvalidDurationError

LONGEST = 1e11
UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


@pytest.mark.parametrize(
    ("duration", "expected"),
    [
        (0, 0),
        (90, 90),
        (1.5, 1.5),
        (timedelta(minutes=2, milliseconds=5), 120.005),
        ("90", 90),
        ("1.5", 1.5),
        ("30s", 30),
        ("1h30m", 5400),
        (" 1H 30 M ", 5400),
        ("250ms", 0.25),
        ("1m250ms", 60.25),
        ("7d", 604_800),
        ("2w", 1_209_600),
        ("0.5h", 1800),
    ],
)
def test_people_write_durations_in_many_ways(duration: Any, expected: float) -> None:
    """A number is seconds; a text may carry units."""
    value = seconds(duration)

    assert value == pytest.approx(expected)
    assert isinstance(value, float)


@pytest.mark.parametrize(
    "duration",
    [
        -1,
        -0.001,
        timedelta(seconds=-1),
        float("nan"),
        float("inf"),
        10**400,
        True,
        None,
        [],
        b"5s",
        "",
        "   ",
        "soon",
        "-5s",
        "5x",
        "s",
        "1 5",
        "1 5s",
        "1.s",
        "1h30",
        "5s!",
        "1e3",
        "٣s",
        "9" * 400,
    ],
)
def test_what_is_no_duration_is_refused(duration: Any) -> None:
    """The message shows what was given and which forms there are."""
    with pytest.raises(InvalidDurationError, match=r"is not a duration; give seconds as"):
        seconds(duration)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.integers(0, 999), st.sampled_from(sorted(UNITS))), min_size=1))
def test_a_text_is_the_sum_of_its_parts(parts: list[tuple[int, str]]) -> None:
    """Numbers with units add up, with or without spaces between them."""
    expected = sum(number * UNITS[unit] for number, unit in parts)

    for space in ("", " "):
        text = space.join(f"{number}{space}{unit}" for number, unit in parts)
        assert seconds(text) == pytest.approx(expected)


@settings(deadline=None, max_examples=80)
@given(st.text(max_size=12) | st.floats() | st.integers() | st.timedeltas())
def test_anything_is_read_as_a_sane_number_or_refused(duration: Any) -> None:
    """No input leads to a negative, endless or undefined wait, or to another error."""
    try:
        value = seconds(duration)
    except InvalidDurationError:
        return

    assert 0 <= value < LONGEST
