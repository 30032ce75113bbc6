"""What the demo shows: a progress bar at a terminal and lines elsewhere, then a table."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from mesh.demo.example import Summary

_STEPS = 10


class Screen:
    """Writes to stdout, and complaints to stderr."""

    def __init__(self) -> None:
        self._out = Console(highlight=False, soft_wrap=True)
        self._err = Console(highlight=False, soft_wrap=True, stderr=True)

    def introduce(self, url: str, worker_pid: int, app: Path, folder: Path) -> None:
        """Say what runs."""
        self._say(f"NATS server   {url}, started for this demo")
        self._say(f"mesh worker   process {worker_pid}, runs {_short(app)}")
        self._say(f"producer      this process: one job for each Python file in {folder}")

    @contextmanager
    def progress(self) -> Generator[Callable[[int, int], None]]:
        """Show how many jobs are done; yields what is to be told so."""
        if not self._out.is_terminal:
            yield self._lines()
            return
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self._out, transient=True) as bar:
            task = bar.add_task("files", total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)

    def _lines(self) -> Callable[[int, int], None]:
        """Write a line for every tenth part of the work."""
        shown = 0

        def on_progress(done: int, total: int) -> None:
            nonlocal shown
            step = done * _STEPS // total
            if step > shown:
                shown = step
                self._say(f"{done * 100 // total:3} %  {done:,} of {total:,} files")

        return on_progress

    def conclude(self, summary: Summary, folder: Path) -> None:
        """Show what was found."""
        longest = Table("function", "lines", "place", title="Longest functions", box=None)
        for function in summary.longest_functions:
            place = Path(function.file).relative_to(folder.absolute())
            longest.add_row(function.name, f"{function.lines:,}", f"{place}:{function.line}")
        totals = Table(title="Found", show_header=False, box=None)
        for name in ("files", "lines", "functions", "classes", "imports"):
            totals.add_row(name, f"{getattr(summary, name):,}")
        totals.add_row("files that are no Python", f"{len(summary.unreadable):,}")
        totals.columns[1].justify = longest.columns[1].justify = "right"
        for table in (totals, longest):
            table.title_justify = "left"
            self._say("")
            self._out.print(table, soft_wrap=False)

    def rate(self, jobs: int, index_s: float, all_s: float) -> None:
        """Say how long it took."""
        self._say("")
        self._say(
            f"{jobs:,} jobs in {index_s:.1f} s: {jobs / index_s:,.0f} jobs/s from the first"
        )
        self._say(f"enqueue to the last result; {all_s:.1f} s with starting and stopping.")

    def point_on(self, app: Path) -> None:
        """Say where to go next."""
        self._say("")
        self._say(f"Next: read {_short(app)}, the app that you saw, and run a smaller one:")
        self._say(f"  mesh dev {_short(app.with_name('hello.py'))}:app")

    def complain(self, text: str) -> None:
        """Say what went wrong."""
        self._err.print(text, markup=False)

    def _say(self, text: str) -> None:
        self._out.print(text, markup=False)


def _short(path: Path) -> str:
    """The path as a person here would write it."""
    return str(path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path)
