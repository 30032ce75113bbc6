"""Bring the stored schedules in line with those that are declared."""

from __future__ import annotations

from collections.abc import Sequence

from mesh.client.client import Client
from mesh.client.schedule_book import ScheduleBook
from mesh.client.schedule_making import Declared, make_schedule, merged
from mesh.client.schedule_views import SyncReport
from mesh.contract.schedules import Schedule


async def declare(client: Client, declared: Declared, now_ms: int) -> str:
    """Make a schedule, or change it to what is declared.

    Returns:
        ``created``, ``updated`` or ``unchanged``.

    Raises:
        OptionError: The declaration says what cannot be.
        TimetableError: Its timetable does.
        BrokerError: The server refused, or never confirmed it: to do it again is safe.
    """
    new = make_schedule(declared, client.settings, now_ms)
    outcome = ""

    def change(old: Schedule | None) -> Schedule:
        nonlocal outcome
        if old is None:
            outcome = "created"
            return new
        result = merged(old, new)
        outcome = "unchanged" if result is old else "updated"
        return result

    await ScheduleBook(client).change(declared.schedule_id, change)
    return outcome


async def sync(
    client: Client, declared: Sequence[Declared], now_ms: int, *, prune: bool
) -> SyncReport:
    """Make or change all that is declared; see ``Schedules.sync``.

    Args:
        client: The connection.
        declared: The declarations.
        now_ms: The present.
        prune: Remove what code or file declared once and do not any more.
    """
    changes: dict[str, list[str]] = {"created": [], "updated": [], "unchanged": []}
    for each in declared:
        changes[await declare(client, each, now_ms)].append(each.schedule_id)
    removed: list[str] = []
    if prune:
        removed = await _prune(client, {each.schedule_id for each in declared})
    lists = {name: tuple(ids) for name, ids in changes.items()}
    return SyncReport(**lists, removed=tuple(removed))


async def _prune(client: Client, declared: set[str]) -> list[str]:
    book = ScheduleBook(client)
    removed = [
        schedule_id
        for schedule_id, schedule, _ in await book.all()
        if schedule.origin != "api" and schedule_id not in declared
    ]
    for schedule_id in removed:
        await book.change(schedule_id, _nothing)
    return removed


def _nothing(_schedule: Schedule | None) -> None:
    return None
