"""How the status of a job looks: all of it, one line for each change, or a progress bar."""

from __future__ import annotations

from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

import msgspec

from mesh.cli.output import Output
from mesh.client.status import JobStatus

_TIMES = ("enqueued_at_ms", "due_at_ms", "started_at_ms", "finished_at_ms")


class Lines:
    """One line, or one JSON object, for each change."""

    def __init__(self, output: Output) -> None:
        self._output = output

    def __enter__(self) -> Self:
        """Nothing is needed."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Nothing is left."""

    def show(self, status: JobStatus) -> None:
        """Print the change."""
        self._output.show(values(status), line(status))


class Bar:
    """A bar on a terminal that is drawn anew for each change."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        # No markup: what a task says of its progress is shown as it stands.
        words = TextColumn("{task.description}", markup=False)
        self._progress = Progress(words, BarColumn(), TimeElapsedColumn())
        self._row = self._progress.add_task("", total=None)

    def __enter__(self) -> Self:
        """Begin to draw."""
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last bar standing."""
        self._progress.stop()

    def show(self, status: JobStatus) -> None:
        """Draw the change."""
        total, current = status.total, status.current
        if status.is_finished:
            total = current = 1.0  # A bar that goes on would say that something still runs.
        self._progress.update(
            self._row, total=total, completed=current or 0.0, description=line(status)
        )


def values(status: JobStatus) -> dict[str, Any]:
    """Every field, also those with nothing in them, so that programs find the same keys."""
    return msgspec.structs.asdict(status)


def line(status: JobStatus) -> str:
    """The status on one line."""
    words = [status.state.value]
    if status.attempt > 1:
        words.append(f"(attempt {status.attempt})")
    if status.current is not None:
        words.append(f"{status.current:g}" + (f"/{status.total:g}" if status.total else ""))
    if status.message:
        words.append(status.message)
    if status.error is not None:
        words.append(f"{status.error.type}: {status.error.message}")
    return " ".join(words)


def details(status: JobStatus) -> str:
    """What is known, one line for each thing."""
    shown = {
        name: value
        for name, value in values(status).items()
        if value not in (None, "", 0) and name not in (*_TIMES, "error")
    }
    shown |= {
        name.removesuffix("_ms"): moment(value)
        for name in _TIMES
        if (value := getattr(status, name))
    }
    if status.error is not None:
        shown["error"] = f"{status.error.type}: {status.error.message}"
    width = max(map(len, shown)) + 2
    return "\n".join(f"{name:{width}}{value}" for name, value in shown.items())


def moment(at_ms: int) -> str:
    """A point in time for people: ISO 8601, in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds")
