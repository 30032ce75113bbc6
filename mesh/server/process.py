"""The embedded server: a real nats-server that lives and dies with the program around it."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio
from anyio import to_thread

from mesh.clock import SYSTEM_CLOCK, Clock
from mesh.errors import ServerStartError
from mesh.server.binary import find_binary
from mesh.server.child import ServerChild
from mesh.server.config import ServerConfig, check_config, config_text
from mesh.server.home import Ports, ServerHome
from mesh.server.probe import server_answers

_POLL_S = 0.005
_LOCK_WAIT_S = 5.0
_PROBE_TIMEOUT_S = 0.5
_PORT_TAKEN = "address already in use"


class EmbeddedServer:
    """A nats-server with JetStream that this program owns.

    Use it as ``with EmbeddedServer() as server:`` or with ``async with``; it is ready when
    entered, and gone when left or when this program dies, even by ``kill -9``.
    It touches no server but the one it started. All methods may be called from any thread.
    """

    def __init__(
        self,
        config: ServerConfig | None = None,
        *,
        binary: Path | None = None,
        start_timeout_s: float = 30.0,
        stop_timeout_s: float = 5.0,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        """Decide how the server will be run; nothing is started yet.

        Args:
            config: The server's options; None: all defaults.
            binary: The nats-server program; None: look for it when the server is started.
            start_timeout_s: How long it may take until it is ready, store recovery included.
            stop_timeout_s: How long it may take to stop before it is killed.
            clock: Where the time comes from.
        """
        self.config = config or ServerConfig()
        self._binary = binary
        self._start_timeout_s = start_timeout_s
        self._stop_timeout_s = stop_timeout_s
        self._clock = clock
        self._lock = threading.RLock()
        self._owner_pid = os.getpid()
        self._home: ServerHome | None = None
        self._child: ServerChild | None = None
        self._ports = Ports()

    def __repr__(self) -> str:
        state = f"pid={self.pid}, {self.url}" if self.is_running else "not running"
        return f"EmbeddedServer({state})"

    @property
    def is_running(self) -> bool:
        """Whether the server's process is alive."""
        child = self._child
        return child is not None and child.is_alive()

    @property
    def url(self) -> str:
        """The address for clients; it stays the same through `kill`, `restart` and `start`."""
        return self._address(self._ports.clients, "has not been started")

    @property
    def port(self) -> int:
        """The port for clients."""
        return int(self.url.rpartition(":")[2])

    @property
    def monitor_url(self) -> str:
        """The address of the HTTP monitor."""
        return self._address(self._ports.monitoring, "has no monitor; set monitor_port")

    @property
    def pid(self) -> int:
        """The process id of the running server."""
        if self._child is None:
            message = "the embedded server is not running; start it first"
            raise ServerStartError(message)
        return self._child.pid

    @property
    def store_dir(self) -> Path:
        """The directory with its data, its configuration and its log."""
        if self._home is None:
            message = "the embedded server has no store yet; start it first"
            raise ServerStartError(message)
        return self._home.path

    @property
    def log_path(self) -> Path:
        """The server's log; in a temporary store it is removed when the server is stopped."""
        return self.store_dir / ServerHome.LOG_NAME

    def start(self) -> None:
        """Start the server and wait until JetStream is ready; does nothing if it runs.

        After `kill` or `restart` it comes back with the same port and the same store.

        Raises:
            ServerStartError: It cannot be started; what it said is in the message.
        """
        with self._lock:
            if self.is_running:
                return
            self._end_child(grace_s=0)
            is_new_home = self._home is None
            if self._home is None:
                self._home = ServerHome.open(self.config.store_dir)
            try:
                self._start_in(self._home, self._clock.monotonic() + self._start_timeout_s)
            except BaseException:
                self._end_child(grace_s=0)
                if is_new_home:
                    self._forget_home()
                raise

    def stop(self) -> None:
        """Stop the server and remove a temporary store; safe at any time, and twice."""
        with self._lock:
            self._end_child(grace_s=self._stop_timeout_s)
            self._forget_home()

    def kill(self) -> None:
        """Kill the server as a crash would (SIGKILL); `start` finds the same store and port."""
        with self._lock:
            self._end_child(grace_s=0)

    def restart(self) -> None:
        """Stop the server and start it again with the same store and port."""
        with self._lock:
            self._end_child(grace_s=self._stop_timeout_s)
            self.start()

    async def start_async(self) -> None:
        """Do what `start` does without blocking the event loop."""
        try:
            await to_thread.run_sync(self.start)
        except anyio.get_cancelled_exc_class():
            # The thread goes on, and nobody would stop the server that it starts.
            await self.stop_async()
            raise

    async def stop_async(self) -> None:
        """Do what `stop` does without blocking the event loop; a cancellation waits for it."""
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(self.stop)

    async def restart_async(self) -> None:
        """Do what `restart` does without blocking the event loop."""
        await to_thread.run_sync(self.restart)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> Self:
        await self.start_async()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop_async()

    def _start_in(self, home: ServerHome, deadline: float) -> None:
        binary = self._binary or find_binary()
        lock = self._locked(home, deadline)
        try:
            home.prepare(config_text(self.config, home, port=self._wanted_port()))
            if self.config.extra_file is not None:
                check_config(binary, home.config_path)
            self._spawn_until_ready(binary, home, lock, deadline)
        finally:
            os.close(lock)

    def _spawn_until_ready(
        self, binary: Path, home: ServerHome, lock: int, deadline: float
    ) -> None:
        while True:
            child = self._child = ServerChild.spawn(binary, home, lock)
            ports = self._wait_until_ready(child, home, deadline)
            if ports is not None:
                self._ports = ports
                return
            said = home.last_words()
            self._end_child(grace_s=0)
            comes_back = bool(self._ports.clients) and self.config.port == 0
            # While the server was away, the system may have lent its port to a connection.
            if not (comes_back and _PORT_TAKEN in said and self._clock.monotonic() < deadline):
                message = f"nats-server ended before it was ready; it said:\n{said}"
                raise ServerStartError(message)
            threading.Event().wait(_POLL_S)

    def _wait_until_ready(
        self, child: ServerChild, home: ServerHome, deadline: float
    ) -> Ports | None:
        """The ports of the server once JetStream is ready, or None if the server has ended."""
        while self._clock.monotonic() < deadline:
            # The file is named after our server's pid: no stranger on the port is taken for it.
            ports = home.read_ports(child.pid)
            if ports and ports.clients:
                info = server_answers(ports.clients[0], _PROBE_TIMEOUT_S, clock=self._clock)
                if info is not None and info.jetstream:
                    return ports
            if child.wait(_POLL_S) is not None:
                return None
        message = (
            f"nats-server was not ready after {self._start_timeout_s:g} s; "
            f"give it more time if its store is large. It said:\n{home.last_words()}"
        )
        raise ServerStartError(message)

    def _locked(self, home: ServerHome, deadline: float) -> int:
        """The lock of the directory; a server that its watchdog is ending is waited for."""
        patience = min(deadline, self._clock.monotonic() + _LOCK_WAIT_S)
        while (lock := home.try_lock()) is None:
            if self._clock.monotonic() >= patience:
                message = (
                    f"the store {home.path} is in use by another nats-server; "
                    "stop that one, or give this one another store_dir"
                )
                raise ServerStartError(message)
            threading.Event().wait(_POLL_S)
        return lock

    def _wanted_port(self) -> int:
        return self.config.port or (self.port if self._ports.clients else 0)

    def _end_child(self, *, grace_s: float) -> None:
        # A forked process holds a copy of this object, but the server is its parent's.
        if self._child is not None and os.getpid() == self._owner_pid:
            self._child.end(grace_s=grace_s)
        self._child = None

    def _forget_home(self) -> None:
        if self._home is not None and os.getpid() == self._owner_pid:
            self._home.remove()
        self._home = None

    def _address(self, addresses: tuple[str, ...], lack: str) -> str:
        if not addresses:
            message = f"the embedded server {lack}"
            raise ServerStartError(message)
        return addresses[0]
