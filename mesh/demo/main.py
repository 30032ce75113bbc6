"""``mesh demo``: a server, a worker and a producer index real Python files before your eyes."""

from __future__ import annotations

import sysconfig
from contextlib import AsyncExitStack
from pathlib import Path

import anyio

from mesh.clock import SYSTEM_CLOCK
from mesh.demo.example import Example, Summary, load_example
from mesh.demo.screen import Screen
from mesh.demo.surroundings import WorkerProcess, surroundings
from mesh.errors import MeshError
from mesh.server.process import EmbeddedServer

_FAILED = 1
_INTERRUPTED = 130


class DemoError(MeshError):
    """The demo could not be shown to its end."""


def run(folder: Path | None = None) -> int:
    """Show the demo.

    Args:
        folder: The Python files to index; None: the standard library of this Python.

    Returns:
        The exit code: 0; 1 if something failed, which was said; 130 after Ctrl-C.
    """
    screen = Screen()
    folder = folder or Path(sysconfig.get_path("stdlib"))
    if not folder.is_dir():
        screen.complain(f"{folder} is not a folder; name one with Python files in it")
        return _FAILED
    try:
        anyio.run(_show, folder, screen)
    except KeyboardInterrupt:
        screen.complain("Interrupted. The server and the worker have been stopped.")
        return _INTERRUPTED
    except MeshError as error:
        screen.complain(str(error))
        return _FAILED
    return 0


async def _show(folder: Path, screen: Screen) -> None:
    started_s = SYSTEM_CLOCK.monotonic()
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(EmbeddedServer())
        home = stack.enter_context(surroundings(server.url))
        example = load_example(server.url)
        await stack.enter_async_context(example.app)
        await example.app.setup()
        worker = await stack.enter_async_context(WorkerProcess(example.reference, home))
        screen.introduce(server.url, worker.pid, example.file, folder)
        enqueued_s = SYSTEM_CLOCK.monotonic()
        summary = await _index(example, folder, worker, screen)
        took_s = SYSTEM_CLOCK.monotonic() - enqueued_s
    all_s = SYSTEM_CLOCK.monotonic() - started_s
    screen.conclude(summary, folder)
    screen.rate(summary.files + 1, took_s, all_s)
    screen.point_on(example.file)


async def _index(
    example: Example, folder: Path, worker: WorkerProcess, screen: Screen
) -> Summary:
    """Be the producer, as long as there is a worker."""
    summary: Summary | None = None
    why = "the worker ended before its work was done"
    with screen.progress() as on_progress:
        async with anyio.create_task_group() as group:
            group.start_soon(_end_with, worker, group.cancel_scope)
            try:
                summary = await example.index(folder, on_progress)
            except (MeshError, ExceptionGroup) as error:
                why = str(error)
            group.cancel_scope.cancel()
    if summary is None:
        message = f"{why}\nThe worker's log ends with:\n{worker.last_words()}"
        raise DemoError(message)
    if not summary.files:
        message = f"there are no Python files in {folder}; name another folder"
        raise DemoError(message)
    return summary


async def _end_with(worker: WorkerProcess, scope: anyio.CancelScope) -> None:
    await worker.ended()
    scope.cancel()
