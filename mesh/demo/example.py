"""The example app that the demo runs: find workers/codebase.py and load it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, cast

from mesh.app import Mesh
from mesh.errors import AppNotFoundError
from mesh.worker.loading import load_app

_PLACE = Path("workers") / "codebase.py"


class Function(Protocol):
    """A function and where it stands."""

    name: str
    file: str
    line: int
    lines: int


class Summary(Protocol):
    """What the example found."""

    files: int
    lines: int
    functions: int
    classes: int
    imports: int
    longest_functions: Sequence[Function]
    unreadable: Sequence[object]


class Index(Protocol):
    """The example's producer: enqueue the jobs, wait for their results."""

    async def __call__(self, folder: Path, on_progress: Callable[[int, int], None]) -> Summary:
        """Index a folder."""
        ...


class Example:
    """The example app, loaded.

    Attributes:
        file: Its file.
        app: The app.
        index: Its producer.
    """

    def __init__(self, file: Path, app: Mesh, index: Index) -> None:
        self.file = file
        self.app = app
        self.index = index

    @property
    def reference(self) -> str:
        """How a worker finds it."""
        return f"{self.file}:app"


def load_example(url: str) -> Example:
    """Find the example app and point it to a server.

    Raises:
        AppNotFoundError: It is not there.
    """
    file = find_example([Path(__file__).parents[2], Path.cwd()])
    app = load_app(f"{file}:app")
    app.override({"url": url})
    module = sys.modules[next(iter(app.tasks)).function.__module__]
    return Example(file, app, cast("Index", module.index))


def find_example(places: Sequence[Path]) -> Path:
    """Find the example's file.

    Args:
        places: The folders that may hold the folder ``workers``.

    Raises:
        AppNotFoundError: It is in none of them.
    """
    for place in places:
        if (place / _PLACE).is_file():
            return (place / _PLACE).resolve()
    message = (
        f"the demo runs the example app {_PLACE}, which comes with the source code, not with "
        "the installed package; get the source code and run `mesh demo` in its folder"
    )
    raise AppNotFoundError(message)
