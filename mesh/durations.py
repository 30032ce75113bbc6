"""Durations as people write them: seconds, a timedelta, or a text such as ``1h30m``."""

from __future__ import annotations

import re
from datetime import timedelta

from mesh.errors import InvalidDurationError

Duration = float | int | timedelta | str
"""Whatever ``seconds`` reads."""

_FORMS = "seconds as a number, a timedelta, or a text like '30s', '5m', '1h30m', '7d'"
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_NUMBER = re.compile(r"\d+(?:\.\d+)?", re.ASCII)
_PART = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w)\s*", re.ASCII)
_PARTS = re.compile(f"(?:{_PART.pattern})+", re.ASCII)
_TOO_LONG = 1e11


def seconds(duration: Duration) -> float:
    """Read a duration as seconds.

    Args:
        duration: A number of seconds, a timedelta, or a text like ``"90"``, ``"30s"``,
            ``"1h30m"``.

    Raises:
        InvalidDurationError: It is no duration, or negative, or longer than 3,000 years.
    """
    value = _read(duration)
    if value is None or not 0 <= value < _TOO_LONG:
        message = f"{duration!r} is not a duration; give {_FORMS}"
        raise InvalidDurationError(message)
    return float(value)


def _read(duration: object) -> float | None:
    if isinstance(duration, timedelta):
        return duration.total_seconds()
    if isinstance(duration, str):
        return _read_text(duration.strip().lower())
    if isinstance(duration, int | float) and not isinstance(duration, bool):
        return duration
    return None


def _read_text(text: str) -> float | None:
    if _NUMBER.fullmatch(text):
        return float(text)
    if not _PARTS.fullmatch(text):
        return None
    return sum(float(number) * _UNIT_SECONDS[unit] for number, unit in _PART.findall(text))
