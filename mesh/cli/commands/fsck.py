"""``mesh fsck``: find jobs that are lost, stuck or doubled, and put them right."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext
from types import TracebackType
from typing import TYPE_CHECKING

import click

from mesh.cli.options import connects, duration, prints
from mesh.cli.output import Output, is_terminal, table
from mesh.cli.target import Target
from mesh.worker.exits import Exit

if TYPE_CHECKING:
    from collections.abc import Callable

    from mesh.app import Mesh
    from mesh.client.findings import FsckReport, Meaning

_MOST_ROWS = 200


@click.command
@click.argument("app", required=False)
@click.option("--repair", is_flag=True, help="Put right what can be.")
@click.option(
    "--settle",
    type=duration,
    metavar="DURATION",
    help="Wait so long before the second look; by default longer than a lease.",
)
@click.option("--every", type=duration, metavar="DURATION", help="Go on, and check so often.")
@connects
@prints
def fsck(
    *,
    output: Output,
    target: Target,
    app: str | None,
    repair: bool,
    settle: float | None,
    every: float | None,
) -> Exit:
    """Find jobs that are lost, stuck or doubled.

    And what is left of ended ones. Safe on a live system: what looks wrong is looked at again
    when a lease has passed; where nothing does, the command ends at once. With APP the queues
    of its tasks are checked too. Exits with 1 if something is left to put right.
    """
    import anyio

    async def check(mesh: Mesh) -> FsckReport:
        while True:
            with _progress(output) as tell:
                report = await mesh.fsck(repair=repair, settle=settle, on_progress=tell)
            _show(output, report)
            if every is None:
                return report
            await anyio.sleep(every)

    report = target.run(check, app)
    return Exit.OK if report.is_clean else Exit.FAILED


def _show(output: Output, report: FsckReport) -> None:
    import msgspec

    values = msgspec.structs.asdict(report)
    values |= {"is_clean": report.is_clean, "left": len(report.left)}
    output.show(values, _words(report))


def _words(report: FsckReport) -> str:
    from mesh.client.findings import MEANING

    found = report.findings
    looked = f"looked at {report.looked_at:,} entries in {report.took_s:.1f} s"
    parts: list[str] = []
    if found:
        rows = [
            (one.kind, one.name, "repaired" if one.is_repaired else "found", one.detail)
            for one in found[:_MOST_ROWS]
        ]
        parts.append(table(("kind", "what", "state", "detail"), rows))
        if len(found) > _MOST_ROWS:
            parts.append(f"... and {len(found) - _MOST_ROWS:,} more; --json prints all")
        kinds = sorted({one.kind for one in found})
        parts.append("\n".join(f"{kind}: {_meaning(MEANING[kind])}" for kind in kinds))
    if report.is_partial:
        parts.append("There is more than one run looks into: run it again.")
    if not report.has_ledger:
        parts.append("Events are not recorded: jobs that vanished cannot be found.")
    left = len(report.left)
    verdict = f"{left:,} left to put right" if left else "clean"
    if len(found) > left:
        verdict = f"{len(found) - left:,} repaired, {verdict}"
    return "\n\n".join([*parts, f"{verdict} ({looked})"])


def _meaning(meaning: Meaning) -> str:
    repair = f" --repair {meaning.repair}." if meaning.repair else " It is only reported."
    return meaning.what + repair


def _progress(output: Output) -> AbstractContextManager[Callable[[str, int], None] | None]:
    """Draw what is going on at a terminal, and nothing elsewhere."""
    if output.is_json or not is_terminal(sys.stderr):
        return nullcontext()
    return _Bar()


class _Bar:
    """One line for each thing that is looked at, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        words = TextColumn("{task.description} {task.completed:,.0f}", markup=False)
        self._progress = Progress(
            BarColumn(bar_width=20),
            words,
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._row = self._progress.add_task("", total=None)
        self._what = ""

    def __enter__(self) -> Callable[[str, int], None]:
        self._progress.start()
        return self._tell

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def _tell(self, what: str, count: int) -> None:
        if what != self._what:
            self._what = what
            self._progress.reset(self._row, description=what, total=None)
        self._progress.advance(self._row, count)
