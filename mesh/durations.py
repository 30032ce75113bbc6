"""Durations as people write them: seconds as a number, a timedelta, or a text such as ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

_FORMS = "seconds as a number, a timedelta, or a text like '30s', '5m', '1h30m', '7d'"

Duration = float | int | timedelta | str
"""Whatever ``seconds`` reads."""

_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def seconds(duration: Duration) -> float:
    """Read a duration as seconds.

    Args:
        duration: A number of seconds, a timedelta, or a text like ``"90"``, ``"30s"``, ``"1h30m"``.

    Raises:
        ValueError: It is negative, not finite, or not a duration.
    """
    if isinstance(duration, timedelta):
        value = duration.total_seconds()
    elif isinstance(duration, str):
        value = _read(duration)
    elif isinstance(duration, bool):
        raise ValueError(_refusal(duration))
    else:
        value = float(duration)
    if not 0 <= value < 1e11:
        raise ValueError(_refusal(duration))
    return value


def _read(text: str) -> float:
    compact = text.strip().lower().replace(" ", "")
    if _NUMBER.fullmatch(compact):
        return float(compact)
    parts = _PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise ValueError(_refusal(text))
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in parts)


def _refusal(duration: object) -> str:
    return f"{duration!r} is not a duration; give {_FORMS}"
