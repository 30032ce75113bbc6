"""Decide which events are told, by the level that the settings ask for."""

from __future__ import annotations

from mesh.contract.events import EventKind

_ALWAYS = frozenset({EventKind.DEAD, EventKind.EXPIRING})
"""What ``mesh fsck`` reads: without it jobs would look lost that are not."""


def told_kinds(level: str, *, has_logs: bool) -> frozenset[EventKind]:
    """The kinds of events that clients and workers publish.

    Args:
        level: ``off``, ``error``, ``info`` or ``debug``, as in the settings.
        has_logs: Whether what attempts log is kept; that has a level of its own.
    """
    logs = frozenset({EventKind.LOG} if has_logs else ())
    match level:
        case "off":
            return _ALWAYS | logs
        case "error":
            return _ALWAYS | logs | {EventKind.RETRYING}
        case _:
            return frozenset(EventKind) - {EventKind.LOG} | logs
