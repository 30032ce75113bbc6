"""The directory an embedded server works in: its data, configuration, log, ports and lock."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Final, cast

from msgspec import Struct

from mesh.errors import ServerStartError

_TELLING = ("[FTL]", "[ERR]", "nats-server:", "panic:", "fatal error:")
_LAST_LINES = 8
_TAIL_BYTES = 65_536


class Ports(Struct, frozen=True):
    """Where a running server listens; an address of this machine alone comes first.

    Attributes:
        clients: The addresses for clients.
        monitoring: The addresses of the HTTP monitor.
    """

    clients: tuple[str, ...] = ()
    monitoring: tuple[str, ...] = ()


class ServerHome:
    """One server's directory; a lock lets one server at a time work in it."""

    LOG_NAME: Final = "server.log"

    def __init__(self, path: Path, *, is_temporary: bool) -> None:
        self.path = path
        self.is_temporary = is_temporary
        self._log_start = 0

    @classmethod
    def open(cls, store_dir: Path | None) -> ServerHome:
        """Make the directory ready: the given one, or a new temporary one.

        Raises:
            ServerStartError: The directory cannot be made or written.
        """
        if store_dir is None:
            return cls(Path(tempfile.mkdtemp(prefix="mesh-server-")), is_temporary=True)
        home = cls(store_dir.expanduser().absolute(), is_temporary=False)
        try:
            home.path.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            message = (
                f"the store {home.path} cannot be made: {fault.strerror}; name another one"
            )
            raise ServerStartError(message) from fault
        return home

    @property
    def config_path(self) -> Path:
        """The configuration file."""
        return self.path / "nats.conf"

    @property
    def log_path(self) -> Path:
        """The log of the server, its last words in a crash included."""
        return self.path / self.LOG_NAME

    @property
    def ports_dir(self) -> Path:
        """Where the server writes down which ports it got."""
        return self.path / "ports"

    def prepare(self, config: str) -> None:
        """Write the configuration and forget what an earlier server left.

        Raises:
            ServerStartError: The directory cannot be written.
        """
        try:
            shutil.rmtree(self.ports_dir, ignore_errors=True)
            self.ports_dir.mkdir()
            self.config_path.write_text(config, encoding="utf-8")
            self.log_path.touch()
            self._log_start = self.log_path.stat().st_size
        except OSError as fault:
            message = f"the store {self.path} cannot be written: {fault.strerror}"
            raise ServerStartError(message) from fault

    def try_lock(self) -> int | None:
        """Take the lock and return it as a file descriptor, or None if a server holds it.

        The server inherits the descriptor: the lock then lasts exactly as long as the server
        lives, whatever happens to the process that started it.
        """
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return descriptor

    def read_ports(self, pid: int) -> Ports | None:
        """Where the server with this pid listens, or None as long as it has not said so."""
        for file in self.ports_dir.glob(f"*_{pid}.ports"):
            try:
                content = cast("dict[str, list[str]]", json.loads(file.read_bytes()))
            except ValueError:
                # The file is being written.
                return None
            return Ports(
                tuple(content.get("nats") or ()), tuple(content.get("monitoring") or ())
            )
        return None

    def last_words(self) -> str:
        """The lines of the log since `prepare` that tell what went wrong, else the last few."""
        with self.log_path.open("rb") as log:
            end = log.seek(0, os.SEEK_END)
            # A log that is shorter than before was rotated: all of it is new.
            start = self._log_start if self._log_start <= end else 0
            log.seek(max(start, end - _TAIL_BYTES))
            lines = log.read().decode(errors="replace").splitlines()
        telling = [line for line in lines if any(mark in line for mark in _TELLING)]
        return "\n".join((telling or lines)[-_LAST_LINES:]) or "(it wrote nothing)"

    def remove(self) -> None:
        """Remove a temporary directory; leave any other as it is."""
        if self.is_temporary:
            shutil.rmtree(self.path, ignore_errors=True)
