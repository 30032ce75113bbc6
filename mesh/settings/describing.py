"""Show settings to people: one row for each value, secrets left out, with its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

from msgspec import Struct

from mesh.settings.keys import Key, all_keys, value_of
from mesh.settings.model import Settings
from mesh.settings.rules import DEFAULT_ORIGIN
from mesh.settings.sections import shown_value

_UNITS_MS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1))


class Row(Struct, frozen=True):
    """One setting as people see it.

    Attributes:
        key: The dotted key.
        value: The value as text, in the form that a variable would take; secrets are redacted.
        origin: Where it came from; ``default`` if no source gave it.
        variable: The environment variable that sets it.
    """

    key: str
    value: str
    origin: str
    variable: str


def describe(settings: Settings, origins: Mapping[str, str] | None = None) -> list[Row]:
    """Every setting with its value, in the order of the structs.

    Args:
        settings: What to show.
        origins: Where the values came from, as `load_with_origins` tells; None: not known, and
            a value that differs from the default is said to be ``given``.
    """
    return [
        Row(key.name, _shown(key, value), _origin(key, value, origins), key.variable)
        for key in all_keys().values()
        for value in (value_of(settings, key),)
    ]


def format_duration(seconds: float) -> str:
    """Write a duration as it is read (``1h30m``), rounded to milliseconds."""
    left_ms = round(seconds * 1000)
    parts: list[str] = []
    for unit, unit_ms in _UNITS_MS:
        count, left_ms = divmod(left_ms, unit_ms)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts) or "0s"


def _origin(key: Key, value: object, origins: Mapping[str, str] | None) -> str:
    if origins is not None:
        return origins.get(key.name, DEFAULT_ORIGIN)
    return DEFAULT_ORIGIN if value == key.default else "given"


def _shown(key: Key, value: object) -> str:
    shown = shown_value(key.own_name, value)
    if shown is None:
        return ""
    if isinstance(shown, bool):
        return "true" if shown else "false"
    if isinstance(shown, tuple):
        return ",".join(cast("tuple[str, ...]", shown))
    if isinstance(shown, float) and key.is_duration:
        return format_duration(shown)
    return str(shown)
