"""A unique job: while it has not ended, whoever enqueues it again gets the same one."""

from __future__ import annotations

import anyio
from support.running import RunningApp

from mesh import Unique


def by_month(month: str, asked_by: str) -> str:
    """Whoever asks for it: there is one report of a month."""
    return month


async def test_a_report_is_made_once_at_a_time(mesh: RunningApp) -> None:
    """Two people press the button; one report is made. A third, later, gets a new one."""
    reports: list[str] = []
    goes_on = anyio.Event()

    @mesh.app.task(unique=Unique(key=by_month))
    async def report(month: str, asked_by: str) -> str:
        await goes_on.wait()
        reports.append(f"{month} for {asked_by}")
        return reports[-1]

    async with mesh.worker():
        ada = await report.enqueue("May", "ada")
        bob = await report.enqueue("May", "bob")
        other = await report.enqueue("June", "bob")
        goes_on.set()

        assert (ada.is_duplicate, bob.is_duplicate, other.is_duplicate) == (False, True, False)
        assert await bob.result(timeout=30) == "May for ada"
        assert await other.result(timeout=30) == "June for bob"

        again = await report.enqueue("May", "cleo")
        assert await again.result(timeout=30) == "May for cleo"

    assert again.id != ada.id
    assert sorted(reports) == ["June for bob", "May for ada", "May for cleo"]
