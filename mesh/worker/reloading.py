"""Say when Python files change, so that a worker can be started anew; needs watchfiles."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import anyio

from mesh.errors import SettingsError

log = logging.getLogger("mesh.supervisor")

_DEBOUNCE_MS = 300
_LONG_MS = 3_600_000


def check_reload() -> None:
    """Make sure that changes can be watched.

    Raises:
        SettingsError: watchfiles is not installed.
    """
    if importlib.util.find_spec("watchfiles") is None:
        fault = 'reloading needs watchfiles; install it with pip install "natsmesh[reload]"'
        raise SettingsError([fault])


def watched_folders(reference: str) -> list[Path]:
    """The folders whose Python files matter: the working directory and that of the app.

    Args:
        reference: The app, as the command line names it; it is not imported.
    """
    place = reference.partition(":")[0]
    here = Path.cwd()
    if place.endswith(".py"):
        folder: Path | None = Path(place).expanduser().resolve().parent
    else:
        folder = _package_folder(place.partition(".")[0])
    if folder is None or folder == here or here in folder.parents or not folder.is_dir():
        return [here]
    return [here, folder]


async def changes(folders: Sequence[Path], stop: anyio.Event) -> AsyncIterator[list[str]]:
    """Yield the paths of changed Python files, again and again.

    Args:
        folders: Where to look, folders inside them included.
        stop: Ends it; cancelling would have to wait for the thread that watches.
    """
    import watchfiles  # noqa: PLC0415 - an extra

    # It tells of every change itself, at a level that people see.
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    watcher = watchfiles.awatch(
        *folders,
        watch_filter=watchfiles.PythonFilter(),
        debounce=_DEBOUNCE_MS,
        stop_event=stop,
        rust_timeout=_LONG_MS,
        ignore_permission_denied=True,
    )
    try:
        async for found in watcher:
            yield sorted({path for _, path in found})
    except (OSError, RuntimeError) as error:  # For one, the system watches no more files.
        log.error("files cannot be watched; changes are not seen: %s", error)  # noqa: TRY400


def _package_folder(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        return None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return Path(places[0]).resolve() if places else None
