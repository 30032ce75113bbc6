"""A PostgreSQL server of the tests' own: made in a new folder, gone at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

_INSTALL = "apt-get install postgresql"
_USER = "postgres"
_SWIFT = "-c fsync=off -c full_page_writes=off -c max_connections=20 -c shared_buffers=32MB"


def programs() -> Path:
    """The folder of PostgreSQL's server programs; Debian keeps it off PATH.

    The test is skipped if there is none; in CI, where nothing may be left out, it fails.
    """
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    found = shutil.which("initdb")
    folders = [*debian, *([Path(found).parent] if found else [])]
    for folder in folders:
        if (folder / "initdb").exists() and (folder / "pg_ctl").exists():
            return folder
    why = f"there is no PostgreSQL server; {_INSTALL}"
    if os.environ.get("CI") == "true":
        pytest.fail(why)
    pytest.skip(why)


@contextmanager
def postgres_server() -> Generator[str]:
    """Run a server that listens on a socket in its folder only; yield the address."""
    folder = programs()
    # Not pytest's folder: the path of a socket may have some hundred characters only.
    home = Path(tempfile.mkdtemp(prefix="mesh-pg-"))
    try:
        if os.geteuid() == 0:  # The server refuses to run as root.
            shutil.chown(home, _USER)
        data, log = home / "data", home / "log"
        _run(
            folder / "initdb", "-D", data, "-U", _USER, "-A", "trust", "--no-sync", "-E", "UTF8"
        )
        options = f"-c listen_addresses= -c unix_socket_directories={home} {_SWIFT}"
        _run(folder / "pg_ctl", "-D", data, "-l", log, "-o", options, "-w", "-s", "start")
        try:
            yield f"postgresql:///postgres?host={home}&user={_USER}"
        finally:
            _run(folder / "pg_ctl", "-D", data, "-m", "immediate", "-w", "-s", "stop")
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _run(*words: object) -> None:
    command = [str(word) for word in words]
    if os.geteuid() == 0:
        command = ["runuser", "-u", _USER, "--", *command]
    # What it says goes to a file: a server that inherits a pipe would keep it open for ever.
    with tempfile.TemporaryFile() as said:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            cwd="/",
            timeout=60,
            check=False,
        )
        said.seek(0)
        assert done.returncode == 0, f"{command}: {said.read().decode(errors='replace')}"
